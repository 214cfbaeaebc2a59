//! Any bytes as a frame: the parser neither panics nor contradicts the frame.
#![no_main]

use std::hint::black_box;

use enforcer_common::{
    abi::{
        endpoint::{Endpoint, Network, Role},
        verdict::DropReason,
    },
    guard,
    neighbour::{self, HubFacts},
    packet::{Arp, ETHERNET_LEN, IPV4, Packet, Payload, embedded_tuple, neighbour_message, parse},
};
use libfuzzer_sys::fuzz_target;

const OWN: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const ADDRESS: [u8; 4] = [10, 1, 0, 2];
const ADDRESS6: [u8; 16] = [0xfd, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const GATEWAY6: [u8; 16] = [0xfd, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

fuzz_target!(|frame: &[u8]| {
    let mut packet = Packet::default();
    let outcome = parse(frame, &mut packet);
    black_box(&packet);
    let Ok(payload) = outcome else { return };
    if payload != Payload::Arp {
        let headers = packet.transport_offset + packet.payload_len;
        assert!(headers as usize <= frame.len(), "a packet longer than its frame");
        assert!(packet.transport_offset > ETHERNET_LEN);
    }
    black_box(judge(frame, payload, &packet)).ok();
});

/// The stages of a guest's frame that need no tables.
fn judge(frame: &[u8], payload: Payload, packet: &Packet) -> Result<(), DropReason> {
    let endpoint = Endpoint {
        id: 1,
        ipv4: ADDRESS,
        ipv6: ADDRESS6,
        mac: OWN,
        role: Role::Guest as u8,
        ..Endpoint::default()
    };
    let network = Network {
        gateway4: [10, 1, 0, 1],
        subnet4: [10, 1, 0, 0],
        prefix4: 16,
        gateway6: GATEWAY6,
        subnet6: ADDRESS6,
        prefix6: 128,
        mac: [2, 0, 0, 0, 0, 0xb],
        ..Network::default()
    };
    let hub = HubFacts { target_is_hub: false, to_hub_mac: false };
    match payload {
        Payload::Arp => {
            let arp = Arp::read(frame)?;
            neighbour::arp_from_endpoint(&endpoint, &network, packet, &arp, hub)?;
            assert!(arp.sender_mac == OWN, "another's MAC is claimed");
            assert!(arp.sender_ip == ADDRESS || arp.sender_ip == [0; 4]);
        }
        Payload::Neighbour => {
            let message = neighbour_message(frame, packet)?;
            neighbour::ndp_from_endpoint(&endpoint, &network, packet, &message, hub)?;
            assert!(!message.has_link_layer || message.link_layer == OWN);
            assert!(message.solicitation || message.target == ADDRESS6, "another is claimed");
        }
        Payload::IcmpError => {
            let tuple = embedded_tuple(frame, packet)?;
            assert_eq!(tuple.family, packet.family);
        }
        Payload::Tcp | Payload::Udp | Payload::EchoRequest | Payload::EchoReply => {
            guard::source(&endpoint, packet)?;
            guard::destination(&network, packet)?;
            assert_eq!(packet.source_mac, OWN);
            assert!(packet.family != IPV4 || packet.source[..4] == ADDRESS);
        }
    }
    Ok(())
}
