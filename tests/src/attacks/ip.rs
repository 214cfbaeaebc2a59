//! IPv4 itself: protocols, tunnels, fragments, options, lengths that lie.

use enforcer_common::abi::verdict::DropReason::{
    self, EtherType, Fragment, GuestToGuest, IpOptions, L2Destination, Malformed, Policy, Protocol,
    Truncated,
};

use super::{Book, Point, Scene, Through};
use crate::frames::{Ipv4, Tcp, ethertype, flag, protocol, udp, udp_packet};

pub(super) fn add(book: &mut Book) {
    protocols(book);
    tunnels(book);
    fragments(book);
    options(book);
    lengths(book);
}

fn protocols(book: &mut Book) {
    const TO_PEER: &[DropReason] = &[Protocol, L2Destination, GuestToGuest];
    let others = || {
        (0..=255_u8)
            .filter(|number| ![protocol::ICMP, protocol::TCP, protocol::UDP].contains(number))
    };
    book.frames("P09", "every other IP protocol to B", Point::Peer, TO_PEER, move |s, m| {
        others()
            .map(|number| {
                s.via_bridge(&Ipv4 { protocol: number, ..s.ip(s.b.ipv4) }.packet(&padded(m)))
            })
            .collect()
    })
    .classic(Through::Nothing);
    book.frames(
        "P09",
        "every other IP protocol to the host",
        Point::Host,
        &[Protocol],
        move |s, m| {
            others()
                .map(|number| {
                    s.via_host(&Ipv4 { protocol: number, ..s.ip(s.host.ipv4) }.packet(&padded(m)))
                })
                .collect()
        },
    );
    book.frames("P09", "other IP protocols to the world", Point::World, &[Protocol], |s, m| {
        [2, 33, 47, 50, 51, 89, 103, 112, 132, 136, 253, 254]
            .map(|number| {
                s.via_host(&Ipv4 { protocol: number, ..s.ip(s.world) }.packet(&padded(m)))
            })
            .into()
    })
    .unprotected(Through::Some)
    .classic(Through::Some);
}

/// A payload long enough to pass for a header of most protocols.
fn padded(m: &[u8]) -> Vec<u8> {
    [&[0; 24], m].concat()
}

fn tunnels(book: &mut Book) {
    book.frames("P10", "tunnels to the host", Point::Host, &[Protocol, Policy], |s, m| {
        let inner = Tcp::new(5000, 22, flag::SYN).packet(&s.ends(s.b.ipv4), m);
        let over = |number: u8, header: &[u8]| {
            let payload = [header, &inner].concat();
            s.via_host(&Ipv4 { protocol: number, ..s.ip(s.host.ipv4) }.packet(&payload))
        };
        let mut frames = vec![
            over(4, &[]),
            over(41, &[]),
            over(47, &[0, 0, 8, 0]),
            over(94, &[]),
            over(97, &[0x30, 0]),
        ];
        for port in [3544, 4789, 6081, 51820, 500, 4500, 1701] {
            let payload = [&[8, 0, 0, 0, 0, 0, 1, 0], &inner[..]].concat();
            frames.push(s.via_host(&udp_packet(&s.ends(s.host.ipv4), 5000, port, &payload)));
        }
        frames
    });
}

fn fragments(book: &mut Book) {
    const REASONS: &[DropReason] = &[Fragment];
    book.frames("P17", "fragments to the host", Point::Host, REASONS, |s, m| {
        cut(s, s.host.ipv4, m)
    })
    .without_br_netfilter()
    .classic(Through::Nothing);
    book.frames("P17", "fragments to the world", Point::Host, REASONS, |s, m| cut(s, s.world, m))
        .without_br_netfilter()
        .classic(Through::Nothing);
    book.frames(
        "P17",
        "fragments to B",
        Point::Peer,
        &[Fragment, L2Destination, GuestToGuest],
        |s, m| {
            cut(s, s.b.ipv4, m)
                .into_iter()
                .map(|frame| [&s.b.mac[..], frame.get(6..).unwrap_or_default()].concat())
                .collect()
        },
    )
    .without_br_netfilter()
    .classic(Through::Nothing);
}

