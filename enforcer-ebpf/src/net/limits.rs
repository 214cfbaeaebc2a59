//! Rates of an endpoint: what rules let pass takes its place in a bucket, or is denied.
//!
//! Denied frames are not charged: a guest whose program tries what is forbidden, over and over, loses
//! nothing of what it may do, and a bucket stays as it is while a flood is turned away. What is charged and
//! then denied by another limit, or by a quota, has taken its place.
//!
//! A bucket is changed by compare-and-swap, so that on any number of CPUs no more passes than the limit
//! says. A frame that loses the race [`TRIES`] times is denied; as many other frames have passed meanwhile.

use aya_ebpf::bindings::__sk_buff;
use enforcer_common::{
    abi::{
        counter::{Buckets, Usage},
        endpoint::{Endpoint, Role},
        policy::{Policy, Rate},
        verdict::DropReason,
    },
    limit::{self, ANSWERS, NEIGHBOURS},
    packet::Bytes as _,
};

use super::{Frame, conversation::now_ns, policy, word};
use crate::{
    atomic,
    maps::{SCRATCH, USAGE},
    skb::Skb,
};

/// How often a frame tries to take its place.
const TRIES: u32 = 4;

/// Charges a flow that the endpoint opens.
#[inline(always)]
pub fn new_flow(policy: &Policy, endpoint: u32, now: u64) -> Result<(), DropReason> {
    let rate = &policy.limits.new_flows;
    if !rate.is_set() {
        return Ok(());
    }
    let buckets = buckets(endpoint).ok_or(DropReason::Internal)?;
    // SAFETY: only computes the address of a word of an entry that is valid for this run.
    let bucket = unsafe { &raw mut (*buckets).new_flows };
    if take(bucket, rate, 1, now) { Ok(()) } else { Err(DropReason::RateNewFlows) }
}

/// Charges an ICMP error that the endpoint sends or is sent. Not where the error is judged: the verifier
/// adds up the stacks of functions that call one another, and that one's is full.
#[inline(always)]
pub fn error(error: &Frame, endpoint: &Endpoint, from_endpoint: bool) -> Result<(), DropReason> {
    frame(error, policy::of(endpoint)?, endpoint.id, from_endpoint, now_ns())
}

/// Charges a frame that the endpoint sends or is sent.
#[inline(always)]
pub fn frame(
    frame: &Frame,
    policy: &Policy,
    endpoint: u32,
    from_endpoint: bool,
    now: u64,
) -> Result<(), DropReason> {
    let limits = &policy.limits;
    let (packets, bits) = if from_endpoint {
        (&limits.packets_out, &limits.bits_out)
    } else {
        (&limits.packets_in, &limits.bits_in)
    };
    if packets.per_second | bits.per_second == 0 {
        return Ok(());
    }
    let (skb, side) = (frame.skb.context(), from_endpoint.into());
    // SAFETY: a policy.
    word::to_result(unsafe { charge_frame(skb, policy, endpoint, side, now) })
}

/// A global function: see [`word`]. Most frames never get here.
///
/// # Safety
/// `policy` is null or a policy.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn charge_frame(
    skb: *mut __sk_buff,
    policy: *const Policy,
    endpoint: u32,
    from_endpoint: u32,
    now: u64,
) -> u32 {
    // SAFETY: as promised by the caller.
    let (Some(policy), Some(scratch)) = (unsafe { policy.as_ref() }, SCRATCH.get_ptr_mut(0)) else {
        return DropReason::Internal as u32;
    };
    // SAFETY: this CPU's own slot, an aligned word.
    let payload_len = unsafe { (*scratch).packet.payload_len };
    word::of(charge(
        Skb::from_context(skb),
        payload_len,
        policy,
        (endpoint, from_endpoint != 0),
        now,
    ))
}

