//! A network namespace with a mount namespace around it, both as old as one process: the actor
//! that lives in them. When it ends, so do they; nothing has a name that could stay behind.

use std::{
    ffi::{CStr, CString},
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::{
        fd::{AsFd, AsRawFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, process::CommandExt as _},
    },
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::{
    artifacts,
    client::Actor,
    run::{Run, wait_for},
};

/// A namespace and the actor in it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    keeper: Child,
    net: OwnedFd,
    mount: OwnedFd,
    /// The actor in it.
    pub actor: Actor,
}

impl Namespace {
    /// Makes one. `/sys` and `/run` are its own; the cgroups are the machine's.
    pub fn create(run: &Run, name: &str) -> Result<Self> {
        let dir = run.make_dir(name)?;
        let socket = dir.join("actor.sock");
        let mut command = Command::new(artifacts::actor()?);
        command.arg(&socket).stdin(Stdio::null());
        let aside = CString::new(run.make_dir(&format!("{name}-cgroup"))?.as_os_str().as_bytes())?;
        // SAFETY: between fork and exec only system calls on memory that is ready before the fork.
        unsafe { command.pre_exec(move || isolate(&aside)) };
        let keeper = command.spawn().with_context(|| format!("start namespace {name}"))?;
        let open = |kind: &str| -> Result<OwnedFd> {
            Ok(File::open(format!("/proc/{}/ns/{kind}", keeper.id()))?.into())
        };
        let (net, mount) = (open("net")?, open("mnt")?);
        let actor = Actor::wait(socket)?;
        let namespace = Self { name: name.into(), keeper, net, mount, actor };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Does something in its network, on a thread that ends.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        within(&self.net, work)
    }

    /// Process id of its keeper, for `ip link ... netns PID`.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.keeper.id()
    }

    /// Listens in it, at an address of its loopback interface. A socket stays in the namespace that it
    /// was made in, whoever uses it.
    pub fn listen(&self, port: u16) -> Result<TcpListener> {
        let listening = within(&self.net, || Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, port))?));
        listening.with_context(|| format!("listen on port {port} of {}", self.name))
    }

    /// A UDP socket in it.
    pub fn udp(&self, at: SocketAddr) -> Result<UdpSocket> {
        let bound = within(&self.net, || Ok(UdpSocket::bind(at)?));
        bound.with_context(|| format!("bind to {at} of {}", self.name))
    }

    /// A command that will run in it.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let (net, mount) = (self.net.as_raw_fd(), self.mount.as_raw_fd());
        // SAFETY: only system calls; the descriptors outlive the spawn because `self` does.
        unsafe {
            command.pre_exec(move || {
                enter(net, libc::CLONE_NEWNET)?;
                enter(mount, libc::CLONE_NEWNS)
            });
        }
        command
    }

    /// Runs a shell-like line (split at blanks) and gives what it printed.
    pub fn run(&self, line: &str) -> Result<String> {
        let mut words = line.split_whitespace();
        let program = words.next().context("an empty line")?;
        output(self.command(program).args(words), &format!("{}: {line}", self.name))
    }

    /// Runs `ip` in it.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        self.run(&format!("ip {arguments}"))
    }

    /// Waits until every global IPv6 address of an interface may be used: one that is still probed for is nobody's
    /// (RFC 4862, 5.4), and who asks for it asks again a second later.
    pub fn wait_addresses(&self, interface: &str) -> Result<()> {
        let probed = format!("-6 -o addr show dev {interface} scope global tentative");
        wait_for(&format!("the addresses of {interface}"), Duration::from_secs(30), || {
            let probed = self.ip(&probed)?;
            ensure!(probed.is_empty(), "still probed for: {probed}");
            Ok(Some(()))
        })
    }

    /// Sets a sysctl of the namespace, named by its path below `/proc/sys`.
    pub fn sysctl(&self, path: &str, value: &str) -> Result<()> {
        // Not the tool `sysctl`: a bare machine has none.
        let file = format!("/proc/sys/{path}");
        let mut command = self.command("sh");
        command.args(["-c", "echo \"$1\" > \"$0\"", &file, value]);
        output(&mut command, &format!("{}: {file}", self.name)).map(drop)
    }
}

