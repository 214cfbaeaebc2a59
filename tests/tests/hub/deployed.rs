//! The two deployments of `integrations/jupyterhub` as they are written: their config files, unit and compose file, at the
//! places that their README names, in the host's namespaces. Only the images are of the test's own making, under the names
//! that are asked for.

use std::{
    fs::{self, File},
    net::Ipv4Addr,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use enforcer_tests::harness::{
    dockerd::Options,
    enforcer::{Enforcer, Settings},
    netns::{die_with_parent, output},
    run::wait_for,
    topology::{Base, WORLD},
};

use super::{
    notebook, reach,
    server::{self, TOKEN},
    site::{self, PACKAGE},
    visitors::Visitors,
};

/// Where the deployments have the proxy, the proxy's API and the hub's.
const PUBLIC: u16 = 8000;
const PROXY: u16 = 8001;
const API: u16 = 8081;
/// The host on their guest network, and the hub in its container.
const HOST: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 1);
const HUB: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 250);
/// Their images.
const GUESTS: &str = "quay.io/jupyter/base-notebook:hub-5.4.6";
const HUBS: &str = "jupyterhub-course:5.4.6";
/// A user of this host whom no host has.
const UID: u32 = 3_999_990_007;
const UNIT: &str = include_str!("../../../integrations/jupyterhub/jupyterhub.service");
/// As many programs as a site's notebooks count for.
const PROGRAMS: u32 = 20;

/// A2, N1, N3, N4: the hub on the host, by its unit: as its user, with what its environment says and no more, and with the
/// stock spawner.
#[test]
fn a2_the_deployment_on_a_host_serves_a_visitor_as_it_is_written() -> Result<()> {
    site::apart(|installed, proxy| {
        let place = Place::make(&installed, &proxy)?;
        let daemon = place.police("enforcer.toml")?;
        let log = place.base.run.dir().join("hub.log");
        let hub = Unit::start(&place, &log)?;
        let visited = visit(&place, &daemon, HOST, "Spawning server...");
        visited.with_context(|| fs::read_to_string(log).unwrap_or_default())?;
        drop(hub);
        daemon.stop().map(drop)
    })
}

/// A2, N1, N3, N4: the hub in a container, by its compose file, with enforcer's spawner.
#[test]
fn a2_the_deployment_by_compose_serves_a_visitor_as_it_is_written() -> Result<()> {
    let Some(version) = compose_version() else {
        assert!(std::env::var_os("CI").is_none(), "no compose: install docker-compose");
        eprintln!("skipped: needs docker-compose");
        return Ok(());
    };
    site::apart(move |installed, proxy| {
        let place = Place::make(&installed, &proxy)?;
        place.image_of_hub()?;
        let daemon = place.police("compose/enforcer.toml")?;
        place.compose(&version)?;
        let visited = visit(&place, &daemon, HUB, "Your server's network is policed");
        visited.with_context(|| place.log_of_hub().unwrap_or_default())?;
        daemon.stop().map(drop)
    })
}

/// Someone comes by the proxy, gets a notebook, and reaches the hub's API from it, which is `hub`, and nothing else; records
/// name whose it was.
fn visit(place: &Place, daemon: &Enforcer, hub: Ipv4Addr, step: &str) -> Result<()> {
    wait_for("the hub", Duration::from_mins(1), || {
        let (status, said) = server::ask(API, "GET", "/", None)?;
        ensure!(status == 200, "{status}: {said}");
        Ok(Some(()))
    })?;
    let url = format!("http://127.0.0.1:{PUBLIC}/");
    let mut visitors = Visitors::start(&place.base.host, &place.installed, &url)?;
    let arrived = visitors.arrive(1)?.pop().context("nobody")?;
    ensure!(arrived.progress.iter().any(|(_, said)| said == step), "{arrived:?}");
    visitors.open(1)?;
    let targets =
        [(WORLD.to_string(), 80), (HOST.to_string(), 22), (hub.to_string(), API)].to_vec();
    let said = visitors.cell(0, &reach::cell(&targets))?;
    reach::ensure_only_last_open(&said, &targets)?;
    for (at, port) in &targets[..2] {
        let record = daemon.wait_record("the refusal", |record| {
            record["event.action"] == "connect_refused"
                && record["destination.ip"] == at.as_str()
                && record["destination.port"] == *port
        })?;
        ensure!(record["user.name"] == arrived.user.as_str(), "{record}");
        ensure!(record["enforcer.hub"] == "course", "{record}");
        ensure!(record["container.image.name"] == GUESTS, "{record}");
    }
    let guest = notebook::of(&place.base, "course", &arrived.user)?;
    let limits = guest.host_config.context("no HostConfig")?;
    ensure!(limits.memory == Some(1024 << 20), "{:?}", limits.memory);
    Ok(())
}

