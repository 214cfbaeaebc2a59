//! The daemon under test: start, freeze, stop; its records, counters and status.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use ::enforcer::{
    access::name::{HubName, User},
    gate::socket_path,
};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{
    artifacts,
    dockerd::Dockerd,
    netns::{Namespace, die_with_parent},
    run::{Run, wait_for},
    schema,
    topology::{BRIDGE, Base, GATEWAY, HUB_PORT, NETWORK, Rig, SUBNET},
};

/// The daemon's unit.
const UNIT: &str = include_str!("../../../packaging/systemd/enforcer.service");

/// What protects the guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing: every attack must succeed, else it proves nothing.
    Absent,
    /// The classic recipe: two iptables rules.
    Classic,
    /// enforcer.
    Enforcing,
    /// enforcer with programs that pass everything (`ENFORCER_BPF` names that object): the suites
    /// must fail, else they prove nothing.
    Passing,
}

/// What one counter of `enforcer status` tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Frames denied.
    pub events: u64,
    /// Packets as on the wire.
    pub packets: u64,
    /// Records written.
    pub recorded: u64,
    /// Records left out because of the rate.
    pub suppressed: u64,
    /// Records lost because the ring was full.
    pub lost: u64,
}

/// Which counter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CounterKey {
    /// Container or network.
    pub endpoint: String,
    /// Program.
    pub hook: String,
    /// Reason.
    pub reason: String,
}

/// Counters as status lists them. Those of an endpoint go when it does.
pub type Counters = BTreeMap<CounterKey, Count>;

/// Counters by reason.
pub type Counts = BTreeMap<String, Count>;

/// A running daemon.
pub struct Enforcer {
    child: Child,
    binary: PathBuf,
    config: PathBuf,
    log: PathBuf,
    environment: Environment,
    records: Arc<Mutex<Vec<Value>>>,
    reader: Option<JoinHandle<()>>,
    /// Records that were held against the schema.
    checked: Mutex<usize>,
}

