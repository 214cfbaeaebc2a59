//! A process of a guest began to run a program.

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{
        bpf_get_current_task, bpf_probe_read_kernel, bpf_probe_read_kernel_str,
        bpf_ringbuf_reserve, bpf_ringbuf_submit,
    },
    programs::BtfTracePointContext,
};
use enforcer_common::abi::{
    counter::{CounterKey, EXEC},
    event::{EVENT_ABI, EXECUTABLE_BYTES, EventKind, Exec},
};

use super::who;
use crate::{
    maps::EXEC_LOAD,
    net::{
        count::OfProcess,
        emit::{ring, wakeup},
    },
};

/// Number of this load of the program, as in `EXEC_LOAD`; set by the loader.
#[unsafe(no_mangle)]
static EXEC_LOADED: u64 = 0;
/// Places of fields in this kernel's structures, bytes; set by the loader.
#[unsafe(no_mangle)]
static BPRM_FILENAME: u32 = 0;
/// Of `task_struct.real_parent`.
#[unsafe(no_mangle)]
static TASK_PARENT: u32 = 0;
/// Of `task_struct.tgid`.
#[unsafe(no_mangle)]
static TASK_TGID: u32 = 0;

/// Room for the program's name, bytes.
#[expect(clippy::cast_possible_truncation, reason = "a few hundred bytes")]
const EXECUTABLE_ROOM: u32 = EXECUTABLE_BYTES as u32;
/// Index of `struct linux_binprm *bprm` among the tracepoint's arguments.
const BPRM: usize = 2;

/// Counts it, and records it as far as the guest's rate goes. Runs with preemption off.
#[inline(always)]
pub fn exec(ctx: &BtfTracePointContext) {
    // SAFETY: set before the program is loaded, and frozen since.
    let load = unsafe { (&raw const EXEC_LOADED).read_volatile() };
    if EXEC_LOAD.get(0).is_none_or(|active| *active != load) {
        return;
    }
    let Some(owner) = who::guest() else { return };
    let key = CounterKey { owner: owner.owner, reason: EXEC, hook: 0, reserved: 0 };
    let Some(counter) = OfProcess::one(&key) else { return };
    let now = who::now_ns();
    if !counter.take_token(now) {
        counter.suppressed();
        return;
    }
    // SAFETY: the map is a ring buffer, and the length is a constant, as the verifier wants it.
    let slot = unsafe { bpf_ringbuf_reserve(ring(), size_of::<Exec>() as u64, 0) };
    if slot.is_null() {
        counter.lost();
        return;
    }
    let event = slot.cast::<Exec>();
    // SAFETY: the slot is as long as an `Exec` and 8-byte aligned; `executable` is written as far as
    // `executable_len` says, everything else wholly.
    unsafe {
        (*event).abi = EVENT_ABI;
        (*event).kind = EventKind::Exec as u16;
        (*event).owner = owner.owner;
        (*event).time_ns = now;
        who::describe(&raw mut (*event).process, parent());
        (*event).reserved = 0;
        let bprm = ctx.as_ptr().cast::<u64>().add(BPRM).read();
        let name = pointer(bprm, (&raw const BPRM_FILENAME).read_volatile());
        let room = (&raw mut (*event).executable).cast();
        let length = bpf_probe_read_kernel_str(room, EXECUTABLE_ROOM, name as *const _);
        // With its NUL; negative: not readable.
        (*event).executable_len = if length > 0 { without_nul(length) } else { 0 };
    }
    counter.recorded();
    // SAFETY: reserved above, and given back once.
    unsafe { bpf_ringbuf_submit(slot, wakeup()) };
}

#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "from 1 to the room that there is"
)]
const fn without_nul(length: i64) -> u32 {
    (length - 1) as u32
}

/// Process id of the current process's parent; 0: not readable.
#[inline(always)]
fn parent() -> u32 {
    // SAFETY: the helpers check the addresses that they read; offsets are set as above.
    unsafe {
        let parent = pointer(bpf_get_current_task(), (&raw const TASK_PARENT).read_volatile());
        let mut tgid = 0u32;
        let at = parent + u64::from((&raw const TASK_TGID).read_volatile());
        if bpf_probe_read_kernel((&raw mut tgid).cast(), 4, at as *const _) == 0 { tgid } else { 0 }
    }
}

/// The pointer in a kernel structure; 0: not readable.
#[inline(always)]
unsafe fn pointer(structure: u64, offset: u32) -> u64 {
    let mut found = 0u64;
    let at = (structure + u64::from(offset)) as *const _;
    // SAFETY: the helper checks the address that it reads.
    if unsafe { bpf_probe_read_kernel((&raw mut found).cast(), 8, at) } == 0 { found } else { 0 }
}