/// A host whose files are where the deployments look for them.
struct Place {
    base: Base,
    installed: PathBuf,
    proxy: PathBuf,
    /// Files that stand before the machine's, as the host sees it.
    before: PathBuf,
}

impl Place {
    fn make(installed: &Path, proxy: &Path) -> Result<Self> {
        let base = Base::start(Options::default())?;
        base.docker.count_as(PROGRAMS)?;
        for port in [PUBLIC, PROXY, API] {
            base.free(port)?;
        }
        let before = base.run.make_dir("before")?;
        let place = Self { base, installed: installed.into(), proxy: proxy.into(), before };
        place.put_files()?;
        place.image_of_guests()?;
        site::enter(&place.base)?;
        Ok(place)
    }

    /// What the README has an operator put there.
    fn put_files(&self) -> Result<()> {
        let run = self.base.run.dir();
        let etc = self.before.join("etc");
        for dir in
            ["etc/enforcer", "etc/jupyterhub", "opt/jupyterhub", "opt/proxy", "var/lib/jupyterhub"]
        {
            fs::create_dir_all(self.before.join(dir))?;
        }
        fs::copy(run.join("resolv.conf"), etc.join("resolv.conf"))?;
        secret(&etc.join("enforcer/hub-token"), TOKEN)?;
        secret(&etc.join("jupyterhub/environment"), &format!("ENFORCER_TOKEN={TOKEN}\n"))?;
        let config = "jupyterhub_config.py";
        fs::copy(Path::new(PACKAGE).join(config), etc.join("jupyterhub").join(config))?;
        let users = fs::read_to_string("/etc/passwd")?;
        let user = format!("jupyterhub:x:{UID}:{UID}::/var/lib/jupyterhub:/usr/sbin/nologin\n");
        fs::write(etc.join("passwd"), users + &user)?;
        std::os::unix::fs::chown(self.before.join("var/lib/jupyterhub"), Some(UID), Some(UID))?;
        let bin = self.before.join("usr/local/bin");
        fs::create_dir_all(&bin)?;
        let npm = Path::new("/opt/proxy/node_modules/.bin")
            .join(self.proxy.file_name().context("a name")?);
        symlink(npm, bin.join("configurable-http-proxy"))?;
        // A Python that is root's own, below /root, is the hub's user's here.
        fs::create_dir(self.before.join("root"))?;
        for dir in ["etc", "opt", "root", "usr/local/bin", "var/lib"] {
            let aside = self.base.run.make_dir(&format!("aside/{dir}"))?;
            let before = self.before.join(dir);
            let (before, aside) = (before.display(), aside.display());
            let layers = format!("lowerdir=/{dir},upperdir={before},workdir={aside}");
            self.base.host.run(&format!("mount -t overlay -o {layers} overlay /{dir}"))?;
        }
        let modules = self.modules()?;
        for (from, to) in [(self.installed.as_path(), "/opt/jupyterhub"), (modules, "/opt/proxy")] {
            self.base.host.run(&format!("mount --bind {} {to}", from.display()))?;
        }
        // Where the daemon's run directory will be; it is the harness's.
        let made = run.join("enforcer/run");
        self.base.host.run(&format!("ln -s {} /run/enforcer", made.display()))?;
        Ok(())
    }

