//! TCP, UDP and echo: the packet finds its flow, or asks policy for one.

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_ktime_get_coarse_ns};
use enforcer_common::{
    abi::{
        endpoint::Endpoint,
        event::{EndCause, Hook},
        flow::FlowRecord,
        policy::Policy,
        verdict::DropReason,
    },
    decide::{Denied, Opener, Origin},
    flow::{self, FlowState, Step},
    packet::{Packet, Payload},
};

use super::{
    Frame, emit,
    flows::{self, Found},
    limits,
    open::open_flow,
    policy::{self, Opens, Request},
    word,
};
use crate::{aligned, skb::Skb};

/// A packet that the endpoint sends.
#[inline(always)]
pub fn from_endpoint(
    frame: &mut Frame,
    endpoint: &Endpoint,
    payload: Payload,
) -> Result<(), DropReason> {
    ask(frame, endpoint, payload, Opener::Endpoint)
}

/// A packet for the endpoint.
#[inline(always)]
pub fn to_endpoint(
    frame: &mut Frame,
    endpoint: &Endpoint,
    payload: Payload,
    origin: Origin,
) -> Result<(), DropReason> {
    ask(frame, endpoint, payload, Opener::Peer(origin))
}

/// `sender` is who opens the flow, if this packet opens one.
#[inline(always)]
fn ask(
    frame: &mut Frame,
    endpoint: &Endpoint,
    payload: Payload,
    sender: Opener,
) -> Result<(), DropReason> {
    let (skb, sender) = (frame.skb.context(), sender.value());
    // SAFETY: an endpoint; the frame is lent by way of `SCRATCH`.
    word::to_result(unsafe { converse(skb, endpoint, payload as u32, sender) })
}

/// Judges the frame of this CPU as one of `sender`'s, an [`Opener::value`]. A global function: see [`word`].
///
/// # Safety
/// `endpoint` is null or an endpoint.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn converse(
    skb: *mut __sk_buff,
    endpoint: *const Endpoint,
    payload: u32,
    sender: u32,
) -> u32 {
    // SAFETY: as promised by the caller.
    let (Some(endpoint), Some(payload)) =
        (unsafe { aligned::value(endpoint) }, Payload::from_value(payload))
    else {
        return DropReason::Internal as u32;
    };
    let sender = Opener::from_value(sender);
    let hook = if sender == Opener::Endpoint { Hook::FromGuest } else { Hook::ToGuest };
    let Some(mut frame) = Frame::again(Skb::from_context(skb), hook, endpoint.id) else {
        return DropReason::Internal as u32;
    };
    word::of(conversed(&mut frame, endpoint, payload, sender))
}

#[inline(always)]
fn conversed(
    frame: &mut Frame,
    endpoint: &Endpoint,
    payload: Payload,
    sender: Opener,
) -> Result<(), DropReason> {
    let from_endpoint = sender == Opener::Endpoint;
    let policy = policy::of(endpoint)?;
    flows::fill_key(frame.key, frame.packet, endpoint.id, from_endpoint, payload);
    let now = now_ns();
    match go_on(frame, endpoint, policy, payload, sender, now) {
        Ok(()) => Ok(()),
        Err(denied) => {
            *frame.denied_by = denied.rule;
            Err(denied.reason)
        }
    }
}

