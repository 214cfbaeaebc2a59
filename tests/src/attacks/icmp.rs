//! ICMP: as a channel, and as a way to see what is between.

use enforcer_common::abi::verdict::DropReason::{
    self, Fragment, GuestToGuest, IcmpNoFlow, IcmpType, L2Destination, Policy,
};

use super::{Book, Point, Scenario, Scene, Step, Through};
use crate::frames::{Ipv4, icmp, protocol, udp_packet};

/// Echo asks for a flow, errors must be about one, and everything else is none of a guest's business.
const REASONS: &[DropReason] = &[Policy, IcmpType, IcmpNoFlow];
const TO_PEER: &[DropReason] = &[Policy, IcmpType, IcmpNoFlow, L2Destination, GuestToGuest];
/// What a frame carries of a packet that is cut.
const PART: usize = 1480;
/// Of an echo request: as much as a packet holds, in whole units of eight bytes.
const LARGEST: usize = 65_496;

pub(super) fn add(book: &mut Book) {
    book.frames("P25", "every ICMP type to the world", Point::World, REASONS, |s, m| {
        every_type(s, s.world, m).iter().map(|packet| s.via_host(packet)).collect()
    })
    // Of the four that ask for something one does not get through translation.
    .unprotected(Through::Some)
    .classic(Through::Some);
    book.frames("P25", "every ICMP type to the host", Point::Host, REASONS, |s, m| {
        every_type(s, s.host.ipv4, m).iter().map(|packet| s.via_host(packet)).collect()
    });
    book.frames("P25", "every ICMP type to B", Point::Peer, TO_PEER, |s, m| {
        every_type(s, s.b.ipv4, m).iter().map(|packet| s.via_bridge(packet)).collect()
    })
    .classic(Through::Nothing);
    book.frames("P25", "every ICMP type to B over the host", Point::Peer, TO_PEER, |s, m| {
        every_type(s, s.b.ipv4, m).iter().map(|packet| s.via_host(packet)).collect()
    })
    .classic(Through::Nothing);
    book.frames(
        "P25",
        "an echo request of 64 kB to the world",
        Point::World,
        &[Fragment],
        |s, m| large_echo(s, s.world, m).iter().map(|packet| s.via_host(packet)).collect(),
    )
    .without_br_netfilter()
    .classic(Through::Nothing);
    book.add(
        "P42",
        "the host answers a packet that ends at it",
        Point::Host,
        &[Policy],
        Step::Scenario(Scenario::TraceHost),
    )
    // What it said before to whoever it refused is not to leave it speechless.
    .sysctls(&[("net/ipv4/icmp_ratelimit", "0", "1000")]);
}

/// A message of each type. Behind its eight bytes is a packet, as an error has one.
#[must_use]
pub fn every_type(s: &Scene, to: std::net::Ipv4Addr, m: &[u8]) -> Vec<Vec<u8>> {
    let about = udp_packet(&crate::frames::Ip::V4(Ipv4::new(to, s.a.ipv4, 0)), 53, 5000, m);
    (0..=255_u8)
        .map(|kind| {
            let message = icmp(kind, 0, [0, 9, 0, kind], &about);
            Ipv4 { protocol: protocol::ICMP, ..s.ip(to) }.packet(&message)
        })
        .collect()
}

/// The packets of one echo request that is cut; each carries the marker, which has eight bytes.
#[must_use]
pub fn large_echo(s: &Scene, to: std::net::Ipv4Addr, m: &[u8]) -> Vec<Vec<u8>> {
    const MORE: u16 = 0x2000;
    let message = icmp(8, 0, [0, 10, 0, 1], &m.repeat(LARGEST / m.len()));
    let parts = message.chunks(PART).enumerate();
    parts
        .map(|(number, part)| {
            let offset = (number * PART / 8) as u16;
            let more = if (number + 1) * PART < message.len() { MORE } else { 0 };
            let fragment = offset | more;
            Ipv4 { id: 4242, fragment, protocol: protocol::ICMP, ..s.ip(to) }.packet(part)
        })
        .collect()
}
