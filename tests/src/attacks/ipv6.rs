//! IPv6 on a network that has none: the forgotten family.

use std::net::Ipv6Addr;

use enforcer_common::abi::verdict::DropReason::{
    self, ExtensionHeader, Fragment, GuestToGuest, IcmpType, L2Destination, Malformed, Multicast,
    Ndp, NoFamily, Policy, Protocol, Router, SourceAddress, Truncated,
};

use super::{Book, Point, Scene};
use crate::frames::{
    Ip, Ipv6, Mac, Tcp, ethertype, flag, icmp6, link_local, multicast_mac, protocol,
    solicited_node, udp_packet,
};

/// Every IPv6 frame of a guest without IPv6 address is denied early; which stage says so first is
/// the decision's business.
const ANY: &[DropReason] = &[
    NoFamily,
    Ndp,
    Router,
    Multicast,
    L2Destination,
    GuestToGuest,
    IcmpType,
    Policy,
    Protocol,
    ExtensionHeader,
    SourceAddress,
    Malformed,
    Truncated,
    Fragment,
];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

pub(super) fn add(book: &mut Book) {
    book.frames(
        "P05",
        "router advertisements, redirects, forged neighbours",
        Point::Peer,
        ANY,
        |s, m| {
            let own = link_local(s.a.mac);
            let option = [&[14, 2, 0, 0, 0, 0, 0, 0], m].concat();
            let with = |kind: u8, rest: &[u8]| icmp6(kind, 0, &[rest, &option].concat());
            let host = link_local(s.host.mac);
            let claim = [&[0xe0, 0, 0, 0], &host.octets()[..]].concat();
            let redirect = [&[0; 4], &own.octets()[..], &ALL_NODES.octets()[..]].concat();
            [
                with(134, &[64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]),
                with(137, &redirect),
                with(136, &claim),
            ]
            .iter()
            .map(|message| to_group(s, Ipv6::new(own, ALL_NODES, 0), message))
            .collect()
        },
    );
    book.frames("P05", "router and neighbour solicitations", Point::Peer, ANY, |s, m| {
        let own = link_local(s.a.mac);
        let peer = link_local(s.b.mac);
        let option = [&[14, 2, 0, 0, 0, 0, 0, 0], m].concat();
        let ask = [&[0; 4], &peer.octets()[..], &option].concat();
        vec![
            to_group(
                s,
                Ipv6::new(own, ALL_ROUTERS, 0),
                &icmp6(133, 0, &[&[0; 4], &option[..]].concat()),
            ),
            to_group(s, Ipv6::new(own, solicited_node(peer), 0), &icmp6(135, 0, &ask)),
            to_group(
                s,
                Ipv6::new(Ipv6Addr::UNSPECIFIED, solicited_node(peer), 0),
                &icmp6(135, 0, &ask),
            ),
        ]
    });
    book.frames("P06", "link-local IPv6 to B", Point::Peer, ANY, |s, m| unicast(s, s.b.mac, m));
    book.frames("P06", "link-local IPv6 to the host", Point::Host, ANY, |s, m| {
        unicast(s, s.host.mac, m)
    });
    book.frames("P06", "ping of every IPv6 node", Point::Peer, ANY, |s, m| {
        let message = icmp6(128, 0, &[&[0, 1, 0, 1], m].concat());
        vec![to_group(s, Ipv6::new(link_local(s.a.mac), ALL_NODES, 0), &message)]
    });
    book.frames("P09", "every other IPv6 next header to B", Point::Peer, ANY, |s, m| {
        let payload = [&[0; 40], m].concat();
        (0..=255_u8)
            .filter(|number| ![protocol::TCP, protocol::UDP, protocol::ICMPV6].contains(number))
            .map(|number| {
                six(
                    s,
                    s.b.mac,
                    &Ipv6::new(link_local(s.a.mac), link_local(s.b.mac), number).packet(&payload),
                )
            })
            .collect()
    });
    book.frames("P18", "extension headers before TCP", Point::Peer, ANY, |s, m| {
        chains(s, s.b.mac, m)
    });
    book.frames("P18", "extension headers to the host", Point::Host, ANY, |s, m| {
        chains(s, s.host.mac, m)
    });
}

fn six(s: &Scene, to: Mac, packet: &[u8]) -> Vec<u8> {
    s.frame(to, ethertype::IPV6, packet)
}

fn to_group(s: &Scene, ip: Ipv6, message: &[u8]) -> Vec<u8> {
    six(s, multicast_mac(ip.destination), &ip.icmp(message))
}

fn unicast(s: &Scene, to: Mac, m: &[u8]) -> Vec<Vec<u8>> {
    let own = link_local(s.a.mac);
    let global = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xa);
    let local = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0xa);
    let mut frames = Vec::new();
    for from in [own, global, local] {
        let ip = Ip::V6(Ipv6::new(from, link_local(to), 0));
        frames.push(six(s, to, &Tcp::new(5000, 22, flag::SYN).packet(&ip, m)));
        frames.push(six(s, to, &udp_packet(&ip, 5000, 53, m)));
    }
    let echo = icmp6(128, 0, &[&[0, 1, 0, 1], m].concat());
    frames.push(six(s, to, &Ipv6::new(own, link_local(to), 0).icmp(&echo)));
    frames
}

fn chains(s: &Scene, to: Mac, m: &[u8]) -> Vec<Vec<u8>> {
    const HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    const NOTHING: u8 = 59;
    const DESTINATION: u8 = 60;
    let ip = Ipv6::new(link_local(s.a.mac), link_local(to), 0);
    let segment = Tcp::new(5000, 22, flag::SYN).segment(&Ip::V6(ip), m);
    let long = [DESTINATION; 20];
    let chains: [&[u8]; 9] = [
        &[HOP],
        &[ROUTING],
        &[FRAGMENT],
        &[AUTHENTICATION],
        &[DESTINATION],
        &[HOP, DESTINATION, ROUTING, FRAGMENT],
        &[HOP, HOP],
        &[NOTHING],
        &long,
    ];
    chains
        .iter()
        .map(|chain| {
            let mut payload = Vec::new();
            for (at, kind) in chain.iter().enumerate() {
                let next = chain.get(at + 1).copied().unwrap_or(protocol::TCP);
                // PadN fills option headers; routing type 4 without segments; an atomic fragment.
                payload.extend_from_slice(&match *kind {
                    ROUTING => [next, 0, 4, 0, 0, 0, 0, 0],
                    FRAGMENT => [next, 0, 0, 0, 0, 0, 0, 1],
                    AUTHENTICATION => [next, 0, 0, 0, 0, 0, 0, 1],
                    _ => [next, 0, 1, 4, 0, 0, 0, 0],
                });
            }
            payload.extend_from_slice(&segment);
            let first = chain.first().copied().unwrap_or(protocol::TCP);
            six(s, to, &Ipv6 { next_header: first, ..ip }.packet(&payload))
        })
        .collect()
}