/// Makes something in a network namespace, on a thread that ends: a socket never leaves it again.
pub fn within<T: Send>(net: impl AsFd, make: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let net = net.as_fd().as_raw_fd();
    let made = thread::scope(|scope| {
        let make = || {
            enter(net, libc::CLONE_NEWNET).context("enter a network namespace")?;
            make()
        };
        scope.spawn(make).join()
    });
    made.map_err(|panic| anyhow::anyhow!("{panic:?}"))?
}

/// An actor of its own in another's network namespace, e.g. in a guest's: it sees what arrives there. In the machine's mount
/// namespace and in none of the guest's cgroups, so nobody takes it for the guest.
#[derive(Debug)]
pub struct Beside {
    process: Child,
    /// The actor.
    pub actor: Actor,
}

impl Beside {
    /// Starts it where process `pid` is.
    pub fn start(run: &Run, name: &str, pid: u32) -> Result<Self> {
        let socket = run.make_dir(name)?.join("actor.sock");
        let net = File::open(format!("/proc/{pid}/ns/net")).context("open the namespace")?;
        let fd = net.as_raw_fd();
        let mut command = Command::new(artifacts::actor()?);
        command.arg(&socket).stdin(Stdio::null());
        // SAFETY: one system call; `net` lives until the program has started.
        unsafe { command.pre_exec(move || enter(fd, libc::CLONE_NEWNET)) };
        die_with_parent(&mut command, libc::SIGKILL);
        let process = command.spawn().with_context(|| format!("start actor {name}"))?;
        Ok(Self { process, actor: Actor::wait(socket)? })
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a command in the network namespace of a process, e.g. of a guest.
pub fn run_beside(pid: u32, line: &str) -> Result<String> {
    let net = File::open(format!("/proc/{pid}/ns/net")).context("open the namespace")?;
    let fd = net.as_raw_fd();
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().context("an empty line")?);
    command.args(words);
    // SAFETY: one system call; `net` lives until the command has ended.
    unsafe { command.pre_exec(move || enter(fd, libc::CLONE_NEWNET)) };
    output(&mut command, line)
}

/// Runs a command to its end.
pub fn output(command: &mut Command, what: &str) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| what.to_owned())?;
    ensure!(
        output.status.success(),
        "{what}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Makes `command` end with this process: a killed test leaves no process behind.
pub fn die_with_parent(command: &mut Command, signal: i32) {
    // SAFETY: one system call that takes integers.
    let ask = move || check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) });
    // SAFETY: between fork and exec nothing but that call is made.
    unsafe { command.pre_exec(ask) };
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// Runs in the child. `aside` is a directory to park the cgroup mounts in.
fn isolate(aside: &CStr) -> io::Result<()> {
    // SAFETY: plain integers.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
    // SAFETY: plain integers.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) })?;
    mount(c"none", c"/", None, libc::MS_REC | libc::MS_PRIVATE)?;
    // A sysfs shows the network namespace it was mounted in: this one needs its own.
    mount(c"/sys/fs/cgroup", aside, None, libc::MS_BIND | libc::MS_REC)?;
    mount(c"sysfs", c"/sys", Some(c"sysfs"), 0)?;
    mount(aside, c"/sys/fs/cgroup", None, libc::MS_BIND | libc::MS_REC)?;
    // SAFETY: a valid path.
    check(unsafe { libc::umount2(aside.as_ptr(), libc::MNT_DETACH) })?;
    mount(c"bpf", c"/sys/fs/bpf", Some(c"bpf"), 0)?;
    // /run: locks, e.g. of iptables, and the defaults of every tool.
    mount(c"tmpfs", c"/run", Some(c"tmpfs"), 0)
}

fn mount(from: &CStr, to: &CStr, kind: Option<&CStr>, flags: libc::c_ulong) -> io::Result<()> {
    let kind = kind.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: valid C strings, or null where the kernel takes null.
    check(unsafe { libc::mount(from.as_ptr(), to.as_ptr(), kind, flags, std::ptr::null()) })
}

fn enter(fd: i32, kind: i32) -> io::Result<()> {
    // SAFETY: plain integers.
    check(unsafe { libc::setns(fd, kind) })
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