    /// Where npm put the proxy.
    fn modules(&self) -> Result<&Path> {
        self.proxy.ancestors().nth(3).context("the proxy's directory")
    }

    /// Images for guests and for the hub alike, but for what they run.
    fn image_of_guests(&self) -> Result<()> {
        let programs = [fs::canonicalize(which("node")?)?, "/usr/bin/env".into()];
        let package = fs::canonicalize(PACKAGE)?.join("enforcer_jupyterhub");
        let pages = self.installed.join("share/jupyterhub");
        let directories = [self.modules()?.into(), package, pages];
        notebook::load_with(&self.base, &self.installed, &programs, &directories)?;
        let singleuser = self.installed.join("bin/jupyterhub-singleuser");
        let command = format!("CMD [\"{}\", \"--allow-root\"]", singleuser.display());
        let home =
            ["ENV HOME=/home/jovyan JUPYTER_RUNTIME_DIR=/tmp/runtime", "WORKDIR /home/jovyan"];
        self.make_image(GUESTS, &[&command, home[0], home[1]])
    }

    /// As its Dockerfile has it: the hub, its proxy and enforcer's package.
    fn image_of_hub(&self) -> Result<()> {
        let bin = self.installed.join("bin");
        let hub = bin.join("jupyterhub");
        let path = [
            bin.as_path(),
            &self.modules()?.join("node_modules/.bin"),
            which("node")?.parent().context("a directory")?,
        ]
        .map(|dir| dir.display().to_string())
        .join(":");
        let package = fs::canonicalize(PACKAGE)?;
        let path = format!("ENV PATH={path}:/usr/bin:/bin PYTHONPATH={}", package.display());
        let command = format!(
            "CMD [\"{}\", \"--config\", \"/etc/jupyterhub/jupyterhub_config.py\"]",
            hub.display()
        );
        self.make_image(HUBS, &[&command, &path])
    }

    fn make_image(&self, name: &str, changes: &[&str]) -> Result<()> {
        self.docker(&["create", "--name", "draft", notebook::IMAGE, "true"])?;
        let changes = changes.iter().flat_map(|change| ["--change", change]);
        let commit: Vec<&str> =
            ["commit"].into_iter().chain(changes).chain(["draft", name]).collect();
        self.docker(&commit)?;
        self.docker(&["rm", "draft"]).map(drop)
    }

    fn docker(&self, line: &[&str]) -> Result<String> {
        let mut docker = self.base.host.command("docker");
        let engine = format!("unix://{}", self.base.docker.socket().display());
        output(docker.env("DOCKER_HOST", engine).args(line), "docker")
    }

    fn log_of_hub(&self) -> Result<String> {
        let mut docker = self.base.host.command("sh");
        docker.args(["-c", "docker logs jupyterhub 2>&1"]);
        let engine = format!("unix://{}", self.base.docker.socket().display());
        output(docker.env("DOCKER_HOST", engine), "docker logs")
    }

    /// Starts the daemon with a deployment's part of its config.
    fn police(&self, part: &str) -> Result<Enforcer> {
        let more = fs::read_to_string(Path::new(PACKAGE).join(part))?;
        let settings = Settings { more, refuse_at_connect: true, ..Settings::default() };
        let daemon = Enforcer::start(&self.base, &settings)?;
        wait_for("the hub's gate", Duration::from_secs(10), || {
            let gate = daemon.config().with_file_name("run").join("gate/course.sock");
            Ok(gate.exists().then_some(()))
        })?;
        Ok(daemon)
    }

