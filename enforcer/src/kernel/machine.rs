//! A program that sits on one place of the whole machine, by a link that is pinned.

use std::{
    fs::File,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use aya::programs::ProgramError;

use super::{
    KernelError, bpf, cgroups,
    pins::{PinError, Pins},
    processes::ProcessProgram,
};
use crate::causes::causes;

/// Where a program belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The tracepoint that it was loaded for.
    Tracepoint,
    /// The root of the cgroup v2 hierarchy, at this attach type (`enum bpf_attach_type`).
    Cgroup(u32),
    /// The hook of security modules that it was loaded for.
    Lsm,
}

/// See the module.
pub(super) struct MachineHook {
    name: &'static str,
    place: Place,
    /// `None`: it does not run here.
    program: Option<OwnedFd>,
    /// Why it does not run, if it does not.
    problem: Option<String>,
    link: Option<OwnedFd>,
}

impl MachineHook {
    /// A program that was loaded, or why it was not.
    pub(super) fn new(name: &'static str, place: Place, loaded: Result<OwnedFd, String>) -> Self {
        let (program, problem) = match loaded {
            Ok(program) => (Some(program), None),
            Err(why) => (None, Some(why)),
        };
        Self { name, place, program, problem, link: None }
    }

    pub(super) const fn place(&self) -> Place {
        self.place
    }

    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Notes why it does not do its work.
    pub(super) fn note(&mut self, why: String) {
        self.problem = Some(why);
    }

    /// Attaches it; what does not work is its problem from now on.
    pub(super) fn settle(&mut self, pins: &Pins) {
        self.problem = self.attach(pins).err().map(|error| causes(&error));
    }

    fn attach(&mut self, pins: &Pins) -> io::Result<()> {
        let Some(program) = &self.program else {
            return Err(io::Error::other(self.problem.clone().unwrap_or_default()));
        };
        let program = program.as_fd();
        self.link = Some(match self.place {
            // Beside an earlier daemon's, whose link goes with its pin.
            Place::Tracepoint | Place::Lsm => bpf::attach_tracing(program)?,
            Place::Cgroup(at) => {
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

    fn pin(&self, pins: &Pins) -> PathBuf {
        pins.process_link(self.name)
    }

    /// Pins it, in place of an earlier daemon's.
    pub(super) fn keep(&self, pins: &Pins) -> Result<(), PinError> {
        match &self.link {
            Some(link) => pins.put(link.as_fd(), &self.pin(pins)),
            None => Ok(()),
        }
    }

    /// Whether it sits where it was attached, if it was, and is among the pinned.
    pub(super) fn is_kept(&self, pinned: &[String]) -> bool {
        self.link.is_none() || self.sits() && pinned.iter().any(|pin| pin == self.name)
    }

    /// Puts it back where somebody took it off, and its pin.
    pub(super) fn restore(&mut self, pins: &Pins) -> Result<(), KernelError> {
        if !self.sits() {
            self.link = None;
            let program = self.name;
            self.attach(pins).map_err(|source| KernelError::AttachProcess { program, source })?;
        }
        Ok(self.keep(pins)?)
    }

    /// As it is now.
    pub(super) fn describe(&self) -> ProcessProgram {
        let gone = || (!self.sits()).then(|| "somebody took it off".to_owned());
        ProcessProgram {
            name: self.name,
            id: self.id(),
            kind: match self.place {
                Place::Tracepoint => "tracepoint",
                Place::Cgroup(_) => "cgroup",
                Place::Lsm => "lsm",
            },
            problem: self.problem.clone().or_else(gone),
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

/// A loaded program's descriptor, apart from aya.
pub(super) fn own(fd: Result<&aya::programs::ProgramFd, ProgramError>) -> Result<OwnedFd, String> {
    let fd = fd.map_err(|error| causes(&error))?;
    fd.as_fd().try_clone_to_owned().map_err(|error| error.to_string())
}

/// Why the kernel refuses a program, and where.
pub(super) fn refused(error: &ProgramError) -> String {
    if let ProgramError::LoadError { verifier_log, .. } = error {
        tracing::debug!(%verifier_log, "a program that knows the process is refused");
    }
    causes(error)
}
