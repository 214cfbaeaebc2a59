//! ICMP errors: they pass when the packet they are about belongs to a live flow of the endpoint,
//! and change nothing.

use aya_ebpf::bindings::__sk_buff;
use enforcer_common::{
    abi::{endpoint::Endpoint, event::Hook, flow::FlowKey, verdict::DropReason},
    guard,
    packet::{Embedded, embedded_tuple},
};

use super::{Frame, conversation::now_ns, flows::Found, word};
use crate::{aligned, skb::Skb};

/// An error that the endpoint sends, about a packet that it was sent.
#[inline(always)]
pub fn from_endpoint(frame: &mut Frame, endpoint: &Endpoint) -> Result<(), DropReason> {
    // SAFETY: an endpoint; the frame is lent by way of `SCRATCH`.
    word::to_result(unsafe { error_from(frame.skb.context(), endpoint) })
}

/// A global function: see [`word`]. The frame is the one that is judged on this CPU.
///
/// # Safety
/// `endpoint` is null or an endpoint.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn error_from(skb: *mut __sk_buff, endpoint: *const Endpoint) -> u32 {
    // SAFETY: as promised by the caller.
    let endpoint = unsafe { aligned::value(endpoint) };
    let frame = Frame::again(Skb::from_context(skb), Hook::FromGuest, 0);
    word::of(match (frame, endpoint) {
        (Some(mut frame), Some(endpoint)) => judge_from(&mut frame, endpoint),
        _ => Err(DropReason::Internal),
    })
}

#[inline(always)]
fn judge_from(frame: &mut Frame, endpoint: &Endpoint) -> Result<(), DropReason> {
    let about = embedded_tuple(&frame.skb, frame.packet)?;
    // The peer of that flow is the only one who may be told.
    if about.source != frame.packet.destination {
        return Err(DropReason::IcmpNoFlow);
    }
    *frame.key = FlowKey {
        endpoint: endpoint.id,
        local_port: about.destination_port,
        remote_port: about.source_port,
        local: about.destination,
        remote: about.source,
        protocol: about.protocol,
        family: about.family,
        reserved: [0; 2],
    };
    belongs(frame.key)
}

/// An error for the endpoint, from anyone on the way, about a packet that it sent.
#[inline(always)]
pub fn to_endpoint(frame: &mut Frame, endpoint: &Endpoint) -> Result<(), DropReason> {
    // SAFETY: an endpoint; the frame is lent by way of `SCRATCH`.
    word::to_result(unsafe { error_to(frame.skb.context(), endpoint) })
}

/// A global function: see [`word`]. The frame is the one that is judged on this CPU.
///
/// # Safety
/// `endpoint` is null or an endpoint.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn error_to(skb: *mut __sk_buff, endpoint: *const Endpoint) -> u32 {
    // SAFETY: as promised by the caller.
    let endpoint = unsafe { aligned::value(endpoint) };
    let frame = Frame::again(Skb::from_context(skb), Hook::ToGuest, 0);
    word::of(match (frame, endpoint) {
        (Some(mut frame), Some(endpoint)) => judge_to(&mut frame, endpoint),
        _ => Err(DropReason::Internal),
    })
}

#[inline(always)]
fn judge_to(frame: &mut Frame, endpoint: &Endpoint) -> Result<(), DropReason> {
    let about: Embedded = embedded_tuple(&frame.skb, frame.packet)?;
    if !guard::is_own(endpoint, about.family, &about.source) {
        return Err(DropReason::IcmpNoFlow);
    }
    *frame.key = FlowKey {
        endpoint: endpoint.id,
        local_port: about.source_port,
        remote_port: about.destination_port,
        local: about.source,
        remote: about.destination,
        protocol: about.protocol,
        family: about.family,
        reserved: [0; 2],
    };
    belongs(frame.key)
}

#[inline(always)]
fn belongs(key: &FlowKey) -> Result<(), DropReason> {
    if Found::is_live(key, now_ns()) { Ok(()) } else { Err(DropReason::IcmpNoFlow) }
}
