//! The policy as tables: who, to where, by which rule -> verdict.

use super::*;
use crate::packet::{IPV4, IPV6, widen};

const ROLES: [Role; 4] = [Role::Unknown, Role::Guest, Role::Hub, Role::Other];
const ORIGINS: [Origin; 5] =
    [Origin::Host, Origin::Hub, Origin::Guest, Origin::Beyond, Origin::Service];

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
    let opens = Decision::opens;
    let by_rule = |reason, rule| Err(Denied { reason, rule });
    let rows = [
        (Role::Guest, NEIGHBOUR, Decision::NONE, Err(DropReason::GuestToGuest.into())),
        (Role::Guest, GATEWAY, Decision::NONE, Err(DropReason::Policy.into())),
        (Role::Guest, WORLD, Decision::NONE, Err(DropReason::Policy.into())),
        (Role::Guest, NEIGHBOUR, opens(3), by(3)),
        (Role::Guest, GATEWAY, opens(3), by(3)),
        (Role::Guest, WORLD, opens(3), by(3)),
        (Role::Hub, NEIGHBOUR, Decision::NONE, by(0)),
        (Role::Hub, GATEWAY, Decision::NONE, Err(DropReason::Policy.into())),
        (Role::Hub, WORLD, Decision::NONE, Err(DropReason::Policy.into())),
        (Role::Hub, WORLD, opens(9), by(9)),
        (Role::Unknown, WORLD, opens(3), Err(DropReason::UnknownInterface.into())),
        (Role::Unknown, NEIGHBOUR, Decision::NONE, Err(DropReason::UnknownInterface.into())),
        (Role::Other, WORLD, opens(3), Err(DropReason::RoleOther.into())),
        (Role::Other, GATEWAY, Decision::NONE, Err(DropReason::RoleOther.into())),
        (Role::Guest, WORLD, Decision::denies(4), by_rule(DropReason::Policy, 4)),
        (Role::Guest, NEIGHBOUR, Decision::denies(4), by_rule(DropReason::GuestToGuest, 4)),
        (Role::Hub, NEIGHBOUR, Decision::denies(4), by(0)),
        (Role::Other, WORLD, Decision::denies(4), Err(DropReason::RoleOther.into())),
    ];
    for (role, to, rule, expected) in rows {
        let verdict = outbound(&endpoint(role), &network(), IPV4, &widen(to), rule);
        assert_eq!(verdict, expected, "{role:?} to {to:?} by {rule:?}");
    }
}

#[test]
fn p06_link_local_is_the_neighbourhood_in_ipv6() {
    let to = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    let verdict = outbound(&endpoint(Role::Guest), &network(), IPV6, &to, Decision::NONE);
    assert_eq!(verdict, Err(DropReason::GuestToGuest.into()));
}

#[test]
fn n4_p33_inbound() {
    let by_rule = |rule| Err(Denied { reason: DropReason::Source, rule });
    for origin in ORIGINS {
        for published in [false, true] {
            for role in ROLES {
                let expected = match (role, origin) {
                    (Role::Unknown, _) => Some(DropReason::UnknownInterface),
                    (Role::Other, _) => Some(DropReason::RoleOther),
                    (Role::Guest, Origin::Guest) | (_, Origin::Service) => {
                        Some(DropReason::GuestToGuest)
                    }
                    (_, Origin::Beyond) if !published => Some(DropReason::NotPublished),
                    _ => None,
                };
                let verdict = inbound(&endpoint(role), origin, published, None);
                let expected = expected.map(Denied::from);
                assert_eq!(verdict.err(), expected, "{role:?} from {origin:?}, {published}");
                for (sources, by) in [
                    (Decision::NONE, by_rule(0)),
                    (Decision::denies(3), by_rule(3)),
                    (Decision::opens(2), Ok(Allowed { rule: 2 })),
                ] {
                    let is_guarded = verdict.is_ok() && origin == Origin::Beyond;
                    let verdict = inbound(&endpoint(role), origin, published, Some(sources));
                    let unguarded = inbound(&endpoint(role), origin, published, None);
                    assert_eq!(verdict, if is_guarded { by } else { unguarded }, "{sources:?}");
                }
            }
        }
    }
}

#[test]
fn f10_openers_round_trip_and_unknown_ones_have_the_least_rights() {
    for opener in [Opener::Endpoint].into_iter().chain(ORIGINS.into_iter().map(Opener::Peer)) {
        assert_eq!(Opener::from_value(opener.value()), opener);
    }
    for value in [0, 7, 8, 255, u32::MAX] {
        assert_eq!(Opener::from_value(value), Opener::Peer(Origin::Beyond));
    }
}

#[test]
fn n6_unknown_roles_are_denied() {
    for value in 0..=u8::MAX {
        let endpoint = Endpoint { role: value, ..endpoint(Role::Guest) };
        let verdict =
            outbound(&endpoint, &network(), IPV4, &widen([8, 8, 8, 8]), Decision::opens(1));
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

#[test]
fn n2_a_service_opens_what_a_rule_opens_and_nothing_by_design() {
    for (to, decision, expected) in [
        ([10, 1, 0, 9], Decision::NONE, Err(DropReason::GuestToGuest.into())),
        ([10, 1, 0, 9], Decision::denies(4), Err(DropReason::GuestToGuest.into())),
        ([10, 1, 0, 9], Decision::opens(3), Ok(Allowed { rule: 3 })),
        ([8, 8, 8, 8], Decision::NONE, Err(DropReason::Policy.into())),
        ([8, 8, 8, 8], Decision::opens(3), Ok(Allowed { rule: 3 })),
    ] {
        let verdict = outbound(&endpoint(Role::Hub), &network(), IPV4, &widen(to), decision);
        assert_eq!(verdict.and_then(by_rule), expected, "{to:?} by {decision:?}");
    }
}

#[test]
fn n6_where_nobody_can_tell_what_the_rules_say_nothing_opens_it() {
    let unknown = Decision::from_word(Decision::UNKNOWN.word());
    assert!(!unknown.is_left_to_names(), "no name opens it");
    assert_eq!((unknown.opened_by(), unknown.denied_by()), (None, 0));
    let to = widen([8, 8, 8, 8]);
    let guest = endpoint(Role::Guest);
    let denied = |reason: DropReason| Err(reason.into());
    assert_eq!(outbound(&guest, &network(), IPV4, &to, unknown), denied(DropReason::Policy));
    let within = inbound(&guest, Origin::Beyond, true, Some(unknown));
    assert_eq!(within, denied(DropReason::Source));
}
