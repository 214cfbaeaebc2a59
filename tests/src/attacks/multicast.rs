//! Everybody at once: discovery protocols, broadcast, rogue DHCP, and ARP that a host may answer.

use std::net::{Ipv4Addr, Ipv6Addr};

use enforcer_common::abi::verdict::DropReason::{
    self, Arp as ArpDenied, BogusAddress, GuestToGuest, IpOptions, L2Destination, Multicast,
    NoFamily, Policy, Protocol, SourceAddress,
};

use super::{Book, Point, Scene, Through};
use crate::frames::{
    Arp, BROADCAST, Ip, Ipv4, Ipv6, Mac, ethertype, link_local, multicast_mac, udp_packet,
};

const GROUP: &[DropReason] = &[Multicast, L2Destination, Protocol, IpOptions, GuestToGuest, Policy];
/// Group, port: mDNS, LLMNR, SSDP, WS-Discovery, all hosts.
const GROUPS: [(Ipv4Addr, u16); 5] = [
    (Ipv4Addr::new(224, 0, 0, 251), 5353),
    (Ipv4Addr::new(224, 0, 0, 252), 5355),
    (Ipv4Addr::new(239, 255, 255, 250), 1900),
    (Ipv4Addr::new(239, 255, 255, 250), 3702),
    (Ipv4Addr::new(224, 0, 0, 1), 9),
];

pub(super) fn add(book: &mut Book) {
    book.frames("P27", "IPv4 multicast", Point::Peer, GROUP, |s, m| {
        GROUPS.map(|(group, port)| datagram(s, group_mac(group), group, port, m)).into()
    })
    .classic(Through::Nothing);
    book.frames("P27", "broadcast", Point::Peer, GROUP, |s, m| {
        [Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 99, 0, 255)]
            .map(|to| datagram(s, BROADCAST, to, 137, m))
            .into()
    })
    .classic(Through::Nothing);
    book.frames("P27", "multicast in unicast frames", Point::Peer, GROUP, |s, m| {
        GROUPS.map(|(group, port)| datagram(s, s.b.mac, group, port, m)).into()
    })
    .classic(Through::Nothing);
    book.frames("P27", "multicast to the host", Point::Host, GROUP, |s, m| {
        GROUPS.map(|(group, port)| datagram(s, s.host.mac, group, port, m)).into()
    });
    book.frames(
        "P27",
        "IPv6 multicast",
        Point::Peer,
        &[Multicast, L2Destination, NoFamily],
        |s, m| {
            let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
            let ip = Ip::V6(Ipv6::new(link_local(s.a.mac), group, 0));
            vec![s.frame(multicast_mac(group), ethertype::IPV6, &udp_packet(&ip, 5353, 5353, m))]
        },
    );
    dhcp(book);
    book.frames("P40", "directed broadcast to the host", Point::Host, GROUP, |s, m| {
        vec![datagram(s, s.host.mac, Ipv4Addr::new(10, 99, 0, 255), 9, m)]
    })
    .sysctls(&[("net/ipv4/conf/guests0/bc_forwarding", "1", "0")]);
    book.frames("P40", "ARP for addresses beyond the bridge", Point::Host, &[ArpDenied], |s, m| {
        [s.world, Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(172, 17, 0, 1)]
            .map(|asked| {
                let packet =
                    Arp { operation: 1, sender: (s.a.mac, s.a.ipv4), target: ([0; 6], asked) };
                s.frame(BROADCAST, ethertype::ARP, &[&packet.bytes()[..], m].concat())
            })
            .into()
    })
    .sysctls(&[("net/ipv4/conf/guests0/proxy_arp", "1", "0")]);
}

fn dhcp(book: &mut Book) {
    const REASONS: &[DropReason] =
        &[Multicast, L2Destination, Policy, BogusAddress, SourceAddress, GuestToGuest];
    book.frames("P28", "DHCP offers and requests", Point::Peer, REASONS, |s, m| {
        let offer = [&[2, 1, 6, 0], &[0; 232][..], m].concat();
        let unnumbered = Ip::V4(Ipv4::new(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, 0));
        let everybody = s.ends(Ipv4Addr::BROADCAST);
        vec![
            s.frame(BROADCAST, ethertype::IPV4, &udp_packet(&everybody, 67, 68, &offer)),
            s.frame(s.b.mac, ethertype::IPV4, &udp_packet(&s.ends(s.b.ipv4), 67, 68, &offer)),
            s.frame(BROADCAST, ethertype::IPV4, &udp_packet(&unnumbered, 68, 67, &offer)),
        ]
    })
    .classic(Through::Nothing);
    book.frames(
        "P28",
        "DHCPv6 advertisements",
        Point::Peer,
        &[Multicast, L2Destination, NoFamily],
        |s, m| {
            let ip = Ip::V6(Ipv6::new(link_local(s.a.mac), link_local(s.b.mac), 0));
            vec![s.frame(s.b.mac, ethertype::IPV6, &udp_packet(&ip, 547, 546, m))]
        },
    );
}

fn datagram(s: &Scene, mac: Mac, to: Ipv4Addr, port: u16, m: &[u8]) -> Vec<u8> {
    s.frame(mac, ethertype::IPV4, &udp_packet(&s.ends(to), port, port, m))
}

fn group_mac(group: Ipv4Addr) -> Mac {
    let [_, b, c, d] = group.octets();
    [1, 0, 0x5e, b & 0x7f, c, d]
}
