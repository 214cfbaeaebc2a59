//! Programs that know the process. Each sits on one place for the whole machine, by a link that is
//! pinned: the tracepoint of exec, and the root of the cgroup v2 hierarchy, so that a guest is known
//! from its first process on wherever its cgroup is. The packet path does without them: where one
//! cannot be loaded or attached, that is told, and everything else goes on.

use std::os::fd::OwnedFd;

use aya::{
    Btf, Ebpf,
    maps::{Array, MapData},
    programs::{BtfTracePoint, CgroupSockAddr},
};

use super::{
    KernelError,
    features::Features,
    fields::Fields,
    load::LoadError,
    machine::{MachineHook, Place, own, refused},
    maps::typed,
    pins::Pins,
    sockets::SocketGuard,
};
use crate::causes::causes;

/// The program on the tracepoint of the same name as the kernel's.
const EXEC: &str = "process_exec";
const TRACEPOINT: &str = "sched_process_exec";
/// Programs on calls, and the kernel's numbers of where they belong (`enum bpf_attach_type`).
const CALLS: [(&str, u32); 4] = [
    ("guest_connect4", 10),
    ("guest_connect6", 11),
    ("guest_sendmsg4", 14),
    ("guest_sendmsg6", 15),
];

/// What the loader tells the programs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Globals {
    /// Number of this load: higher than that of any before it.
    pub(super) load: u64,
    /// Where fields lie in this kernel; zero where it does not say.
    pub(super) fields: Fields,
}

/// The programs and where they sit, those that guard unix sockets among them.
pub struct Processes {
    hooks: Vec<MachineHook>,
    guard: SocketGuard,
    active: Array<MapData, u64>,
    load: u64,
    pins: Pins,
}

/// One of the programs, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessProgram {
    /// Its name.
    pub name: &'static str,
    /// Kernel's id; 0: it is not loaded.
    pub id: u32,
    /// `tracepoint`, `cgroup` or `lsm`.
    pub kind: &'static str,
    /// Why it does not sit where it belongs, if it does not.
    pub problem: Option<String>,
}

impl Processes {
    /// Has the kernel verify the programs; attaches nothing.
    pub(super) fn load(
        ebpf: &mut Ebpf,
        btf: &Btf,
        globals: &Result<Globals, String>,
        features: &Features,
        pins: Pins,
    ) -> Result<Self, LoadError> {
        let exec = globals.as_ref().map_err(Clone::clone).and_then(|_| load_exec(ebpf, btf));
        let mut hooks = vec![MachineHook::new(EXEC, Place::Tracepoint, exec)];
        for (name, at) in CALLS {
            hooks.push(MachineHook::new(name, Place::Cgroup(at), load_call(ebpf, name)));
        }
        let load = globals.as_ref().map_or(0, |globals| globals.load);
        let guard = SocketGuard::load(ebpf, btf, features)?;
        Ok(Self { hooks, guard, active: typed(ebpf, "EXEC_LOAD")?, load, pins })
    }

    /// Puts each program where it belongs, in place of an earlier daemon's, and pins it there. What does
    /// not work is kept as a problem.
    pub fn attach(&mut self) {
        let Self { hooks, guard, active, load, pins } = self;
        for hook in hooks {
            hook.settle(pins);
        }
        guard.attach(pins);
        // From here on this load's program records an exec, and an earlier one beside it does not.
        if let Err(error) = active.set(0, *load, 0)
            && let Some(exec) = self.hooks.first_mut()
        {
            exec.note(causes(&error));
        }
        let Self { hooks, guard, pins, .. } = self;
        for hook in hooks.iter_mut().chain(guard.hooks_mut()) {
            if let Err(error) = hook.keep(pins) {
                hook.note(causes(&error));
            }
        }
    }

    /// The programs as the kernel has them now.
    #[must_use]
    pub fn list(&self) -> Vec<ProcessProgram> {
        self.hooks.iter().map(MachineHook::describe).collect()
    }

    /// What guards unix sockets.
    #[must_use]
    pub const fn guard(&self) -> &SocketGuard {
        &self.guard
    }

    /// Whether every program that refuses calls could be attached.
    #[must_use]
    pub fn refuse_calls(&self) -> bool {
        let mut calls = self.hooks.iter().filter(|hook| matches!(hook.place(), Place::Cgroup(_)));
        calls.all(|hook| hook.problem().is_none())
    }

    /// Whether every program that could be attached still sits there, and is pinned.
    #[must_use]
    pub fn are_pinned(&self) -> bool {
        let pinned = self.pins.process_links().unwrap_or_default();
        self.hooks.iter().chain(self.guard.hooks()).all(|hook| hook.is_kept(&pinned))
    }

    /// Puts back what somebody took off, or took the pin of.
    pub fn pin(&mut self) -> Result<(), KernelError> {
        let pinned = self.pins.process_links()?;
        let Self { hooks, guard, pins, .. } = self;
        hooks
            .iter_mut()
            .chain(guard.hooks_mut())
            .filter(|hook| !hook.is_kept(&pinned))
            .try_for_each(|hook| hook.restore(pins))
    }
}

fn load_exec(ebpf: &mut Ebpf, btf: &Btf) -> Result<OwnedFd, String> {
    let program: &mut BtfTracePoint = ebpf
        .program_mut(EXEC)
        .and_then(|program| program.try_into().ok())
        .ok_or("it is not in the eBPF object")?;
    program.load(TRACEPOINT, btf).map_err(|error| refused(&error))?;
    own(program.fd())
}

fn load_call(ebpf: &mut Ebpf, name: &str) -> Result<OwnedFd, String> {
    let program: &mut CgroupSockAddr = ebpf
        .program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or("it is not in the eBPF object")?;
    program.load().map_err(|error| refused(&error))?;
    own(program.fd())
}
