//! The guard's self-test: a child of this process joins a cgroup made for it and connects to a socket of
//! this process's, once as nobody, once as a guest, once as a guest for which the socket is a gate. Only
//! the second may fail, and with EPERM: a kernel that never asks the programs refuses nobody, and one
//! that refuses everybody proves nothing.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        linux::net::SocketAddrExt as _,
        unix::{
            fs::MetadataExt as _,
            net::{SocketAddr, UnixListener},
        },
    },
    path::PathBuf,
};

use enforcer_common::abi::cgroup::CgroupOwner;

use super::{
    super::{KernelError, canary, cgroups, maps::Table, sys},
    Gates,
};

/// Exit status of a child that did not get as far as to connect; no error number of connect(2).
const UNTRIED: i32 = 255;

/// The self-test could not be made, or failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    /// Something was not there for it.
    #[error("the self-test of the socket guard cannot {what}")]
    Setup {
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The wrong outcome.
    #[error(
        "the self-test of the socket guard failed: {who} {outcome} where {expected} was expected"
    )]
    Outcome {
        /// Who connected.
        who: &'static str,
        /// What became of it.
        outcome: String,
        /// What should have.
        expected: &'static str,
    },
    /// A map could not be written.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

fn cannot(what: &'static str) -> impl FnOnce(io::Error) -> ProbeError {
    move |source| ProbeError::Setup { what, source }
}

/// See the module.
pub(super) fn run(guests: &mut Table<u64, CgroupOwner>, gates: &Gates) -> Result<(), ProbeError> {
    let cgroup = Cgroup::make().map_err(cannot("make a cgroup"))?;
    // A name that nobody can have taken before.
    let name = format!("enforcer-probe-{}-{}", std::process::id(), sys::monotonic_ns());
    let address = SocketAddr::from_abstract_name(&name).map_err(cannot("name a socket"))?;
    let listener = UnixListener::bind_addr(&address).map_err(cannot("listen"))?;
    let attempt = |who, expected| expect(who, connect(&cgroup, name.as_bytes())?, expected);

    attempt("a process that is no guest's", 0)?;
    let owner = CgroupOwner { owner: canary::OWNER, ifindex: 0 };
    guests.put(&cgroup.id, &owner)?;
    let mut forgotten = Ok(());
    let as_guest = attempt("a guest's process", libc::EPERM)
        .and_then(|()| Ok(gates.allow(cgroup.id, listener.as_fd())?))
        .and_then(|named| {
            let outcome = attempt("a guest's process at its gate", 0);
            // Whatever was seen, nothing of it stays.
            forgotten = gates.forget(named);
            outcome
        });
    guests.remove(&cgroup.id)?;
    forgotten?;
    as_guest
}

fn expect(who: &'static str, errno: i32, expected: i32) -> Result<(), ProbeError> {
    if errno == expected {
        return Ok(());
    }
    let outcome = match errno {
        0 => "connected".to_owned(),
        UNTRIED => "could not try".to_owned(),
        errno => format!("got \"{}\"", io::Error::from_raw_os_error(errno)),
    };
    let expected = if expected == 0 { "a connection" } else { "EPERM" };
    Err(ProbeError::Outcome { who, outcome, expected })
}

/// A cgroup within this process's own, for as long as this lives.
struct Cgroup {
    dir: PathBuf,
    id: u64,
    /// `cgroup.procs` of it, and of this process's own: the child goes there last, so that it leaves nobody behind.
    procs: [File; 2],
}

impl Cgroup {
    fn make() -> io::Result<Self> {
        let root = cgroups::root().ok_or_else(|| io::Error::other("no cgroup v2 hierarchy"))?;
        // Not at the root: its mode, 0555, takes CAP_DAC_OVERRIDE, which the unit does not give.
        let home = cgroups::home(&root);
        let dir = home.join(format!("enforcer-probe-{}", std::process::id()));
        match fs::create_dir(&dir) {
            // Of a process with this number that was killed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            outcome => outcome?,
        }
        let open = |dir: &PathBuf| File::options().write(true).open(dir.join("cgroup.procs"));
        let made =
            fs::metadata(&dir).and_then(|found| Ok((found.ino(), [open(&dir)?, open(&home)?])));
        match made {
            Ok((id, procs)) => Ok(Self { dir, id, procs }),
            Err(error) => {
                // The first error counts.
                let _ = fs::remove_dir(&dir);
                Err(error)
            }
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.dir) {
            tracing::debug!(dir = %self.dir.display(), %error, "the self-test's cgroup stays");
        }
    }
}

/// Connects in a child that has joined the cgroup: the error number, 0 if there is none.
fn connect(cgroup: &Cgroup, name: &[u8]) -> Result<i32, ProbeError> {
    // SAFETY: all zero is an address.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::sa_family_t::try_from(libc::AF_UNIX).unwrap_or_default();
    // Behind the NUL that makes it abstract.
    for (room, byte) in address.sun_path.iter_mut().skip(1).zip(name) {
        *room = byte.cast_signed();
    }
    let length = std::mem::offset_of!(libc::sockaddr_un, sun_path) + 1 + name.len();
    let length = libc::socklen_t::try_from(length).unwrap_or_default();
    let procs = cgroup.procs.each_ref().map(File::as_raw_fd);
    // SAFETY: the child makes system calls only, on memory that was ready before the fork.
    match unsafe { libc::fork() } {
        -1 => Err(cannot("fork")(io::Error::last_os_error())),
        // SAFETY: as above; never comes back.
        0 => unsafe { child(procs, &address, length) },
        pid => wait(pid).map_err(cannot("wait for its child")),
    }
}

/// Joins the cgroup, connects, leaves it.
///
/// # Safety
/// In a child of this process only; it takes part in nothing that other threads did before the fork.
#[expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "system calls one after the other, of which one comment speaks"
)]
unsafe fn child(procs: [i32; 2], address: &libc::sockaddr_un, length: libc::socklen_t) -> ! {
    // SAFETY: descriptors and memory are this process's own; "0" is whoever writes it.
    unsafe {
        let mut status = UNTRIED;
        if libc::write(procs[0], b"0".as_ptr().cast(), 1) == 1 {
            let socket = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
            if socket >= 0 {
                let outcome = libc::connect(socket, std::ptr::from_ref(address).cast(), length);
                status = if outcome == 0 { 0 } else { *libc::__errno_location() };
            }
            libc::write(procs[1], b"0".as_ptr().cast(), 1);
        }
        libc::_exit(status)
    }
}

fn wait(pid: libc::pid_t) -> io::Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: a child of ours that nobody else waits for; the status is written into our word.
        if unsafe { libc::waitpid(pid, &raw mut status, 0) } == pid {
            return Ok(if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { UNTRIED });
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s16_only_the_expected_outcome_proves_the_guard() {
        // Outcome, expected -> told.
        let cases = [
            (0, 0, None),
            (libc::EPERM, libc::EPERM, None),
            (0, libc::EPERM, Some("x connected where EPERM was expected")),
            (libc::EPERM, 0, Some("where a connection was expected")),
            (libc::ECONNREFUSED, libc::EPERM, Some("Connection refused")),
            (UNTRIED, libc::EPERM, Some("x could not try")),
        ];
        for (errno, expected, told) in cases {
            let outcome = expect("x", errno, expected).err().map(|error| error.to_string());
            let fits = match (&outcome, told) {
                (None, None) => true,
                (Some(error), Some(told)) => error.contains(told),
                _ => false,
            };
            assert!(fits, "{errno} for {expected}: {outcome:?}");
        }
    }
}
