//! Below IP: raw Ethernet, VLAN tags, ARP.

use enforcer_common::abi::verdict::DropReason::{
    self, Arp as ArpDenied, EtherType, L2Destination, Malformed, Multicast, Truncated, Vlan,
};

use super::{Book, Point, Scenario, Scene, Step, Through};
use crate::frames::{Arp, BROADCAST, Mac, Tcp, ethernet, ethertype, flag, tagged};

const RAW: &[DropReason] = &[EtherType, L2Destination, Multicast];
const ARP: &[DropReason] = &[ArpDenied, L2Destination, Malformed, Truncated];

/// Ethertypes that carry data past a filter that only knows IP.
const ETHERTYPES: [u16; 10] =
    [0x88b5, 0x8847, 0x8848, 0x8863, 0x8864, 0x88cc, 0x8035, 0x22f0, 0x0842, 0x9000];

pub(super) fn add(book: &mut Book) {
    book.frames("P01", "raw Ethernet to B", Point::Peer, RAW, |s, m| raw(s, s.b.mac, m)).times(100);
    book.frames("P01", "raw Ethernet, broadcast", Point::Peer, RAW, |s, m| raw(s, BROADCAST, m))
        .times(100);
    book.frames(
        "P01",
        "802.3 with LLC",
        Point::Peer,
        &[EtherType, L2Destination, Malformed, Truncated],
        |s, m| {
            let payload = [&[0x42, 0x42, 3], m].concat();
            vec![s.frame(s.b.mac, payload.len() as u16, &payload)]
        },
    );
    book.frames("P01", "malformed ARP", Point::Peer, ARP, |s, m| {
        let mut packet = [&arp(s, 1, s.a.ipv4, s.b.ipv4)[..], m].concat();
        packet.splice(0..2, [0, 6]);
        vec![s.frame(s.b.mac, ethertype::ARP, &packet), s.frame(BROADCAST, ethertype::ARP, m)]
    });
    vlan(book);
    spoofed_arp(book);
}

fn raw(s: &Scene, to: Mac, m: &[u8]) -> Vec<Vec<u8>> {
    ETHERTYPES.iter().map(|kind| s.frame(to, *kind, m)).collect()
}

fn vlan(book: &mut Book) {
    const TAGS: [&[(u16, u16)]; 7] = [
        &[(0x8100, 0)],
        &[(0x8100, 1)],
        &[(0x8100, 4095)],
        &[(0x88a8, 5)],
        &[(0x88a8, 5), (0x8100, 6)],
        &[(0x8100, 1), (0x8100, 2)],
        &[(0x8100, 7); 8],
    ];
    let all = |s: &Scene, m: &[u8], to: Mac| {
        let packet = Tcp::new(40000, 22, flag::SYN).packet(&s.ends(s.b.ipv4), m);
        let inner = [
            s.frame(to, ethertype::IPV4, &packet),
            s.frame(to, ethertype::ARP, &[&arp(s, 1, s.a.ipv4, s.b.ipv4)[..], m].concat()),
            s.frame(to, ethertype::IPV6, m),
        ];
        inner.iter().flat_map(|frame| TAGS.map(|tags| tagged(frame, tags))).collect()
    };
    book.frames("P02", "VLAN tags to B", Point::Peer, &[Vlan], |s, m| all(s, m, s.b.mac));
    // The classic recipe's br_netfilter and the host's stack see the tag: the bridge tap, too.
    book.frames("P02", "VLAN tags to the host", Point::Host, &[Vlan], |s, m| all(s, m, s.host.mac));
    book.frames("P02", "0x9100 tags to B", Point::Peer, &[Vlan, EtherType], |s, m| {
        vec![tagged(&s.frame(s.b.mac, ethertype::IPV4, m), &[(0x9100, 5)])]
    });
}

fn spoofed_arp(book: &mut Book) {
    book.frames("P04", "ARP that claims others' addresses", Point::Peer, ARP, |s, m| {
        let mut frames = Vec::new();
        for (operation, claimed) in
            [(2, s.host.ipv4), (1, s.host.ipv4), (2, s.b.ipv4), (1, s.b.ipv4)]
        {
            for to in [s.b.mac, BROADCAST] {
                let packet = [&arp(s, operation, claimed, s.b.ipv4)[..], m].concat();
                frames.push(s.frame(to, ethertype::ARP, &packet));
            }
        }
        frames
    });
    book.frames("P04", "ARP with another's MAC inside", Point::Peer, ARP, |s, m| {
        let packet =
            Arp { operation: 2, sender: (s.host.mac, s.a.ipv4), target: (s.b.mac, s.b.ipv4) };
        vec![s.frame(s.b.mac, ethertype::ARP, &[&packet.bytes()[..], m].concat())]
    });
    book.frames("P04", "unicast ARP to B", Point::Peer, ARP, |s, m| {
        vec![s.frame(s.b.mac, ethertype::ARP, &[&arp(s, 1, s.a.ipv4, s.b.ipv4)[..], m].concat())]
    });
    book.frames(
        "P04",
        "ARP from B's MAC",
        Point::Host,
        &[DropReason::SourceMac, ArpDenied],
        |s, m| {
            let packet = Arp {
                operation: 2,
                sender: (s.b.mac, s.b.ipv4),
                target: (s.host.mac, s.host.ipv4),
            };
            let payload = [&packet.bytes()[..], m].concat();
            vec![ethernet(s.host.mac, s.b.mac, ethertype::ARP, &payload)]
        },
    );
    book.add(
        "P04",
        "the host's neighbour table",
        Point::Host,
        ARP,
        Step::Scenario(Scenario::PoisonHost),
    )
    .unprotected(Through::All);
}

/// A's own MAC address claims `claimed`.
fn arp(
    s: &Scene,
    operation: u16,
    claimed: std::net::Ipv4Addr,
    asked: std::net::Ipv4Addr,
) -> Vec<u8> {
    Arp { operation, sender: (s.a.mac, claimed), target: ([0; 6], asked) }.bytes()
}
