//! Flows end in the kernel, so a frozen daemon fills nobody's quota.
//!
//! One timer ticks; each tick looks at the flows whose check is due. Checks wait in two queues, each
//! with a delay of its own, so each is in order of time. A flow is looked at soon after it opened and
//! as long as it may end soon; a long-lived one every few minutes. See docs/adr/0002.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::bpf_timer,
    helpers::generated::{bpf_loop, bpf_timer_init, bpf_timer_set_callback, bpf_timer_start},
};
use enforcer_common::{
    abi::{
        event::EndCause,
        flow::{Check, FlowKey, FlowRecord},
    },
    flow,
};

use super::{
    conversation::now_ns,
    flows::{end, load_state},
};
use crate::{
    atomic,
    maps::{CHECKS_LATER, CHECKS_SOON, FLOWS, REAPER, Reaper, SCRATCH, USAGE},
};

const CLOCK_MONOTONIC: u64 = 1;
const EBUSY: i64 = -16;
const TICK_NS: u64 = 100_000_000;
/// Bounds the time of a tick; 80,000 flows a second may end.
const CHECKS_PER_TICK: u32 = 8192;
/// Delay of `CHECKS_SOON`.
const SOON_NS: u64 = 10_000_000_000;
/// Delay of `CHECKS_LATER`.
const LATER_NS: u64 = 300_000_000_000;

/// Has the reaper look at a flow that lives for `left_ns` if nothing happens.
#[inline(always)]
pub fn schedule(
    key: &FlowKey,
    flow: *mut FlowRecord,
    left_ns: u64,
    now: u64,
    check: &mut Check,
) -> Result<(), ()> {
    let later = left_ns > LATER_NS;
    check.due_ns = now + if later { LATER_NS } else { SOON_NS };
    check.key = *key;
    check.reserved = 0;
    // SAFETY: the entry is valid for this run; a plain word that only this module writes.
    unsafe { (*flow).check_ns = check.due_ns };
    let pushed = if later { CHECKS_LATER.push(&*check, 0) } else { CHECKS_SOON.push(&*check, 0) };
    if pushed.is_ok() {
        count_check(key.endpoint, true);
    }
    pushed.map_err(|_full| ())
}

/// Whether the endpoint has fewer checks in the queues than this, of [`flow::checks_limit`].
#[inline(always)]
pub fn has_room(endpoint: u32, limit: u32) -> bool {
    USAGE.get_ptr_mut(endpoint).is_some_and(|usage| {
        // SAFETY: the entry is valid for this run; an aligned word is read at once.
        let checks = unsafe { (&raw const (*usage).checks).read_volatile() };
        checks < limit
    })
}

#[inline(always)]
fn count_check(endpoint: u32, queued: bool) {
    if let Some(usage) = USAGE.get_ptr_mut(endpoint) {
        // SAFETY: the entry is valid for this run; the word is only changed atomically.
        unsafe {
            let word = &raw mut (*usage).checks;
            if queued {
                atomic::fetch_add(word, 1);
            } else if atomic::fetch_sub(word, 1) == 0 {
                // Made anew while checks were queued: it must not wrap round.
                atomic::fetch_add(word, 1);
            }
        }
    }
}

/// Has the reaper look again when a flow may now end long before its check.
#[inline(always)]
pub fn hasten(key: &FlowKey, flow: *mut FlowRecord, left_ns: u64, now: u64) {
    if let Some(scratch) = SCRATCH.get_ptr_mut(0) {
        // SAFETY: this CPU's own slot; the other parts of it are behind `Frame`.
        hasten_with(key, flow, left_ns, now, unsafe { &mut (*scratch).check });
    }
}

/// As [`hasten`], with room for the check.
#[inline(always)]
pub fn hasten_with(
    key: &FlowKey,
    flow: *mut FlowRecord,
    left_ns: u64,
    now: u64,
    check: &mut Check,
) {
    // SAFETY: as in `schedule`.
    let check_ns = unsafe { (*flow).check_ns };
    if left_ns <= LATER_NS && check_ns > now + 2 * SOON_NS {
        // A full queue leaves the old check out of date; judging on lookup still ends the flow.
        let _full = schedule(key, flow, left_ns, now, check);
    }
}

