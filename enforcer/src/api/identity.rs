//! Who is at the other end of a connection, as the kernel has it from connect(2).

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use tokio::{net::UnixStream, time::timeout};

use super::{
    roles::{Peer, Role, Roles},
    users,
};
use crate::model::caller::Caller;

/// Bytes of a file of `/proc` that one read gives.
const ROOM: usize = 4096;
/// Longest such file that is read, bytes: cgroups of each of a dozen hierarchies, each as long as a path may be.
const MOST: u64 = 64 << 10;
/// Longest wait for a user's name, which may come from a directory service.
const NAMED: Duration = Duration::from_secs(2);
/// `SO_PEERPIDFD`, since Linux 6.5; on other architectures than these numbers differ.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
const SO_PEERPIDFD: libc::c_int = 77;

/// Somebody who has connected.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// What roles are given by.
    pub(crate) peer: Peer,
    /// What records have.
    pub(crate) caller: Caller,
}

/// The user of a connection: its effective uid when it connected, in the daemon's user namespace.
pub(crate) fn uid(stream: &UnixStream) -> io::Result<u32> {
    stream.peer_cred().map(|cred| cred.uid())
}

/// Whether whoever connected is an admin. Who cannot be told is none.
#[must_use]
pub fn is_admin(stream: &UnixStream, roles: &Roles) -> bool {
    attest(stream).is_ok_and(|(identity, _)| matches!(roles.role(identity.peer), Ok(Role::Admin)))
}

/// Looks who it is.
pub(super) async fn identify(stream: &UnixStream) -> io::Result<Identity> {
    let (Identity { peer, caller }, _cgroups) = attest(stream)?;
    let naming = tokio::task::spawn_blocking(move || users::name(peer.uid));
    let user = timeout(NAMED, naming).await.ok().and_then(Result::ok).flatten();
    Ok(Identity { peer, caller: Caller { user, ..caller } })
}

/// The same without the user's name, and asks nobody but the kernel; beside it the text of the process's cgroups,
/// if it is known to live.
pub(crate) fn attest(stream: &UnixStream) -> io::Result<(Identity, Option<String>)> {
    let cred = stream.peer_cred()?;
    let uid = cred.uid();
    // 0 is a process of a namespace that is not below ours.
    let pid = cred.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
    let process = Process::of(stream, pid);
    let is_of_host = process.as_ref().is_some_and(Process::is_of_host);
    let comm = process.as_ref().and_then(Process::comm);
    let cgroups = process.as_ref().and_then(Process::cgroups);
    let caller = Caller { uid: Some(uid), user: None, pid, comm };
    Ok((Identity { peer: Peer { uid, is_of_host }, caller }, cgroups))
}

/// A file of `/proc`, which has no size that one could ask for: with room beforehand one read takes it, and another finds
/// its end. What is too long is no answer.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(ROOM);
    File::open(path)?.take(MOST).read_to_end(&mut text)?;
    if text.len() as u64 == MOST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

/// Whether a number is still the process's that connected: it may be another's by now.
enum Alive {
    /// As long as this says so.
    Told(OwnedFd),
    /// The kernel has no such descriptor (before Linux 6.5): nobody can tell.
    Unknown,
    /// It is gone, or the kernel does not say.
    Gone,
}

/// Our own, which never change.
static OURS: OnceLock<Option<[PathBuf; 2]>> = OnceLock::new();

/// The pid and user namespaces of a process.
fn namespaces(process: &Path) -> Option<[PathBuf; 2]> {
    let link = |which| fs::read_link(process.join("ns").join(which)).ok();
    Some([link("pid")?, link("user")?])
}

/// The process that connected.
struct Process {
    directory: PathBuf,
    alive: Alive,
}

impl Process {
    fn of(stream: &UnixStream, pid: Option<u32>) -> Option<Self> {
        let directory = PathBuf::from(format!("/proc/{}", pid?));
        Some(Self { directory, alive: alive(stream) })
    }

    /// Whether it lives in our own user and pid namespaces. It cannot have left these: a process never
    /// changes its pid namespace, and enters no user namespace above its own.
    fn is_of_host(&self) -> bool {
        let Some(ours) = OURS.get_or_init(|| namespaces(Path::new("/proc/self"))) else {
            return false;
        };
        // Asked last: what was read before was this process's.
        namespaces(&self.directory).as_ref() == Some(ours) && self.lives()
    }

    fn comm(&self) -> Option<String> {
        let comm = read(&self.directory.join("comm")).ok()?;
        let text = String::from_utf8_lossy(&comm).trim_end_matches('\n').to_owned();
        self.lives().then_some(text).filter(|text| !text.is_empty())
    }

    fn cgroups(&self) -> Option<String> {
        let cgroups = String::from_utf8(read(&self.directory.join("cgroup")).ok()?).ok()?;
        // Asked last: what was read before was this process's.
        self.lives().then_some(cgroups)
    }

