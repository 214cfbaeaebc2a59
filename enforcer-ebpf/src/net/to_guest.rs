//! Every frame that is delivered to an endpoint.
//!
//! Where it came from is decided by the ingress interface: 0 is the host, a port of a guest bridge
//! has that port's role, anything else was forwarded. The stamp only confirms that the program at
//! that place has said yes; a mark alone admits nothing.

use enforcer_common::{
    abi::{
        endpoint::{Endpoint, Role},
        event::Hook,
        verdict::{DropReason, Verdict},
    },
    decide::Origin,
    guard,
    packet::{self, Payload},
};

use super::{
    Frame, conversation, icmp_error, limits, neighbours, policy,
    stamp::{self, Stamp},
};
use crate::{
    aligned,
    maps::{ENDPOINTS, NETWORKS},
    skb::Skb,
};

/// Admits the host's and hubs' frames and answers, and what is published.
#[inline(always)]
pub fn to_guest(skb: Skb) -> Verdict {
    // SAFETY: entries are replaced as a whole by the daemon, never written here.
    let Some(endpoint) = (unsafe { aligned::found(ENDPOINTS.get_ptr(skb.ifindex())) }) else {
        return Verdict::Allow;
    };
    // A bridge sends nothing back to the port that it came from: this is an answer of `from_guest`'s.
    if skb.ingress_ifindex() == skb.ifindex() && Stamp::Answer.is_on(skb) {
        stamp::clear(skb);
        return Verdict::Allow;
    }
    let Some(mut frame) = Frame::new(skb, Hook::ToGuest, endpoint.id) else {
        return Verdict::Deny(DropReason::Internal);
    };
    let result = judge(&mut frame, endpoint);
    stamp::clear(skb);
    frame.conclude(result)
}

#[inline(always)]
fn judge(frame: &mut Frame, endpoint: &Endpoint) -> Result<(), DropReason> {
    let parsed = frame.parse();
    let role = Role::from_value(endpoint.role);
    match role {
        Role::Unknown => return Err(DropReason::UnknownInterface),
        Role::Other => return Err(DropReason::RoleOther),
        Role::Guest | Role::Hub => {}
    }
    let payload = match parsed {
        Ok(payload) => payload,
        Err(_) if is_host_multicast(frame) => return Err(DropReason::NotAddressed),
        Err(reason) => {
            origin(frame, role)?;
            return Err(reason);
        }
    };
    let neighbour = payload == Payload::Arp || payload == Payload::Neighbour;
    if !neighbour && is_host_multicast(frame) {
        return Err(DropReason::NotAddressed);
    }
    let origin = origin(frame, role)?;
    match (payload, origin) {
        // Neighbour messages do not cross a router.
        (Payload::Arp, Origin::Beyond) => Err(DropReason::Arp),
        (Payload::Neighbour, Origin::Beyond) => Err(DropReason::Ndp),
        (Payload::Arp, _) => neighbours::arp_to(frame, endpoint),
        (Payload::Neighbour, _) => neighbours::ndp_to(frame, endpoint),
        _ => {
            addressed(frame, endpoint, origin)?;
            if payload == Payload::IcmpError {
                icmp_error::to_endpoint(frame, endpoint)?;
                limits::error(frame, endpoint, false)
            } else {
                conversation::to_endpoint(frame, endpoint, payload, origin)
            }
        }
    }
}

/// What the host's own stack, or the veth's, sends to everybody (MLD, mDNS, router solicitations):
/// no guest is served it, and nobody did anything wrong.
#[inline(always)]
fn is_host_multicast(frame: &Frame) -> bool {
    frame.skb.ingress_ifindex() == 0 && frame.packet.destination_mac[0] & 1 != 0
}

#[inline(always)]
fn origin(frame: &Frame, role: Role) -> Result<Origin, DropReason> {
    let skb = frame.skb;
    let ingress = skb.ingress_ifindex();
    // SAFETY: as in `to_guest`.
    let port = if ingress == 0 { None } else { unsafe { ENDPOINTS.get(ingress) } };
    let (origin, stamp) = match port {
        None if ingress == 0 => (Origin::Host, Stamp::FromHost),
        None => (Origin::Beyond, Stamp::FromHost),
        Some(port) => match (Role::from_value(port.role), role) {
            (Role::Hub, _) if policy::is_by_rule_only(port) => (Origin::Service, Stamp::FromGuest),
            (Role::Hub, _) => (Origin::Hub, Stamp::FromGuest),
            (Role::Guest, Role::Hub) => (Origin::Guest, Stamp::FromGuest),
            // The bridge floods a guest's legal broadcast (ARP for the gateway) to every port.
            (Role::Guest, _) if frame.packet.destination_mac[0] & 1 != 0 => {
                return Err(DropReason::NotAddressed);
            }
            (Role::Guest, _) => return Err(DropReason::GuestToGuest),
            (Role::Other, _) => return Err(DropReason::RoleOther),
            (Role::Unknown, _) => return Err(DropReason::UnknownInterface),
        },
    };
    if stamp.is_on(skb) { Ok(origin) } else { Err(DropReason::Unstamped) }
}

/// The packet is for this endpoint, and its source can be part of a conversation with it.
#[inline(always)]
fn addressed(frame: &Frame, endpoint: &Endpoint, origin: Origin) -> Result<(), DropReason> {
    let packet = &*frame.packet;
    if packet::is_multicast(&packet.destination, packet.family) {
        return Err(DropReason::Multicast);
    }
    if !guard::has_family(endpoint, packet) {
        return Err(DropReason::NoFamily);
    }
    if !guard::is_own(endpoint, packet.family, &packet.destination) {
        return Err(DropReason::L2Destination);
    }
    guard::remote_source(endpoint, packet)?;
    if origin == Origin::Beyond {
        // SAFETY: as in `to_guest`.
        let network = unsafe { aligned::found(NETWORKS.get_ptr(endpoint.network)) }
            .ok_or(DropReason::Internal)?;
        if guard::in_subnet(network, packet.family, &packet.source) {
            return Err(DropReason::SourceAddress);
        }
    }
    Ok(())
}