#[inline(always)]
fn charge(
    skb: Skb,
    payload_len: u32,
    policy: &Policy,
    (endpoint, from_endpoint): (u32, bool),
    now: u64,
) -> Result<(), DropReason> {
    let limits = &policy.limits;
    let buckets = buckets(endpoint).ok_or(DropReason::Internal)?;
    // SAFETY: only computes addresses within an entry that is valid for this run.
    let ((packets, packets_taken), (bits, bits_taken)) = unsafe {
        if from_endpoint {
            (
                (&limits.packets_out, &raw mut (*buckets).packets_out),
                (&limits.bits_out, &raw mut (*buckets).bits_out),
            )
        } else {
            (
                (&limits.packets_in, &raw mut (*buckets).packets_in),
                (&limits.bits_in, &raw mut (*buckets).bits_in),
            )
        }
    };
    let segments = skb.segments();
    if !take(packets_taken, packets, u64::from(segments), now) {
        return Err(DropReason::RatePackets);
    }
    let bytes = limit::wire_bytes(skb.len(), payload_len, segments);
    if !take(bits_taken, bits, bytes << 3, now) {
        return Err(DropReason::RateBits);
    }
    Ok(())
}

/// Charges a neighbour message of a guest that is as it should be.
#[inline(always)]
pub fn neighbour(endpoint: &Endpoint) -> Result<(), DropReason> {
    if endpoint.role != Role::Guest as u8 {
        return Ok(());
    }
    let buckets = buckets(endpoint.id).ok_or(DropReason::Internal)?;
    // SAFETY: as in `new_flow`.
    let bucket = unsafe { &raw mut (*buckets).neighbours };
    if take(bucket, &NEIGHBOURS, 1, now_ns()) { Ok(()) } else { Err(DropReason::RateNeighbours) }
}

/// Whether one more denied frame of the endpoint may be answered.
#[inline(always)]
pub fn answer(endpoint: u32) -> bool {
    let Some(buckets) = buckets(endpoint) else { return false };
    // SAFETY: as in `new_flow`.
    let bucket = unsafe { &raw mut (*buckets).answers };
    take(bucket, &ANSWERS, 1, now_ns())
}

#[inline(always)]
fn take(bucket: *mut u64, rate: &Rate, units: u64, now: u64) -> bool {
    // SAFETY: a word of an entry that is valid for this run.
    unsafe { take_units(bucket, rate.per_second, rate.burst_ns, units, now) != 0 }
}

/// Whether so much is left in the bucket; it is taken, then. A global function: see [`word`]. The rate comes
/// as numbers: a constant is where the verifier lets nobody write, and it asks that of all that is pointed to.
///
/// # Safety
/// `bucket` is null or a word that only this function writes.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn take_units(
    bucket: *mut u64,
    per_second: u64,
    burst_ns: u64,
    units: u64,
    now: u64,
) -> u32 {
    if bucket.is_null() {
        return 0;
    }
    taken(bucket, &Rate { per_second, burst_ns }, units, now).into()
}

#[inline(always)]
fn taken(bucket: *mut u64, rate: &Rate, units: u64, now: u64) -> bool {
    if !rate.is_set() {
        return true;
    }
    let cost = rate.cost_ns(units);
    // SAFETY: a word of an entry that is valid for this run; aligned, and read at once.
    let mut due = unsafe { bucket.read_volatile() };
    for _ in 0..TRIES {
        let taken = rate.take(due, cost, now);
        if taken.due_ns == due {
            return taken.passes;
        }
        // SAFETY: as above.
        let found = unsafe { atomic::replace64(bucket, due, taken.due_ns) };
        if found == due {
            return taken.passes;
        }
        due = found;
    }
    false
}

#[inline(always)]
fn buckets(endpoint: u32) -> Option<*mut Buckets> {
    let usage: *mut Usage = USAGE.get_ptr_mut(endpoint)?;
    // SAFETY: only computes an address within the entry.
    Some(unsafe { &raw mut (*usage).buckets })
}
