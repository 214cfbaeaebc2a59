//! The kernel's other doors: sockets of every kind, super-packets, headers that lie about them.

use std::net::SocketAddr;

use enforcer_common::abi::verdict::DropReason::{
    self, Arp, GuestToGuest, L2Destination, Malformed, NoFlow, Policy, Truncated,
};

use super::{Book, Point, Step, Through};
use crate::{
    frames::{Ipv4, Tcp, flag, icmp, udp_packet},
    harness::topology::{DOCKER0, GATEWAY, HOST_PORTS, PUBLISHED_PORT, UPLINK},
    hex,
    protocol::{ConnectBy, SendBy},
};

const POLICY: &[DropReason] = &[Policy, NoFlow];
/// What A sends to B itself; by a socket it does not get past ARP.
const NEIGHBOUR: &[DropReason] = &[L2Destination, GuestToGuest];
const PEER: &[DropReason] = &[Arp, L2Destination, GuestToGuest];

pub(super) fn add(book: &mut Book) {
    host_services(book);
    doors(book);
    super_packets(book);
}

fn host_services(book: &mut Book) {
    let addresses = [GATEWAY, UPLINK, DOCKER0];
    let every = addresses
        .iter()
        .flat_map(|address| HOST_PORTS.map(|port| SocketAddr::from((*address, port))))
        .collect();
    book.add(
        "P11",
        "the host's TCP services",
        Point::Host,
        POLICY,
        Step::Connect { to: every, by: ConnectBy::Plain },
    );
    let ask = addresses.map(|address| SocketAddr::from((address, 53))).into();
    book.add("P11", "the host's UDP services", Point::Host, POLICY, Step::Ask { to: ask });
    let published =
        [GATEWAY, UPLINK].map(|address| SocketAddr::from((address, PUBLISHED_PORT + 1))).into();
    book.add(
        "P14",
        "B's published port over the host",
        Point::Host,
        POLICY,
        Step::Connect { to: published, by: ConnectBy::Plain },
    )
    // Docker's DNAT turns the connection round on the same bridge; docker-proxy has the rest.
    .classic(Through::Some);
    book.frames(
        "P11",
        "ping of the host",
        Point::Host,
        &[Policy, DropReason::IcmpType, DropReason::IcmpNoFlow],
        |s, m| {
            let message = icmp(8, 0, [0, 1, 0, 1], m);
            vec![s.via_host(&Ipv4 { protocol: 1, ..s.ip(s.host.ipv4) }.packet(&message))]
        },
    );
}

fn doors(book: &mut Book) {
    let to = SocketAddr::from((book.scene.world, 80));
    for (name, by) in [
        ("connect() to the world", ConnectBy::Plain),
        ("MSG_FASTOPEN to the world", ConnectBy::FastOpen),
        ("MPTCP to the world", ConnectBy::Mptcp),
    ] {
        book.add("P15", name, Point::World, POLICY, Step::Connect { to: vec![to], by })
            .classic(Through::Nothing);
    }
    book.add(
        "P15",
        "UDP to the world",
        Point::World,
        POLICY,
        Step::Ask { to: vec![(book.scene.world, 53).into()] },
    )
    .classic(Through::Nothing);
    let peer = book.scene.b.ipv4;
    book.add(
        "P15",
        "connect() to B",
        Point::Peer,
        PEER,
        Step::Connect { to: vec![(peer, 22).into()], by: ConnectBy::Plain },
    )
    .classic(Through::Nothing)
    // What is denied is A's ARP request for B, as often as the kernel asks.
    .inexact();
    book.frames("P15", "AF_PACKET to B", Point::Peer, NEIGHBOUR, |s, m| {
        let ends = s.ends(s.b.ipv4);
        let ping = icmp(8, 0, [0, 1, 0, 1], m);
        vec![
            s.via_bridge(&Tcp::new(23003, 22, flag::SYN).packet(&ends, m)),
            s.via_bridge(&udp_packet(&ends, 5000, 5353, m)),
            s.via_bridge(&Ipv4 { protocol: 1, ..s.ip(s.b.ipv4) }.packet(&ping)),
        ]
    })
    .classic(Through::Nothing);
    book.frames("P15", "AF_PACKET to B by way of the host", Point::Peer, NEIGHBOUR, |s, m| {
        let ends = s.ends(s.b.ipv4);
        let ping = icmp(8, 0, [0, 1, 0, 1], m);
        vec![
            s.via_host(&Tcp::new(23003, 22, flag::SYN).packet(&ends, m)),
            s.via_host(&udp_packet(&ends, 5000, 5353, m)),
            s.via_host(&Ipv4 { protocol: 1, ..s.ip(s.b.ipv4) }.packet(&ping)),
        ]
    })
    .classic(Through::Nothing);
    let marker = book.marker();
    let packet = Tcp::new(23000, 80, flag::SYN).packet(&book.scene.ends(book.scene.world), &marker);
    let world = book.scene.world;
    book.add(
        "P15",
        "raw IP socket to the world",
        Point::World,
        POLICY,
        Step::RawIp { to: world, packets: vec![packet] },
    )
    .classic(Through::Nothing);
    for (name, by) in [
        ("AF_PACKET to the world", SendBy::Plain),
        ("PACKET_QDISC_BYPASS to the world", SendBy::QdiscBypass),
    ] {
        book.frames("P15", name, Point::World, POLICY, |s, m| syn(&s.ends(s.world), s, m))
            .by(by)
            .classic(Through::Nothing);
    }
    for (name, by) in [
        ("PACKET_TX_RING to the host", SendBy::TxRing),
        (
            "PACKET_VNET_HDR, header length 0, to the host",
            SendBy::VnetHeader(hex::encode(&[0; 10])),
        ),
        (
            "PACKET_VNET_HDR, header length 14, to the host",
            SendBy::VnetHeader(hex::encode(&[0, 0, 14, 0, 0, 0, 0, 0, 0, 0])),
        ),
        (
            "PACKET_VNET_HDR, header length 54, to the host",
            SendBy::VnetHeader(hex::encode(&[0, 0, 54, 0, 0, 0, 0, 0, 0, 0])),
        ),
    ] {
        book.frames("P16", name, Point::Host, POLICY, |s, m| syn(&s.ends(s.host.ipv4), s, m))
            .by(by);
    }
}

