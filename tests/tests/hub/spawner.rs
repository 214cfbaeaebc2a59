//! Users of a real JupyterHub whose stock DockerSpawner has nothing but `DOCKER_HOST`: real notebooks, a cell in each,
//! and what the gate made of what the spawner asked for.

use std::{
    ffi::OsString,
    fs::{self, File},
    os::{fd::AsRawFd as _, unix::fs::PermissionsExt as _},
    path::PathBuf,
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use bollard::models::{ContainerInspectResponse, MountPoint};
use enforcer_tests::harness::{
    artifacts,
    dockerd::Options,
    enforcer::{Enforcer, Settings},
    image,
    netns::output,
    residue::Snapshot,
    run::{self, wait_for},
    topology::{Base, GATEWAY, NETWORK, WORLD},
};
use serde_json::{Value, json};

use super::{
    notebook, reach,
    server::{self, Server, TOKEN, VERSIONS},
    site::address,
};

/// Where the hub's API is: the harness has something else at its usual port.
const PORT: u16 = 8082;
const GROUP: &str = "/groups/docker-privileged";
const SOCKET: &str = "/var/run/docker.sock";
/// What a guest gets, whatever it asks for.
const MEMORY: i64 = 768 << 20;
const CELL: &str = include_str!("cell.py");

/// What a person does with a Docker socket, by Docker's own library.
const DOCKER: &str = r#"
import docker
client = docker.from_env()
print(sorted(container.name for container in client.containers.list()))
print(client.containers.run(IMAGE, ["busybox", "echo", "hello"], remove=True).decode().strip())
"#;

/// A2, N8, S1: users start notebooks by the hub. They run on the guest network, within limits, under their names; a member
/// has a filtered socket, another user none; a stop takes the notebook away, and the group comes back.
#[test]
fn a2_stock_dockerspawner_needs_nothing_but_the_gate_and_records_name_the_hub_s_user() -> Result<()>
{
    if let Some(why) = run::obstacle() {
        eprintln!("skipped: {why}");
        return Ok(());
    }
    if artifacts::enforcer().is_none() {
        assert!(std::env::var_os("CI").is_none(), "no enforcer binary to test: set ENFORCER_BIN");
        eprintln!("skipped: no enforcer binary; build it or set ENFORCER_BIN");
        return Ok(());
    }
    let installed = server::install(VERSIONS[1])?;
    let residue = Snapshot::take();
    // A thread of its own takes the host's namespace with it.
    let outcome = thread::spawn(move || Site::start(installed)?.run()).join();
    outcome.map_err(|panic| anyhow::anyhow!("{panic:?}"))??;
    residue.ensure_nothing_new()
}

/// In the order in which they end.
struct Site {
    hub: Server,
    daemon: Enforcer,
    base: Base,
    installed: PathBuf,
}

impl Site {
    fn start(installed: PathBuf) -> Result<Self> {
        let base = Base::start(Options::default())?;
        notebook::load(&base, &installed)?;
        let dir = base.run.make_dir("hub")?;
        let token = dir.join("token");
        fs::write(&token, TOKEN)?;
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600))?;
        let more = format!(
            "[[networks.{NETWORK}.hub]]\ngateway = true\nport = {PORT}\n\
             [hubs.lab]\nnetworks = [\"{NETWORK}\"]\napi = \"http://127.0.0.1:{PORT}/hub/api\"\n\
             token_file = \"{}\"\n[guests]\nmemory_mib = {}\n[gate]\nimages = [\"{}\"]\n",
            token.display(),
            MEMORY >> 20,
            image::NAME
        );
        let settings = Settings { more, refuse_at_connect: true, ..Settings::default() };
        let daemon = Enforcer::start(&base, &settings)?;
        let net = File::open(format!("/proc/{}/ns/net", base.host.pid()))?;
        // SAFETY: changes this thread alone.
        let entered = unsafe { libc::setns(net.as_raw_fd(), libc::CLONE_NEWNET) };
        ensure!(entered == 0, "setns: {}", std::io::Error::last_os_error());
        let gate = daemon.config().with_file_name("run").join("gate/lab.sock");
        let environment: [(&str, OsString); 5] = [
            ("DOCKER_HOST", format!("unix://{}", gate.display()).into()),
            ("HUB_ADDRESS", GATEWAY.to_string().into()),
            ("GUEST_IMAGE", notebook::IMAGE.into()),
            ("GUEST_NETWORK", NETWORK.into()),
            ("GUEST_SERVER", installed.join("bin/jupyterhub-singleuser").into()),
        ];
        let hub = Server::start_as("spawner.py", &installed, &dir, (PORT, &environment))?;
        Ok(Self { hub, daemon, base, installed })
    }

    fn run(self) -> Result<()> {
        let Some(error) = self.visit().err() else { return self.daemon.stop().map(drop) };
        let log = self.base.run.dir().join("hub/log");
        let log = fs::read_to_string(log).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(30).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        Err(error.context(last.join("\n")))
    }

    fn visit(&self) -> Result<()> {
        for user in ["ann", "ben"] {
            self.hub.manage("POST", &format!("/users/{user}"), Some("{}"))?;
        }
        let (status, said) = self.hub.call("POST", GROUP, Some("{}"))?;
        // Unless the daemon was first.
        ensure!([201, 409].contains(&status), "{status}: {said}");
        self.membership("POST")?;
        let (ann, ben) = (self.begin("ann")?, self.begin("ben")?);
        self.is_put_right(&ann, "ann")?;
        self.is_put_right(&ben, "ben")?;
        ensure!(socket(&ann).is_some(), "a member without a socket: {:?}", ann.mounts);
        ensure!(socket(&ben).is_none(), "a socket for nobody's group: {:?}", ben.mounts);
        self.reaches_its_hub_alone(&ann, &ben)?;

        let said = self.cell("ann", &ann, &format!("IMAGE = {:?}\n{DOCKER}", image::NAME))?;
        ensure!(said == "['jupyter-ann']\nhello\n", "{said}");
        let there = format!("import os\nprint(os.path.exists({SOCKET:?}))");
        let said = self.cell("ben", &ben, &there)?;
        ensure!(said == "False\n", "{said}");

        self.end("ann")?;
        self.membership("DELETE")?;
        let ann = self.begin("ann")?;
        ensure!(socket(&ann).is_none(), "a socket for who is no member: {:?}", ann.mounts);
        self.end("ann")?;
        self.hub.manage("DELETE", GROUP, None)?;
        self.begin("ann")?;
        self.hub.manage("GET", GROUP, None).context("the group comes back with a spawn")?;
        for user in ["ann", "ben"] {
            self.end(user)?;
        }
        Ok(())
    }

    fn membership(&self, method: &str) -> Result<()> {
        let users = json!({"users": ["ann"]}).to_string();
        self.hub.manage(method, &format!("{GROUP}/users"), Some(&users)).map(drop)
    }

    /// Starts a user's notebook, and gives what the engine itself says of it.
    fn begin(&self, user: &str) -> Result<ContainerInspectResponse> {
        self.hub.manage("POST", &format!("/users/{user}/server"), Some("{}"))?;
        wait_for(&format!("{user}'s notebook"), Duration::from_mins(2), || {
            let model: Value =
                serde_json::from_str(&self.hub.manage("GET", &format!("/users/{user}"), None)?)?;
            let server = &model["servers"][""];
            ensure!(server["ready"] == true || server["pending"] == "spawn", "{model}");
            let is_ready = server["ready"] == true;
            if !is_ready {
                // A hub that is asked all the time starts nothing.
                thread::sleep(Duration::from_millis(200));
            }
            Ok(is_ready.then_some(()))
        })?;
        let name = format!("jupyter-{user}");
        self.daemon.wait_identified(&self.base.host, &name, "guest")?;
        self.base.docker.call(|client| client.inspect_container(&name, None))
    }

    /// Stops it; its container is gone then.
    fn end(&self, user: &str) -> Result<()> {
        self.hub.manage("DELETE", &format!("/users/{user}/server"), None)?;
        let name = format!("jupyter-{user}");
        wait_for(&format!("{user}'s end"), Duration::from_secs(30), || {
            let found = self.base.docker.call(|client| client.inspect_container(&name, None));
            Ok(found.is_err().then_some(()))
        })
    }

    /// Network, limits, labels and volumes are the gate's, and the record says what was not as it was asked for.
    fn is_put_right(&self, guest: &ContainerInspectResponse, user: &str) -> Result<()> {
        let host = guest.host_config.as_ref().context("no HostConfig")?;
        ensure!(host.network_mode.as_deref() == Some(NETWORK), "{:?}", host.network_mode);
        ensure!(host.memory == Some(MEMORY), "{:?}", host.memory);
        ensure!(host.nano_cpus == Some(500_000_000), "{:?}", host.nano_cpus);
        let labels = guest.config.as_ref().and_then(|config| config.labels.as_ref());
        let label = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
        let marks = ["enforcer.user", "enforcer.hub", "enforcer.gate", "course"].map(label);
        ensure!(marks == [Some(user), Some("lab"), Some("hub"), Some("taster")], "{labels:?}");
        let volumes =
            mounts(guest).filter(|mount| mount.destination.as_deref() == Some("/home/work"));
        let names: Vec<_> = volumes.filter_map(|mount| mount.name.as_deref()).collect();
        let [name] = names.as_slice() else { anyhow::bail!("{:?}", guest.mounts) };
        ensure!(name.ends_with(&format!("-jupyterhub-user-{user}")), "{name}");
        let record = self.daemon.wait_record("the create", |record| {
            record["event.action"] == "gate"
                && record["url.path"] == "/containers/create"
                && record["http.response.status_code"] == 201
                && record.to_string().contains(&format!("jupyter-{user}"))
        })?;
        let told = record.to_string();
        for changed in ["HostConfig.Memory", "Labels.enforcer.user", SOCKET] {
            ensure!(told.contains(changed), "{changed}: {told}");
        }
        Ok(())
    }

    /// A cell in one's notebook reaches the hub; the world, the host and the neighbour refuse it at once, and the record
    /// has the name of the hub's user.
    fn reaches_its_hub_alone(
        &self,
        guest: &ContainerInspectResponse,
        other: &ContainerInspectResponse,
    ) -> Result<()> {
        let closed = [
            (WORLD.to_string(), 80),
            (GATEWAY.to_string(), 22),
            (address(other, NETWORK)?.to_owned(), notebook::PORT),
        ];
        let hub = (GATEWAY.to_string(), PORT);
        let targets: Vec<_> = closed.iter().cloned().chain([hub]).collect();
        let said = self.cell("ann", guest, &reach::cell(&targets))?;
        reach::ensure_only_last_open(&said, &targets)?;
        for (at, port) in &closed {
            let record = self.daemon.wait_record("the refusal", |record| {
                record["destination.ip"] == at.as_str()
                    && record["destination.port"] == *port
                    && record["event.action"] == "connect_refused"
            })?;
            ensure!(record["user.name"] == "ann", "{record}");
            ensure!(record["container.name"] == "jupyter-ann", "{record}");
        }
        Ok(())
    }

    /// What a cell prints in a user's notebook, over the kernel's websocket.
    fn cell(&self, user: &str, guest: &ContainerInspectResponse, code: &str) -> Result<String> {
        let made = self.hub.manage("POST", &format!("/users/{user}/tokens"), Some("{}"))?;
        let made: Value = serde_json::from_str(&made)?;
        let token = made["token"].as_str().context("no token")?;
        let url = format!("http://{}:{}/user/{user}", address(guest, NETWORK)?, notebook::PORT);
        let mut python = Command::new(self.installed.join("bin/python"));
        output(python.args(["-c", CELL, &url, token, code]), "a cell")
    }
}

fn mounts(guest: &ContainerInspectResponse) -> impl Iterator<Item = &MountPoint> {
    guest.mounts.iter().flatten()
}

fn socket(guest: &ContainerInspectResponse) -> Option<&MountPoint> {
    mounts(guest).find(|mount| mount.destination.as_deref() == Some(SOCKET))
}
