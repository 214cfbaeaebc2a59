//! What user space knows of: flows of a table of another layout or of conntrack, and such a table's counts.
//!
//! They get in as flows opened by packets do, within the same quotas and with the same reaper. Programs
//! may judge packets of the same flow at the same time.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use enforcer_common::{
    abi::{
        flow::{Check, FlowKey, FlowRecord},
        import::{IMPORT_BATCH, IMPORT_OFFSET, Import, ImportCounter, Outcome, Outcomes},
        policy::Policy,
        verdict::DropReason,
    },
    decide::Opener,
    flow::{self, FlowState, Phase},
};

use super::{
    conversation::now_ns,
    count,
    flows::{load_state, swap_state, take_out},
    open::LetIn,
    policy,
    quotas::{release, reserve},
    reap,
};
use crate::{
    atomic,
    maps::{ENDPOINTS, FLOWS, IMPORT_SCRATCH},
    skb::Skb,
};

#[expect(clippy::cast_possible_truncation, reason = "a handful")]
const BATCH: u32 = IMPORT_BATCH as u32;

/// Where an element of a frame starts.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a few hundred bytes")]
const fn place<T>(index: u32) -> u32 {
    IMPORT_OFFSET as u32 + index * size_of::<T>() as u32
}

/// What the entries of one frame share.
struct Run {
    skb: Skb,
    now: u64,
    outcomes: Outcomes,
}

/// Takes the flows of one frame.
#[inline(always)]
pub fn import_flows(skb: Skb) -> Outcomes {
    // A daemon that took over has the timer run its own program.
    reap::ensure_ticking();
    let mut run = Run { skb, now: now_ns(), outcomes: Outcomes::default() };
    let callback = import_next as *const () as *mut c_void;
    // SAFETY: the callback has the type that the helper expects and `run` outlives the call.
    unsafe { bpf_loop(BATCH, callback, (&raw mut run).cast(), 0) };
    run.outcomes
}

/// Adds the counts of one frame; how many.
#[inline(always)]
pub fn import_counters(skb: Skb) -> u32 {
    let mut taken = 0;
    for index in 0..BATCH {
        let Some(scratch) = IMPORT_SCRATCH.get_ptr_mut(0) else { break };
        // SAFETY: as in `import_next`.
        let read = unsafe {
            let offset = place::<ImportCounter>(index);
            skb.copy_into(offset, &mut (*scratch).counter)
        };
        if !read {
            break;
        }
        // SAFETY: as above.
        count::add(unsafe { &(*scratch).counter });
        taken += 1;
    }
    taken
}

/// The next entry of the frame; 1 ends the loop.
extern "C" fn import_next(index: u32, run: *mut Run) -> i64 {
    let Some(scratch) = IMPORT_SCRATCH.get_ptr_mut(0) else { return 1 };
    // SAFETY: this CPU's own slot, and no other reference to it: see `IMPORT_SCRATCH`. `run` is the
    // context that was given to `bpf_loop`. An `Import` is plain integers.
    unsafe {
        let offset = place::<Import>(index);
        if !(*run).skb.copy_into(offset, &mut (*scratch).import) {
            return 1;
        }
        let outcome = import(&mut (*scratch).import, &mut (*scratch).check, (*run).now);
        (*run).outcomes.set(index, outcome);
    }
    0
}

/// A BPF function of its own, for a stack of its own.
#[inline(never)]
fn import(import: &mut Import, check: &mut Check, now: u64) -> Outcome {
    // SAFETY: entries are replaced as a whole by the daemon, never written here.
    let Some(endpoint) = (unsafe { ENDPOINTS.get(import.ifindex) }) else {
        return Outcome::NoEndpoint;
    };
    if endpoint.id != import.key.endpoint {
        return Outcome::NoEndpoint;
    }
    let Ok(policy) = policy::of(endpoint) else { return Outcome::NoEndpoint };
    let (key, record) = (&import.key, &mut import.record);
    if record.last_seen_ns > now {
        // It would outlive its time.
        record.last_seen_ns = now;
    }
    if let Some(known) = FLOWS.get_ptr_mut(key) {
        // SAFETY: the entry is valid for this run; the word is never written after its insertion.
        let opened_ns = unsafe { (*known).opened_ns };
        if opened_ns == record.opened_ns {
            return merge(key, known, record, policy, check);
        }
        if opened_ns > record.opened_ns {
            return Outcome::Newer;
        }
        // The other table has a later flow under this key, so this one was over.
        take_out(key, known, load_state(known));
    }
    let state = FlowState::from_word(record.state);
    let left_ns = flow::remaining_ns(record, state, key.protocol, now);
    if left_ns == 0 {
        return Outcome::Over;
    }
    let limit = limit(policy, state, record.opener);
    let checks = flow::checks_limit(&policy.quotas, Opener::from_value(record.opener));
    let let_in = LetIn { key, state, limit, checks, left_ns, now };
    match let_in.reserve().and_then(|()| let_in.put(record, check)) {
        Ok(true) => Outcome::Taken,
        // Opened by a packet at this moment.
        Ok(false) => Outcome::Newer,
        Err(reason) => refused(reason),
    }
}

/// Adds what only the other table saw of a flow.
#[inline(always)]
fn merge(
    key: &FlowKey,
    known: *mut FlowRecord,
    other: &FlowRecord,
    policy: &Policy,
    check: &mut Check,
) -> Outcome {
    let state = load_state(known);
    let next = flow::merged(state, FlowState::from_word(other.state));
    let (old_class, new_class) = (state.quota_class(), next.quota_class());
    let outbound = next.is_outbound();
    if old_class != new_class {
        let limit = flow::limit(&policy.quotas, new_class, outbound);
        if let Err(reason) = reserve(key.endpoint, new_class, outbound, limit) {
            return refused(reason);
        }
        // When a packet moved it just now, the place of the class that it did not reach is free.
        let moved = swap_state(known, state, next);
        release(key.endpoint, if moved { old_class } else { new_class }, outbound);
    } else if next != state {
        let _moved_by_a_packet = swap_state(known, state, next);
    }
    // SAFETY: the entry is valid for this run; counters are atomic, for the rest see `catch_up`.
    unsafe {
        atomic::add64(&raw mut (*known).packets_out, other.packets_out);
        atomic::add64(&raw mut (*known).bytes_out, other.bytes_out);
        atomic::add64(&raw mut (*known).packets_in, other.packets_in);
        atomic::add64(&raw mut (*known).bytes_in, other.bytes_in);
        flow::catch_up(&mut *known, other);
    }
    reap::hasten_with(key, known, flow::timeout_ns(next, key.protocol), now_ns(), check);
    Outcome::Merged
}

#[inline(always)]
fn limit(policy: &Policy, state: FlowState, opener: u32) -> u32 {
    if state.phase() == Phase::HalfOpen || state.phase() == Phase::Replied {
        return flow::opening_limit(&policy.quotas, Opener::from_value(opener));
    }
    flow::limit(&policy.quotas, state.quota_class(), state.is_outbound())
}

#[inline(always)]
const fn refused(reason: DropReason) -> Outcome {
    match reason {
        DropReason::QuotaHalfOpen | DropReason::QuotaEstablished => Outcome::Quota,
        DropReason::FlowTableFull => Outcome::Full,
        // There is no usage entry: the endpoint goes.
        _ => Outcome::NoEndpoint,
    }
}
