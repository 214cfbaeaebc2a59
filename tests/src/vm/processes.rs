//! Processes of a guest: a child of this one that joins the guest's cgroup and its network namespace,
//! as a container's runtime does, and runs this very program.

use std::{
    env,
    fs::{self, File},
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    os::{
        fd::AsRawFd as _,
        unix::{fs::MetadataExt as _, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::loaded_programs;
use enforcer::{
    audit::decode::{Began, Decoded, Refused},
    kernel::cgroups,
};
use enforcer_common::abi::{event::Call, verdict::DropReason};

use super::{
    daemon::{CONTAINER_A, Daemon, PATIENCE},
    world::{GATEWAY, HUB_PORT, NOTEBOOK_PORT, OTHER_PORT, World},
};
use crate::harness::run::wait_for;

/// First argument of the child.
const VERB: &str = "call";
/// A refusal comes at once, under emulation too.
const AT_ONCE: Duration = Duration::from_millis(100);
/// Longest wait of the child for an answer.
const SILENCE: Duration = Duration::from_secs(3);

/// What the child was asked to do, if this is the child: `call connect|sendto|sort ADDRESS`.
#[must_use]
pub fn child() -> Option<Result<()>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [verb, what, to] = &arguments[..] else { return None };
    (verb == VERB).then(|| {
        let to: SocketAddr = to.parse()?;
        let since = Instant::now();
        let outcome = match what.as_str() {
            "connect" => TcpStream::connect_timeout(&to, SILENCE).map(drop),
            "sendto" => socket()?.send_to(b"?", to).map(drop),
            _ => socket()?.connect(to),
        };
        let errno = outcome.err().map_or(0, |error| error.raw_os_error().unwrap_or(-1));
        println!("{errno} {}", since.elapsed().as_millis());
        Ok(())
    })
}

fn socket() -> io::Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
}

/// What became of the child's call.
#[derive(Debug)]
struct Called {
    pid: u32,
    errno: i32,
    took: Duration,
}

/// A guest's cgroup, as Docker makes it.
pub(super) struct Cgroup {
    /// Where it is.
    pub(super) dir: PathBuf,
    /// Whether the one around it is ours, too.
    made: bool,
}

impl Cgroup {
    /// That of the container whose id is made of this digit.
    pub(super) fn make(container: &str) -> Result<Self> {
        let root = cgroups::root().context("no cgroup v2 hierarchy")?;
        let parent = root.join("docker");
        let made = fs::create_dir(&parent).is_ok();
        let dir = parent.join(container.repeat(64));
        fs::create_dir_all(&dir)?;
        Ok(Self { dir, made })
    }

    /// The kernel's id of it.
    pub(super) fn id(&self) -> Result<u64> {
        Ok(fs::metadata(&self.dir)?.ino())
    }

    /// Runs the child in it, or in none of a guest's; in A's network namespace in any case.
    fn call(inside: Option<&Path>, world: &World, what: &str, to: SocketAddr) -> Result<Called> {
        let procs = match inside {
            Some(dir) => Some(File::options().write(true).open(dir.join("cgroup.procs"))?),
            None => None,
        };
        let namespace = File::open(&world.a.guest.sandbox)?;
        let mut command = Command::new("/proc/self/exe");
        command.args([VERB, what, &to.to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
        let join = move || {
            // "0" is whoever writes it.
            if let Some(mut procs) = procs.as_ref() {
                procs.write_all(b"0")?;
            }
            // SAFETY: plain integers.
            let joined = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
            if joined == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        };
        // SAFETY: between fork and exec only system calls on memory that is ready before the fork.
        unsafe { command.pre_exec(join) };
        let child = command.spawn().context("start the child")?;
        let pid = child.id();
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (errno, took) =
            text.trim().split_once(' ').with_context(|| format!("said {text:?}"))?;
        Ok(Called { pid, errno: errno.parse()?, took: Duration::from_millis(took.parse()?) })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A group is busy for a moment after its last process has gone.
        let _ = wait_for("the cgroup's end", Duration::from_secs(2), || {
            Ok(fs::remove_dir(&self.dir).is_ok().then_some(()))
        });
        if let Some(parent) = self.dir.parent().filter(|_| self.made) {
            let _ = fs::remove_dir(parent);
        }
    }
}

/// Programs of the guest's processes are recorded and its calls refused; everybody else notices nothing.
pub(super) fn seen(world: &World, daemon: &Daemon) -> Result<()> {
    for program in daemon.path.lock().processes.list() {
        ensure!(program.problem.is_none() && program.id != 0, "{program:?}");
    }
    let cgroup = Cgroup::make(CONTAINER_A)?;
    daemon.wake();
    wait_for("the guest's cgroup", PATIENCE, || {
        Ok((daemon.state.borrow().observed.cgroups.len() == 1).then_some(()))
    })?;
    let policy = || daemon.denials(world.a.port.ifindex, DropReason::Policy).map(|c| c.events);
    let (before, seen_before) = (policy()?, daemon.events().len());
    let outside = |what, to| Cgroup::call(None, world, what, to);
    let inside = |what, to| Cgroup::call(Some(&cgroup.dir), world, what, to);

    // Not of the guest's cgroup: no record, and what policy denies is denied as a packet, in silence.
    let elsewhere = outside("connect", (GATEWAY, HUB_PORT).into())?;
    ensure!(elsewhere.errno == 0, "{elsewhere:?}");
    let silent = outside("connect", (GATEWAY, OTHER_PORT).into())?;
    ensure!(silent.errno != libc::EPERM && silent.took >= SILENCE, "{silent:?}");
    ensure!(policy()? > before, "its packets were not counted");
    let before = policy()?;

    let mut pids = Vec::new();
    for (what, to, errno) in [
        ("connect", (GATEWAY, HUB_PORT), 0),
        ("connect", (GATEWAY, OTHER_PORT), libc::EPERM),
        ("connect", (world.b.port.ipv4, NOTEBOOK_PORT), libc::EPERM),
        ("sendto", (GATEWAY, OTHER_PORT), libc::EPERM),
        ("sort", (GATEWAY, OTHER_PORT), 0),
    ] {
        let called = inside(what, to.into())?;
        ensure!(called.errno == errno, "{what} {to:?}: {called:?}");
        ensure!(errno == 0 || called.took < AT_ONCE, "{what} {to:?}: {called:?}");
        println!("{what} {to:?}: errno {errno} within {} ms", called.took.as_millis());
        pids.push(called.pid);
    }
    ensure!(policy()? == before, "what was refused was counted as a packet, too");

    let owner = daemon.id(world.a.port.ifindex)?;
    let news = wait_for("the records", PATIENCE, || {
        let (began, refused) = news(daemon, seen_before);
        Ok((began.len() >= 5 && refused.len() >= 3).then_some((began, refused)))
    });
    let (began, refused) =
        news.with_context(|| format!("{:?}", self::news(daemon, seen_before)))?;
    ensure!(began.iter().map(|began| began.process.pid).eq(pids.iter().copied()), "{began:?}");
    let me = std::process::id();
    for began in &began {
        ensure!(began.owner == owner && began.process.parent_pid == me, "{began:?} of {me}");
        ensure!(began.executable == b"/proc/self/exe" && !began.cut, "{began:?}");
        ensure!(began.process.uid == 0 && began.process.comm[0] != 0, "{began:?}");
    }
    let told: Vec<_> = refused.iter().map(|r| (r.event.process.pid, r.call, r.reason)).collect();
    let expected = [
        (pids[1], Call::Connect, DropReason::Policy),
        (pids[2], Call::Connect, DropReason::GuestToGuest),
        (pids[3], Call::SendMsg, DropReason::Policy),
    ];
    ensure!(told == expected, "{told:?}, not {expected:?}");

    drop(cgroup);
    daemon.wake();
    wait_for("nobody's cgroup", PATIENCE, || {
        Ok(daemon.state.borrow().observed.cgroups.is_empty().then_some(()))
    })
}

fn news(daemon: &Daemon, since: usize) -> (Vec<Began>, Vec<Refused>) {
    let (mut began, mut refused) = (Vec::new(), Vec::new());
    for event in daemon.events().into_iter().skip(since) {
        match event {
            Decoded::Began(one) => began.push(*one),
            Decoded::Refused(one) => refused.push(one),
            Decoded::Judged(_) | Decoded::Ended(_) | Decoded::SocketDenied(_) => {}
        }
    }
    (began, refused)
}

/// Prints how many instructions the verifier walked, for the committed table.
pub(super) fn verified(daemon: &Daemon) -> Result<()> {
    let loaded = daemon.path.lock();
    let processes = &loaded.processes;
    for program in processes.list().into_iter().chain(processes.guard().list()) {
        let info = loaded_programs()
            .filter_map(Result::ok)
            .find(|info| info.id() == program.id)
            .with_context(|| format!("the kernel does not list {program:?}"))?;
        let count = info.verified_instruction_count().context("the kernel does not say")?;
        println!("verified {} {count}", program.name);
    }
    Ok(())
}