/// Arms the timer if it is not; the first new flow does, and the next one if that failed.
#[inline(always)]
pub fn ensure_ticking() {
    let Some(reaper) = REAPER.get_ptr_mut(0) else { return };
    // SAFETY: the entry lives as long as the map; the word is changed by compare-and-swap.
    unsafe {
        if (&raw const (*reaper).armed).read_volatile() == 0
            && atomic::replace(&raw mut (*reaper).armed, 0, 1)
            && arm(&raw mut (*reaper).timer).is_err()
        {
            atomic::replace(&raw mut (*reaper).armed, 1, 0);
        }
    }
}

#[inline(always)]
fn arm(timer: *mut bpf_timer) -> Result<(), ()> {
    let map = (&raw const REAPER).cast_mut().cast::<c_void>();
    let callback = tick as *const () as *mut c_void;
    // SAFETY: the timer lies in a value of the map; the verifier checks both and the callback.
    let started = unsafe {
        let initialised = bpf_timer_init(timer, map, CLOCK_MONOTONIC);
        if initialised != 0 && initialised != EBUSY {
            return Err(());
        }
        if bpf_timer_set_callback(timer, callback) != 0 {
            return Err(());
        }
        bpf_timer_start(timer, TICK_NS, 0)
    };
    if started == 0 { Ok(()) } else { Err(()) }
}

/// What the checks of one tick share.
struct Tick {
    now: u64,
    later: bool,
}

/// One tick: what is due in both queues.
extern "C" fn tick(_map: *mut c_void, _key: *mut u32, reaper: *mut Reaper) -> i32 {
    let now = now_ns();
    let callback = check_next as *const () as *mut c_void;
    for later in [false, true] {
        let mut tick = Tick { now, later };
        // SAFETY: the callback has the type that the helper expects and `tick` outlives the call.
        unsafe { bpf_loop(CHECKS_PER_TICK, callback, (&raw mut tick).cast(), 0) };
    }
    // SAFETY: the kernel passes the value whose timer fired.
    unsafe {
        if bpf_timer_start(&raw mut (*reaper).timer, TICK_NS, 0) != 0 {
            atomic::replace(&raw mut (*reaper).armed, 1, 0);
        }
    }
    0
}

/// The check at the head of a queue; 1 ends the loop. Only this function takes from the queues,
/// and a timer's callback never runs twice at once, so the head stays where it is.
extern "C" fn check_next(_index: u32, tick: *mut Tick) -> i64 {
    // SAFETY: `tick` is the context that was given to `bpf_loop`.
    let (now, later) = unsafe { ((*tick).now, (*tick).later) };
    let head = if later { CHECKS_LATER.peek() } else { CHECKS_SOON.peek() };
    let Some(mut check) = head.ok().flatten().filter(|check: &Check| check.due_ns <= now) else {
        return 1;
    };
    let _taken = if later { CHECKS_LATER.pop() } else { CHECKS_SOON.pop() };
    look_at(&mut check, now);
    0
}

#[inline(never)]
fn look_at(check: &mut Check, now: u64) {
    let key = check.key;
    count_check(key.endpoint, false);
    let Some(flow) = FLOWS.get_ptr_mut(key) else { return };
    // SAFETY: the entry is valid for this run.
    let record = unsafe { &*flow };
    if record.check_ns != check.due_ns {
        return;
    }
    let state = load_state(flow);
    let left = flow::remaining_ns(record, state, key.protocol, now);
    // The flows of an endpoint that is gone go with it: nobody's quota counts them any more.
    let orphan = USAGE.get_ptr_mut(key.endpoint).is_none();
    // A flow that nobody would look at again must not stay.
    let cause = if orphan {
        EndCause::Gone
    } else if left == 0 {
        flow::end_cause(state)
    } else if schedule(&key, flow, left, now, check).is_err() {
        EndCause::NoRoom
    } else {
        return;
    };
    end(&key, flow, state, cause as u8);
}
