//! Who may claim an address, and to where nothing may go.

use proptest::prelude::*;

use super::*;
use crate::packet::{IPV6, widen};

const OWN4: [u8; 4] = [10, 1, 2, 3];

fn v6(text: &str) -> [u8; 16] {
    text.parse::<std::net::Ipv6Addr>().expect("a literal").octets()
}

fn v4(text: &str) -> [u8; 16] {
    widen(text.parse::<std::net::Ipv4Addr>().expect("a literal").octets())
}

fn endpoint() -> Endpoint {
    Endpoint {
        id: 7,
        ipv4: OWN4,
        ipv6: v6("fd00::3"),
        link_local: v6("fe80::3"),
        mac: [2, 0, 0, 0, 0, 3],
        role: 1,
        ..Endpoint::default()
    }
}

fn network(prefix4: u8, prefix6: u8) -> Network {
    let subnet4 = u32::from_be_bytes(OWN4) & mask4(prefix4);
    let mask6 = if prefix6 == 0 { 0 } else { u128::MAX << (128 - prefix6) };
    Network {
        gateway4: [10, 1, 0, 1],
        gateway6: v6("fd00::1"),
        gateway_link_local: v6("fe80::1"),
        subnet4: subnet4.to_be_bytes(),
        subnet6: (u128::from_be_bytes(v6("fd00::3")) & mask6).to_be_bytes(),
        mac: [2, 0, 0, 0, 0, 1],
        prefix4,
        prefix6,
        ..Network::default()
    }
}

fn packet(family: packet::Family, source: [u8; 16], destination: [u8; 16]) -> Packet {
    Packet { family, source, destination, source_mac: endpoint().mac, ..Packet::default() }
}

#[test]
fn p07_only_the_own_mac_and_addresses_are_a_source() {
    type Row<'a> = (&'a Endpoint, packet::Family, [u8; 16], Result<(), DropReason>);
    let own = endpoint();
    let only4 = Endpoint { ipv6: [0; 16], link_local: [0; 16], ..own };
    let only6 = Endpoint { ipv4: [0; 4], ..own };
    let rows: &[Row<'_>] = &[
        (&own, IPV4, v4("10.1.2.3"), Ok(())),
        (&own, IPV6, v6("fd00::3"), Ok(())),
        (&own, IPV6, v6("fe80::3"), Ok(())),
        (&own, IPV4, v4("10.1.2.4"), Err(DropReason::SourceAddress)),
        (&own, IPV4, v4("10.1.0.1"), Err(DropReason::SourceAddress)),
        (&own, IPV4, v4("0.0.0.0"), Err(DropReason::SourceAddress)),
        (&own, IPV4, v4("127.0.0.1"), Err(DropReason::SourceAddress)),
        (&own, IPV4, v4("255.255.255.255"), Err(DropReason::SourceAddress)),
        (&own, IPV6, v6("::"), Err(DropReason::SourceAddress)),
        (&own, IPV6, v6("fe80::4"), Err(DropReason::SourceAddress)),
        (&own, IPV6, v6("::ffff:10.1.2.3"), Err(DropReason::SourceAddress)),
        (&only4, IPV6, v6("::"), Err(DropReason::NoFamily)),
        (&only4, IPV6, v6("fe80::3"), Err(DropReason::NoFamily)),
        (&only6, IPV4, v4("0.0.0.0"), Err(DropReason::NoFamily)),
    ];
    for (endpoint, family, from, expected) in rows {
        let packet = packet(*family, *from, v4("10.1.0.1"));
        assert_eq!(source(endpoint, &packet), *expected, "from {from:?}");
        for bit in 0..48 {
            let mut other = packet;
            other.source_mac[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(source(endpoint, &other), Err(DropReason::SourceMac));
        }
    }
}