    /// Whether the number is still this process's, as far as the kernel tells.
    fn lives(&self) -> bool {
        let alive = match &self.alive {
            Alive::Told(alive) => alive,
            Alive::Unknown => return true,
            Alive::Gone => return false,
        };
        let mut poll = libc::pollfd { fd: alive.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure, ours, and no wait.
        let ended = unsafe { libc::poll(&raw mut poll, 1, 0) };
        ended == 0
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
fn alive(stream: &UnixStream) -> Alive {
    let mut descriptor: libc::c_int = -1;
    let Ok(mut length) = libc::socklen_t::try_from(size_of::<libc::c_int>()) else {
        return Alive::Gone;
    };
    // SAFETY: the kernel writes one integer, and the length says there is room for one.
    let failed = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut descriptor).cast(),
            &raw mut length,
        )
    };
    if failed == 0 && descriptor >= 0 {
        // SAFETY: the kernel has just made it for us.
        return Alive::Told(unsafe { OwnedFd::from_raw_fd(descriptor) });
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::ENOPROTOOPT) => Alive::Unknown,
        _ => Alive::Gone,
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
fn alive(_stream: &UnixStream) -> Alive {
    Alive::Unknown
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, process::Command};

    use super::*;

    /// Who has gone is nobody of this host, whoever has the number by now.
    #[tokio::test]
    async fn s17_who_is_gone_is_not_of_this_host() {
        let path = std::env::temp_dir().join(format!("enforcer-gone-{}.sock", std::process::id()));
        let listener = UnixListener::bind(&path).expect("bound");
        let script = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
                      sys.stdin.readline()";
        let mut command = Command::new("python3");
        command.args(["-c", script]).arg(&path).stdin(std::process::Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                eprintln!("skipped: no python3 ({error})");
                fs::remove_file(&path).expect("removed");
                return;
            }
        };
        let (accepted, _) = listener.accept().expect("accepted");
        fs::remove_file(&path).expect("removed");
        accepted.set_nonblocking(true).expect("set");
        let stream = UnixStream::from_std(accepted).expect("a stream");
        let before = identify(&stream).await.expect("identified");
        assert!(before.peer.is_of_host, "it lives");
        // What the events socket asks.
        let uid = before.peer.uid;
        let admins = Roles { admins: [uid].into(), ..Roles::default() };
        assert!(is_admin(&stream, &admins), "an admin, and of this host");
        assert_eq!(is_admin(&stream, &Roles::default()), uid == 0, "root alone without a config");
        drop(child.stdin.take());
        child.wait().expect("ended");
        let after = identify(&stream).await.expect("identified");
        assert!(!after.peer.is_of_host, "it is gone");
        assert!(!is_admin(&stream, &admins), "it is gone");
        // Its number may be another's by now; the kernel still knows who it was.
        let own = Process { directory: "/proc/self".into(), alive: alive(&stream) };
        assert!(!own.is_of_host() || matches!(own.alive, Alive::Unknown));
    }

    /// S18: whoever is handed a connection asks as the one who made it, and as nobody once that one is gone.
    #[tokio::test]
    async fn s18_a_connection_that_was_handed_on_is_still_its_makers() {
        let path =
            std::env::temp_dir().join(format!("enforcer-handed-{}.sock", std::process::id()));
        let listener = UnixListener::bind(&path).expect("bound");
        let script = "import os,socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
                      if os.fork()==0:\n if os.getuid()==0: os.setuid(65534)\n s.sendall(b'x')\n s.recv(1)\n os._exit(0)\n\
                      sys.stdin.readline()";
        let mut command = Command::new("python3");
        command.args(["-c", script]).arg(&path).stdin(std::process::Stdio::piped());
        let mut maker = match command.spawn() {
            Ok(maker) => maker,
            Err(error) => {
                eprintln!("skipped: no python3 ({error})");
                fs::remove_file(&path).expect("removed");
                return;
            }
        };
        let (mut accepted, _) = listener.accept().expect("accepted");
        fs::remove_file(&path).expect("removed");
        // Somebody else's word, over the maker's connection.
        io::Read::read_exact(&mut accepted, &mut [0]).expect("a word");
        accepted.set_nonblocking(true).expect("set");
        let stream = UnixStream::from_std(accepted).expect("a stream");
        let (before, cgroups) = attest(&stream).expect("attested");
        // SAFETY: takes nothing.
        assert_eq!(before.peer.uid, unsafe { libc::geteuid() });
        assert_eq!(before.caller.pid, Some(maker.id()));
        assert!(cgroups.is_some(), "it lives");
        drop(maker.stdin.take());
        maker.wait().expect("ended");
        let (after, cgroups) = attest(&stream).expect("attested");
        let alive = alive(&stream);
        let is_gone = !after.peer.is_of_host && cgroups.is_none();
        assert!(is_gone || matches!(alive, Alive::Unknown), "{after:?} {cgroups:?}");
    }
}
