//! A dockerd of our own inside the host namespace, and the few calls that tests make to it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use bollard::{
    ClientVersion, Docker, body_full,
    models::{Ipam, IpamConfig, NetworkCreateRequest},
    query_parameters::{CreateImageOptions, RemoveContainerOptions},
};
use futures_util::TryStreamExt as _;
use tokio::runtime::Runtime;

use super::{
    image,
    netns::{Namespace, die_with_parent},
    run::{Run, wait_for},
};

/// Seconds that one call to the engine may take.
const CALL_TIMEOUT: u64 = 60;

/// A user and a group of every machine; containers' ones become theirs where they are remapped.
const REMAPPED: &str = "daemon";

/// Where an engine listens that everybody may use.
pub const TCP: &str = "127.0.0.1:2374";

/// How dockerd is started.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Docker's own iptables rules.
    pub iptables: bool,
    /// The same for IPv6, which is an experiment before 27. Not said: as this version of it does.
    pub ip6tables: Option<bool>,
    /// docker-proxy for published ports.
    pub userland_proxy: bool,
    /// Containers survive the daemon.
    pub live_restore: bool,
    /// Containers' users are others than the machine's.
    pub userns_remap: bool,
    /// It listens at [`TCP`], too, for whoever comes.
    pub tcp: bool,
    /// Which hierarchies of cgroups the host has.
    pub cgroups: Cgroups,
    /// `iptables` fills the kernel's old tables, also for whoever calls it in the host.
    pub legacy_tables: bool,
}

/// Hierarchies of cgroups, as one host namespace sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cgroups {
    /// Those of the machine.
    #[default]
    Machine,
    /// Version 2 and no other.
    Two,
    /// Version 1 and no other. Only on a machine that has it.
    One,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            iptables: true,
            ip6tables: None,
            userland_proxy: true,
            live_restore: false,
            userns_remap: false,
            tcp: false,
            cgroups: Cgroups::Machine,
            legacy_tables: false,
        }
    }
}

/// A guest network.
#[derive(Clone, Debug)]
pub struct Network {
    /// Docker's name of it.
    pub name: String,
    /// Name of its bridge.
    pub bridge: String,
    /// IPv4 subnet and gateway.
    pub subnet4: (String, String),
    /// IPv6 subnet and gateway.
    pub subnet6: Option<(String, String)>,
}

/// A running dockerd.
pub struct Dockerd {
    child: Child,
    dir: PathBuf,
    cgroup: String,
    options: Options,
    client: Docker,
    runtime: Runtime,
}

impl Dockerd {
    /// Starts it and waits until it answers.
    pub fn start(run: &Run, host: &Namespace, options: Options) -> Result<Self> {
        let dir = run.make_dir("docker")?;
        let cgroup = format!("enforcer-test-{}", run.tag());
        if options.userns_remap {
            // The machine's own tables stay as they are: only this namespace sees others.
            let ranges = dir.join("ranges");
            fs::write(&ranges, format!("{REMAPPED}:100000:65536\n"))?;
            for table in ["/etc/subuid", "/etc/subgid"] {
                host.run(&format!("mount --bind {} {table}", ranges.display()))?;
            }
        }
        // Only in this namespace: the machine's own hierarchies stay where they are.
        match options.cgroups {
            Cgroups::Machine => {}
            Cgroups::Two => {
                host.run("umount -R /sys/fs/cgroup")?;
                host.run("mount -t cgroup2 none /sys/fs/cgroup")?;
            }
            Cgroups::One => drop(host.run("umount /sys/fs/cgroup/unified")?),
        }
        if options.legacy_tables {
            // Each of them is every tool in one, by the name that it is called.
            host.run("mount --bind /usr/sbin/xtables-legacy-multi /usr/sbin/xtables-nft-multi")?;
        }
        let child = spawn(&dir, &cgroup, host, options)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        match connect(&dir, &runtime) {
            Ok(client) => Ok(Self { child, dir, cgroup, options, client, runtime }),
            Err(error) => {
                let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
                let mut child = child;
                let _ = child.kill();
                let _ = child.wait();
                Err(error.context(log))
            }
        }
    }

    /// Where it keeps its process id.
    #[must_use]
    pub fn pid_file(&self) -> PathBuf {
        self.dir.join("pid")
    }

