//! ARP, neighbour discovery and ICMP errors as the parser reads them.

use super::{
    super::*,
    frames::{
        MAC_A, ROW_V4, ROW_V6, arp, ethernet, icmp4, icmp6, ip4, ip4_header, ip6, ip6_header,
        neighbour, tcp, udp,
    },
    parsed, reason, with,
};

#[test]
fn p04_arp_other_than_ipv4_over_ethernet_is_denied() {
    let legal = ethernet(0x0806, &arp(1, (MAC_A, [10, 1, 0, 2]), [10, 1, 0, 1]));
    assert_eq!(parsed(&legal), Ok(Payload::Arp));
    let read = Arp::read(legal.as_slice()).expect("legal");
    assert_eq!(
        read,
        Arp {
            operation: ArpOperation::Request,
            sender_mac: MAC_A,
            sender_ip: [10, 1, 0, 2],
            target_ip: [10, 1, 0, 1],
        }
    );
    // Hardware type, protocol type, both lengths, operation.
    for at in [14, 15, 16, 17, 18, 19, 20] {
        assert_eq!(reason(&with(&legal, at, 0x77)), Some(DropReason::Arp), "byte {at}");
    }
    for operation in (0..=u16::MAX).filter(|operation| !(1..=2).contains(operation)) {
        let frame = ethernet(0x0806, &arp(operation, (MAC_A, [0; 4]), [0; 4]));
        assert_eq!(reason(&frame), Some(DropReason::Arp));
    }
    for len in 14..legal.len() {
        assert_eq!(reason(&legal[..len]), Some(DropReason::Truncated));
    }
}

fn message(frame: &[u8]) -> Result<NeighbourMessage, DropReason> {
    let mut packet = Packet::default();
    assert_eq!(parse(frame, &mut packet), Ok(Payload::Neighbour));
    neighbour_message(frame, &packet)
}

#[test]
fn p05_neighbour_messages_have_one_known_option_at_most() {
    const LINK: [u8; 8] = [1, 1, 2, 0, 0, 0, 0, 0xa];
    const TARGET: [u8; 8] = [2, 1, 2, 0, 0, 0, 0, 0xa];
    const NONCE: [u8; 8] = [14, 1, 9, 9, 9, 9, 9, 9];
    let target = ROW_V6.1;
    let plain = message(&neighbour(135, 0, target, &[])).expect("legal");
    assert!(plain.solicitation && !plain.router && !plain.has_link_layer);
    assert_eq!(plain.target, target);
    // A solicitation has no router flag; the bit is reserved there.
    assert!(!message(&neighbour(135, 0x80, target, &[])).expect("legal").router);
    assert!(message(&neighbour(136, 0x80, target, &[])).expect("legal").router);
    assert_eq!(message(&neighbour(135, 0, target, &LINK)).expect("legal").link_layer, MAC_A);
    assert_eq!(message(&neighbour(136, 0, target, &TARGET)).expect("legal").link_layer, MAC_A);
    assert!(!message(&neighbour(135, 0, target, &NONCE)).expect("legal").has_link_layer);

    let wrong: &[(&str, u8, Vec<u8>)] = &[
        ("the other's option", 135, TARGET.to_vec()),
        ("the other's option", 136, LINK.to_vec()),
        ("nonce in an advertisement", 136, NONCE.to_vec()),
        ("two options", 135, [LINK, NONCE].concat()),
        ("length 0", 135, with(&LINK, 1, 0)),
        ("length 2", 135, with(&LINK, 1, 2)),
        ("prefix information", 135, with(&LINK, 0, 3)),
        ("MTU", 136, with(&TARGET, 0, 5)),
    ];
    for (name, kind, options) in wrong {
        assert_eq!(message(&neighbour(*kind, 0, target, options)), Err(DropReason::Ndp), "{name}");
    }
    let half = neighbour(135, 0, target, &LINK[..4]);
    assert_eq!(message(&half), Err(DropReason::Truncated), "half an option");
    let cut = ethernet(0x86dd, &[&ip6_header(ICMPV6, 255, 20)[..], &[135; 1], &[0; 23]].concat());
    assert_eq!(message(&cut), Err(DropReason::Truncated), "target beyond the payload length");
}

