//! Others' addresses: source spoofing, loopback, LAND, injection into a neighbour's connection.

use std::net::Ipv4Addr;

use enforcer_common::abi::verdict::DropReason::{
    self, BogusAddress, GuestToGuest, IcmpNoFlow, IcmpType, L2Destination, Malformed, Multicast,
    NoFlow, Policy, SourceAddress, SourceMac,
};

use super::{Book, Point, Scenario, Scene, Step, Through};
use crate::frames::{Ip, Ipv4, Tcp, ethernet, ethertype, flag, icmp, udp_packet};

const SOURCE: &[DropReason] =
    &[SourceAddress, BogusAddress, L2Destination, GuestToGuest, Multicast];

pub(super) fn add(book: &mut Book) {
    book.frames(
        "P07",
        "B's, the hub's and others' source address to the host",
        Point::Host,
        SOURCE,
        |s, m| {
            sources(s)
                .into_iter()
                .map(|from| {
                    s.via_host(&udp_packet(&Ip::V4(Ipv4::new(from, s.host.ipv4, 0)), 5000, 53, m))
                })
                .collect()
        },
    );
    book.frames("P07", "the hub's source address to B", Point::Peer, SOURCE, |s, m| {
        let from_host = Ip::V4(Ipv4::new(s.host.ipv4, s.b.ipv4, 0));
        vec![s.via_bridge(&Tcp::new(8081, 8888, flag::SYN).packet(&from_host, m))]
    })
    .classic(Through::Nothing);
    book.frames("P07", "B's MAC address", Point::Host, &[SourceMac], |s, m| {
        let packet = udp_packet(&s.ends(s.host.ipv4), 5000, 53, m);
        vec![
            ethernet(s.host.mac, s.b.mac, ethertype::IPV4, &packet),
            ethernet(s.host.mac, [2, 1, 2, 3, 4, 5], ethertype::IPV4, &packet),
        ]
    });
    book.add(
        "P07",
        "data into a live connection of B",
        Point::Peer,
        SOURCE,
        Step::Scenario(Scenario::InjectIntoLiveFlow),
    )
    .classic(Through::Nothing);
    // To conntrack it belongs to an established connection, whoever sent it.
    book.add(
        "P07",
        "an answer to the world as B",
        Point::World,
        SOURCE,
        Step::Scenario(Scenario::AnswerAsPeer),
    );
    book.add(
        "P23",
        "RST into a live connection of B",
        Point::Peer,
        SOURCE,
        Step::Scenario(Scenario::ResetLiveFlow),
    )
    .classic(Through::Nothing);
    book.frames("P23", "RST and FIN as B", Point::Host, SOURCE, |s, m| {
        let as_b = Ip::V4(Ipv4::new(s.b.ipv4, s.world, 0));
        [flag::RST, flag::RST | flag::ACK, flag::FIN | flag::ACK]
            .map(|flags| s.via_host(&Tcp::new(8888, 443, flags).packet(&as_b, m)))
            .into()
    });
    book.frames(
        "P12",
        "loopback through route_localnet",
        Point::Host,
        &[BogusAddress, Policy, SourceAddress],
        |s, m| {
            let local = Ipv4Addr::LOCALHOST;
            vec![
                s.via_host(&Tcp::new(5000, 8001, flag::SYN).packet(&s.ends(local), m)),
                s.via_host(
                    &Tcp::new(5000, 8001, flag::SYN)
                        .packet(&Ip::V4(Ipv4::new(local, s.host.ipv4, 0)), m),
                ),
                s.via_host(&udp_packet(&s.ends(local), 5000, 53, m)),
            ]
        },
    )
    .sysctls(&[("net/ipv4/conf/guests0/route_localnet", "1", "0")]);
    bogus(book);
    book.frames("P40", "ICMP redirect", Point::Host, &[IcmpType, IcmpNoFlow, Policy], |s, m| {
        let original = udp_packet(&Ip::V4(Ipv4::new(s.host.ipv4, s.world, 0)), 5000, 53, m);
        let message = icmp(5, 1, s.a.ipv4.octets(), &original);
        vec![s.via_host(&Ipv4 { protocol: 1, ..s.ip(s.host.ipv4) }.packet(&message))]
    })
    .sysctls(&[("net/ipv4/conf/guests0/accept_redirects", "1", "0")]);
}

fn sources(s: &Scene) -> Vec<Ipv4Addr> {
    vec![
        s.b.ipv4,
        s.host.ipv4,
        s.world,
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::BROADCAST,
        Ipv4Addr::new(10, 99, 0, 255),
        Ipv4Addr::new(224, 0, 0, 1),
    ]
}

fn bogus(book: &mut Book) {
    const LAND: &[DropReason] = &[SourceAddress, BogusAddress, Malformed, NoFlow, Policy];
    book.frames("P35", "LAND, source port 0", Point::Host, LAND, |s, m| {
        let land = Ip::V4(Ipv4::new(s.host.ipv4, s.host.ipv4, 0));
        let own = Ip::V4(Ipv4::new(s.a.ipv4, s.a.ipv4, 0));
        vec![
            s.via_host(&Tcp::new(22, 22, flag::SYN).packet(&land, m)),
            s.via_host(&Tcp::new(22, 22, flag::SYN).packet(&own, m)),
            s.via_host(&Tcp::new(0, 22, flag::SYN).packet(&s.ends(s.host.ipv4), m)),
            s.via_host(&udp_packet(&s.ends(s.host.ipv4), 0, 53, m)),
        ]
    });
}