    /// Ends the daemon by a signal and leaves its containers to it. See [`Dockerd::resume`].
    pub fn end(&mut self, signal: i32) -> Result<()> {
        // SAFETY: our own child, not yet waited for.
        unsafe { libc::kill(i32::try_from(self.child.id())?, signal) };
        wait_for("dockerd's end", Duration::from_secs(30), || Ok(self.child.try_wait()?))?;
        Ok(())
    }

    /// Sends the daemon a signal that it does not end by.
    pub fn signal(&self, signal: i32) -> Result<()> {
        // SAFETY: our own child, not yet waited for.
        let failed = unsafe { libc::kill(i32::try_from(self.child.id())?, signal) } != 0;
        ensure!(!failed, "signal {signal}: {}", std::io::Error::last_os_error());
        Ok(())
    }

    /// Starts a daemon that has ended again, with the same state.
    pub fn resume(&mut self, host: &Namespace) -> Result<()> {
        self.await_containerd();
        self.child = spawn(&self.dir, &self.cgroup, host, self.options)?;
        let log = || fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        self.client = connect(&self.dir, &self.runtime).with_context(log)?;
        Ok(())
    }

    /// The engine's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("docker.sock")
    }

    /// Makes a call: `docker.call(|client| async move { client.version().await })`.
    pub fn call<'a, T, F>(&'a self, call: impl FnOnce(&'a Docker) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, bollard::errors::Error>> + 'a,
    {
        Ok(self.runtime.block_on(call(&self.client))?)
    }

    /// Loads the guests' image.
    pub fn load_image(&self, tar: &Path) -> Result<()> {
        let bytes = fs::read(tar)?;
        let options = CreateImageOptions {
            from_src: Some("-".into()),
            repo: Some(image::NAME.into()),
            ..CreateImageOptions::default()
        };
        self.call(|client| {
            client
                .create_image(Some(options), Some(body_full(bytes.into())), None)
                .try_collect::<Vec<_>>()
        })
        .context("load the image")
        .map(drop)
    }

    /// Makes a bridge network with a fixed bridge name.
    pub fn create_network(&self, network: &Network) -> Result<()> {
        let pool = |(subnet, gateway): &(String, String)| IpamConfig {
            subnet: Some(subnet.clone()),
            gateway: Some(gateway.clone()),
            ..IpamConfig::default()
        };
        let pools = std::iter::once(&network.subnet4).chain(&network.subnet6).map(pool).collect();
        let name = ("com.docker.network.bridge.name".to_owned(), network.bridge.clone());
        let request = NetworkCreateRequest {
            name: network.name.clone(),
            driver: Some("bridge".into()),
            enable_ipv6: Some(network.subnet6.is_some()),
            ipam: Some(Ipam { config: Some(pools), ..Ipam::default() }),
            options: Some([name].into()),
            ..NetworkCreateRequest::default()
        };
        self.call(|client| client.create_network(request)).context("create the network").map(drop)
    }

    /// Lets all containers together have the processor as `count` programs of the machine have it. Else they count as one
    /// beside whatever else runs, however many they are.
    pub fn count_as(&self, count: u32) -> Result<()> {
        // Version 1, and version 2 where the controller is on.
        let files = [
            (Path::new("/sys/fs/cgroup/cpu").join(&self.cgroup), "cpu.shares", count * 1024),
            (Path::new("/sys/fs/cgroup").join(&self.cgroup), "cpu.weight", count * 100),
        ];
        for (dir, file, value) in files {
            if !dir.parent().is_some_and(|parent| parent.join("cgroup.procs").exists()) {
                continue;
            }
            fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
            if dir.join(file).exists() {
                fs::write(dir.join(file), value.to_string()).context(file)?;
            }
        }
        Ok(())
    }

    /// Removes a container, running or not.
    pub fn remove(&self, name: &str) -> Result<()> {
        let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
        self.call(|client| client.remove_container(name, Some(options)))
            .with_context(|| format!("remove {name}"))
    }

    /// Ends it with everything that it started, by id. At once: its own way to stop its containers proves nothing here,
    /// and takes longer than most tests.
    pub fn stop(&mut self) -> Result<()> {
        // Before all others, or it looks after those that end.
        if self.child.try_wait()?.is_none() {
            self.child.kill()?;
            self.child.wait()?;
        }
        let mark = self.dir.display().to_string();
        // What was being started names itself late.
        let ended = wait_for("the end of what dockerd started", Duration::from_secs(30), || {
            let left = processes_with(&mark);
            left.iter().copied().for_each(signal_end);
            ensure!(left.is_empty(), "processes left: {left:?}");
            Ok(Some(()))
        });
        // Containers, whatever became of the rest.
        for group in self.cgroup_dirs() {
            remove_cgroup(&group);
        }
        ended
    }

    /// Waits until the containerd of a daemon that was killed has followed it: the next one would take it for its own.
    fn await_containerd(&self) {
        let file = self.dir.join("exec/containerd/containerd.pid");
        let text = fs::read_to_string(file).unwrap_or_default();
        let Ok(pid) = text.trim().parse::<u32>() else { return };
        let process = PathBuf::from(format!("/proc/{pid}"));
        let gone = || Ok((!process.exists()).then_some(()));
        // One that stays is used as it is.
        let _ = wait_for("containerd's end", Duration::from_secs(5), gone);
    }

    fn cgroup_dirs(&self) -> Vec<PathBuf> {
        let mut dirs = vec![Path::new("/sys/fs/cgroup").join(&self.cgroup)];
        if let Ok(entries) = fs::read_dir("/sys/fs/cgroup") {
            dirs.extend(entries.flatten().map(|entry| entry.path().join(&self.cgroup)));
        }
        dirs.retain(|dir| dir.is_dir());
        dirs
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("dockerd: {error:#}");
        }
    }
}

