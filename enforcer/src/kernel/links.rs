//! Programs on interfaces. With TCX a link is a descriptor that this process holds; without it, a
//! filter of the interface's clsact qdisc. Ours run before any other program.

use std::{collections::BTreeMap, io, os::fd::OwnedFd};

use aya::{
    Ebpf,
    programs::{
        ProgramError, SchedClassifier, TcAttachType,
        tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle},
    },
};
use enforcer_common::abi::event::Hook;

use super::{
    KernelError,
    sys::{self, TcxHook},
};

/// One program on one interface; dropping it detaches.
enum Attachment {
    Tcx(#[expect(dead_code, reason = "held for its Drop: the link lives as long as it")] OwnedFd),
    Clsact(SchedClassifierLink),
}

/// Priority of our filters: none runs earlier.
const FIRST: u16 = 1;

/// Handles of our filters, "ef" as the major number: a new one is put in place beside the old one,
/// which goes afterwards. Filters of others have other handles; the kernel counts up from 1.
const HANDLES: [TcHandle; 2] = [TcHandle::new(0x6566, 1), TcHandle::new(0x6566, 2)];

/// The loaded programs and where they sit.
pub struct Hooks {
    pub(super) programs: Ebpf,
    /// Kernel's ids of the programs, in the order of [`Hook::ALL`].
    pub(super) ids: [u32; 4],
    pub(super) tcx: bool,
    attachments: BTreeMap<(u32, Hook), Attachment>,
}

/// Whether a hook sees what enters the interface.
#[must_use]
pub const fn is_ingress(hook: Hook) -> bool {
    matches!(hook, Hook::FromGuest | Hook::FromBridge)
}

const fn tcx_hook(hook: Hook) -> TcxHook {
    if is_ingress(hook) { TcxHook::Ingress } else { TcxHook::Egress }
}

impl Hooks {
    pub(super) fn new(programs: Ebpf, ids: [u32; 4], tcx: bool) -> Self {
        Self { programs, ids, tcx, attachments: BTreeMap::new() }
    }

    /// Whether TCX links are used; otherwise clsact filters.
    #[must_use]
    pub const fn uses_tcx(&self) -> bool {
        self.tcx
    }

    /// Kernel's id of a program.
    #[must_use]
    pub fn program_id(&self, hook: Hook) -> u32 {
        Hook::ALL.iter().position(|other| *other == hook).map_or(0, |index| self.ids[index])
    }

    /// What this process attached and did not detach.
    pub fn held(&self) -> impl Iterator<Item = (u32, Hook)> + '_ {
        self.attachments.keys().copied()
    }

    /// Puts a program on an interface, first in its hook. Blocks: the kernel needs 10 ms or so, and
    /// holds its lock on network configuration.
    pub fn attach(&mut self, ifindex: u32, hook: Hook) -> Result<(), KernelError> {
        if self.sits_first(ifindex, hook) {
            return Ok(());
        }
        // Detached behind our back, or no longer the first.
        let attachment = if self.tcx {
            // The kernel refuses the same program twice on a hook, so the old link goes first;
            // meanwhile nothing stamps this port's frames.
            self.attachments.remove(&(ifindex, hook));
            self.attach_tcx(ifindex, hook)?
        } else {
            self.attach_clsact(ifindex, hook)?
        };
        if let Some(Attachment::Clsact(old)) = self.attachments.insert((ifindex, hook), attachment)
        {
            // Its filter was removed above, and its handle may be the new one's by now.
            std::mem::forget(old);
        }
        Ok(())
    }

    /// Takes a program off an interface. Idempotent; an interface that is gone is no error.
    pub fn detach(&mut self, ifindex: u32, hook: Hook) {
        self.attachments.remove(&(ifindex, hook));
    }

