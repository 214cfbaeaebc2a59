//! ARP and neighbour discovery on an endpoint.

use aya_ebpf::bindings::__sk_buff;
use enforcer_common::{
    abi::{
        endpoint::{Endpoint, HubKey, Network},
        event::Hook,
        verdict::DropReason,
    },
    neighbour::{self, HubFacts},
    packet::{Arp, IPV4, IPV6, NeighbourMessage, neighbour_message, widen},
};

use super::{Frame, limits, word};
use crate::{aligned, maps::HUBS, skb::Skb};

#[inline(always)]
pub fn arp_from(frame: &Frame, endpoint: &Endpoint, network: &Network) -> Result<(), DropReason> {
    // SAFETY: an endpoint and a network; the frame is lent by way of `SCRATCH`.
    word::to_result(unsafe { judge_arp_from(frame.skb.context(), endpoint, network) })
}

/// A global function: see [`word`]. The frame is the one that is judged on this CPU.
///
/// # Safety
/// The pointers are null or what their types say.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn judge_arp_from(
    skb: *mut __sk_buff,
    endpoint: *const Endpoint,
    network: *const Network,
) -> u32 {
    // SAFETY: as promised by the caller.
    let known = unsafe { (aligned::value(endpoint), aligned::value(network)) };
    let frame = Frame::again(Skb::from_context(skb), Hook::FromGuest, 0);
    word::of(match (frame, known) {
        (Some(frame), (Some(endpoint), Some(network))) => {
            arp_from_endpoint(&frame, endpoint, network)
        }
        _ => Err(DropReason::Internal),
    })
}

#[inline(always)]
fn arp_from_endpoint(
    frame: &Frame,
    endpoint: &Endpoint,
    network: &Network,
) -> Result<(), DropReason> {
    let arp = Arp::read(&frame.skb)?;
    let hub = hub_facts(frame, endpoint, IPV4, widen(arp.target_ip));
    neighbour::arp_from_endpoint(endpoint, network, frame.packet, &arp, hub)?;
    limits::neighbour(endpoint)
}

#[inline(always)]
pub fn arp_to(frame: &Frame, endpoint: &Endpoint) -> Result<(), DropReason> {
    // SAFETY: an endpoint; the frame is lent by way of `SCRATCH`.
    word::to_result(unsafe { judge_arp_to(frame.skb.context(), endpoint) })
}

/// A global function: see [`word`]. The frame is the one that is judged on this CPU.
///
/// # Safety
/// `endpoint` is null or an endpoint.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn judge_arp_to(skb: *mut __sk_buff, endpoint: *const Endpoint) -> u32 {
    // SAFETY: as promised by the caller.
    let endpoint = unsafe { aligned::value(endpoint) };
    let frame = Frame::again(Skb::from_context(skb), Hook::ToGuest, 0);
    word::of(match (frame, endpoint) {
        (Some(frame), Some(endpoint)) => arp_to_endpoint(&frame, endpoint),
        _ => Err(DropReason::Internal),
    })
}

#[inline(always)]
fn arp_to_endpoint(frame: &Frame, endpoint: &Endpoint) -> Result<(), DropReason> {
    neighbour::arp_to_endpoint(endpoint, &Arp::read(&frame.skb)?)
}

#[inline(always)]
pub fn ndp_from(frame: &Frame, endpoint: &Endpoint, network: &Network) -> Result<(), DropReason> {
    // SAFETY: an endpoint and a network; the frame is lent by way of `SCRATCH`.
    word::to_result(unsafe { judge_ndp_from(frame.skb.context(), endpoint, network) })
}

/// A global function: see [`word`]. The frame is the one that is judged on this CPU.
///
/// # Safety
/// The pointers are null or what their types say.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn judge_ndp_from(
    skb: *mut __sk_buff,
    endpoint: *const Endpoint,
    network: *const Network,
) -> u32 {
    // SAFETY: as promised by the caller.
    let known = unsafe { (aligned::value(endpoint), aligned::value(network)) };
    let frame = Frame::again(Skb::from_context(skb), Hook::FromGuest, 0);
    word::of(match (frame, known) {
        (Some(frame), (Some(endpoint), Some(network))) => {
            ndp_from_endpoint(&frame, endpoint, network)
        }
        _ => Err(DropReason::Internal),
    })
}

#[inline(always)]
fn ndp_from_endpoint(
    frame: &Frame,
    endpoint: &Endpoint,
    network: &Network,
) -> Result<(), DropReason> {
    let mut message = BLANK;
    read_message(frame, &mut message)?;
    // A solicitation names the hub as its target, an advertisement as its destination.
    let named = if message.solicitation { message.target } else { frame.packet.destination };
    let hub = hub_facts(frame, endpoint, IPV6, named);
    neighbour::ndp_from_endpoint(endpoint, network, frame.packet, &message, hub)?;
    limits::neighbour(endpoint)
}

#[inline(always)]
pub fn ndp_to(frame: &Frame, endpoint: &Endpoint) -> Result<(), DropReason> {
    // SAFETY: an endpoint; the frame is lent by way of `SCRATCH`.
    word::to_result(unsafe { judge_ndp_to(frame.skb.context(), endpoint) })
}

/// A global function: see [`word`]. The frame is the one that is judged on this CPU.
///
/// # Safety
/// `endpoint` is null or an endpoint.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn judge_ndp_to(skb: *mut __sk_buff, endpoint: *const Endpoint) -> u32 {
    // SAFETY: as promised by the caller.
    let endpoint = unsafe { aligned::value(endpoint) };
    let frame = Frame::again(Skb::from_context(skb), Hook::ToGuest, 0);
    word::of(match (frame, endpoint) {
        (Some(frame), Some(endpoint)) => ndp_to_endpoint(&frame, endpoint),
        _ => Err(DropReason::Internal),
    })
}

#[inline(always)]
fn ndp_to_endpoint(frame: &Frame, endpoint: &Endpoint) -> Result<(), DropReason> {
    if !enforcer_common::guard::has_family(endpoint, frame.packet) {
        return Err(DropReason::NoFamily);
    }
    let mut message = BLANK;
    read_message(frame, &mut message)?;
    neighbour::ndp_to_endpoint(endpoint, &message)
}

/// Every byte of it is defined: the verifier refuses to see an undefined register saved, which a
/// value that is only made on success would leave.
const BLANK: NeighbourMessage = NeighbourMessage {
    solicitation: false,
    router: false,
    target: [0; 16],
    has_link_layer: false,
    link_layer: [0; 6],
};

#[inline(never)]
fn read_message(frame: &Frame, message: &mut NeighbourMessage) -> Result<(), DropReason> {
    *message = neighbour_message(&frame.skb, frame.packet)?;
    Ok(())
}

#[inline(always)]
fn hub_facts(frame: &Frame, endpoint: &Endpoint, family: u8, address: [u8; 16]) -> HubFacts {
    let key = HubKey { network: endpoint.network, address, family, reserved: [0; 3] };
    // SAFETY: entries are replaced as a whole by the daemon, never written here.
    match unsafe { HUBS.get(key) } {
        Some(hub) => {
            HubFacts { target_is_hub: true, to_hub_mac: hub.mac == frame.packet.destination_mac }
        }
        None => HubFacts { target_is_hub: false, to_hub_mac: false },
    }
}
