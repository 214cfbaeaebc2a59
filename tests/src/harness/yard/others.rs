//! Things of others: what attacks are after. Each is made anew when one has harmed it.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    attacks::gate::IMAGE,
    harness::{
        artifacts,
        http::{Line, Sending},
        netns::output,
        run::{Run, wait_for},
    },
};

/// What the victim does: it tells the size of its terminal by names of files.
const VICTIM: &str = "echo MARK-OF-LOG; echo MARK-OF-FILE > /secret; echo x > /data/secret; mkdir -p /tmp; \
                      while :; do set -- $(busybox stty size 2>/dev/null); echo > /tmp/size-$1-$2; busybox sleep 0.3; done";
const COMMAND: &str = "X=MARK-OF-EXEC; while :; do set -- $(busybox stty size 2>/dev/null); echo > /tmp/exec-$1-$2; \
                       busybox sleep 0.3; done";
/// Listens, and ends when it is to.
const PLUGIN: &str = "trap 'exit 0' TERM; /actor /run/docker/plugins/idle.sock & wait";
/// Connects to where it is told.
const BUILD: &str =
    "FROM enforcer-test-guest\nARG TO\nRUN nc -w 1 ${TO%:*} ${TO#*:} < /dev/null || true\n";

pub(super) struct Others {
    engine: Line,
    dir: PathBuf,
    port: u16,
    /// Containers that were made, by name: an attack may give them others.
    made: BTreeMap<String, String>,
    /// Commands in the victim: one that runs, and one that does not.
    execs: [String; 2],
}

impl Others {
    /// Makes the files that attacks upload.
    pub(super) fn prepare(run: &Run, engine: Line, port: u16) -> Result<Self> {
        let others = Self {
            engine,
            dir: run.dir().to_owned(),
            port,
            made: BTreeMap::new(),
            execs: [String::new(), String::new()],
        };
        let files = run.make_dir("uploads")?;
        fs::write(files.join("planted"), "planted")?;
        fs::write(files.join("Dockerfile"), BUILD)?;
        fs::create_dir_all(files.join("rootfs"))?;
        for (name, from) in [("actor", artifacts::actor()?), ("busybox", "/bin/busybox".into())] {
            let to = files.join("rootfs").join(name);
            fs::copy(from, &to)?;
            fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
        }
        others.tar("planted.tar", &files, &["planted"])?;
        others.tar("build.tar", &files, &["Dockerfile"])?;
        // The engine takes no two that have the same files.
        for name in ["plugin", "idle", "pushed"] {
            fs::write(files.join("config.json"), plugin_config().to_string())?;
            fs::write(files.join("rootfs/name"), name)?;
            others.tar(&format!("{name}.tar"), &files, &["config.json", "rootfs"])?;
        }
        others.import("loaded:1", "")?;
        let saved = others.engine.ask("GET", "/v1.41/images/loaded:1/get", None)?;
        fs::write(others.dir.join("image.tar"), &saved.body)?;
        others.engine.get("DELETE", "/v1.41/images/loaded:1", None)?;
        Ok(others)
    }

    fn tar(&self, name: &str, from: &Path, what: &[&str]) -> Result<()> {
        let mut command = Command::new("tar");
        command.arg("-cf").arg(self.dir.join(name)).arg("-C").arg(from).args(what);
        output(&mut command, "tar").map(drop)
    }

    /// Makes whatever is not as it is to be. What is another user's, was made through the gate, and runs again.
    pub(super) fn restore(&mut self) -> Result<()> {
        self.images()?;
        self.networks_and_volumes()?;
        self.victim()?;
        self.lesser()?;
        self.apart()?;
        self.plugin()?;
        self.swarm()
    }

    fn is_there(&self, target: &str) -> Result<bool> {
        Ok(self.engine.ask("GET", target, None)?.status == 200)
    }

    fn import(&self, name: &str, more: &str) -> Result<()> {
        let (repo, tag) = name.rsplit_once(':').context("no tag")?;
        let tar = fs::read(self.dir.join("planted.tar"))?;
        let target = format!("/v1.41/images/create?fromSrc=-&repo={repo}&tag={tag}{more}");
        let reply = self.engine.send(&Sending::request("POST", &target, "", &tar))?;
        anyhow::ensure!(reply.status == 200, "import: {}", reply.shown());
        Ok(())
    }