/// Tiny first, later only, offset 1, overlapping, never finished.
fn cut(s: &Scene, to: std::net::Ipv4Addr, m: &[u8]) -> Vec<Vec<u8>> {
    const MORE: u16 = 0x2000;
    let whole = udp(&s.ends(to), 5000, 53, &[m, m, m, m].concat());
    let part = |id: u16, fragment: u16, payload: &[u8]| {
        // Each part must carry the marker, and whole units of eight bytes unless it is the last.
        s.via_host(&Ipv4 { id, fragment, protocol: protocol::UDP, ..s.ip(to) }.packet(payload))
    };
    vec![
        part(1, MORE, m),
        part(2, 1, m),
        part(3, 2, m),
        part(4, MORE, whole.get(..24).unwrap_or_default()),
        part(4, 1, whole.get(8..24).unwrap_or_default()),
        part(5, MORE | 0x64, m),
        part(6, 0x1fff, m),
    ]
}

fn options(book: &mut Book) {
    book.frames("P19", "IP options to the host", Point::Host, &[IpOptions], |s, m| {
        with_options(s, s.host.ipv4, m)
    });
    book.frames("P19", "IP options to the world", Point::World, &[IpOptions], |s, m| {
        let plain = Ipv4 { options: vec![1, 1, 1, 0], protocol: protocol::UDP, ..s.ip(s.world) };
        let alert = Ipv4 { options: vec![0x94, 4, 0, 0], ..plain.clone() };
        let payload = udp(&s.ends(s.world), 5000, 53, m);
        [plain, alert].map(|ip| s.via_host(&ip.packet(&payload))).into()
    })
    .classic(Through::Nothing);
    book.frames("P19", "header lengths 0 to 4", Point::Host, &[Malformed, Truncated], |s, m| {
        (0..5)
            .map(|words| {
                let ip = Ipv4 { header_words: Some(words), protocol: 17, ..s.ip(s.host.ipv4) };
                s.via_host(&ip.packet(&udp(&s.ends(s.host.ipv4), 5000, 53, m)))
            })
            .collect()
    })
    .without_br_netfilter()
    .classic(Through::Nothing);
}

fn with_options(s: &Scene, to: std::net::Ipv4Addr, m: &[u8]) -> Vec<Vec<u8>> {
    // No-op, record route, timestamp, loose and strict source route, router alert, unknown.
    [1, 7, 68, 131, 137, 148, 200]
        .into_iter()
        .flat_map(|kind: u8| [1_usize, 10].map(|words| (kind, words)))
        .map(|(kind, words)| {
            let mut options = vec![kind, (words * 4) as u8, 4];
            options.resize(words * 4, 0);
            let ip = Ipv4 { options, protocol: protocol::UDP, ..s.ip(to) };
            s.via_host(&ip.packet(&udp(&s.ends(to), 5000, 53, m)))
        })
        .collect()
}

fn lengths(book: &mut Book) {
    // A header length that lies makes options of what follows.
    const REASONS: &[DropReason] = &[Malformed, Truncated, EtherType, IpOptions];
    book.frames("P20", "lengths and versions that lie", Point::Host, REASONS, |s, m| {
        let to = s.host.ipv4;
        let payload = udp(&s.ends(to), 5000, 53, m);
        let good = Ipv4 { protocol: protocol::UDP, ..s.ip(to) };
        let mut liar = payload.clone();
        liar.splice(4..6, [0xff, 0xff]);
        let mut short = payload.clone();
        short.splice(4..6, [0, 4]);
        let bent = [
            Ipv4 { total_length: Some(1500), ..good.clone() },
            Ipv4 { total_length: Some(19), ..good.clone() },
            Ipv4 { total_length: Some(0), ..good.clone() },
            Ipv4 { total_length: Some(24), ..good.clone() },
            Ipv4 { version: 6, ..good.clone() },
            Ipv4 { version: 0, ..good.clone() },
            Ipv4 { header_words: Some(15), ..good.clone() },
        ];
        let mut frames: Vec<_> = bent.iter().map(|ip| s.via_host(&ip.packet(&payload))).collect();
        frames.push(s.via_host(&good.packet(&liar)));
        frames.push(s.via_host(&good.packet(&short)));
        frames.push(s.frame(s.host.mac, ethertype::IPV6, &good.packet(&payload)));
        frames.push(s.frame(s.host.mac, ethertype::IPV4, m));
        let mut tcp = Tcp::new(5000, 22, flag::SYN).segment(&s.ends(to), m);
        tcp.splice(12..13, [0x40]);
        frames.push(s.via_host(&Ipv4 { protocol: protocol::TCP, ..s.ip(to) }.packet(&tcp)));
        tcp.splice(12..13, [0xf0]);
        frames.push(s.via_host(&Ipv4 { protocol: protocol::TCP, ..s.ip(to) }.packet(&tcp)));
        frames
    })
    .without_br_netfilter()
    .classic(Through::Some);
}