#[test]
fn p12_p27_p35_destinations_that_are_no_conversation() {
    let net = network(16, 64);
    let rows: &[(packet::Family, [u8; 16], Option<DropReason>)] = &[
        (IPV4, v4("10.1.0.1"), None),
        (IPV4, v4("8.8.8.8"), None),
        (IPV4, v4("169.254.169.254"), None),
        (IPV4, v4("224.0.0.1"), Some(DropReason::Multicast)),
        (IPV4, v4("239.255.255.255"), Some(DropReason::Multicast)),
        (IPV4, v4("255.255.255.255"), Some(DropReason::Multicast)),
        (IPV4, v4("10.1.255.255"), Some(DropReason::Multicast)),
        (IPV4, v4("10.2.255.255"), None),
        (IPV4, v4("127.0.0.1"), Some(DropReason::BogusAddress)),
        (IPV4, v4("0.0.0.0"), Some(DropReason::BogusAddress)),
        (IPV4, v4("0.255.0.1"), Some(DropReason::BogusAddress)),
        (IPV4, v4("10.1.2.3"), Some(DropReason::BogusAddress)),
        (IPV6, v6("fd00::1"), None),
        (IPV6, v6("fe80::1"), None),
        (IPV6, v6("ff02::1"), Some(DropReason::Multicast)),
        (IPV6, v6("ff0e::1"), Some(DropReason::Multicast)),
        (IPV6, v6("::"), Some(DropReason::BogusAddress)),
        (IPV6, v6("::1"), Some(DropReason::BogusAddress)),
        (IPV6, v6("::127.0.0.1"), Some(DropReason::BogusAddress)),
        (IPV6, v6("::ffff:127.0.0.1"), Some(DropReason::BogusAddress)),
        (IPV6, v6("fd00::3"), Some(DropReason::BogusAddress)),
    ];
    for (family, to, expected) in rows {
        let from = if *family == IPV4 { widen(OWN4) } else { v6("fd00::3") };
        assert_eq!(destination(&net, &packet(*family, from, *to)).err(), *expected, "to {to:?}");
    }
}

#[test]
fn p07_sources_that_nobody_beyond_the_endpoint_can_have() {
    let rows: &[(packet::Family, [u8; 16], bool)] = &[
        (IPV4, v4("10.1.0.1"), true),
        (IPV4, v4("8.8.8.8"), true),
        (IPV4, v4("10.1.2.3"), false),
        (IPV4, v4("127.0.0.1"), false),
        (IPV4, v4("0.0.0.0"), false),
        (IPV4, v4("224.0.0.1"), false),
        (IPV4, v4("255.255.255.255"), false),
        (IPV6, v6("2001:db8::1"), true),
        (IPV6, v6("fd00::3"), false),
        (IPV6, v6("fe80::3"), false),
        (IPV6, v6("::1"), false),
        (IPV6, v6("::"), false),
        (IPV6, v6("ff02::1"), false),
    ];
    for (family, from, passes) in rows {
        let outcome = remote_source(&endpoint(), &packet(*family, *from, v4("10.1.2.3")));
        let expected = if *passes { Ok(()) } else { Err(DropReason::BogusAddress) };
        assert_eq!(outcome, expected, "from {from:?}");
    }
}