    fn images(&self) -> Result<()> {
        if !self.is_there("/v1.41/images/foreign/private:1/json")? {
            let secret = "&changes=LABEL%20secret%3DSECRET-OF-IMAGE&message=SECRET-OF-HISTORY";
            self.import("foreign/private:1", secret)?;
        }
        let tag = format!("/v1.41/images/{IMAGE}/tag?repo=127.0.0.1:{}/x&tag=1", self.port);
        self.engine.get("POST", &tag, None).map(drop)
    }

    fn networks_and_volumes(&self) -> Result<()> {
        let labels = json!({"secret": "SECRET-OF-NET"});
        let pool = |subnet: &str| json!({"Config": [{"Subnet": subnet}]});
        for (name, body) in [
            ("foreign-net", json!({"IPAM": pool("10.55.0.0/24"), "Labels": labels})),
            ("idle-net", json!({"IPAM": pool("10.56.0.0/24")})),
            ("own-net", json!({"IPAM": pool("10.57.0.0/24")})),
            ("config-net", json!({"ConfigOnly": true})),
        ] {
            if !self.is_there(&format!("/v1.41/networks/{name}"))? {
                let mut body = body;
                body["Name"] = json!(name);
                self.engine.get("POST", "/v1.41/networks/create", Some(&body))?;
            }
        }
        let bind = json!({"type": "none", "o": "bind", "device": self.dir});
        for (name, options) in
            [("foreign-volume", json!({})), ("idle-volume", json!({})), ("root-volume", bind)]
        {
            let body = json!({"Name": name, "Driver": "local", "DriverOpts": options,
                              "Labels": {"secret": "SECRET-OF-VOLUME"}});
            self.engine.get("POST", "/v1.41/volumes/create", Some(&body))?;
        }
        Ok(())
    }

    /// Removes a container that is not as it is to be; whether it has to be made.
    fn is_to_be_made(&self, name: &str, is_fine: impl Fn(&Value) -> bool) -> Result<bool> {
        let Some(id) = self.made.get(name) else { return Ok(true) };
        let target = format!("/v1.41/containers/{id}/json");
        let reply = self.engine.ask("GET", &target, None)?;
        let is_there = reply.status == 200;
        let state = if is_there { reply.json()? } else { Value::Null };
        if is_there && state["Name"] == format!("/{name}") && is_fine(&state) {
            return Ok(false);
        }
        if is_there {
            let target = format!("/v1.41/containers/{id}?force=1&v=1");
            self.engine.get("DELETE", &target, None)?;
        }
        Ok(true)
    }

    fn make(&mut self, name: &str, body: &Value, is_started: bool) -> Result<()> {
        let target = format!("/v1.41/containers/create?name={name}");
        let made = self.engine.get("POST", &target, Some(body))?;
        if is_started {
            self.engine.get("POST", &format!("/v1.41/containers/{name}/start"), None)?;
        }
        let id = made["Id"].as_str().context("no id")?.to_owned();
        self.made.insert(name.to_owned(), id);
        Ok(())
    }

    fn victim(&mut self) -> Result<()> {
        let id = self.execs[0].clone();
        let is_fine = |state: &Value| {
            !id.is_empty()
                && state["State"]["Running"] == true
                && state["State"]["Paused"] == false
                && state["ExecIDs"].to_string().contains(&id)
                && state["NetworkSettings"]["Networks"]["foreign-net"].is_object()
                && !Path::new(&format!("/proc/{}/root/tmp/started", state["State"]["Pid"])).exists()
        };
        if self.is_to_be_made("victim", is_fine)? {
            let body = json!({
                "Image": IMAGE, "Tty": true, "Cmd": ["sh", "-c", VICTIM], "StopSignal": "SIGKILL",
                "Env": ["SECRET=of-victim"],
                "HostConfig": {"NetworkMode": "foreign-net", "Binds": ["foreign-volume:/data"]},
            });
            self.make("victim", &body, true)?;
            let exec = |command: &str| json!({"Tty": true, "Cmd": ["sh", "-c", command]});
            for (index, command) in [COMMAND, "echo > /tmp/started"].into_iter().enumerate() {
                let target = "/v1.41/containers/victim/exec";
                let made = self.engine.get("POST", target, Some(&exec(command)))?;
                let id = made["Id"].as_str().context("no id")?;
                id.clone_into(&mut self.execs[index]);
            }
            let target = format!("/v1.41/exec/{}/start", self.execs[0]);
            self.engine.get("POST", &target, Some(&json!({"Detach": true, "Tty": true})))?;
            let log = "/v1.41/containers/victim/logs?stdout=1";
            wait_for("the victim's log", Duration::from_secs(10), || {
                Ok(self.engine.ask("GET", log, None)?.has("MARK-OF-LOG").then_some(()))
            })?;
        }
        Ok(())
    }

