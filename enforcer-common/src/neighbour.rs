//! ARP and neighbour discovery: an endpoint claims its own addresses only, and asks only for the
//! gateway and hubs; the host and hubs may ask it for its own.

use crate::{
    abi::{
        endpoint::{Endpoint, Network, Role},
        verdict::DropReason,
    },
    guard,
    packet::{Arp, ArpOperation, IPV4, IPV6, NeighbourMessage, Packet, widen},
};

/// What the caller looked up in the table of hubs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubFacts {
    /// The address asked for is a hub's.
    pub target_is_hub: bool,
    /// The frame is addressed to that hub's MAC, or to the MAC of a hub it answers.
    pub to_hub_mac: bool,
}

/// Whether an endpoint may send this ARP packet.
#[inline(always)]
pub fn arp_from_endpoint(
    endpoint: &Endpoint,
    network: &Network,
    packet: &Packet,
    arp: &Arp,
    hub: HubFacts,
) -> Result<(), DropReason> {
    guard::source_mac(endpoint, packet)?;
    if endpoint.ipv4 == [0; 4] {
        return Err(DropReason::NoFamily);
    }
    let own = endpoint.ipv4;
    // RFC 5227: a probe has no sender address yet.
    let probe =
        arp.operation == ArpOperation::Request && arp.sender_ip == [0; 4] && arp.target_ip == own;
    if arp.sender_mac != endpoint.mac || !(arp.sender_ip == own || probe) {
        return Err(DropReason::Arp);
    }
    let unicast = is_direct(endpoint, network, packet, hub);
    let allowed = match arp.operation {
        ArpOperation::Request => {
            let wanted = arp.target_ip == own
                || hub.target_is_hub
                || may_resolve(endpoint, network, IPV4, &widen(arp.target_ip));
            wanted && (unicast || packet.destination_mac == [0xff; 6])
        }
        // The host may have asked from any of its addresses; the answer tells only our own.
        ArpOperation::Reply => unicast,
    };
    if allowed { Ok(()) } else { Err(DropReason::Arp) }
}

/// Whether an endpoint may be sent this ARP packet, which the host or a hub made.
#[inline(always)]
pub fn arp_to_endpoint(endpoint: &Endpoint, arp: &Arp) -> Result<(), DropReason> {
    if arp.sender_ip == endpoint.ipv4 {
        return Err(DropReason::Arp);
    }
    if arp.target_ip == endpoint.ipv4 { Ok(()) } else { Err(DropReason::NotAddressed) }
}

/// Whether an endpoint may send this neighbour message.
#[inline(always)]
pub fn ndp_from_endpoint(
    endpoint: &Endpoint,
    network: &Network,
    packet: &Packet,
    message: &NeighbourMessage,
    hub: HubFacts,
) -> Result<(), DropReason> {
    guard::source_mac(endpoint, packet)?;
    if !guard::has_family(endpoint, packet) {
        return Err(DropReason::NoFamily);
    }
    let own_target = guard::is_own(endpoint, IPV6, &message.target);
    // RFC 4862 5.4: duplicate address detection comes from the unspecified address.
    let detection = message.solicitation && own_target && packet.source == [0; 16];
    if !detection && !guard::is_own(endpoint, IPV6, &packet.source) {
        return Err(DropReason::SourceAddress);
    }
    if message.has_link_layer && message.link_layer != endpoint.mac {
        return Err(DropReason::Ndp);
    }
    let is_known = |address| hub.target_is_hub || may_resolve(endpoint, network, IPV6, address);
    // Not beyond the link: the host would route a message that names another destination.
    let to = &packet.destination;
    let allowed = if message.solicitation {
        let asked = *to == solicited_node(&message.target) || *to == message.target;
        asked && (own_target || is_known(&message.target))
    } else {
        own_target && !message.router && (*to == ALL_NODES || is_known(to))
    };
    let addressed = if to[0] == 0xff {
        packet.destination_mac == [0x33, 0x33, to[12], to[13], to[14], to[15]]
    } else {
        is_direct(endpoint, network, packet, hub)
    };
    if allowed && addressed { Ok(()) } else { Err(DropReason::Ndp) }
}

/// All nodes on the link (RFC 4291 2.7.1).
const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// The solicited-node multicast address of a target (RFC 4291 2.7.1).
#[inline(always)]
fn solicited_node(target: &[u8; 16]) -> [u8; 16] {
    let [.., a, b, c] = *target;
    [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]
}

/// Whether an endpoint may be sent this neighbour message, which the host or a hub made.
#[inline(always)]
pub fn ndp_to_endpoint(endpoint: &Endpoint, message: &NeighbourMessage) -> Result<(), DropReason> {
    let own = guard::is_own(endpoint, IPV6, &message.target);
    match (message.solicitation, own) {
        (true, true) | (false, false) => Ok(()),
        (true, false) => Err(DropReason::NotAddressed),
        // Nobody else may claim the endpoint's address.
        (false, true) => Err(DropReason::Ndp),
    }
}

/// The frame is for one station that the endpoint speaks with: the bridge, a hub, or for a hub any.
#[inline(always)]
fn is_direct(endpoint: &Endpoint, network: &Network, packet: &Packet, hub: HubFacts) -> bool {
    packet.destination_mac == network.mac
        || hub.to_hub_mac
        || (endpoint.role == Role::Hub as u8 && packet.destination_mac[0] & 1 == 0)
}

/// Guests resolve the gateway only; a hub also resolves the guests it serves.
#[inline(always)]
fn may_resolve(endpoint: &Endpoint, network: &Network, family: u8, target: &[u8; 16]) -> bool {
    guard::is_gateway(network, family, target)
        || (endpoint.role == Role::Hub as u8 && guard::in_subnet(network, family, target))
}

#[cfg(test)]
mod tests;