#[inline(always)]
fn go_on(
    frame: &Frame,
    endpoint: &Endpoint,
    policy: &Policy,
    payload: Payload,
    sender: Opener,
    now: u64,
) -> Result<(), Denied> {
    let from_endpoint = sender == Opener::Endpoint;
    let key = &*frame.key;
    let epoch = policy::epoch_of(policy);
    let request =
        Request { endpoint, policy, epoch, key, opener: sender, now, again: false, name: 0 };
    let Some(found) = Found::live(key, now) else {
        flow::opens(payload, frame.packet)?;
        let opens = policy::may_open(&request)?;
        charge_opening(frame, policy, sender, now)?;
        return open(frame, &request, opens);
    };
    redecide(&found, &request)?;
    let (state, side) = (found.state.word(), u32::from(from_endpoint));
    // SAFETY: a flow and a packet.
    let step = unsafe { step_flow(found.record(), state, side, payload as u32, frame.packet) };
    match Step::from_word(step) {
        Step::Pass { refresh } => {
            limits::frame(frame, policy, key.endpoint, from_endpoint, now)?;
            found.account(frame, payload, from_endpoint, refresh, now);
            Ok(())
        }
        Step::Move(next) => {
            limits::frame(frame, policy, key.endpoint, from_endpoint, now)?;
            found.advance(next, policy, now)?;
            found.account(frame, payload, from_endpoint, true, now);
            Ok(())
        }
        Step::Deny(reason) => Err(reason.into()),
        Step::Open { replace: false } => {
            policy::may_open(&request)?;
            limits::frame(frame, policy, key.endpoint, from_endpoint, now)?;
            found.account(frame, payload, from_endpoint, false, now);
            Ok(())
        }
        Step::Open { replace: true } => {
            let opens = policy::may_open(&request)?;
            charge_opening(frame, policy, sender, now)?;
            found.end(EndCause::Reopened);
            open(frame, &request, opens)
        }
    }
}

/// Puts the flow into the table; who did so first tells it.
#[inline(always)]
fn open(frame: &Frame, request: &Request<'_>, opens: Opens) -> Result<(), Denied> {
    let Request { policy, epoch, opener, now, .. } = *request;
    let (word, by) =
        (word::of_opens(Ok(opens)), u64::from(epoch) << 32 | u64::from(opener.value()));
    // SAFETY: a policy.
    let opened = unsafe { open_flow(frame.skb.context(), policy, by, word, now) };
    if word::to_number(opened)? != 0 {
        emit::opened(frame, opens.rule);
    }
    Ok(())
}

/// What the packet does to its flow, as [`Step::to_word`]. A global function: see [`word`].
///
/// # Safety
/// The pointers are null or what their types say.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn step_flow(
    flow: *const FlowRecord,
    state: u32,
    from_endpoint: u32,
    payload: u32,
    packet: *const Packet,
) -> u64 {
    // SAFETY: as promised by the caller.
    let known = unsafe { (aligned::value(flow), aligned::value(packet)) };
    let ((Some(flow), Some(packet)), Some(payload)) = (known, Payload::from_value(payload)) else {
        return Step::Deny(DropReason::Internal).to_word();
    };
    let state = FlowState::from_word(state);
    flow::step(flow, state, from_endpoint != 0, payload, packet).to_word()
}

/// A packet that opens a flow is charged as a flow, if the endpoint opens it, and as a packet.
#[inline(always)]
fn charge_opening(
    frame: &Frame,
    policy: &Policy,
    sender: Opener,
    now: u64,
) -> Result<(), DropReason> {
    let from_endpoint = sender == Opener::Endpoint;
    if from_endpoint {
        limits::new_flow(policy, frame.owner, now)?;
    }
    limits::frame(frame, policy, frame.owner, from_endpoint, now)
}

/// A flow that an older epoch of the policy allowed is judged again, as its opener's.
#[inline(always)]
fn redecide(found: &Found<'_>, request: &Request<'_>) -> Result<(), Denied> {
    let flow = found.record();
    if flow.epoch == request.epoch {
        return Ok(());
    }
    let (opener, name) = (Opener::from_value(flow.opener), flow.name);
    match policy::may_open(&Request { opener, name, again: true, ..*request }) {
        Ok(opens) => {
            found.adopt(request.epoch, opens);
            Ok(())
        }
        Err(denied) => {
            found.end(EndCause::Policy);
            Err(denied)
        }
    }
}

/// Monotonic time, ns, to about 4 ms.
#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: takes nothing and reads a clock.
    unsafe { bpf_ktime_get_coarse_ns() }
}
