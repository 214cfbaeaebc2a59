//! What guards unix sockets (promise S4): programs on the hooks of security modules, which refuse a guest's
//! process every socket that was made outside its cgroup, but for the gates that are named here.
//!
//! All of them or none: one that is missing is a way round the others. Where they do not run, that is told.

mod probe;

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
    sync::{Arc, Mutex, PoisonError},
};

use aya::{Btf, Ebpf, programs::Lsm};
use enforcer_common::abi::cgroup::{CgroupOwner, Gate};

use super::{
    KernelError, cgroups,
    features::Features,
    fields,
    load::LoadError,
    machine::{MachineHook, Place, own, refused},
    maps::Table,
    pins::Pins,
    processes::ProcessProgram,
};

/// The programs, and the hooks that they belong to.
const PROGRAMS: [(&str, &str); 3] = [
    ("guard_socket", "unix_stream_connect"),
    ("guard_datagram", "unix_may_send"),
    ("guard_receive", "file_receive"),
];

/// The programs, and the sockets that they let guests reach.
pub struct SocketGuard {
    /// Empty where they cannot run.
    hooks: Vec<MachineHook>,
    gates: Gates,
    /// Why they cannot run.
    problem: Option<String>,
}

/// Whether guests' sockets are guarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A connection that must be refused was.
    Holds,
    /// The programs do not run here.
    Inactive {
        /// Why.
        why: String,
    },
    /// They run, and did not do what they must.
    Broken {
        /// What was seen.
        why: String,
    },
}

impl SocketGuard {
    /// Has the kernel verify the programs, where they can do something.
    pub(super) fn load(ebpf: &mut Ebpf, btf: &Btf, features: &Features) -> Result<Self, LoadError> {
        let gates = Gates(Arc::new(Mutex::new(Table::take(ebpf, "GATES")?)));
        let (hooks, problem) = match load_all(ebpf, btf, features) {
            Ok(hooks) => (hooks, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        Ok(Self { hooks, gates, problem })
    }

    pub(super) fn attach(&mut self, pins: &Pins) {
        for hook in &mut self.hooks {
            hook.settle(pins);
        }
    }

    pub(super) fn hooks(&self) -> impl Iterator<Item = &MachineHook> {
        self.hooks.iter()
    }

    pub(super) fn hooks_mut(&mut self) -> impl Iterator<Item = &mut MachineHook> {
        self.hooks.iter_mut()
    }

    /// The programs as the kernel has them now; none where they cannot run.
    #[must_use]
    pub fn list(&self) -> Vec<ProcessProgram> {
        self.hooks.iter().map(MachineHook::describe).collect()
    }

    /// The sockets that guests may reach, for whoever listens on them.
    #[must_use]
    pub fn gates(&self) -> Gates {
        self.gates.clone()
    }

    /// Has a process in a cgroup made for it connect to a socket of this daemon's: it must be refused as
    /// a guest, and only then. Blocks for some milliseconds. Its refusals are counted for
    /// [`OWNER`](super::canary::OWNER).
    pub fn prove(&self, guests: &mut Table<u64, CgroupOwner>) -> Proof {
        if let Some(why) = self.why_inactive() {
            return Proof::Inactive { why };
        }
        match probe::run(guests, &self.gates) {
            Ok(()) => Proof::Holds,
            Err(error) => Proof::Broken { why: crate::causes::causes(&error) },
        }
    }

    fn why_inactive(&self) -> Option<String> {
        let off =
            |program: ProcessProgram| program.problem.map(|why| format!("{}: {why}", program.name));
        self.problem.clone().or_else(|| self.list().into_iter().find_map(off))
    }
}

fn load_all(ebpf: &mut Ebpf, btf: &Btf, features: &Features) -> Result<Vec<MachineHook>, String> {
    if let Some(why) = &features.no_bpf_lsm {
        return Err(why.clone());
    }
    if cgroups::root().is_none() {
        return Err("no cgroup v2 hierarchy is mounted here, so no socket tells who made it".into());
    }
    fields::of_sockets()?;
    let load = |(name, hook): (&'static str, &str)| {
        let program: &mut Lsm = ebpf
            .program_mut(name)
            .and_then(|program| program.try_into().ok())
            .ok_or_else(|| format!("{name} is not in the eBPF object"))?;
        program
            .load(hook, btf)
            .map_err(|error| format!("the kernel refuses {name}: {}", refused(&error)))?;
        Ok(MachineHook::new(name, Place::Lsm, own(program.fd())))
    };
    PROGRAMS.into_iter().map(load).collect()
}

/// A gate that the kernel knows. Its socket may be gone meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Named(Gate);

/// Sockets of this daemon's that guests may reach, by the guest's cgroup. They end with the daemon.
///
/// A socket is known by its cookie, not by its path: one that is made anew at the same path has to be
/// named anew.
#[derive(Clone)]
pub struct Gates(Arc<Mutex<Table<Gate, u32>>>);

impl Gates {
    /// Lets processes of a cgroup, and of those within it, connect to a listening socket.
    pub fn allow(&self, cgroup: u64, listener: impl AsFd) -> Result<Named, KernelError> {
        let gate = gate(cgroup, listener.as_fd())?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(&gate, &1)?;
        Ok(Named(gate))
    }

    /// Lets them connect no longer; connections that there are stay.
    pub fn forget(&self, named: Named) -> Result<(), KernelError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&named.0)
    }
}

fn gate(cgroup: u64, listener: BorrowedFd<'_>) -> Result<Gate, KernelError> {
    Ok(Gate { cgroup, cookie: cookie(listener).map_err(KernelError::Cookie)? })
}

/// A socket's number, which the kernel gives to no other while it runs.
fn cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `length` bytes into the word, and their number into `length`.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if outcome == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn s4_a_socket_at_the_same_path_is_another_gate() {
        let path = std::env::temp_dir().join(format!("enforcer-gate-{}", std::process::id()));
        let first = UnixListener::bind(&path).expect("binds");
        let known = cookie(first.as_fd()).expect("a cookie");
        assert_eq!(cookie(first.as_fd()).ok(), Some(known), "asked again");
        std::fs::remove_file(&path).expect("removed");
        let second = UnixListener::bind(&path).expect("binds");
        assert_ne!(cookie(second.as_fd()).ok(), Some(known));
        assert!(known != 0, "that is a socket nobody named");
        std::fs::remove_file(&path).expect("removed");
        assert!(cookie(std::fs::File::open("/dev/null").expect("opens").as_fd()).is_err());
    }
}
