//! The proxy that hubs have, of a pinned version, with all that it needs.

use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::harness::{
    netns::{die_with_parent, output},
    run::wait_for,
};

const PACKAGE: &str = include_str!("proxy/package.json");
const LOCK: &str = include_str!("proxy/package-lock.json");
/// What hub and proxy know each other by.
pub const TOKEN: &str = "00112233445566778899aabbccddeeff";

/// Installs it in a directory, unless it is there, and gives its program.
pub fn install(dir: &Path) -> Result<PathBuf> {
    let program = dir.join("node_modules/.bin/configurable-http-proxy");
    let done = dir.join("done");
    if fs::read_to_string(&done).is_ok_and(|text| text == LOCK) {
        return Ok(program);
    }
    // Half of an installation is none.
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir)?;
    fs::write(dir.join("package.json"), PACKAGE)?;
    fs::write(dir.join("package-lock.json"), LOCK)?;
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(dir);
    output(&mut npm, "npm ci")?;
    fs::write(done, LOCK)?;
    Ok(program)
}

/// Where a proxy listens: for visitors, and for its hub at loopback.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Visitors.
    pub public: u16,
    /// The hub.
    pub api: u16,
}

/// A running proxy, in the network namespace of the thread that starts it. It ends with this.
pub struct Proxy {
    program: PathBuf,
    ports: Ports,
    log: PathBuf,
    process: Child,
}

impl Proxy {
    /// Starts it; it logs to `log`.
    pub fn start(program: PathBuf, ports: Ports, log: PathBuf) -> Result<Self> {
        let process = spawn(&program, ports, &log)?;
        Ok(Self { program, ports, log, process })
    }

    /// Kills it (`SIGKILL`): all connections through it break.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Starts it again after a kill, without a route: the hub tells it.
    pub fn resume(&mut self) -> Result<()> {
        self.process = spawn(&self.program, self.ports, &self.log)?;
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have been killed before.
        let _ = self.kill();
    }
}

fn spawn(program: &Path, ports: Ports, log: &Path) -> Result<Child> {
    let output = fs::File::options().create(true).append(true).open(log)?;
    let mut command = Command::new(program);
    command
        .args(["--ip", "0.0.0.0", "--port", &ports.public.to_string()])
        .args(["--api-ip", "127.0.0.1", "--api-port", &ports.api.to_string()])
        .env("CONFIGPROXY_AUTH_TOKEN", TOKEN)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output);
    die_with_parent(&mut command, libc::SIGKILL);
    let mut process = command.spawn().context("start the proxy")?;
    wait_for("the proxy", Duration::from_secs(30), || {
        ensure!(process.try_wait()?.is_none(), "it ended: {}", fs::read_to_string(log)?);
        TcpStream::connect((Ipv4Addr::LOCALHOST, ports.api))?;
        Ok(Some(()))
    })?;
    Ok(process)
}
