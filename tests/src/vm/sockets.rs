//! The kernel's proof (promise S4): a guest's process against sockets that are not its own, by every way
//! to them that anybody thought of; and what must go on to work. Everything is tried before enforcer
//! starts: what is refused later had worked.

mod child;
mod compat;
mod doors;
mod rights;
mod uring;

use std::{
    ffi::CString,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, symlink},
        net::{SocketAddr, UnixDatagram, UnixListener, UnixStream},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Stdio},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use enforcer::{
    audit::decode::{Decoded, SocketDenied},
    config::{Config, KernelProof},
    kernel::{
        features::{self, Features, PreflightError},
        sockets::Proof,
    },
    supervise::{self, SuperviseError, loading},
};
use enforcer_common::abi::{counter::SOCKET_REFUSED, event::SocketCall};
use tokio::runtime::Runtime;

pub(super) use child::child;

use super::{
    Tally,
    daemon::{self, CONTAINER_A, CONTAINER_B, Daemon, PATIENCE},
    processes::Cgroup,
    world::World,
};
use crate::harness::run::wait_for;

/// What connects, and how the child does it; each is another way to the one socket of the engine.
const ALIASES: [(&str, &str, &str); 15] = [
    ("its path", "connect", "docker.sock"),
    ("a symbolic link", "connect", "link"),
    ("a hard link", "connect", "hard"),
    ("a bind mount of the file", "connect", "bound"),
    ("a bind mount of the directory", "connect", "mounted/docker.sock"),
    ("a relative path", "relative", "docker.sock"),
    ("another process's root", "connect", "PROC/docker.sock"),
    ("a descriptor", "descriptor", "docker.sock"),
    ("another root", "chroot", "docker.sock"),
    ("another mount namespace", "mount namespace", "docker.sock"),
    ("another name", "connect", "renamed"),
    ("a new inode", "connect", "again"),
    ("an abstract name", "connect", "@enforcer-test-engine"),
    ("io_uring", "io_uring", "docker.sock"),
    ("a 32-bit call", "compat", "docker.sock"),
];
/// Sockets of other engines (S20), and datagrams of the host's services.
const OTHERS: [(&str, &str); 5] = [
    ("connect", "run/containerd/containerd.sock"),
    ("connect", "run/podman/podman.sock"),
    ("connect", "run/buildkit/buildkitd.sock"),
    ("datagram", "dev/log"),
    ("connected datagram", "dev/log"),
];

/// Runs the tests that fit this machine: with BPF among its security modules, or without.
pub(super) fn run_all(tally: &mut Tally, runtime: &Runtime, world: &World) -> Result<()> {
    let engine = Engine::start()?;
    let guests = Guests::make()?;
    tally.test("without enforcer, every socket is open to a guest", || {
        engine.all_ways(&guests, 0)?;
        guests.is_given_the_engine(&engine, true)
    });
    let features = features::preflight()?;
    if features.no_bpf_lsm.is_some() {
        return unproven(tally, runtime, world, (&features, &engine, &guests));
    }
    let started = std::time::Instant::now();
    let daemon = Daemon::start(runtime, world)?;
    tally.note("the guard is loaded and attached", started, Ok(()));
    wait_for("the guests' cgroups", PATIENCE, || {
        Ok((daemon.state.borrow().observed.cgroups.len() == 2).then_some(()))
    })?;
    tally.test("s16: the self-test has a connection refused", || proven(&daemon));
    tally.test("s15, s20, s25: no alias leads a guest to a socket of the host", || {
        refused(&daemon, world, &engine, &guests)
    });
    tally.test("s4: a guest's own sockets are open to it, and to the host", || own(&guests));
    tally.test("s4: another guest's sockets are not", || apart(&guests));
    tally.test("s4: a gate is open to its guest alone, until it is forgotten", || {
        gate(&daemon, &guests)
    });
    tally.test("s4: the daemon opens a user's gate to the user's guest alone", || {
        doors::follow(runtime, &daemon, &guests)
    });
    tally.test("s18: nobody gives a guest a connection to the engine", || {
        guests.is_given_the_engine(&engine, false)
    });
    tally.test("s4: programs that were unpinned are pinned anew", || unpinned(&daemon));
    daemon.stop();
    tally.test("n7: the guard outlives the daemon", || engine.all_ways(&guests, libc::EPERM));
    let started = std::time::Instant::now();
    let daemon = Daemon::start(runtime, world)?;
    tally.note("the next daemon takes it over", started, proven(&daemon));
    tally.test("s15: under the next daemon, too", || refused(&daemon, world, &engine, &guests));
    daemon.stop();
    Ok(())
}