    /// Ids of all programs on the interface's side that `hook` is on, as the kernel reports them.
    /// TCX only.
    pub fn query(&self, ifindex: u32, hook: Hook) -> Result<Vec<u32>, KernelError> {
        sys::query_tcx(ifindex, tcx_hook(hook))
            .map_err(|source| KernelError::Query { ifindex, source })
    }

    fn sits_first(&self, ifindex: u32, hook: Hook) -> bool {
        let held = self.attachments.contains_key(&(ifindex, hook));
        held && self.tcx
            && self
                .query(ifindex, hook)
                .is_ok_and(|ids| ids.first() == Some(&self.program_id(hook)))
    }

    fn attach_tcx(&mut self, ifindex: u32, hook: Hook) -> Result<Attachment, KernelError> {
        let failed = |source| KernelError::Attach { program: hook.name(), ifindex, source };
        let program = self.program(hook).map_err(|e| failed(io::Error::other(e)))?;
        let fd = program.fd().map_err(|e| failed(io::Error::other(e)))?;
        let fd = std::os::fd::AsFd::as_fd(fd);
        sys::attach_tcx(fd, ifindex, tcx_hook(hook)).map(Attachment::Tcx).map_err(failed)
    }

    /// aya attaches by name only, and a name can move to another interface while we use it: checked
    /// before and after.
    fn attach_clsact(&mut self, ifindex: u32, hook: Hook) -> Result<Attachment, KernelError> {
        let failed = |source| KernelError::Attach { program: hook.name(), ifindex, source };
        let name = sys::interface_name(ifindex).map_err(failed)?;
        let outcome = self.put_filter(&name, hook);
        match sys::interface_name(ifindex) {
            Ok(after) if after == name => outcome.map(Attachment::Clsact).map_err(|source| {
                KernelError::AttachFilter { program: hook.name(), ifindex, source }
            }),
            // Dropping the link takes the filter off the interface that has the name now.
            _ => Err(failed(io::Error::from_raw_os_error(libc::ENODEV))),
        }
    }

    /// Puts a filter of ours first on an interface, and then removes the one that was there: this
    /// daemon's, or that of a killed one, which knows maps that nobody fills. A frame may pass both
    /// for a moment; none passes neither.
    fn put_filter(&mut self, name: &str, hook: Hook) -> Result<SchedClassifierLink, ProgramError> {
        // Exists already: as good. Anything else shows in the attach below.
        let _ = tc::qdisc_add_clsact(name);
        let direction = if is_ingress(hook) { TcAttachType::Ingress } else { TcAttachType::Egress };
        let [one, other] = HANDLES;
        let (link, old) = if let Ok(link) = self.add_filter(name, direction, hook, one) {
            (link, other)
        } else if let Ok(link) = self.add_filter(name, direction, hook, other) {
            (link, one)
        } else {
            // Both are there: a daemon was killed between the two steps.
            remove_filter(name, direction, one);
            (self.add_filter(name, direction, hook, one)?, other)
        };
        remove_filter(name, direction, old);
        Ok(link)
    }

    /// Among filters of one priority the kernel runs the newest first.
    fn add_filter(
        &mut self,
        name: &str,
        direction: TcAttachType,
        hook: Hook,
        handle: TcHandle,
    ) -> Result<SchedClassifierLink, ProgramError> {
        let options =
            TcAttachOptions::Netlink(NlOptions { priority: FIRST, handle, classid: None });
        let program = self.program(hook)?;
        let id = program.attach_with_options(name, direction, options)?;
        program.take_link(id)
    }

    fn program(&mut self, hook: Hook) -> Result<&mut SchedClassifier, ProgramError> {
        self.programs.program_mut(hook.name()).ok_or(ProgramError::NotLoaded)?.try_into()
    }
}

/// Removes a filter of ours; none there, or no interface, is as good.
fn remove_filter(name: &str, direction: TcAttachType, handle: TcHandle) {
    drop(SchedClassifierLink::attached(name, direction, FIRST, handle, None));
}
