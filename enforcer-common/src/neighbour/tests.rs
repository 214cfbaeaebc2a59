//! Spoofing by ARP and neighbour discovery: who may claim and ask what.

use super::*;

const OWN: [u8; 6] = [2, 0, 0, 0, 0, 3];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 4];
const BRIDGE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const HUB: [u8; 6] = [2, 0, 0, 0, 0, 8];
const BROADCAST: [u8; 6] = [0xff; 6];
const NO_HUB: HubFacts = HubFacts { target_is_hub: false, to_hub_mac: false };
const HUB_ASKED: HubFacts = HubFacts { target_is_hub: true, to_hub_mac: false };
const HUB_TOLD: HubFacts = HubFacts { target_is_hub: true, to_hub_mac: true };

const IP: [u8; 4] = [10, 1, 0, 3];
const PEER: [u8; 4] = [10, 1, 0, 4];
const GATEWAY: [u8; 4] = [10, 1, 0, 1];
const HUB_IP: [u8; 4] = [10, 1, 0, 8];
const BEYOND: [u8; 4] = [192, 0, 2, 1];
const ZERO: [u8; 4] = [0; 4];

fn v6(text: &str) -> [u8; 16] {
    text.parse::<std::net::Ipv6Addr>().expect("a literal").octets()
}

fn endpoint(role: Role) -> Endpoint {
    Endpoint {
        id: 3,
        ipv4: IP,
        ipv6: v6("fd00::3"),
        link_local: v6("fe80::3"),
        mac: OWN,
        role: role as u8,
        ..Endpoint::default()
    }
}

fn network() -> Network {
    Network {
        gateway4: GATEWAY,
        subnet4: [10, 1, 0, 0],
        prefix4: 24,
        gateway6: v6("fd00::1"),
        gateway_link_local: v6("fe80::1"),
        subnet6: v6("fd00::"),
        prefix6: 64,
        mac: BRIDGE,
        ..Network::default()
    }
}

use ArpOperation::{Reply, Request};

