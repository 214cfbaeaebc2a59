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

/// Handles of our filters: a new one is put in place beside the old one, which goes afterwards.
/// Filters of others have other handles; the kernel counts up from 1.
const HANDLES: [TcHandle; 2] = [TcHandle::new(MAJOR, 1), TcHandle::new(MAJOR, 2)];

/// Puts a filter of ours first on an interface, and then removes the one that was there: this
/// daemon's, or an earlier one's. A frame may pass both for a moment; none passes neither.
///
/// aya attaches by name only, and a name can move to another interface while we use it: checked
/// before and after.
pub(super) fn attach(
    program: &mut SchedClassifier,
    ifindex: u32,
    hook: Hook,
) -> Result<(), KernelError> {
    let failed = |source| KernelError::Attach { program: hook.name(), ifindex, source };
    let name = sys::interface_name(ifindex).map_err(failed)?;
    let outcome = put(program, &name, direction(hook));
    match sys::interface_name(ifindex) {
        Ok(after) if after == name => match outcome {
            Ok(link) => {
                // Dropping it would remove the filter, which is to outlive this process.
                std::mem::forget(link);
                Ok(())
            }
            Err(source) => Err(KernelError::AttachFilter { program: hook.name(), ifindex, source }),
        },
        // Dropping the link takes the filter off the interface that has the name now.
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

fn put(
    program: &mut SchedClassifier,
    name: &str,
    direction: TcAttachType,
) -> Result<SchedClassifierLink, ProgramError> {
    // Exists already: as good. Anything else shows in the attach below.
    let _ = tc::qdisc_add_clsact(name);
    let [one, other] = HANDLES;
    let (link, old) = if let Ok(link) = add(program, name, direction, one) {
        (link, other)
    } else if let Ok(link) = add(program, name, direction, other) {
        (link, one)
    } else {
        // Both are there: a daemon was killed between the two steps.
        remove(name, direction, one);
        (add(program, name, direction, one)?, other)
    };
    remove(name, direction, old);
    Ok(link)
}

/// Among filters of one priority the kernel runs the newest first.
fn add(
    program: &mut SchedClassifier,
    name: &str,
    direction: TcAttachType,
    handle: TcHandle,
) -> Result<SchedClassifierLink, ProgramError> {
    let options = TcAttachOptions::Netlink(NlOptions { priority: FIRST, handle, classid: None });
    let id = program.attach_with_options(name, direction, options)?;
    program.take_link(id)
}

/// Removes a filter of ours; none there, or no interface, is as good.
fn remove(name: &str, direction: TcAttachType, handle: TcHandle) {
    drop(SchedClassifierLink::attached(name, direction, FIRST, handle, None));
}
