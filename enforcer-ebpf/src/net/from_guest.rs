//! Every frame that an endpoint sends.

use enforcer_common::{
    abi::{
        endpoint::{Endpoint, HubKey, Network, Role},
        event::Hook,
        verdict::{DropReason, Verdict},
    },
    guard,
    packet::Payload,
};

use super::{
    Frame, Outcome, conversation, icmp_error, limits, neighbours, refuse,
    stamp::{self, Stamp},
};
use crate::{
    aligned,
    maps::{ENDPOINTS, HUBS, NETWORKS},
    skb::Skb,
};

/// Judges and stamps. An interface that is no port of a guest bridge is not ours: it passes
/// unstamped and untouched.
#[inline(always)]
pub fn from_guest(skb: Skb) -> Outcome {
    // SAFETY: entries are replaced as a whole by the daemon, never written here.
    let Some(endpoint) = (unsafe { aligned::found(ENDPOINTS.get_ptr(skb.ifindex())) }) else {
        return Outcome { verdict: Verdict::Allow, answered: false };
    };
    stamp::clear(skb);
    let Some(mut frame) = Frame::new(skb, Hook::FromGuest, endpoint.id) else {
        return Outcome { verdict: Verdict::Deny(DropReason::Internal), answered: false };
    };
    let result = judge(&mut frame, endpoint);
    if result.is_ok() {
        Stamp::FromGuest.put(skb);
    }
    let verdict = frame.conclude(result);
    let answered = match verdict {
        Verdict::Deny(reason) if endpoint.answered != 0 => refuse::answer(&frame, reason),
        _ => false,
    };
    Outcome { verdict, answered }
}

#[inline(always)]
fn judge(frame: &mut Frame, endpoint: &Endpoint) -> Result<(), DropReason> {
    let parsed = frame.parse();
    match Role::from_value(endpoint.role) {
        Role::Unknown => return Err(DropReason::UnknownInterface),
        Role::Other => return Err(DropReason::RoleOther),
        Role::Guest | Role::Hub => {}
    }
    let payload = parsed?;
    // SAFETY: as in `from_guest`.
    let network = unsafe { aligned::found(NETWORKS.get_ptr(endpoint.network)) }
        .ok_or(DropReason::Internal)?;
    match payload {
        Payload::Arp => neighbours::arp_from(frame, endpoint, network),
        Payload::Neighbour => neighbours::ndp_from(frame, endpoint, network),
        _ => {
            guard::source(endpoint, frame.packet)?;
            guard::destination(network, frame.packet)?;
            next_hop(frame, endpoint, network)?;
            if payload == Payload::IcmpError {
                icmp_error::from_endpoint(frame, endpoint)?;
                limits::error(frame, endpoint, true)
            } else {
                conversation::from_endpoint(frame, endpoint, payload)
            }
        }
    }
}

/// A unicast packet is addressed to the MAC of the hub that it is for, or else to the bridge.
#[inline(always)]
fn next_hop(frame: &Frame, endpoint: &Endpoint, network: &Network) -> Result<(), DropReason> {
    let packet = &*frame.packet;
    if endpoint.role == Role::Hub as u8 {
        // `to_guest` admits it to a guest's port only as an answer or as a hub's own request.
        let group = packet.destination_mac[0] & 1 != 0;
        return if group { Err(DropReason::L2Destination) } else { Ok(()) };
    }
    // Never a hub's packet over the bridge's MAC: it would move the guest's side of a flow and be
    // denied as a hairpin before it reaches the hub's side.
    let hub = if guard::may_be_hubs(network, packet.family, &packet.destination) {
        hub_mac(endpoint.network, packet.family, packet.destination)
    } else {
        None
    };
    let expected = hub.unwrap_or(network.mac);
    if packet.destination_mac == expected { Ok(()) } else { Err(DropReason::L2Destination) }
}

/// The MAC of the hub that has this address on the network.
#[inline(always)]
fn hub_mac(network: u32, family: u8, address: [u8; 16]) -> Option<[u8; 6]> {
    let key = HubKey { network, address, family, reserved: [0; 3] };
    // SAFETY: as in `from_guest`.
    unsafe { HUBS.get(key) }.map(|hub| hub.mac)
}