    /// Containers that have ended, never began, or wait; and one that stands for an attacker's.
    fn lesser(&mut self) -> Result<()> {
        let body = |command: &[&str]| {
            json!({"Image": IMAGE, "Cmd": command, "StopSignal": "SIGKILL",
                                             "HostConfig": {"NetworkMode": "own-net"}})
        };
        let is = |state: &Value, key: &str| state["State"][key] == true;
        if self.is_to_be_made("ended", |_| true)? {
            self.make("ended", &body(&["sh", "-c", "exit 42"]), true)?;
            self.engine.get("POST", "/v1.41/containers/ended/wait", None)?;
        }
        if self.is_to_be_made("idle", |state| !is(state, "Running"))? {
            self.make("idle", &body(&["sleep", "600"]), false)?;
        }
        if self.is_to_be_made("paused", |state| is(state, "Paused"))? {
            self.make("paused", &body(&["sleep", "600"]), true)?;
            self.engine.get("POST", "/v1.41/containers/paused/pause", None)?;
        }
        let is_own = |state: &Value| {
            let networks = state["NetworkSettings"]["Networks"].as_object();
            let is_bound =
                state["HostConfig"]["NanoCpus"] != 0 || state["HostConfig"]["CpuQuota"] != 0;
            is(state, "Running")
                && !is_bound
                && networks.is_some_and(|networks| networks.len() == 1)
        };
        if self.is_to_be_made("rawown", is_own)? {
            self.make("rawown", &body(&["sh", "-c", "mkdir -p /tmp; sleep 600"]), true)?;
        }
        Ok(())
    }

    /// Each on its own network, and on no other's.
    fn apart(&self) -> Result<()> {
        for name in ["bens", "victim"] {
            let target = format!("/v1.41/containers/{name}/json");
            if !self.is_there(&target)? {
                continue;
            }
            self.engine.get("POST", &format!("/v1.41/containers/{name}/start"), None)?;
            let networks = self.engine.get("GET", &target, None)?;
            let networks = networks["NetworkSettings"]["Networks"].clone();
            let body = json!({"Container": name});
            if networks["own-net"].is_object() {
                // Enforcer may be taking it away as well, whichever comes first.
                self.engine.ask("POST", "/v1.41/networks/own-net/disconnect", Some(&body))?;
                let networks = self.engine.get("GET", &target, None)?;
                let networks = &networks["NetworkSettings"]["Networks"];
                ensure!(!networks["own-net"].is_object(), "{name} stays on own-net: {networks}");
            }
            let called = self.word("bens_net")?.unwrap_or_default();
            if name == "bens" && !networks[&called].is_object() {
                let target = format!("/v1.41/networks/{called}/connect");
                self.engine.get("POST", &target, Some(&body))?;
            }
        }
        Ok(())
    }

    fn plugin(&self) -> Result<()> {
        let pushed = format!("127.0.0.1:{}/plug:1", self.port);
        for (name, file) in [("idle-plugin", "idle.tar"), (&pushed, "pushed.tar")] {
            if self.is_there(&format!("/v1.41/plugins/{name}/json"))? {
                continue;
            }
            let tar = fs::read(self.dir.join(file))?;
            let target = format!("/v1.41/plugins/create?name={name}");
            let reply = self.engine.send(&Sending::request(
                "POST",
                &target,
                "Content-Type: application/x-tar\r\n",
                &tar,
            ))?;
            anyhow::ensure!(reply.status == 204, "plugin {name}: {}", reply.shown());
        }
        Ok(())
    }

