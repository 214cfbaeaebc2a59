//! What is measured: a real engine, the real daemon and `HAProxy`, and a client in a user's notebook, which has the sockets of
//! all three. So the same program in the same place goes each way.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::harness::{
    container::{Container, Spec},
    dockerd::Options,
    enforcer::{Enforcer, Settings},
    http::Line,
    image,
    topology::{Base, NETWORK},
};
use serde_json::json;

use super::{Effort, Way, What, haproxy::Haproxy};

/// Where the sockets are in the notebook.
const GATE: &str = "/var/run/docker.sock";
const ENGINE: &str = "/engine.sock";
const HAPROXY: &str = "/haproxy.sock";
/// The container whose command's output is streamed.
const WORK: &str = "bench-work";

/// Fields drop in order.
pub struct World {
    notebook: Container,
    haproxy: Haproxy,
    daemon: Enforcer,
    base: Base,
}

impl World {
    /// Starts everything.
    pub fn start() -> Result<Self> {
        let base = Base::start(Options::default())?;
        // Where the kernel guards sockets it refuses a notebook the engine's own, and nothing can be compared.
        let more = format!(
            "\n[gate]\nimages = [\"{}\"]\n[audit]\ndir = \"{}\"\n",
            image::NAME,
            base.run.dir().join("audit").display()
        );
        let settings = Settings { more, binary: Some(binary()?), ..Settings::default() };
        let daemon = Enforcer::start(&base, &settings)?;
        let socket = daemon.leave_socket("ann")?;
        let daemon = daemon.end()?.restart(&base.host, binary()?)?;
        let (code, said) =
            daemon.verb(&base.host, "group", &["add", "docker-privileged", "ann"])?;
        ensure!(code == 0, "group add: {said}");
        let haproxy = Haproxy::start(base.run.dir(), &base.docker.socket())?;
        let binds = [
            format!("{}:{GATE}", socket.display()),
            format!("{}:{ENGINE}", base.docker.socket().display()),
            format!("{}:{HAPROXY}", haproxy.socket.display()),
        ];
        let spec = Spec {
            name: "of-ann",
            network: NETWORK,
            labels: &["enforcer.user=ann", "enforcer.hub=local"],
            binds: &binds.each_ref().map(String::as_str),
            ..Spec::default()
        };
        let notebook = Container::start(&base.run, &base.docker, &spec)?;
        let line = Line::Through(notebook.actor()?, GATE.to_owned());
        let body =
            json!({"Image": image::NAME, "Cmd": ["sleep", "100000"], "StopSignal": "SIGKILL"});
        line.get("POST", &format!("/v1.41/containers/create?name={WORK}"), Some(&body))?;
        line.get("POST", &format!("/v1.41/containers/{WORK}/start"), None)?;
        Ok(Self { notebook, haproxy, daemon, base })
    }

    /// Nanoseconds of each, in one run of the client.
    pub fn take(&self, what: What, way: Way, effort: &Effort) -> Result<Vec<f64>> {
        let socket = match way {
            Way::Direct | Way::Again => ENGINE,
            Way::Haproxy => HAPROXY,
            Way::Gate => GATE,
        };
        let (pings, creates) = (effort.pings.to_string(), effort.creates.to_string());
        let bytes = effort.bytes.to_string();
        let more = match what {
            What::Ping => vec!["ping", &pings],
            What::Create => vec!["create", &creates, image::NAME],
            What::Stream => vec!["stream", WORK, &bytes],
        };
        let command = [&["/actor", "ask", socket][..], &more].concat();
        let (code, said) = self.notebook.exec(&self.base.docker, &command)?;
        ensure!(code == 0, "{command:?}: {said}");
        let times: Result<Vec<f64>, _> = said.split_whitespace().map(str::parse).collect();
        let times = times.with_context(|| format!("{command:?}: {said}"))?;
        ensure!(!times.is_empty(), "{command:?} measured nothing");
        Ok(times)
    }

    /// Takes everything down.
    pub fn end(self) -> Result<()> {
        let Self { notebook, haproxy, daemon, base } = self;
        base.docker.remove(WORK)?;
        base.docker.remove(&notebook.name)?;
        drop(haproxy);
        daemon.stop()?;
        drop(base);
        Ok(())
    }
}

fn binary() -> Result<PathBuf> {
    let path = std::env::var_os("ENFORCER_BIN");
    path.map(PathBuf::from).context("ENFORCER_BIN names no daemon: start this with ./x bench gate")
}