#[test]
fn p04_arp_of_a_guest_and_of_a_hub() {
    /// Name, operation, sender, target, destination MAC, hub, guest may, hub may.
    type Row =
        (&'static str, ArpOperation, ([u8; 6], [u8; 4]), [u8; 4], [u8; 6], HubFacts, bool, bool);
    let rows: &[Row] = &[
        ("asks for the gateway", Request, (OWN, IP), GATEWAY, BROADCAST, NO_HUB, true, true),
        ("checks the gateway", Request, (OWN, IP), GATEWAY, BRIDGE, NO_HUB, true, true),
        ("asks for the hub", Request, (OWN, IP), HUB_IP, BROADCAST, HUB_ASKED, true, true),
        ("checks the hub", Request, (OWN, IP), HUB_IP, HUB, HUB_TOLD, true, true),
        ("announces itself", Request, (OWN, IP), IP, BROADCAST, NO_HUB, true, true),
        ("probes its own address", Request, (OWN, ZERO), IP, BROADCAST, NO_HUB, true, true),
        ("answers the host", Reply, (OWN, IP), GATEWAY, BRIDGE, NO_HUB, true, true),
        ("answers the hub", Reply, (OWN, IP), HUB_IP, HUB, HUB_TOLD, true, true),
        ("asks for a guest", Request, (OWN, IP), PEER, BROADCAST, NO_HUB, false, true),
        ("asks a guest", Request, (OWN, IP), PEER, OTHER, NO_HUB, false, true),
        ("answers a guest", Reply, (OWN, IP), PEER, OTHER, NO_HUB, false, true),
        ("asks for beyond", Request, (OWN, IP), BEYOND, BROADCAST, NO_HUB, false, false),
        ("probes another's address", Request, (OWN, ZERO), PEER, BROADCAST, NO_HUB, false, false),
        ("probes the gateway's", Request, (OWN, ZERO), GATEWAY, BROADCAST, NO_HUB, false, false),
        ("asks as a guest", Request, (OWN, PEER), GATEWAY, BROADCAST, NO_HUB, false, false),
        ("asks as the gateway", Request, (OWN, GATEWAY), GATEWAY, BROADCAST, NO_HUB, false, false),
        ("answers as the gateway", Reply, (OWN, GATEWAY), PEER, OTHER, NO_HUB, false, false),
        ("answers the host as a guest", Reply, (OWN, PEER), GATEWAY, BRIDGE, NO_HUB, false, false),
        ("answers all", Reply, (OWN, IP), IP, BROADCAST, NO_HUB, false, false),
        ("with another's MAC", Request, (OTHER, IP), GATEWAY, BROADCAST, NO_HUB, false, false),
        (
            "answers with the bridge's MAC",
            Reply,
            (BRIDGE, IP),
            GATEWAY,
            BRIDGE,
            NO_HUB,
            false,
            false,
        ),
        ("answers from 0.0.0.0", Reply, (OWN, ZERO), IP, BRIDGE, NO_HUB, false, false),
        (
            "to a multicast MAC",
            Request,
            (OWN, IP),
            GATEWAY,
            [1, 0, 0x5e, 0, 0, 1],
            NO_HUB,
            false,
            false,
        ),
    ];
    for (name, operation, (sender_mac, sender_ip), target_ip, to, hub, guest, as_hub) in rows {
        let arp = Arp {
            operation: *operation,
            sender_mac: *sender_mac,
            sender_ip: *sender_ip,
            target_ip: *target_ip,
        };
        let packet = Packet { source_mac: OWN, destination_mac: *to, ..Packet::default() };
        for (role, expected) in [(Role::Guest, *guest), (Role::Hub, *as_hub)] {
            let endpoint = endpoint(role);
            let verdict = arp_from_endpoint(&endpoint, &network(), &packet, &arp, *hub);
            let expected = if expected { Ok(()) } else { Err(DropReason::Arp) };
            assert_eq!(verdict, expected, "{role:?} {name}");
            let spoofed = Packet { source_mac: OTHER, ..packet };
            let verdict = arp_from_endpoint(&endpoint, &network(), &spoofed, &arp, *hub);
            assert_eq!(verdict, Err(DropReason::SourceMac), "{role:?} {name}, frame of another");
            let without = Endpoint { ipv4: ZERO, ..endpoint };
            let verdict = arp_from_endpoint(&without, &network(), &packet, &arp, *hub);
            assert_eq!(verdict, Err(DropReason::NoFamily), "{role:?} {name}, no IPv4");
        }
    }
}

#[test]
fn p04_arp_for_a_guest() {
    let rows = [
        (Request, GATEWAY, IP, Ok(())),
        (Reply, GATEWAY, IP, Ok(())),
        (Request, GATEWAY, PEER, Err(DropReason::NotAddressed)),
        (Reply, HUB_IP, HUB_IP, Err(DropReason::NotAddressed)),
        (Request, IP, GATEWAY, Err(DropReason::Arp)),
        (Reply, IP, IP, Err(DropReason::Arp)),
    ];
    for (operation, sender_ip, target_ip, expected) in rows {
        let arp = Arp { operation, sender_mac: BRIDGE, sender_ip, target_ip };
        assert_eq!(arp_to_endpoint(&endpoint(Role::Guest), &arp), expected);
    }
}

fn message(solicitation: bool, target: &str) -> NeighbourMessage {
    NeighbourMessage {
        solicitation,
        router: false,
        target: v6(target),
        has_link_layer: true,
        link_layer: OWN,
    }
}

fn ndp(
    role: Role,
    from: &str,
    to: &str,
    mac: [u8; 6],
    message: &NeighbourMessage,
    hub: HubFacts,
) -> Result<(), DropReason> {
    let packet = Packet {
        source: v6(from),
        destination: v6(to),
        source_mac: OWN,
        destination_mac: if mac == GROUP { group_mac(to) } else { mac },
        family: IPV6,
        ..Packet::default()
    };
    ndp_from_endpoint(&endpoint(role), &network(), &packet, message, hub)
}

/// Stands for the MAC of the group that a message is sent to (RFC 2464 7).
const GROUP: [u8; 6] = [0x33, 0x33, 0xff, 0, 0, 1];

fn group_mac(to: &str) -> [u8; 6] {
    let [.., a, b, c, d] = v6(to);
    [0x33, 0x33, a, b, c, d]
}

const ALL_NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn p05_neighbour_messages_of_a_guest_and_of_a_hub() {
    let mine = Some(DropReason::Ndp);
    let group = "ff02::1:ff00:1";
    let rows = [
        (
            "asks for the gateway",
            "fd00::3",
            group,
            GROUP,
            message(true, "fd00::1"),
            NO_HUB,
            None,
            None,
        ),
        (
            "asks for its link-local",
            "fe80::3",
            group,
            GROUP,
            message(true, "fe80::1"),
            NO_HUB,
            None,
            None,
        ),
        (
            "checks the gateway",
            "fd00::3",
            "fd00::1",
            BRIDGE,
            message(true, "fd00::1"),
            NO_HUB,
            None,
            None,
        ),
        (
            "asks for the hub",
            "fd00::3",
            "ff02::1:ff00:8",
            GROUP,
            message(true, "fd00::8"),
            HUB_ASKED,
            None,
            None,
        ),
        (
            "answers the gateway",
            "fd00::3",
            "fd00::1",
            BRIDGE,
            message(false, "fd00::3"),
            NO_HUB,
            None,
            None,
        ),
        (
            "answers the hub",
            "fd00::3",
            "fd00::8",
            HUB,
            message(false, "fd00::3"),
            HUB_TOLD,
            None,
            None,
        ),
        (
            "announces itself",
            "fd00::3",
            "ff02::1",
            ALL_NODES,
            message(false, "fd00::3"),
            NO_HUB,
            None,
            None,
        ),
        (
            "asks for a guest",
            "fd00::3",
            "ff02::1:ff00:4",
            GROUP,
            message(true, "fd00::4"),
            NO_HUB,
            mine,
            None,
        ),
        ("asks a guest", "fd00::3", "fd00::4", OTHER, message(true, "fd00::4"), NO_HUB, mine, None),
        (
            "answers a guest",
            "fd00::3",
            "fd00::4",
            OTHER,
            message(false, "fd00::3"),
            NO_HUB,
            mine,
            None,
        ),
        (
            "asks for beyond",
            "fd00::3",
            group,
            GROUP,
            message(true, "2001:db8::1"),
            NO_HUB,
            mine,
            mine,
        ),
        (
            "claims the gateway",
            "fd00::3",
            "ff02::1",
            ALL_NODES,
            message(false, "fd00::1"),
            NO_HUB,
            mine,
            mine,
        ),
        (
            "claims a guest's",
            "fd00::3",
            "fd00::1",
            BRIDGE,
            message(false, "fd00::4"),
            NO_HUB,
            mine,
            mine,
        ),
        (
            "to a broadcast MAC",
            "fd00::3",
            "ff02::1",
            BROADCAST,
            message(false, "fd00::3"),
            NO_HUB,
            mine,
            mine,
        ),
        (
            "as a guest",
            "fd00::4",
            group,
            GROUP,
            message(true, "fd00::1"),
            NO_HUB,
            Some(DropReason::SourceAddress),
            Some(DropReason::SourceAddress),
        ),
        (
            "as nobody",
            "::",
            group,
            GROUP,
            message(true, "fd00::1"),
            NO_HUB,
            Some(DropReason::SourceAddress),
            Some(DropReason::SourceAddress),
        ),
        (
            "defends as nobody",
            "::",
            "ff02::1",
            ALL_NODES,
            message(false, "fd00::3"),
            NO_HUB,
            Some(DropReason::SourceAddress),
            Some(DropReason::SourceAddress),
        ),
    ];
    for (name, from, to, mac, message, hub, guest, as_hub) in rows {
        assert_eq!(ndp(Role::Guest, from, to, mac, &message, hub).err(), guest, "guest {name}");
        assert_eq!(ndp(Role::Hub, from, to, mac, &message, hub).err(), as_hub, "hub {name}");
        let spoofed = NeighbourMessage { has_link_layer: true, link_layer: OTHER, ..message };
        assert!(ndp(Role::Guest, from, to, mac, &spoofed, hub).is_err(), "{name}, another's MAC");
    }
    let detection = NeighbourMessage { has_link_layer: false, ..message(true, "fd00::3") };
    assert_eq!(ndp(Role::Guest, "::", "ff02::1:ff00:3", GROUP, &detection, NO_HUB), Ok(()));
    let router = NeighbourMessage { router: true, ..message(false, "fd00::3") };
    for role in [Role::Guest, Role::Hub] {
        let verdict = ndp(role, "fd00::3", "fd00::1", BRIDGE, &router, NO_HUB);
        assert_eq!(verdict, Err(DropReason::Ndp));
    }
}

#[test]
fn n1_a_neighbour_message_goes_no_further_than_the_link() {
    // To the bridge's MAC, with hop limit 255 and a global destination: the host routes it.
    for to in ["2001:db8::1", "fd00::4", "ff0e::1", "fd01::1"] {
        for message in
            [message(true, "fd00::1"), message(true, "fd00::3"), message(false, "fd00::3")]
        {
            let verdict = ndp(Role::Guest, "fd00::3", to, BRIDGE, &message, NO_HUB);
            assert_eq!(verdict, Err(DropReason::Ndp), "to {to}");
        }
        let verdict = ndp(Role::Guest, "fd00::3", to, GROUP, &message(true, "fd00::1"), NO_HUB);
        assert_eq!(verdict, Err(DropReason::Ndp), "to {to} by a group MAC");
    }
}

#[test]
fn p05_neighbour_messages_for_a_guest() {
    let rows = [
        (true, "fd00::3", None),
        (true, "fe80::3", None),
        (true, "fd00::4", Some(DropReason::NotAddressed)),
        (false, "fd00::1", None),
        (false, "fd00::3", Some(DropReason::Ndp)),
        (false, "fe80::3", Some(DropReason::Ndp)),
    ];
    for (solicitation, target, expected) in rows {
        let verdict = ndp_to_endpoint(&endpoint(Role::Guest), &message(solicitation, target));
        assert_eq!(verdict.err(), expected, "{solicitation} {target}");
    }
}

#[test]
fn p06_without_ipv6_there_is_no_neighbour_discovery() {
    let endpoint = Endpoint { ipv6: [0; 16], ..endpoint(Role::Guest) };
    let packet = Packet {
        source: v6("fe80::3"),
        destination: v6("ff02::1:ff00:1"),
        source_mac: OWN,
        destination_mac: GROUP,
        family: IPV6,
        ..Packet::default()
    };
    let verdict =
        ndp_from_endpoint(&endpoint, &network(), &packet, &message(true, "fe80::1"), NO_HUB);
    assert_eq!(verdict, Err(DropReason::NoFamily));
}