fn syn(ends: &crate::frames::Ip, s: &super::Scene, m: &[u8]) -> Vec<Vec<u8>> {
    let large = [m, &[0; 1200]].concat();
    vec![
        s.via_host(&Tcp::new(23001, 80, flag::SYN).packet(ends, m)),
        s.via_host(&Tcp::new(23002, 80, flag::SYN).packet(ends, &large)),
    ]
}

fn super_packets(book: &mut Book) {
    let world = SocketAddr::from((book.scene.world, 4444));
    book.add(
        "P16",
        "UDP_SEGMENT to the world",
        Point::World,
        POLICY,
        Step::Segments { to: world, size: 512, count: 16 },
    )
    .classic(Through::Nothing)
    .inexact()
    // A super-packet is one frame on a virtual wire.
    .unprotected(Through::Some);
    let host = SocketAddr::from((GATEWAY, 4444));
    book.add(
        "P32",
        "UDP super-packets to the host",
        Point::Host,
        POLICY,
        Step::Segments { to: host, size: 1400, count: 40 },
    )
    .inexact()
    // A super-packet is one frame at the bridge.
    .unprotected(Through::Some)
    .classic(Through::Some);
    book.frames("P32", "wrong checksums", Point::Host, POLICY, |s, m| {
        let mut packet = udp_packet(&s.ends(s.host.ipv4), 5000, 53, m);
        packet.splice(26..28, [0xde, 0xad]);
        vec![s.via_host(&packet)]
    });
    let reasons: &[DropReason] = &[Policy, NoFlow, Malformed, Truncated];
    for header in vnet_headers() {
        book.frames("P37", "a PACKET_VNET_HDR that lies", Point::Host, reasons, |s, m| {
            syn(&s.ends(s.host.ipv4), s, m)
        })
        .by(SendBy::VnetHeader(hex::encode(&header)))
        .times(4)
        .inexact()
        .unprotected(Through::Some)
        .classic(Through::Some);
    }
}

/// flags, GSO type, header length, GSO size, checksum start and offset: little endian words.
fn vnet_headers() -> [[u8; 10]; 5] {
    [
        // TCPv4, segments of 100 bytes, checksum to fill in.
        [1, 1, 54, 0, 100, 0, 34, 0, 16, 0],
        // TCPv4, header length of nonsense.
        [1, 1, 255, 255, 100, 0, 34, 0, 16, 0],
        // UDP segmentation over a TCP packet.
        [1, 5, 54, 0, 200, 0, 34, 0, 6, 0],
        // Checksum outside of the transport header.
        [1, 0, 0, 0, 0, 0, 50, 0, 2, 0],
        // TCPv6 over an IPv4 packet.
        [1, 4, 54, 0, 100, 0, 34, 0, 16, 0],
    ]
}