    /// `docker-compose up --detach`, in a directory of its own.
    fn compose(&self, version: &str) -> Result<()> {
        let dir = self.base.run.make_dir("site/compose")?;
        for name in ["compose.yaml", "jupyterhub_config.py"] {
            fs::copy(Path::new(PACKAGE).join("compose").join(name), dir.join(name))?;
        }
        if version.starts_with('1') {
            // What the README has who has this version leave out.
            let file = dir.join("compose.yaml");
            let text = fs::read_to_string(&file)?;
            let is_known =
                |line: &&str| line.trim() != "bind:" && line.trim() != "create_host_path: false";
            let known: Vec<&str> = text.lines().filter(is_known).collect();
            ensure!(text.lines().count() == known.len() + 2, "{text}");
            fs::write(file, known.join("\n"))?;
        }
        secret(&dir.join(".env"), &format!("ENFORCER_TOKEN={TOKEN}\n"))?;
        let mut compose = self.base.host.command("docker-compose");
        let engine = format!("unix://{}", self.base.docker.socket().display());
        compose.env("DOCKER_HOST", engine).arg("--file").arg(dir.join("compose.yaml"));
        compose.args(["up", "--detach"]);
        output(&mut compose, "docker-compose").map(drop)
    }
}

/// What a service manager makes of the unit; it ends with this.
struct Unit(Child);

impl Unit {
    fn start(place: &Place, log: &Path) -> Result<Self> {
        let words: Vec<&str> = setting("ExecStart")?.split(' ').collect();
        // By its Python: this environment was made elsewhere, and its programs name that place.
        let mut command = place.base.host.command("/opt/jupyterhub/bin/python");
        command.args(&words).env_clear();
        for line in UNIT.lines().filter_map(|line| line.strip_prefix("Environment=")) {
            let (name, value) = line.split_once('=').context("a variable")?;
            command.env(name, value);
        }
        let file = Path::new(setting("EnvironmentFile")?);
        let file = place.before.join(file.strip_prefix("/")?);
        let text = fs::read_to_string(file)?;
        let (name, value) = text.trim().split_once('=').context("a variable")?;
        command.env(name, value);
        ensure!(setting("User")? == "jupyterhub" && setting("StateDirectory")? == "jupyterhub");
        let output = File::create(log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let dir = std::ffi::CString::new(setting("WorkingDirectory")?)?;
        // After the way into the host's namespaces, where the directory is, and which takes root.
        // SAFETY: system calls on memory that is ready before the fork.
        unsafe { command.pre_exec(move || become_user(&dir)) };
        die_with_parent(&mut command, libc::SIGKILL);
        Ok(Self(command.spawn().context("start the hub")?))
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        // With its proxy and culler, as the service manager does: nobody else is this user.
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
            let is_ours = entry.metadata().is_ok_and(|found| found.uid() == UID);
            if let Some(pid) = pid.filter(|_| is_ours) {
                // SAFETY: a process of the test's own user.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// In the child: the unit's user, in no group of root's, in its directory.
fn become_user(dir: &std::ffi::CStr) -> std::io::Result<()> {
    // SAFETY: numbers, a null pointer that goes with a length of 0, and a C string.
    let failed = unsafe {
        libc::setgroups(0, std::ptr::null()) != 0
            || libc::setresgid(UID, UID, UID) != 0
            || libc::setresuid(UID, UID, UID) != 0
            || libc::chdir(dir.as_ptr()) != 0
    };
    if failed { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// A setting of the unit.
fn setting(name: &str) -> Result<&'static str> {
    let line = UNIT.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.with_context(|| format!("the unit has no {name}"))
}

/// A file that is its owner's alone.
fn secret(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
}

/// The version of `docker-compose`, if there is one.
fn compose_version() -> Option<String> {
    let said = Command::new("docker-compose").args(["version", "--short"]).output().ok()?;
    Some(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

fn which(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").context("no PATH")?;
    let Some(found) = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|at| at.exists())
    else {
        bail!("no {name}")
    };
    Ok(found)
}
