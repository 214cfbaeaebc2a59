//! `HAProxy` before the engine, as socket proxies configure it: HTTP in both directions, a list of paths, one backend. Only
//! here, to compare with; nothing of the product uses it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use enforcer_tests::harness::run::wait_for;

/// One that runs, until it is dropped.
pub struct Haproxy {
    child: Child,
    /// Where it listens.
    pub socket: PathBuf,
}

impl Haproxy {
    /// Starts one, with its files in this directory.
    pub fn start(dir: &Path, engine: &Path) -> Result<Self> {
        let (config, socket) = (dir.join("haproxy.cfg"), dir.join("haproxy.sock"));
        fs::write(&config, text(&socket, engine))?;
        let child = Command::new("haproxy")
            .args(["-db", "-q", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .spawn()
            .context("haproxy: apt-get install haproxy")?;
        let haproxy = Self { child, socket };
        wait_for("HAProxy's socket", Duration::from_secs(10), || {
            Ok(haproxy.socket.exists().then_some(()))
        })?;
        Ok(haproxy)
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Users' proxies listen on TCP, or on a unix socket as the gate does: this one is no slower for it.
fn text(socket: &Path, engine: &Path) -> String {
    format!(
        "global\n    maxconn 2000\n\
         defaults\n    mode http\n    option dontlognull\n    timeout connect 10s\n    timeout client 10m\n    \
         timeout server 10m\n    timeout tunnel 1h\n    timeout http-request 10s\n\
         frontend clients\n    bind unix@{} mode 666\n    \
         acl reads path_reg ^(/v[0-9.]+)?/(_ping|version|info|events)$\n    \
         acl containers path_reg ^(/v[0-9.]+)?/(containers|exec|images|networks|volumes)(/|$)\n    \
         http-request deny unless reads or containers\n    default_backend engine\n\
         backend engine\n    server engine unix@{} maxconn 1000\n",
        socket.display(),
        engine.display()
    )
}
