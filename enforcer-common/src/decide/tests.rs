//! The policy as tables: who, to where, by which rule -> verdict.

use super::*;
use crate::packet::{IPV4, IPV6, widen};

const ROLES: [Role; 4] = [Role::Unknown, Role::Guest, Role::Hub, Role::Other];
const ORIGINS: [Origin; 4] = [Origin::Host, Origin::Hub, Origin::Guest, Origin::Beyond];

fn endpoint(role: Role) -> Endpoint {
    Endpoint { id: 1, ipv4: [10, 1, 0, 2], role: role as u8, ..Endpoint::default() }
}

fn network() -> Network {
    Network {
        gateway4: [10, 1, 0, 1],
        subnet4: [10, 1, 0, 0],
        prefix4: 16,
        gateway6: [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        subnet6: [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        prefix6: 64,
        ..Network::default()
    }
}

#[test]
fn n1_n2_n3_outbound() {
    const NEIGHBOUR: [u8; 4] = [10, 1, 0, 9];
    const GATEWAY: [u8; 4] = [10, 1, 0, 1];
    const WORLD: [u8; 4] = [8, 8, 8, 8];
    let by = |rule| Ok(Allowed { rule });
    let rows = [
        (Role::Guest, NEIGHBOUR, None, Err(DropReason::GuestToGuest)),
        (Role::Guest, GATEWAY, None, Err(DropReason::Policy)),
        (Role::Guest, WORLD, None, Err(DropReason::Policy)),
        (Role::Guest, NEIGHBOUR, Some(3), by(3)),
        (Role::Guest, GATEWAY, Some(3), by(3)),
        (Role::Guest, WORLD, Some(3), by(3)),
        (Role::Hub, NEIGHBOUR, None, by(0)),
        (Role::Hub, GATEWAY, None, Err(DropReason::Policy)),
        (Role::Hub, WORLD, None, Err(DropReason::Policy)),
        (Role::Hub, WORLD, Some(9), by(9)),
        (Role::Unknown, WORLD, Some(3), Err(DropReason::UnknownInterface)),
        (Role::Unknown, NEIGHBOUR, None, Err(DropReason::UnknownInterface)),
        (Role::Other, WORLD, Some(3), Err(DropReason::RoleOther)),
        (Role::Other, GATEWAY, None, Err(DropReason::RoleOther)),
    ];
    for (role, to, rule, expected) in rows {
        let verdict = outbound(&endpoint(role), &network(), IPV4, &widen(to), rule);
        assert_eq!(verdict, expected, "{role:?} to {to:?} by {rule:?}");
    }
}

#[test]
fn p06_link_local_is_the_neighbourhood_in_ipv6() {
    let to = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    let verdict = outbound(&endpoint(Role::Guest), &network(), IPV6, &to, None);
    assert_eq!(verdict, Err(DropReason::GuestToGuest));
}

#[test]
fn n4_p33_inbound() {
    for origin in ORIGINS {
        for published in [false, true] {
            for role in ROLES {
                let expected = match (role, origin) {
                    (Role::Unknown, _) => Some(DropReason::UnknownInterface),
                    (Role::Other, _) => Some(DropReason::RoleOther),
                    (Role::Guest, Origin::Guest) => Some(DropReason::GuestToGuest),
                    (_, Origin::Beyond) if !published => Some(DropReason::NotPublished),
                    _ => None,
                };
                let verdict = inbound(&endpoint(role), origin, published);
                assert_eq!(verdict.err(), expected, "{role:?} from {origin:?}, {published}");
            }
        }
    }
}

#[test]
fn f10_openers_round_trip_and_unknown_ones_have_the_least_rights() {
    for opener in [Opener::Endpoint].into_iter().chain(ORIGINS.into_iter().map(Opener::Peer)) {
        assert_eq!(Opener::from_value(opener.value()), opener);
    }
    for value in [0, 6, 7, 255, u32::MAX] {
        assert_eq!(Opener::from_value(value), Opener::Peer(Origin::Beyond));
    }
}

#[test]
fn n6_unknown_roles_are_denied() {
    for value in 0..=u8::MAX {
        let endpoint = Endpoint { role: value, ..endpoint(Role::Guest) };
        let verdict = outbound(&endpoint, &network(), IPV4, &widen([8, 8, 8, 8]), Some(1));
        assert_eq!(verdict.is_ok(), value == 1 || value == 2, "role {value}");
    }
}

#[test]
fn n8_what_stays_in_a_guest_or_may_do_is_left_to_its_packets() {
    let six = |text: &str| text.parse::<std::net::Ipv6Addr>().expect("an address").octets();
    let both =
        |role| Endpoint { ipv6: six("fd00::2"), link_local: six("fe80::2"), ..endpoint(role) };
    // Family, destination -> left to packets.
    let rows = [
        (IPV4, widen([8, 8, 8, 8]), false),
        (IPV4, widen([10, 1, 0, 1]), false),
        (IPV4, widen([10, 1, 0, 9]), false),
        (IPV4, widen([169, 254, 169, 254]), false),
        (IPV4, widen([10, 1, 0, 2]), true),
        (IPV4, widen([127, 0, 0, 11]), true),
        (IPV4, widen([0, 0, 0, 0]), true),
        (IPV4, widen([224, 0, 0, 251]), true),
        (IPV4, widen([255, 255, 255, 255]), true),
        (IPV4, widen([10, 1, 255, 255]), true),
        (IPV6, six("2001:db8::1"), false),
        (IPV6, six("fd00::9"), false),
        (IPV6, six("fe80::9"), false),
        (IPV6, six("fd00::2"), true),
        (IPV6, six("fe80::2"), true),
        (IPV6, six("::1"), true),
        (IPV6, six("::"), true),
        (IPV6, six("ff02::fb"), true),
    ];
    for (family, destination, left) in rows {
        let is =
            |endpoint: &Endpoint| is_left_to_packets(endpoint, &network(), family, &destination);
        assert_eq!(is(&both(Role::Guest)), left, "{destination:?}");
        for role in [Role::Unknown, Role::Hub, Role::Other] {
            assert!(is(&both(role)), "{role:?}");
        }
        // The kernel has no route for it, and says so.
        let without = if family == IPV4 {
            Endpoint { ipv4: [0; 4], ..both(Role::Guest) }
        } else {
            endpoint(Role::Guest)
        };
        assert!(is(&without), "{destination:?}");
    }
    let guest = both(Role::Guest);
    for (family, destination, own) in [
        (IPV4, widen([8, 8, 8, 8]), widen([10, 1, 0, 2])),
        (IPV6, six("2001:db8::1"), six("fd00::2")),
        (IPV6, six("fe80::9"), six("fe80::2")),
    ] {
        assert_eq!(own_address(&guest, family, &destination), own);
    }
}
