//! Flows end in the kernel: each has a timer, so a frozen daemon fills nobody's quota.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::bpf_timer,
    helpers::generated::{bpf_timer_init, bpf_timer_set_callback, bpf_timer_start},
};
use enforcer_common::{abi::flow::FlowKey, flow};

use super::{
    conversation::now_ns,
    flows::{end, load_state},
};
use crate::maps::{FLOWS, Flow};

const CLOCK_MONOTONIC: u64 = 1;
/// The coarse clock lags by up to a tick: fire behind it, not before it.
const SLACK_NS: u64 = 10_000_000;

/// Starts the timer of a new flow.
#[inline(always)]
pub fn arm(timer: *mut bpf_timer, after_ns: u64) -> Result<(), ()> {
    let map = (&raw const FLOWS).cast_mut().cast::<c_void>();
    let callback = expire as *const () as *mut c_void;
    // SAFETY: the timer lies in a value of the map; the verifier checks both and the callback.
    let result = unsafe {
        if bpf_timer_init(timer, map, CLOCK_MONOTONIC) != 0 {
            return Err(());
        }
        if bpf_timer_set_callback(timer, callback) != 0 {
            return Err(());
        }
        bpf_timer_start(timer, after_ns + SLACK_NS, 0)
    };
    if result == 0 { Ok(()) } else { Err(()) }
}

/// Makes the timer fire earlier than it would have.
#[inline(always)]
pub fn rearm(timer: *mut bpf_timer, after_ns: u64) {
    // SAFETY: the timer lies in a value of the map. It fails only when the entry is being
    // deleted.
    unsafe { bpf_timer_start(timer, after_ns + SLACK_NS, 0) };
}

/// Ends the flow, or waits for what is left of its time.
extern "C" fn expire(_map: *mut c_void, key: *mut FlowKey, flow: *mut Flow) -> i32 {
    // SAFETY: the kernel passes the key and value of the entry whose timer fired.
    let (key, record) = unsafe { (*key, &(*flow).record) };
    let state = load_state(flow);
    let left = flow::remaining_ns(record, state, key.protocol, now_ns());
    if left == 0 {
        end(&key, flow, state);
    } else {
        // SAFETY: only computes an address within the entry.
        rearm(unsafe { &raw mut (*flow).timer }, left);
    }
    0
}