/// S16: programs that the kernel would load and attach, and never run.
fn unproven(
    tally: &mut Tally,
    runtime: &Runtime,
    world: &World,
    (features, engine, guests): (&Features, &Engine, &Guests),
) -> Result<()> {
    let started = std::time::Instant::now();
    let daemon = Daemon::start(runtime, world)?;
    tally.note("s16: without bpf in lsm=, everything else starts", started, Ok(()));
    tally.test("s16: it says that the guard is not active, and what to do", || {
        let proof = daemon.path.prove();
        let Proof::Inactive { why } = &proof else { anyhow::bail!("{proof:?}") };
        ensure!(why.contains("lsm="), "{why}");
        ensure!(daemon.path.lock().processes.guard().list().is_empty(), "programs are loaded");
        engine.all_ways(guests, 0)
    });
    daemon.stop();
    tally.test("s16: where it is required, the daemon does not start", || {
        let mut config = daemon::config()?;
        config.access.kernel_proof = KernelProof::Required;
        let outcome = runtime.block_on(supervise::run(config, Path::new("test.toml")));
        let is_told = matches!(
            &outcome,
            Err(SuperviseError::Preflight(PreflightError::NoKernelProof { why }))
                if why.contains("lsm=")
        );
        ensure!(is_told, "{outcome:?}");
        Ok(())
    });
    tally.test("s16: attached and never run, the self-test notices", || {
        let silent = Features { no_bpf_lsm: None, ..features.clone() };
        let config = daemon::config()?;
        let (mut loaded, _) = runtime.block_on(loading::load(&config, silent))?;
        let all = loaded.processes.guard().list();
        ensure!(all.len() == 3 && all.iter().all(|one| one.problem.is_none()), "{all:?}");
        let proof = loaded.processes.guard().prove(&mut loaded.maps.cgroups);
        let Proof::Broken { why } = &proof else { anyhow::bail!("{proof:?}") };
        ensure!(why.contains("a guest's process connected where EPERM"), "{why}");
        Ok(())
    });
    Ok(())
}

