//! Properties of the parser over random and bent frames, with `etherparse` as the second opinion.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::{
    super::*,
    frames::{
        MAC_A, ROW_V6, arp, ethernet, extension, icmp4, icmp6, ip4, ip4_header, ip6, neighbour,
        tcp, udp,
    },
};

fn seeds() -> Vec<Vec<u8>> {
    let inner = [&ip4_header(TCP, 20)[..], &tcp(1, 2, 0x10, b"")].concat();
    vec![
        ip4(TCP, &tcp(40000, 80, flags::SYN, b"")),
        ip4(TCP, &tcp(40000, 80, flags::ACK | flags::PSH, b"GET / HTTP/1.1")),
        ip4(UDP, &udp(53, 53, b"query")),
        ip4(ICMP, &icmp4(8, 0, b"ping")),
        ip4(ICMP, &icmp4(3, 4, &inner)),
        ip6(TCP, &tcp(40000, 80, flags::SYN, b"")),
        ip6(UDP, &udp(53, 53, b"query")),
        ip6(ICMPV6, &icmp6(128, 0, b"ping")),
        extension(0, &[(60, 8), (TCP, 16)], &tcp(1, 2, flags::SYN, b"")),
        neighbour(135, 0, ROW_V6.1, &[1, 1, 2, 0, 0, 0, 0, 0xa]),
        ethernet(0x0806, &arp(1, (MAC_A, [10, 1, 0, 2]), [10, 1, 0, 1])),
    ]
}

/// A legal frame with bytes replaced, cut, or extended.
fn bent() -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (prop::sample::select(seeds()), edits, any::<prop::sample::Index>(), 0..10_u8).prop_map(
        |(mut frame, edits, cut, how)| {
            for (at, value) in edits {
                let at = at.index(frame.len());
                frame[at] = value;
            }
            match how {
                0 => frame.truncate(cut.index(frame.len())),
                1 => frame.extend(vec![0x5a; cut.index(64)]),
                _ => {}
            }
            frame
        },
    )
}

/// What our parser accepted must be what another parser reads too.
fn agrees(frame: &[u8], payload: Payload, packet: &Packet) -> Result<(), TestCaseError> {
    let sliced = SlicedPacket::from_ethernet(frame)
        .map_err(|error| TestCaseError::fail(format!("only we accept it: {error}")))?;
    prop_assert!(sliced.vlan().is_none());
    match &sliced.net {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header();
            prop_assert_eq!(packet.family, IPV4);
            prop_assert_eq!(packet.source, widen(header.source()));
            prop_assert_eq!(packet.destination, widen(header.destination()));
            prop_assert!(header.options().is_empty() && !header.is_fragmenting_payload());
        }
        Some(NetSlice::Ipv6(ip)) => {
            prop_assert_eq!(packet.family, IPV6);
            prop_assert_eq!(packet.source, ip.header().source());
            prop_assert_eq!(packet.destination, ip.header().destination());
            prop_assert!(!ip.is_payload_fragmented());
        }
        Some(NetSlice::Arp(_)) => {
            prop_assert_eq!(payload, Payload::Arp);
            return Ok(());
        }
        None => return Err(TestCaseError::fail("only we find a network header")),
    }
    match (&sliced.transport, payload) {
        (Some(TransportSlice::Tcp(tcp)), Payload::Tcp) => {
            prop_assert_eq!(packet.source_port, tcp.source_port());
            prop_assert_eq!(packet.destination_port, tcp.destination_port());
            prop_assert_eq!(packet.sequence, tcp.sequence_number());
            prop_assert_eq!(packet.acknowledgement, tcp.acknowledgment_number());
            prop_assert_eq!(packet.tcp_flags & flags::SYN != 0, tcp.syn());
            prop_assert_eq!(packet.tcp_flags & flags::ACK != 0, tcp.ack());
            prop_assert_eq!(packet.payload_len as usize, tcp.payload().len());
        }
        (Some(TransportSlice::Udp(udp)), Payload::Udp) => {
            prop_assert_eq!(packet.source_port, udp.source_port());
            prop_assert_eq!(packet.destination_port, udp.destination_port());
            prop_assert_eq!(packet.payload_len as usize, udp.payload().len());
        }
        (
            Some(TransportSlice::Icmpv4(_)),
            Payload::EchoRequest | Payload::EchoReply | Payload::IcmpError,
        ) => prop_assert_eq!(packet.protocol, ICMP),
        (
            Some(TransportSlice::Icmpv6(_)),
            Payload::EchoRequest | Payload::EchoReply | Payload::IcmpError | Payload::Neighbour,
        ) => prop_assert_eq!(packet.protocol, ICMPV6),
        (transport, payload) => {
            return Err(TestCaseError::fail(format!("{payload:?} but {transport:?}")));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(5_000) })]

    #[test]
    fn p20_nothing_panics(frame in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut packet = Packet::default();
        let _outcome = parse(frame.as_slice(), &mut packet);
        packet.family = IPV4;
        let _outcome = embedded_tuple(frame.as_slice(), &packet);
        packet.family = IPV6;
        let _outcome = embedded_tuple(frame.as_slice(), &packet);
        let _outcome = neighbour_message(frame.as_slice(), &packet);
    }

    #[test]
    fn p20_what_is_accepted_another_parser_reads_the_same(frame in bent()) {
        let mut packet = Packet::default();
        if let Ok(payload) = parse(frame.as_slice(), &mut packet) {
            agrees(&frame, payload, &packet)?;
            match payload {
                Payload::IcmpError => { let _outcome = embedded_tuple(frame.as_slice(), &packet); }
                Payload::Neighbour => { let _outcome = neighbour_message(frame.as_slice(), &packet); }
                _ => {}
            }
        }
    }
}

#[test]
fn p20_what_fuzzing_found_is_read_the_same() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/corpus/packet");
    let mut frames = 0;
    for entry in std::fs::read_dir(corpus).expect("the corpus") {
        let frame = std::fs::read(entry.expect("an entry").path()).expect("a frame");
        let mut packet = Packet::default();
        if let Ok(payload) = parse(frame.as_slice(), &mut packet) {
            agrees(&frame, payload, &packet).expect("agreement");
        }
        frames += 1;
    }
    assert!(frames > 10);
}
