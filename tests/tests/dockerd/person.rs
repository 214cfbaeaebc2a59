//! Somebody with a filtered socket: `ann`, in her notebook, with this host's programs at hand.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use enforcer::{
    access::name::{HubName, User},
    gate::{names, principal::Principal},
};
use enforcer_tests::harness::{
    container::{Container, Spec},
    enforcer::{Enforcer, Settings},
    image,
    topology::{NETWORK, Rig},
};

use crate::{
    flood::binary,
    gate::{command, left_behind},
};

/// A group whose members have a socket.
const GROUP: &str = "docker-privileged";

pub struct Person<'a> {
    pub rig: &'a Rig,
    pub notebook: Container,
    /// Her socket.
    pub socket: PathBuf,
    /// How names of her images begin.
    pub mark: String,
}

impl<'a> Person<'a> {
    /// A daemon that gives her a socket, and her notebook. `gate`: more lines of `[gate]`.
    pub fn arrive(rig: &'a Rig, gate: &str) -> Result<(Enforcer, Self)> {
        let more = format!("[gate]\nimages = [\"{}\"]\n{gate}", image::NAME);
        let daemon = Enforcer::start_beside(rig, &Settings { more, ..Settings::default() })?;
        let socket = left_behind(&daemon)?;
        let daemon = daemon.end()?.restart(&rig.host, binary()?)?;
        command(&daemon, rig, "group", &["add", GROUP, "ann"])?;
        let spec = Spec {
            name: "jupyter-ann",
            network: NETWORK,
            labels: &["enforcer.user=ann", "enforcer.hub=local"],
            binds: &["/:/host:ro"],
            ..Spec::default()
        };
        let notebook = Container::start(&rig.run, &rig.docker, &spec)?;
        let user = User { hub: HubName::local(), name: "ann".parse()? };
        let mark = names::mark(&Principal::User(user));
        Ok((daemon, Self { rig, notebook, socket, mark }))
    }

    /// Runs a program of this host's in her notebook, by a shell; what it said, and its exit code.
    pub fn run(&self, line: &str) -> Result<(i64, String)> {
        let line = format!(
            "export HOME=/nonexistent TMPDIR=/dev/shm PYTHONDONTWRITEBYTECODE=1 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
             DOCKER_HOST=unix://{}; {line}",
            self.socket.display()
        );
        let shell = ["/bin/busybox", "chroot", "/host", "/bin/sh", "-c", &line];
        self.notebook.exec(&self.rig.docker, &shell)
    }

    /// The same with Docker's command line.
    pub fn try_docker(&self, line: &str) -> Result<(i64, String)> {
        self.run(&format!("/usr/bin/docker --config /nonexistent {line}"))
    }

    /// The same where it has to work.
    pub fn docker(&self, line: &str) -> Result<String> {
        let (code, said) = self.try_docker(line)?;
        ensure!(code == 0, "docker {line}: {code}: {said}");
        Ok(said)
    }

    /// The same where it is refused, with these words.
    pub fn refused(&self, line: &str, words: &str) -> Result<()> {
        let (code, said) = self.try_docker(line)?;
        ensure!(code != 0 && said.contains(words), "docker {line}: {code}: {said}");
        Ok(())
    }
}