/// The self-test holds, again and again, and leaves nothing behind.
fn proven(daemon: &Daemon) -> Result<()> {
    for _ in 0..3 {
        let proof = daemon.path.prove();
        ensure!(proof == Proof::Holds, "{proof:?}");
    }
    ensure!(daemon.path.lock().maps.cgroups.list()?.len() == 2, "an entry stays");
    let root = enforcer::kernel::cgroups::root().context("no cgroup v2")?;
    let left = fs::read_dir(root)?.flatten().map(|entry| entry.file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("probe")).collect();
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

/// Everything that leads to the host's sockets is refused, counted and told.
fn refused(daemon: &Daemon, world: &World, engine: &Engine, guests: &Guests) -> Result<()> {
    let owner = daemon.id(world.a.port.ifindex)?;
    let (before, seen) = (counted(daemon, owner)?, daemon.events().len());
    engine.all_ways(guests, libc::EPERM)?;
    let tried = ALIASES.len() + OTHERS.len();
    let counted = counted(daemon, owner)? - before;
    ensure!(counted == tried as u64, "{counted} of {tried} were counted");
    let told = wait_for("the records", PATIENCE, || {
        let told = denials(daemon, seen);
        Ok((told.len() >= tried).then_some(told))
    })
    .with_context(|| format!("{:?}", denials(daemon, seen)))?;
    let root = fs::metadata(enforcer::kernel::cgroups::root().context("no cgroup v2")?)?.ino();
    for one in &told {
        ensure!(one.owner == owner && one.maker == root, "{one:?}, not of {owner}, {root}");
        ensure!(one.process.pid != 0 && one.process.cgroup == guests.a.id()?, "{one:?}");
        ensure!(one.process.comm[0] != 0 && !one.name.is_empty(), "{one:?}");
    }
    let datagrams = told.iter().filter(|one| one.call == SocketCall::Send).count();
    ensure!(datagrams == 2, "{datagrams} datagrams: {told:?}");
    let name = engine.at("docker.sock");
    let first = told.first().context("no record")?;
    ensure!(first.name.starts_with(name.as_os_str().as_bytes()), "{first:?}");
    Ok(())
}

/// Among a guest's own processes nothing is refused, however deep they are, and the host reaches them.
fn own(guests: &Guests) -> Result<()> {
    let nested = guests.a.dir.join("nested");
    fs::create_dir_all(&nested)?;
    let outcome = (|| {
        for (name, there, here) in [
            ("own", &guests.a.dir, &guests.a.dir),
            ("below", &nested, &guests.a.dir),
            ("above", &guests.a.dir, &nested),
        ] {
            let path = guests.path(name);
            let server = Server::start(there, &path)?;
            let errno = ask(Some(here), "connect", &path)?;
            ensure!(errno == 0, "{name}: errno {errno}");
            child::connect(&path).with_context(|| format!("the host to {name}"))?;
            server.stop()?;
        }
        let server = Server::start(&guests.a.dir, "@enforcer-test-own")?;
        let errno = ask(Some(&guests.a.dir), "connect", "@enforcer-test-own")?;
        ensure!(errno == 0, "abstract: errno {errno}");
        server.stop()?;
        let errno = ask(Some(&guests.a.dir), "pair", "none")?;
        ensure!(errno == 0, "a pair: errno {errno}");
        Ok(())
    })();
    wait_for("the nested cgroup's end", PATIENCE, || Ok(fs::remove_dir(&nested).ok()))?;
    outcome
}

fn apart(guests: &Guests) -> Result<()> {
    let path = guests.path("b");
    let server = Server::start(&guests.b.dir, &path)?;
    let (a, b) = (guests.as_a("connect", &path)?, ask(Some(&guests.b.dir), "connect", &path)?);
    ensure!((a, b) == (libc::EPERM, 0), "errno {a} for A, {b} for B");
    server.stop()
}

fn gate(daemon: &Daemon, guests: &Guests) -> Result<()> {
    let path = guests.path("gate");
    let listener = UnixListener::bind(&path)?;
    let gates = daemon.path.lock().processes.guard().gates();
    let ways = || {
        let (a, b) = (guests.as_a("connect", &path)?, ask(Some(&guests.b.dir), "connect", &path)?);
        anyhow::Ok((a, b))
    };
    let eperm = libc::EPERM;
    ensure!(ways()? == (eperm, eperm), "before");
    gates.allow(guests.a.id()?, &listener)?;
    ensure!(ways()? == (0, eperm), "as a gate of A's");
    drop(listener);
    fs::remove_file(&path)?;
    let another = UnixListener::bind(&path)?;
    ensure!(ways()? == (eperm, eperm), "another socket at its path");
    let named = gates.allow(guests.a.id()?, &another)?;
    ensure!(ways()? == (0, eperm), "named anew");
    gates.forget(named)?;
    ensure!(ways()? == (eperm, eperm), "forgotten");
    Ok(())
}

fn unpinned(daemon: &Daemon) -> Result<()> {
    let pin = Config::default().pin_dir.join("links/guard_socket");
    fs::remove_file(&pin).with_context(|| format!("{}", pin.display()))?;
    daemon.wake();
    wait_for("the pin", PATIENCE, || Ok(pin.exists().then_some(())))
}

fn counted(daemon: &Daemon, owner: u32) -> Result<u64> {
    let all = daemon.counters.list()?;
    let ours = all.iter().filter(|(key, _)| (key.owner, key.reason) == (owner, SOCKET_REFUSED));
    Ok(ours.map(|(_, counter)| counter.events).sum())
}

fn denials(daemon: &Daemon, since: usize) -> Vec<SocketDenied> {
    let events = daemon.events().into_iter().skip(since);
    events
        .filter_map(|event| match event {
            Decoded::SocketDenied(one) => Some(*one),
            _ => None,
        })
        // Those of the self-test may be told as late as this.
        .filter(|one| !one.name.starts_with(b"\0enforcer-probe-"))
        .collect()
}

/// Sockets of the host: the engine's, under many names, and others.
struct Engine {
    dir: PathBuf,
    _datagrams: UnixDatagram,
}

impl Engine {
    fn start() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("enforcer-sockets-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        let at = |name: &str| dir.join(name);
        serve(&at("docker.sock").to_string_lossy())?;
        symlink(at("docker.sock"), at("link"))?;
        fs::hard_link(at("docker.sock"), at("hard"))?;
        File::create(at("bound"))?;
        bind(&at("docker.sock"), &at("bound"))?;
        fs::create_dir(at("mounted"))?;
        bind(&dir, &at("mounted"))?;
        serve(&at("first name").to_string_lossy())?;
        fs::rename(at("first name"), at("renamed"))?;
        serve(&at("again").to_string_lossy())?;
        fs::remove_file(at("again"))?;
        serve(&at("again").to_string_lossy())?;
        serve("@enforcer-test-engine")?;
        for (_, name) in OTHERS {
            fs::create_dir_all(at(name).parent().context("a directory")?)?;
        }
        for (way, name) in OTHERS {
            if way == "connect" {
                serve(&at(name).to_string_lossy())?;
            }
        }
        let datagrams = UnixDatagram::bind(at("dev/log"))?;
        Ok(Self { dir, _datagrams: datagrams })
    }

    fn at(&self, name: &str) -> PathBuf {
        match name.strip_prefix("PROC/") {
            // By way of this very process: the root of one that is outside.
            Some(name) => {
                let dir = self.dir.strip_prefix("/").unwrap_or(&self.dir);
                PathBuf::from(format!("/proc/{}/root", std::process::id())).join(dir).join(name)
            }
            None => self.dir.join(name),
        }
    }

    /// Every way to every socket ends so for A's processes, and in a connection for everybody else's.
    fn all_ways(&self, guests: &Guests, expected: i32) -> Result<()> {
        let aliases = ALIASES.into_iter();
        let others = OTHERS.into_iter().map(|(way, name)| (name, way, name));
        for (what, way, name) in aliases.chain(others) {
            let to = match name.strip_prefix('@') {
                Some(_) => name.to_owned(),
                None => self.at(name).to_string_lossy().into_owned(),
            };
            let errno = guests.as_a(way, &to).with_context(|| what.to_owned())?;
            ensure!(errno == expected, "{what}: errno {errno}, not {expected}");
            let errno = ask(None, way, &to)?;
            ensure!(errno == 0, "{what}: errno {errno} for a process of nobody's");
        }
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for mounted in ["bound", "mounted"] {
            if let Ok(place) = CString::new(self.at(mounted).as_os_str().as_bytes()) {
                // SAFETY: a path that lives during the call.
                unsafe { libc::umount2(place.as_ptr(), libc::MNT_DETACH) };
            }
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Speaks first to whoever connects, for as long as this process lives.
fn serve(at: &str) -> Result<()> {
    let listener = UnixListener::bind_addr(&child::address(at)?)?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever connected may have gone again.
            let mut stream = stream;
            let _ = stream.write_all(rights::BANNER);
        }
    });
    Ok(())
}

/// Mounts a file or a directory at another place.
fn bind(from: &Path, to: &Path) -> io::Result<()> {
    let path = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other);
    let (from, to) = (path(from)?, path(to)?);
    let none = std::ptr::null();
    // SAFETY: C strings that live during the call, or null where the kernel takes null.
    let done = unsafe { libc::mount(from.as_ptr(), to.as_ptr(), none, libc::MS_BIND, none.cast()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Cgroups of A and B, as Docker makes them.
struct Guests {
    a: Cgroup,
    b: Cgroup,
    dir: PathBuf,
}

impl Guests {
    fn make() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("enforcer-guests-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        Ok(Self { a: Cgroup::make(CONTAINER_A)?, b: Cgroup::make(CONTAINER_B)?, dir })
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }

    fn as_a(&self, way: &str, to: &str) -> Result<i32> {
        ask(Some(&self.a.dir), way, to)
    }

    /// A host's process that may talk to the engine gives its connection to a process of A's.
    fn is_given_the_engine(&self, engine: &Engine, expected: bool) -> Result<()> {
        let path = self.path("inbox");
        let mut server = Server::start(&self.a.dir, &path)?;
        let connection = UnixStream::connect(engine.at("docker.sock"))?;
        let file = File::open("/dev/null")?;
        let mut given = Vec::new();
        for what in [&connection as &dyn std::os::fd::AsRawFd, &file] {
            let over = UnixStream::connect_addr(&SocketAddr::from_pathname(&path)?)?;
            rights::send(&over, &what.as_raw_fd())?;
            given.push(server.said()?);
        }
        server.stop()?;
        let connection = if expected { "the engine" } else { "nothing" };
        ensure!(given == [connection, "a file"], "A was given {given:?}");
        Ok(())
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Has a child connect in a cgroup, or in this process's: the error number, 0 if there is none.
fn ask(cgroup: Option<&Path>, way: &str, to: &str) -> Result<i32> {
    let output = start(cgroup, way, to)?.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().with_context(|| format!("{way} {to}: the child said {text:?}"))
}

fn start(cgroup: Option<&Path>, way: &str, to: &str) -> Result<Child> {
    let mut command = child::command(way, to);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    if let Some(cgroup) = cgroup {
        let procs = File::options().write(true).open(cgroup.join("cgroup.procs"))?;
        // SAFETY: between fork and exec one system call. "0" is whoever writes it.
        unsafe { command.pre_exec(move || (&procs).write_all(b"0")) };
    }
    command.spawn().context("start the child")
}

/// A child that listens in a cgroup.
struct Server {
    child: Child,
    output: BufReader<ChildStdout>,
    at: PathBuf,
}

impl Server {
    fn start(cgroup: &Path, at: &str) -> Result<Self> {
        let mut child = start(Some(cgroup), "listen", at)?;
        let output = BufReader::new(child.stdout.take().context("its output")?);
        let mut server = Self { child, output, at: at.into() };
        let said = server.said()?;
        ensure!(said == child::READY, "it said {said:?}");
        Ok(server)
    }

    fn said(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    fn stop(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        // An abstract one is nowhere.
        let _ = fs::remove_file(&self.at);
        Ok(())
    }
}
