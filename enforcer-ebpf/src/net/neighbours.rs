//! ARP and neighbour discovery on an endpoint.

use enforcer_common::{
    abi::{
        endpoint::{Endpoint, HubKey, Network},
        verdict::DropReason,
    },
    neighbour::{self, HubFacts},
    packet::{Arp, IPV4, IPV6, NeighbourMessage, neighbour_message, widen},
};

use super::Frame;
use crate::maps::HUBS;

#[inline(never)]
pub fn arp_from(frame: &Frame, endpoint: &Endpoint, network: &Network) -> Result<(), DropReason> {
    let arp = Arp::read(&frame.skb)?;
    let hub = hub_facts(frame, endpoint, IPV4, widen(arp.target_ip));
    neighbour::arp_from_endpoint(endpoint, network, frame.packet, &arp, hub)
}

#[inline(never)]
pub fn arp_to(frame: &Frame, endpoint: &Endpoint) -> Result<(), DropReason> {
    neighbour::arp_to_endpoint(endpoint, &Arp::read(&frame.skb)?)
}

#[inline(never)]
pub fn ndp_from(frame: &Frame, endpoint: &Endpoint, network: &Network) -> Result<(), DropReason> {
    let mut message = BLANK;
    read_message(frame, &mut message)?;
    // A solicitation names the hub as its target, an advertisement as its destination.
    let named = if message.solicitation { message.target } else { frame.packet.destination };
    let hub = hub_facts(frame, endpoint, IPV6, named);
    neighbour::ndp_from_endpoint(endpoint, network, frame.packet, &message, hub)
}

#[inline(never)]
pub fn ndp_to(frame: &Frame, endpoint: &Endpoint) -> Result<(), DropReason> {
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