fn spawn(dir: &Path, cgroup: &str, host: &Namespace, options: Options) -> Result<Child> {
    let log = File::options().create(true).append(true).open(dir.join("log"))?;
    let mut command = host.command("dockerd");
    command
        .arg(format!("--data-root={}", dir.join("data").display()))
        .arg(format!("--exec-root={}", dir.join("exec").display()))
        .arg(format!("--pidfile={}", dir.join("pid").display()))
        .arg(format!("--host=unix://{}", dir.join("docker.sock").display()))
        .arg(format!("--cgroup-parent=/{cgroup}"))
        .arg(format!("--iptables={}", options.iptables))
        .args(options.ip6tables.map(|on| format!("--ip6tables={on}")))
        .args(options.ip6tables.unwrap_or(false).then_some("--experimental"))
        .arg(format!("--userland-proxy={}", options.userland_proxy))
        .arg(format!("--live-restore={}", options.live_restore))
        .args(["--exec-opt=native.cgroupdriver=cgroupfs", "--group=root"])
        .args(options.tcp.then(|| format!("--host=tcp://{TCP}")))
        .args(options.tcp.then_some("--tls=false"))
        .args(options.userns_remap.then(|| format!("--userns-remap={REMAPPED}:{REMAPPED}")))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    // SIGTERM: it then stops its containers itself.
    die_with_parent(&mut command, libc::SIGTERM);
    command.spawn().context("start dockerd")
}

fn connect(dir: &Path, runtime: &Runtime) -> Result<Docker> {
    let socket = dir.join("docker.sock");
    wait_for("dockerd", Duration::from_mins(1), || {
        let version = ClientVersion { major_version: 1, minor_version: 41 };
        let path = socket.to_str().context("the socket's path")?;
        let client = Docker::connect_with_unix(path, CALL_TIMEOUT, &version)?;
        runtime.block_on(client.ping())?;
        Ok(Some(client))
    })
}

/// Processes (not this one) whose command line names our directory: shims, containerd, proxies.
#[must_use]
pub fn processes_with(mark: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(mark)
                // An actor names the run's directory, too, but belongs to its namespace.
                && !String::from_utf8_lossy(&line).contains("actor")
        })
        .collect()
}

fn remove_cgroup(dir: &Path) {
    // Who is frozen does not end (version 1), and who ends in turn does not wait for each other.
    let _ = fs::write(dir.join("freezer.state"), "THAWED");
    for pid in fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines() {
        pid.parse().into_iter().for_each(signal_end);
    }
    if let Ok(entries) = fs::read_dir(dir) {
        for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    // A group is busy for a moment after its last process has gone.
    let _ = wait_for("a cgroup's end", Duration::from_secs(5), || {
        Ok((fs::remove_dir(dir).is_ok() || !dir.exists()).then_some(()))
    });
}

fn signal_end(pid: u32) {
    let Ok(number) = i32::try_from(pid) else { return };
    // SAFETY: a process whose command line or cgroup is ours.
    unsafe { libc::kill(number, libc::SIGKILL) };
}