    /// In a swarm there are things of others, too.
    fn swarm(&self) -> Result<()> {
        let info = self.engine.get("GET", "/v1.41/info", None)?;
        let is_active = info["Swarm"]["LocalNodeState"] == "active";
        if !is_active || self.is_there("/v1.41/services/foreign")? {
            return Ok(());
        }
        let labels = json!({"secret": "SECRET-OF-SWARM"});
        for kind in ["secrets", "configs"] {
            let body = json!({"Name": "foreign", "Data": "QQ==", "Labels": labels});
            self.engine.get("POST", &format!("/v1.41/{kind}/create"), Some(&body))?;
        }
        let command = ["sh", "-c", "echo MARK-OF-TASK; sleep 600"];
        let container = json!({"Image": IMAGE, "Command": command, "Env": ["SECRET=of-service"]});
        let body = json!({"Name": "foreign", "TaskTemplate": {"ContainerSpec": container}});
        self.engine.get("POST", "/v1.41/services/create", Some(&body))?;
        wait_for("the task's log", Duration::from_secs(20), || {
            let log = Sending {
                quiet_ms: 300,
                timeout_ms: 2_000,
                ..Sending::request("GET", "/v1.41/services/foreign/logs?stdout=1", "", b"")
            };
            Ok(self.engine.send(&log)?.has("MARK-OF-TASK").then_some(()))
        })
    }

    /// Process id of a container, in the machine's namespace.
    pub(super) fn pid(&self, name: &str) -> Result<String> {
        let state = self.engine.get("GET", &format!("/v1.41/containers/{name}/json"), None)?;
        Ok(state["State"]["Pid"].to_string())
    }

    /// What a word of a row stands for; `None`: it is none.
    pub(super) fn word(&self, word: &str) -> Result<Option<String>> {
        let text = |target: &str, place: &str| {
            let said = self.engine.get("GET", target, None)?;
            let found = said.pointer(place).with_context(|| format!("{target} has no {place}"))?;
            Ok::<_, anyhow::Error>(match found {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            })
        };
        let first = |word: &str, digits: usize| word.chars().take(digits).collect::<String>();
        let victim = || text("/v1.41/containers/victim/json", "/Id");
        let network = || text("/v1.41/networks/foreign-net", "/Id");
        let version = |target: &str| text(target, "/Version/Index");
        let bens = |place: &str| {
            text("/v1.41/networks?filters=%7B%22name%22%3A%5B%22bens-net%22%5D%7D", place)
        };
        Ok(Some(match word {
            "victim_id" => victim()?,
            "victim_id12" => first(&victim()?, 12),
            "victim_id5" => first(&victim()?, 5),
            "bens_id" => text("/v1.41/containers/bens/json", "/Id")?,
            "bens_pid" => self.pid("bens")?,
            "victim_pid" => self.pid("victim")?,
            "bens_net" => bens("/0/Name")?,
            "bens_net_id" => bens("/0/Id")?,
            "bens_net_id12" => first(&bens("/0/Id")?, 12),
            "foreign_net_id" => network()?,
            "foreign_net_id12" => first(&network()?, 12),
            "hostname" => text("/v1.41/info", "/Name")?,
            "exec" => self.execs[0].clone(),
            "exec_idle" => self.execs[1].clone(),
            "node" => text("/v1.41/nodes", "/0/ID")?,
            "node_version" => text("/v1.41/nodes", "/0/Version/Index")?,
            "task" => text("/v1.41/tasks", "/0/ID")?,
            "swarm_version" => version("/v1.41/swarm")?,
            "service_version" => version("/v1.41/services/foreign")?,
            "secrets_version" => version("/v1.41/secrets/foreign")?,
            "configs_version" => version("/v1.41/configs/foreign")?,
            _ => return Ok(None),
        }))
    }
}

/// A plugin that listens where it is to and does nothing.
fn plugin_config() -> Value {
    json!({
        "description": "SECRET-OF-PLUGIN", "documentation": "",
        "entrypoint": ["/busybox", "sh", "-c", PLUGIN], "workdir": "/",
        "interface": {"types": ["docker.dummy/1.0"], "socket": "idle.sock"},
        "network": {"type": ""}, "mounts": [], "linux": {"capabilities": [], "devices": []},
        "env": [{"name": "WORD", "description": "", "settable": ["value"], "value": "first"}],
    })
}
