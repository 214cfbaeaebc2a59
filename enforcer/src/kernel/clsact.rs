//! Programs on kernels without TCX: filters of an interface's clsact qdisc. A filter stays until
//! somebody removes it; ours are known by their handles.

use std::io;

use aya::programs::{
    ProgramError, SchedClassifier, TcAttachType,
    tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle},
};
use enforcer_common::abi::event::Hook;

use super::{KernelError, links::is_ingress, sys};

/// Priority of our filters: none runs earlier.
const FIRST: u16 = 1;

/// "ef": the major number of the handles of our filters.
pub const MAJOR: u16 = 0x6566;

/// Handles of our filters: there are two for as long as one is put before other programs and the
/// one behind them goes. Filters of others have other handles; the kernel counts up from 1.
const HANDLES: [TcHandle; 2] = [TcHandle::new(MAJOR, 1), TcHandle::new(MAJOR, 2)];

/// Puts a program on an interface, first in its hook. A filter of an earlier daemon gets the program
/// in place, from one frame to the next. Where ours `was_displaced` by another program, a new one goes
/// before it, and then the old one goes; a frame may pass both for a moment.
///
/// aya attaches by name only, and a name can move to another interface while we use it: checked
/// before and after.
pub(super) fn attach(
    program: &mut SchedClassifier,
    ifindex: u32,
    hook: Hook,
    was_displaced: bool,
) -> Result<(), KernelError> {
    let failed = |source| KernelError::Attach { program: hook.name(), ifindex, source };
    let name = sys::interface_name(ifindex).map_err(failed)?;
    let place = Place { name: &name, direction: direction(hook) };
    let outcome = place.put(program, was_displaced);
    match sys::interface_name(ifindex) {
        Ok(after) if after == name => outcome.map_err(|source| KernelError::AttachFilter {
            program: hook.name(),
            ifindex,
            source,
        }),
        _ => Err(failed(io::Error::from_raw_os_error(libc::ENODEV))),
    }
}

/// Takes our filters off an interface. Idempotent; an interface that is gone is no error.
pub(super) fn detach(ifindex: u32, hook: Hook) {
    if let Ok(name) = sys::interface_name(ifindex) {
        for handle in HANDLES {
            remove(&name, direction(hook), handle);
        }
    }
}

const fn direction(hook: Hook) -> TcAttachType {
    if is_ingress(hook) { TcAttachType::Ingress } else { TcAttachType::Egress }
}

/// One side of an interface.
struct Place<'a> {
    name: &'a str,
    direction: TcAttachType,
}

impl Place<'_> {
    fn put(&self, program: &mut SchedClassifier, was_displaced: bool) -> Result<(), ProgramError> {
        // Exists already: as good. Anything else shows in the attach below.
        let _ = tc::qdisc_add_clsact(self.name);
        if !was_displaced {
            // None of ours there is the common case, and what the second try then says.
            for (handle, other) in [HANDLES, [HANDLES[1], HANDLES[0]]].map(<_>::into) {
                if self.replace(program, handle).is_ok() {
                    remove(self.name, self.direction, other);
                    return Ok(());
                }
            }
            return self.add(program, HANDLES[0]);
        }
        let [one, other] = HANDLES;
        let behind = match self.add(program, one) {
            Ok(()) => other,
            Err(error) if exists(&error) => match self.add(program, other) {
                Ok(()) => one,
                // Both are there: a daemon ended between the two steps.
                Err(error) if exists(&error) => {
                    self.replace(program, one)?;
                    other
                }
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error),
        };
        remove(self.name, self.direction, behind);
        Ok(())
    }

    /// Has a filter that is there run this program.
    fn replace(&self, program: &mut SchedClassifier, handle: TcHandle) -> Result<(), ProgramError> {
        let link = SchedClassifierLink::attached(self.name, self.direction, FIRST, handle, None)?;
        let id = program.attach_to_link(link)?;
        program.take_link(id).map(keep)
    }

    /// Among filters of one priority the kernel runs the newest first.
    fn add(&self, program: &mut SchedClassifier, handle: TcHandle) -> Result<(), ProgramError> {
        let options =
            TcAttachOptions::Netlink(NlOptions { priority: FIRST, handle, classid: None });
        let id = program.attach_with_options(self.name, self.direction, options)?;
        program.take_link(id).map(keep)
    }
}

/// Dropping it would remove the filter, which is to outlive this process.
fn keep(link: SchedClassifierLink) {
    std::mem::forget(link);
}

/// Whether a filter has that handle already.
fn exists(error: &ProgramError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::AlreadyExists;
        }
        cause = error.source();
    }
    false
}

/// Removes a filter of ours; none there, or no interface, is as good.
fn remove(name: &str, direction: TcAttachType, handle: TcHandle) {
    drop(SchedClassifierLink::attached(name, direction, FIRST, handle, None));
}
