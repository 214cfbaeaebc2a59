//! TCP, UDP and echo: the packet finds its flow, or asks policy for one.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use enforcer_common::{
    abi::{
        endpoint::Endpoint,
        event::EndCause,
        flow::{FlowKey, FlowRecord},
        policy::Policy,
        verdict::DropReason,
    },
    decide::{Opener, Origin},
    flow::{self, FlowState, Step},
    packet::{Packet, Payload},
};

use super::{
    Frame, emit,
    flows::{self, Found},
    policy,
};

/// A packet that the endpoint sends.
#[inline(always)]
pub fn from_endpoint(
    frame: &mut Frame,
    endpoint: &Endpoint,
    payload: Payload,
) -> Result<(), DropReason> {
    converse(frame, endpoint, payload, Opener::Endpoint)
}

/// A packet for the endpoint.
#[inline(always)]
pub fn to_endpoint(
    frame: &mut Frame,
    endpoint: &Endpoint,
    payload: Payload,
    origin: Origin,
) -> Result<(), DropReason> {
    converse(frame, endpoint, payload, Opener::Peer(origin))
}

/// `sender` is who opens the flow, if this packet opens one.
/// A BPF function of its own, for a stack of its own.
#[inline(never)]
fn converse(
    frame: &mut Frame,
    endpoint: &Endpoint,
    payload: Payload,
    sender: Opener,
) -> Result<(), DropReason> {
    let from_endpoint = sender == Opener::Endpoint;
    let policy = policy::of(endpoint)?;
    flows::fill_key(frame.key, frame.packet, endpoint.id, from_endpoint, payload);
    let frame = &*frame;
    let key = &*frame.key;
    let now = now_ns();
    if let Some(found) = Found::live(key, now) {
        redecide(&found, endpoint, policy)?;
        match Step::from_word(step(
            found.record(),
            found.state,
            from_endpoint,
            payload,
            frame.packet,
        )) {
            Step::Pass { refresh } => {
                found.account(frame, payload, from_endpoint, refresh, now);
                return Ok(());
            }
            Step::Move(next) => {
                found.advance(next, policy, now)?;
                found.account(frame, payload, from_endpoint, true, now);
                return Ok(());
            }
            Step::Deny(reason) => return Err(reason),
            Step::Open { replace } => {
                let allowed = policy::may_open(endpoint, key, sender)?;
                if !replace {
                    found.account(frame, payload, from_endpoint, false, now);
                    return Ok(());
                }
                found.end(EndCause::Reopened);
                return open(frame, policy, &Opening { key, sender, rule: allowed.rule, now });
            }
        }
    }
    flow::opens(payload, frame.packet)?;
    let allowed = policy::may_open(endpoint, key, sender)?;
    open(frame, policy, &Opening { key, sender, rule: allowed.rule, now })
}

/// A BPF function of its own: one copy for both directions, and a stack of its own.
#[inline(never)]
fn step(
    flow: &FlowRecord,
    state: FlowState,
    from_endpoint: bool,
    payload: Payload,
    packet: &Packet,
) -> u64 {
    flow::step(flow, state, from_endpoint, payload, packet).to_word()
}

/// A flow that policy allows, on its way into the table.
pub struct Opening<'a> {
    pub key: &'a FlowKey,
    pub sender: Opener,
    pub rule: u32,
    pub now: u64,
}

#[inline(always)]
fn open(frame: &Frame, policy: &Policy, opening: &Opening<'_>) -> Result<(), DropReason> {
    let rule = opening.rule;
    if flows::insert(frame, policy, opening)? {
        emit::opened(frame, rule);
    }
    Ok(())
}

/// A flow that an older epoch of the policy allowed is judged again, as its opener's.
#[inline(always)]
fn redecide(found: &Found<'_>, endpoint: &Endpoint, policy: &Policy) -> Result<(), DropReason> {
    if found.record().epoch == policy.epoch {
        return Ok(());
    }
    let opener = Opener::from_value(found.record().opener);
    match policy::may_open(endpoint, found.key, opener) {
        Ok(allowed) => {
            found.adopt(policy.epoch, allowed.rule);
            Ok(())
        }
        Err(reason) => {
            found.end(EndCause::Policy);
            Err(reason)
        }
    }
}

/// Monotonic time, ns, to about 4 ms.
#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: takes nothing and reads a clock.
    unsafe { bpf_ktime_get_coarse_ns() }
}