#[test]
fn n2_prefixes_at_their_edges() {
    for prefix in [0, 1, 8, 16, 31, 32] {
        let net = network(prefix, 64);
        for bit in 0..32 {
            let address = (u32::from_be_bytes(OWN4) ^ (1 << (31 - bit))).to_be_bytes();
            assert_eq!(
                in_subnet(&net, IPV4, &widen(address)),
                bit >= prefix,
                "/{prefix} bit {bit}"
            );
        }
        assert!(in_subnet(&net, IPV4, &widen(OWN4)));
    }
    for prefix in [0, 1, 8, 31, 32, 33, 63, 64, 65, 96, 127, 128] {
        let net = network(24, prefix);
        for bit in 0..128 {
            let address = u128::from_be_bytes(v6("fd00::3")) ^ (1 << (127 - bit));
            let inside = in_subnet(&net, IPV6, &address.to_be_bytes());
            assert_eq!(inside, bit >= prefix, "/{prefix} bit {bit}");
        }
    }
    assert!(in_subnet(&network(24, 128), IPV6, &v6("fe80::99")), "link-local is the subnet's");
    assert!(in_subnet(&network(24, 128), IPV6, &v6("febf::99")));
    assert!(!in_subnet(&network(24, 128), IPV6, &v6("fec0::99")));
    let none = Network { gateway4: [0; 4], gateway6: [0; 16], ..network(0, 0) };
    assert!(!in_subnet(&none, IPV4, &widen(OWN4)), "no IPv4: nothing is inside");
    assert!(!in_subnet(&none, IPV6, &v6("fd00::3")));
}

#[test]
fn hubs_are_looked_for_where_they_may_be() {
    let net = network(24, 64);
    assert!(may_be_hubs(&net, IPV4, &widen([10, 1, 2, 9])));
    assert!(!may_be_hubs(&net, IPV4, &widen([10, 1, 3, 9])));
    assert!(may_be_hubs(&net, IPV6, &v6("fd00::9")));
    assert!(may_be_hubs(&net, IPV6, &v6("fe80::9")));
    assert!(!may_be_hubs(&net, IPV6, &v6("fd01::9")));
    let none = Network { gateway4: [0; 4], gateway6: [0; 16], ..net };
    assert!(may_be_hubs(&none, IPV4, &widen([10, 1, 3, 9])), "who knows");
    assert!(may_be_hubs(&none, IPV6, &v6("fd01::9")), "who knows");
}

#[test]
fn p27_a_subnet_has_a_broadcast_only_below_31() {
    for (prefix, last, broadcast) in [
        (24, "10.1.2.255", true),
        (30, "10.1.2.3", true),
        (31, "10.1.2.3", false),
        (32, "10.1.2.3", false),
        (8, "10.255.255.255", true),
        (24, "10.1.2.0", false),
    ] {
        let packet = packet(IPV4, v4("10.9.9.9"), v4(last));
        assert_eq!(
            is_subnet_broadcast(&network(prefix, 64), packet.family, &packet.destination),
            broadcast,
            "/{prefix} {last}"
        );
    }
}

#[test]
fn n3_the_gateway_is_the_bridge_alone() {
    let net = network(16, 64);
    for (family, address, expected) in [
        (IPV4, v4("10.1.0.1"), true),
        (IPV4, v4("10.1.0.2"), false),
        (IPV6, v6("fd00::1"), true),
        (IPV6, v6("fe80::1"), true),
        (IPV6, v6("fe80::2"), false),
    ] {
        assert_eq!(is_gateway(&net, family, &address), expected);
    }
    let none = Network::default();
    assert!(!is_gateway(&none, IPV4, &[0; 16]) && !is_gateway(&none, IPV6, &[0; 16]));
    assert!(!is_own(&Endpoint::default(), IPV4, &[0; 16]));
    assert!(!is_own(&Endpoint::default(), IPV6, &[0; 16]));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn n5_any_other_source_is_denied(family in prop::sample::select(vec![IPV4, IPV6]), from: [u8; 16]) {
        let own = endpoint();
        let outcome = source(&own, &packet(family, from, [9; 16]));
        prop_assert_eq!(outcome.is_ok(), is_own(&own, family, &from));
    }

    #[test]
    fn n2_masks_equal_arithmetic(prefix in 0..=128_u8, address: u128, subnet: u128) {
        let mask = if prefix == 0 { 0 } else { u128::MAX << (128 - u32::from(prefix)) };
        let inside = in_prefix6(&address.to_be_bytes(), &subnet.to_be_bytes(), prefix);
        prop_assert_eq!(inside, address & mask == subnet & mask);
    }
}
