//! Programs that know the process. Each sits on one place for the whole machine, by a link that is
//! pinned: the tracepoint of exec, and the root of the cgroup v2 hierarchy, so that a guest is known
//! from its first process on wherever its cgroup is. The packet path does without them: where one
//! cannot be loaded or attached, that is told, and everything else goes on.

use std::{
    fs::File,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use aya::{
    Btf, Ebpf,
    maps::{Array, MapData},
    programs::{BtfTracePoint, CgroupSockAddr, ProgramError},
};

use super::{KernelError, bpf, cgroups, fields::Fields, load::LoadError, maps::typed, pins::Pins};
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

/// The programs and where they sit.
pub struct Processes {
    hooks: Vec<ProcessHook>,
    active: Array<MapData, u64>,
    load: u64,
    pins: Pins,
}

struct ProcessHook {
    name: &'static str,
    /// `None`: it does not run here.
    program: Option<OwnedFd>,
    /// Why it does not run, if it does not.
    problem: Option<String>,
    link: Option<OwnedFd>,
    /// `None`: the tracepoint.
    cgroup: Option<u32>,
}

/// One of the programs, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessProgram {
    /// Its name.
    pub name: &'static str,
    /// Kernel's id; 0: it is not loaded.
    pub id: u32,
    /// `tracepoint` or `cgroup`.
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
        pins: Pins,
    ) -> Result<Self, LoadError> {
        let mut hooks = vec![match globals {
            Ok(_) => ProcessHook::new(EXEC, None, load_exec(ebpf, btf)),
            Err(why) => ProcessHook::new(EXEC, None, Err(why.clone())),
        }];
        for (name, at) in CALLS {
            hooks.push(ProcessHook::new(name, Some(at), load_call(ebpf, name)));
        }
        let load = globals.as_ref().map_or(0, |globals| globals.load);
        Ok(Self { hooks, active: typed(ebpf, "EXEC_LOAD")?, load, pins })
    }

    /// Puts each program where it belongs, in place of an earlier daemon's, and pins it there. What does
    /// not work is kept as a problem.
    pub fn attach(&mut self) {
        let Self { hooks, active, load, pins } = self;
        for hook in hooks {
            hook.problem = match hook.attach(pins) {
                Ok(()) => None,
                Err(error) => Some(causes(&error)),
            };
        }
        // From here on this load's program records an exec, and an earlier one beside it does not.
        if let Err(error) = active.set(0, *load, 0)
            && let Some(exec) = self.hooks.first_mut()
        {
            exec.problem = Some(causes(&error));
        }
        for hook in &mut self.hooks {
            if let Err(error) = hook.keep(&self.pins) {
                hook.problem = Some(causes(&error));
            }
        }
    }

    /// The programs as the kernel has them now.
    #[must_use]
    pub fn list(&self) -> Vec<ProcessProgram> {
        let one = |hook: &ProcessHook| ProcessProgram {
            name: hook.name,
            id: hook.id(),
            kind: if hook.cgroup.is_some() { "cgroup" } else { "tracepoint" },
            problem: hook
                .problem
                .clone()
                .or_else(|| (!hook.sits()).then(|| "somebody took it off".to_owned())),
        };
        self.hooks.iter().map(one).collect()
    }

    /// Whether every program that refuses calls could be attached.
    #[must_use]
    pub fn refuse_calls(&self) -> bool {
        let mut calls = self.hooks.iter().filter(|hook| hook.cgroup.is_some());
        calls.all(|hook| hook.problem.is_none())
    }

    /// Whether every program that could be attached still sits there, and is pinned.
    #[must_use]
    pub fn are_pinned(&self) -> bool {
        let pinned = self.pins.process_links().unwrap_or_default();
        let is_kept = |hook: &ProcessHook| hook.sits() && pinned.iter().any(|pin| pin == hook.name);
        self.hooks.iter().filter(|hook| hook.link.is_some()).all(is_kept)
    }

    /// Puts back what somebody took off, or took the pin of.
    pub fn pin(&mut self) -> Result<(), KernelError> {
        let pinned = self.pins.process_links()?;
        for hook in self.hooks.iter_mut().filter(|hook| hook.link.is_some()) {
            if !hook.sits() {
                hook.link = None;
                let program = hook.name;
                hook.attach(&self.pins)
                    .map_err(|source| KernelError::AttachProcess { program, source })?;
                hook.keep(&self.pins)?;
            } else if !pinned.iter().any(|pin| pin == hook.name) {
                hook.keep(&self.pins)?;
            }
        }
        Ok(())
    }
}

impl ProcessHook {
    fn new(name: &'static str, cgroup: Option<u32>, loaded: Result<OwnedFd, String>) -> Self {
        let (program, problem) = match loaded {
            Ok(program) => (Some(program), None),
            Err(why) => (None, Some(why)),
        };
        Self { name, program, problem, link: None, cgroup }
    }

    fn pin(&self, pins: &Pins) -> PathBuf {
        pins.process_link(self.name)
    }

    fn attach(&mut self, pins: &Pins) -> io::Result<()> {
        let Some(program) = &self.program else {
            return Err(io::Error::other(self.problem.clone().unwrap_or_default()));
        };
        let program = program.as_fd();
        self.link = Some(match self.cgroup {
            // Beside an earlier daemon's, whose link goes with its pin.
            None => bpf::attach_tracepoint(program)?,
            Some(at) => {
                let root = cgroups::root()
                    .ok_or_else(|| io::Error::other("no cgroup v2 hierarchy is mounted here"))?;
                let root = File::open(root)?;
                match bpf::open_pin(&self.pin(pins)) {
                    Ok(link) if switches(&link, program).unwrap_or(false) => link,
                    _ => bpf::attach_cgroup(program, root.as_fd(), at)?,
                }
            }
        });
        Ok(())
    }

    /// Pins it, in place of an earlier daemon's.
    fn keep(&self, pins: &Pins) -> Result<(), super::pins::PinError> {
        match &self.link {
            Some(link) => pins.put(link.as_fd(), &self.pin(pins)),
            None => Ok(()),
        }
    }

    fn sits(&self) -> bool {
        self.link.as_ref().is_some_and(|link| bpf::is_attached(link.as_fd()).unwrap_or(false))
    }

    fn id(&self) -> u32 {
        self.program.as_ref().and_then(|program| bpf::program_id(program.as_fd()).ok()).unwrap_or(0)
    }
}

/// Has an earlier daemon's link run this program, from one call to the next; false: it does nothing.
fn switches(link: &OwnedFd, program: BorrowedFd<'_>) -> io::Result<bool> {
    if !bpf::is_attached(link.as_fd())? {
        return Ok(false);
    }
    bpf::update_link(link.as_fd(), program)?;
    Ok(true)
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

fn own(fd: Result<&aya::programs::ProgramFd, ProgramError>) -> Result<OwnedFd, String> {
    let fd = fd.map_err(|error| causes(&error))?;
    fd.as_fd().try_clone_to_owned().map_err(|error| error.to_string())
}

/// Why the kernel refuses a program, and where.
fn refused(error: &ProgramError) -> String {
    if let ProgramError::LoadError { verifier_log, .. } = error {
        tracing::debug!(%verifier_log, "a program that knows the process is refused");
    }
    causes(error)
}