#[test]
fn p05_neighbour_messages_through_a_router_or_behind_options_are_denied() {
    let legal = neighbour(135, 0, ROW_V6.1, &[]);
    assert_eq!(parsed(&legal), Ok(Payload::Neighbour));
    for hop_limit in 0..255 {
        assert_eq!(reason(&with(&legal, 21, hop_limit)), Some(DropReason::Ndp));
    }
    let body = [&[ICMPV6, 0, 1, 4, 0, 0, 0, 0, 135, 0, 0, 0, 0, 0, 0, 0][..], &ROW_V6.1].concat();
    let behind = ethernet(0x86dd, &[&ip6_header(60, 255, body.len())[..], &body].concat());
    assert_eq!(reason(&behind), Some(DropReason::Ndp));
    for kind in [133, 134, 137] {
        assert_eq!(reason(&neighbour(kind, 0, ROW_V6.1, &[])), Some(DropReason::Router));
    }
}

fn embedded(frame: &[u8]) -> Result<Embedded, DropReason> {
    let mut packet = Packet::default();
    assert_eq!(parse(frame, &mut packet), Ok(Payload::IcmpError));
    embedded_tuple(frame, &packet)
}

#[test]
fn n4_errors_name_the_flow_they_are_about() {
    let about = |inner: &[u8]| embedded(&ip4(ICMP, &icmp4(3, 4, inner)));
    let segment = tcp(40000, 8888, 0x10, b"");
    let inner = [&ip4_header(TCP, 20)[..], &segment].concat();
    let tuple = about(&inner).expect("legal");
    assert_eq!((tuple.source, tuple.destination), ROW_V4);
    assert_eq!((tuple.source_port, tuple.destination_port), (40000, 8888));
    assert_eq!((tuple.protocol, tuple.family), (TCP, IPV4));
    // RFC 792: the first eight bytes of the payload are enough.
    assert_eq!(about(&inner[..28]), Ok(tuple));
    assert_eq!(about(&inner[..27]), Err(DropReason::Truncated));
    assert_eq!(about(&inner[..10]), Err(DropReason::Truncated));
    assert_eq!(about(&with(&inner, 0, 0x46)), Err(DropReason::IcmpNoFlow), "options");
    assert_eq!(about(&with(&inner, 0, 0x65)), Err(DropReason::IcmpNoFlow), "IPv6 inside IPv4");
    assert_eq!(about(&with(&inner, 7, 1)), Err(DropReason::IcmpNoFlow), "later fragment");
    assert_eq!(about(&with(&inner, 9, 132)), Err(DropReason::IcmpNoFlow), "SCTP");

    let echo = [&ip4_header(ICMP, 8)[..], &icmp4(8, 0, b"")].concat();
    let tuple = about(&echo).expect("legal");
    assert_eq!((tuple.source_port, tuple.destination_port), (0x1234, 0x1234));

    let about = |inner: &[u8]| embedded(&ip6(ICMPV6, &icmp6(2, 0, inner)));
    let inner = [&ip6_header(UDP, 1, 8)[..], &udp(53, 999, b"")].concat();
    let tuple = about(&inner).expect("legal");
    assert_eq!((tuple.source, tuple.destination), ROW_V6);
    assert_eq!((tuple.source_port, tuple.destination_port, tuple.family), (53, 999, IPV6));
    assert_eq!(about(&with(&inner, 0, 0x45)), Err(DropReason::IcmpNoFlow), "IPv4 inside IPv6");
    assert_eq!(about(&with(&inner, 6, 44)), Err(DropReason::IcmpNoFlow), "fragment");
    assert_eq!(about(&inner[..47]), Err(DropReason::Truncated));
}

#[test]
fn n5_an_error_cannot_borrow_its_tuple_from_the_padding() {
    // Eight bytes of ICMP by the IPv4 length; the tuple stands behind the packet.
    let inner = [&ip4_header(TCP, 20)[..], &tcp(1, 2, 0x10, b"")].concat();
    let mut frame = ip4(ICMP, &icmp4(3, 3, b""));
    frame.extend(&inner);
    assert_eq!(embedded(&frame), Err(DropReason::Truncated));
}