/// What its environment tells it, and where its standard output goes if not to [`Enforcer::records`].
#[derive(Clone, Debug, Default)]
struct Environment(Vec<(&'static str, PathBuf)>, Option<PathBuf>);

impl Environment {
    fn of(settings: &Settings) -> Self {
        let clsact = settings.clsact.then(|| ("ENFORCER_TEST_CLSACT", PathBuf::from("1")));
        let notify = settings.notify.clone().map(|path| ("NOTIFY_SOCKET", path));
        let programs = settings.programs.as_ref().map(|dir| {
            let path = std::env::var("PATH").unwrap_or_default();
            ("PATH", PathBuf::from(format!("{}:{path}", dir.display())))
        });
        let object = settings.object.clone().map(|path| ("ENFORCER_TEST_OBJECT", path));
        let mut all = settings.environment.clone();
        all.extend([clsact, notify, programs, object].into_iter().flatten());
        Self(all, settings.output.clone())
    }
}

impl Enforcer {
    /// Starts it inside the host's namespaces and waits until `status` answers.
    pub fn start(base: &Base, settings: &Settings) -> Result<Self> {
        Self::start_in(&base.run, &base.host, &base.docker, settings)
    }

    /// The same beside guests that are there already.
    pub fn start_beside(rig: &Rig, settings: &Settings) -> Result<Self> {
        Self::start_in(&rig.run, &rig.host, &rig.docker, settings)
    }

    fn start_in(
        run: &Run,
        host: &Namespace,
        docker: &Dockerd,
        settings: &Settings,
    ) -> Result<Self> {
        let binary = settings.binary.clone().or_else(artifacts::enforcer);
        let engine = settings.engine.clone().unwrap_or_else(|| docker.socket());
        let text = |dir: &Path| config_text(&engine, &dir.join("run"), settings);
        let environment = Environment::of(settings);
        let mut enforcer = Self::prepare(run, host, binary, text, environment)?;
        enforcer.wait_ready(host)?;
        Ok(enforcer)
    }

    /// Starts it on a config file that is made of the directory where all of its own is, and does not wait until it
    /// answers.
    pub fn launch(run: &Run, host: &Namespace, text: impl FnOnce(&Path) -> String) -> Result<Self> {
        Self::prepare(run, host, artifacts::enforcer(), text, Environment::default())
    }

    fn prepare(
        run: &Run,
        host: &Namespace,
        binary: Option<PathBuf>,
        text: impl FnOnce(&Path) -> String,
        environment: Environment,
    ) -> Result<Self> {
        let binary = binary.context("no enforcer binary: set ENFORCER_BIN")?;
        let dir = run.make_dir("enforcer")?;
        let config = dir.join("enforcer.toml");
        fs::write(&config, text(&dir))?;
        Self::spawn(host, binary, config, dir.join("log"), environment)
    }

    /// Starts another one on the same config, once this one has ended: the next release, or the same
    /// one again.
    pub fn restart(self, host: &Namespace, binary: PathBuf) -> Result<Self> {
        let mut enforcer = self.relaunch(host, binary)?;
        enforcer.wait_ready(host)?;
        Ok(enforcer)
    }

    /// The same, and does not wait until it answers: it can be killed while it starts.
    pub fn relaunch(self, host: &Namespace, binary: PathBuf) -> Result<Self> {
        let (config, log) = (self.config.clone(), self.log.clone());
        let environment = self.environment.clone();
        drop(self);
        Self::spawn(host, binary, config, log, environment)
    }

    fn spawn(
        host: &Namespace,
        binary: PathBuf,
        config: PathBuf,
        log: PathBuf,
        environment: Environment,
    ) -> Result<Self> {
        // No more than the unit lets it have, so that each test tells whether that is enough.
        let mut command = host.command("setpriv");
        command.args(["--no-new-privs", &bounding_set()?, "--"]).arg(&binary);
        let output = match &environment.1 {
            // For reading too: a FIFO that nobody else has open makes nobody wait for a reader.
            Some(path) => File::options().read(true).write(true).open(path)?.into(),
            None => Stdio::piped(),
        };
        command
            .args(["run", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(File::options().create(true).append(true).open(&log)?);
        command.envs(environment.0.iter().map(|(name, value)| (name, value)));
        die_with_parent(&mut command, libc::SIGKILL);
        let mut child = command.spawn().context("start enforcer")?;
        let records = Arc::new(Mutex::new(Vec::new()));
        let reader = child.stdout.take().map(|output| {
            let sink = Arc::clone(&records);
            thread::spawn(move || read_lines(BufReader::new(output), &sink))
        });
        let checked = Mutex::default();
        Ok(Self { child, binary, config, log, environment, records, reader, checked })
    }

    /// Fails if it has ended.
    pub fn ensure_alive(&mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "it ended");
        Ok(())
    }

    /// Waits until it answers.
    pub fn wait_ready(&mut self, host: &Namespace) -> Result<()> {
        let ready = wait_for("enforcer", Duration::from_secs(20), || {
            self.ensure_alive()?;
            // Before it listens, the command line answers on its own.
            let status = self.status(host)?;
            Ok((status["pid"] == self.child.id()).then_some(()))
        });
        ready.map_err(|error| error.context(self.log_text()))
    }

    /// Runs a verb that takes `--config`; exit code and everything that it printed.
    pub fn verb(&self, host: &Namespace, verb: &str, more: &[&str]) -> Result<(i32, String)> {
        let config = self.config.to_str().context("the config's path")?;
        self.raw(host, verb, &[more, &["--config", config]].concat())
    }

    /// Runs a verb with these arguments and no others; exit code and everything that it printed.
    pub fn raw(&self, host: &Namespace, verb: &str, arguments: &[&str]) -> Result<(i32, String)> {
        let mut command = host.command(&self.binary);
        command.arg(verb).args(arguments).stdin(Stdio::null());
        let output = command.output().with_context(|| format!("enforcer {verb}"))?;
        let text = [output.stdout, output.stderr].concat();
        let code = output.status.code().context("ended by a signal")?;
        Ok((code, String::from_utf8_lossy(&text).into_owned()))
    }

    /// The program.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The config file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Leaves the directory of a user's socket behind, as an earlier daemon would: the next one listens there. The
    /// socket's path.
    pub fn leave_socket(&self, user: &str) -> Result<PathBuf> {
        let text = fs::read_to_string(&self.config)?;
        let line = text.lines().find_map(|line| line.strip_prefix("run_dir = \""));
        let run_dir = line.and_then(|rest| rest.strip_suffix('"')).context("no run directory")?;
        let whose = User { hub: HubName::local(), name: user.parse()? };
        let socket = socket_path(run_dir.as_ref(), &whose);
        let home = socket.parent().context("no directory")?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(home)?;
        fs::write(home.join("user"), user)?;
        Ok(socket)
    }

    /// Has it read its config file again (`SIGHUP`).
    pub fn hang_up(&self) -> Result<()> {
        self.signal(libc::SIGHUP)
    }

    /// Waits for a record.
    pub fn wait_record(&self, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        wait_for(what, Duration::from_secs(10), || Ok(self.records().into_iter().find(|r| is(r))))
    }

    /// What `enforcer status --json` says.
    pub fn status(&self, host: &Namespace) -> Result<Value> {
        let mut command = host.command(&self.binary);
        command.args(["status", "--json", "--config"]).arg(&self.config);
        run_status(&mut command)
    }

    /// Every counter. [`super::proof::rise`] of two of them sums them up by reason.
    pub fn counts(&self, host: &Namespace) -> Result<Counters> {
        let mut counts = Counters::new();
        collect_counts(&self.status(host)?, &mut counts);
        Ok(counts)
    }

    /// Records so far.
    ///
    /// # Panics
    /// If one is not what the published schema says.
    #[must_use]
    pub fn records(&self) -> Vec<Value> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        let new = records.get(*checked..).unwrap_or_default();
        *checked = records.len();
        for record in new {
            if let Err(error) = schema::check(record) {
                panic!("a line of the daemon is not what docs/schema says: {error}");
            }
        }
        records
    }

    /// Waits until every line of an ended daemon is read.
    fn read_all(&mut self) {
        if let Some(reader) = self.reader.take() {
            let ended = wait_for("the last records", Duration::from_secs(5), || {
                Ok(reader.is_finished().then_some(()))
            });
            // What a program that it had started still holds open is not waited for.
            if ended.is_ok() {
                let _ = reader.join();
            }
        }
    }

    /// Waits until the daemon knows a container as an endpoint of this role.
    pub fn wait_identified(&self, host: &Namespace, name: &str, role: &str) -> Result<()> {
        wait_for(&format!("{name} identified"), Duration::from_secs(10), || {
            Ok(knows(&self.status(host)?, name, role).then_some(()))
        })
    }

    /// What is wrong, as status has it.
    pub fn reasons(&self, host: &Namespace) -> Result<Vec<String>> {
        let status = self.status(host)?;
        let reasons = status.pointer("/health/reasons").cloned().context("no reasons")?;
        Ok(serde_json::from_value(reasons)?)
    }

    /// The record of what was done about a container, or a port, that is outside.
    #[must_use]
    pub fn outside(&self, key: &str, value: &str) -> Option<Value> {
        let is = |record: &Value, key: &str, value: &str| {
            record.get(key).and_then(Value::as_str) == Some(value)
        };
        self.records().into_iter().rfind(|r| is(r, "event.action", "outside") && is(r, key, value))
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Freezes it (`SIGSTOP`).
    pub fn freeze(&self) -> Result<()> {
        self.signal(libc::SIGSTOP)
    }

    /// Lets it go on (`SIGCONT`).
    pub fn thaw(&self) -> Result<()> {
        self.signal(libc::SIGCONT)
    }

    /// Kills it (`SIGKILL`).
    pub fn kill(mut self) -> Result<()> {
        self.kill_now()
    }

    /// Kills it (`SIGKILL`), to be restarted.
    pub fn kill_now(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Stops it (`SIGTERM`) and gives its records.
    pub fn stop(self) -> Result<Vec<Value>> {
        Ok(self.end()?.records())
    }

    /// Stops it (`SIGTERM`), to be restarted.
    pub fn end(mut self) -> Result<Self> {
        self.signal(libc::SIGTERM)?;
        let status =
            wait_for("enforcer's end", Duration::from_secs(10), || Ok(self.child.try_wait()?))?;
        ensure!(status.success(), "enforcer ended with {status}: {}", self.log_text());
        self.read_all();
        Ok(self)
    }

    /// What it wrote to its log.
    #[must_use]
    pub fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn signal(&self, signal: i32) -> Result<()> {
        // SAFETY: our own child, not yet waited for.
        let done = unsafe { libc::kill(i32::try_from(self.child.id())?, signal) };
        ensure!(done == 0, "signal {signal}: {}", std::io::Error::last_os_error());
        Ok(())
    }
}

impl Drop for Enforcer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.read_all();
        // One panic is enough for a test to fail; a second one would hide it.
        if !thread::panicking() {
            let _ = self.records();
        }
    }
}

/// Keeps what the daemon writes, line by line. Nothing is judged here: a slow reader would cost
/// records. A line that a kill cut short is none.
fn read_lines(mut output: impl BufRead, records: &Mutex<Vec<Value>>) {
    let mut line = String::new();
    while output.read_line(&mut line).is_ok_and(|count| count > 0) {
        let Some(text) = line.strip_suffix('\n') else { break };
        let record = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        records.lock().unwrap_or_else(PoisonError::into_inner).push(record);
        line.clear();
    }
}

/// What the daemon of a test is told, beyond the network's name, bridge and hub.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The network's IPv6 subnet.
    pub subnet6: Option<String>,
    /// Most established flows towards a guest.
    pub inbound_established: Option<u32>,
    /// A container that is a hub: its name, and its port that guests may reach.
    pub hub: Option<(String, u16)>,
    /// More tables of the config file.
    pub more: String,
    /// Do without TCX, as on kernels before 6.6.
    pub clsact: bool,
    /// Directory of programs that are found before all others.
    pub programs: Option<PathBuf>,
    /// eBPF object in place of its own.
    pub object: Option<PathBuf>,
    /// Refuse calls before there is a packet. Off for tests of packets, which count each of them.
    pub refuse_at_connect: bool,
    /// A socket in front of the engine's, which the daemon takes for it.
    pub engine: Option<PathBuf>,
    /// Where a service manager would listen.
    pub notify: Option<PathBuf>,
    /// Another binary than the usual one.
    pub binary: Option<PathBuf>,
    /// More of its environment.
    pub environment: Vec<(&'static str, PathBuf)>,
    /// What its standard output is, a FIFO for instance; else it is read all the time.
    pub output: Option<PathBuf>,
}

/// The unit's `CapabilityBoundingSet=`, for `setpriv`.
fn bounding_set() -> Result<String> {
    let line = UNIT.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let names = line.context("the unit has no CapabilityBoundingSet")?.to_lowercase();
    Ok(format!("--bounding-set=-all,+{}", names.replace("cap_", "").replace(' ', ",+")))
}

/// The answer counts, not the exit code: that one is 0 only when everything is enforced.
fn run_status(command: &mut Command) -> Result<Value> {
    let output = command.stdin(Stdio::null()).output().context("enforcer status")?;
    serde_json::from_slice(&output.stdout).with_context(|| {
        format!("enforcer status: {}", String::from_utf8_lossy(&output.stderr).trim())
    })
}

fn config_text(docker_socket: &Path, run_dir: &Path, settings: &Settings) -> String {
    let mut text = format!(
        r#"[docker]
socket = "{}"

[daemon]
run_dir = "{}"
state_dir = "{}"
refuse_at_connect = {}

[networks.{NETWORK}]
bridge = "{BRIDGE}"
create = true
subnet = "{SUBNET}"
gateway = "{GATEWAY}"
"#,
        docker_socket.display(),
        run_dir.display(),
        run_dir.with_file_name("state").display(),
        settings.refuse_at_connect
    );
    if let Some(subnet) = &settings.subnet6 {
        text.push_str(&format!("subnet6 = \"{subnet}\"\n"));
    }
    text.push_str(&format!(
        "\n[[networks.{NETWORK}.hub]]\ngateway = true\nport = {HUB_PORT}\nprotocol = \"tcp\"\n"
    ));
    if let Some((name, port)) = &settings.hub {
        text.push_str(&format!(
            "\n[[networks.{NETWORK}.hub]]\ncontainer = \"{name}\"\nport = {port}\n"
        ));
    }
    if let Some(most) = settings.inbound_established {
        text.push_str(&format!("\n[networks.{NETWORK}.quotas]\ninbound_established = {most}\n"));
    }
    text.push_str(&settings.more);
    text
}

/// Finds every object with a `reason` and `events` below `counters`, wherever status puts it.
fn collect_counts(value: &Value, counts: &mut Counters) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_counts(item, counts)),
        Value::Object(fields) => {
            if let (Some(reason), Some(_)) =
                (fields.get("reason").and_then(Value::as_str), fields.get("events"))
            {
                let number =
                    |name: &str| fields.get(name).and_then(Value::as_u64).unwrap_or_default();
                let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or("");
                let key = CounterKey {
                    endpoint: text("endpoint").into(),
                    hook: text("hook").into(),
                    reason: reason.into(),
                };
                let count = counts.entry(key).or_default();
                count.events += number("events");
                count.packets += number("packets");
                count.recorded += number("recorded");
                count.suppressed += number("suppressed");
                count.lost += number("lost");
            } else {
                fields.values().for_each(|field| collect_counts(field, counts));
            }
        }
        _ => {}
    }
}

/// Whether status lists an endpoint of this name and role.
fn knows(status: &Value, name: &str, role: &str) -> bool {
    let endpoints = status.get("endpoints").and_then(Value::as_array);
    endpoints.is_some_and(|endpoints| {
        endpoints.iter().any(|endpoint| {
            let is =
                |key: &str, wanted: &str| endpoint.get(key).and_then(Value::as_str) == Some(wanted);
            is("container", name) && is("role", role)
        })
    })
}
