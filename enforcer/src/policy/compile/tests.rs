use enforcer_common::{
    abi::policy::AUDITED,
    packet::{ICMP, ICMPV6},
};
use proptest::prelude::*;

use super::*;
use crate::policy::rule::{Action, Ports, decides, decides_by_name, opens};

fn found(tables: &Tables, to: &Net, protocol: u8, port: u16) -> Option<u32> {
    tables.look_up(Direction::Out, to, (protocol, port)).opened_by()
}

fn rule(action: Action, to: &[&str], except: &[&str], ports: &[Ports]) -> Rule {
    let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a network")).collect();
    Rule {
        action,
        to: nets(to),
        except: nets(except).into(),
        ports: ports.to_vec(),
        ..Rule::default()
    }
}

#[test]
fn n1_deny_beats_allow_and_the_first_that_allows_is_named() {
    let web = [Ports::one(TCP, 443), Ports::one(TCP, 80)];
    let rules = [
        rule(Action::Allow, &["0.0.0.0/0", "::/0"], &["10.0.0.0/8", "fc00::/7"], &web),
        rule(
            Action::Allow,
            &["10.1.0.0/16"],
            &[],
            &[Ports { protocol: TCP, first: 400, last: 500 }],
        ),
        rule(Action::Deny, &["10.1.2.0/24", "198.51.100.7"], &[], &Ports::ALL),
        rule(Action::Allow, &["10.1.2.3"], &[], &Ports::ALL),
        rule(Action::Allow, &["203.0.113.0/24"], &[], &Ports::ALL),
    ];
    let tables = compile(&rules).expect("is small");
    for (to, protocol, port, expected) in [
        ("192.0.2.1", TCP, 443, Some(1)),
        ("192.0.2.1", TCP, 80, Some(1)),
        ("192.0.2.1", TCP, 81, None),
        ("192.0.2.1", UDP, 443, None),
        ("192.0.2.1", ICMP, 0, None),
        ("10.0.0.1", TCP, 443, None),
        ("10.1.0.1", TCP, 443, Some(2)),
        ("10.1.0.1", TCP, 400, Some(2)),
        ("10.1.0.1", TCP, 500, Some(2)),
        ("10.1.0.1", TCP, 501, None),
        ("10.1.2.1", TCP, 443, None),
        ("10.1.2.3", TCP, 443, None),
        ("198.51.100.7", TCP, 443, None),
        ("198.51.100.8", TCP, 443, Some(1)),
        ("203.0.113.5", TCP, 443, Some(1)),
        ("203.0.113.5", TCP, 22, Some(5)),
        ("203.0.113.5", ICMP, 0, Some(5)),
        ("2001:db8::1", TCP, 443, Some(1)),
        ("fd00::1", TCP, 443, None),
        ("2001:db8::1", ICMPV6, 0, None),
    ] {
        let to: Net = to.parse().expect("an address");
        assert_eq!(opens(&rules, &to, protocol, port), expected, "by the rules: {to} {port}");
        assert_eq!(found(&tables, &to, protocol, port), expected, "compiled: {to} {port}");
    }
}

#[test]
fn n1_audit_mode_lets_through_what_it_is_about_and_tells_what_would_deny() {
    let ranges = [Ports { protocol: TCP, first: 80, last: 90 }];
    let rules = [
        rule(Action::Allow, &["10.0.0.0/8"], &[], &[Ports::one(TCP, 443)]),
        rule(Action::Deny, &["10.1.0.0/16"], &[], &ranges),
        rule(Action::Deny, &["10.1.0.0/16"], &[], &[Ports::one(TCP, 443)]),
        rule(Action::Audit, &["0.0.0.0/0"], &["10.9.0.0/16"], &Ports::ALL),
    ];
    let tables = compile(&rules).expect("is small");
    for (to, protocol, port, expected) in [
        ("10.0.0.1", TCP, 443, Some(1)),
        ("10.0.0.1", TCP, 444, Some(AUDITED)),
        ("10.1.0.1", TCP, 79, Some(AUDITED)),
        ("10.1.0.1", TCP, 80, Some(AUDITED | 2)),
        ("10.1.0.1", TCP, 90, Some(AUDITED | 2)),
        ("10.1.0.1", TCP, 443, Some(AUDITED | 3)),
        ("10.1.0.1", ICMP, 0, Some(AUDITED)),
        ("10.9.0.1", TCP, 443, Some(1)),
        ("10.9.0.1", TCP, 80, None),
        ("10.9.0.1", ICMP, 0, None),
        ("192.0.2.1", UDP, 53, Some(AUDITED)),
        ("2001:db8::1", TCP, 443, None),
    ] {
        let to: Net = to.parse().expect("an address");
        assert_eq!(opens(&rules, &to, protocol, port), expected, "by the rules: {to} {port}");
        assert_eq!(found(&tables, &to, protocol, port), expected, "compiled: {to} {port}");
    }
}

#[test]
fn the_size_of_the_tables_is_bounded() {
    let one = |number: u32| Rule {
        to: vec![
            Net::new(std::net::Ipv4Addr::from_bits(number << 8).into(), 24).expect("is short"),
        ],
        ..rule(Action::Allow, &[], &[], &[Ports { protocol: TCP, first: 1, last: 65_534 }])
    };
    // One class for all of them, since the rules differ only in name: no, each has its own number.
    let many: Vec<Rule> = (0..10_000).map(one).collect();
    assert_eq!(compile(&many), Err(CompileError::TooLarge));
    let together = Rule { to: many.iter().flat_map(|rule| rule.to.clone()).collect(), ..one(0) };
    let tables = compile(&[together]).expect("is one class");
    assert!(tables.ports.len() < 100, "{}", tables.ports.len());
}

#[test]
fn n1_names_are_classes_of_their_own_and_nothing_else_is_opened_by_them() {
    let name = |text: &str| text.parse::<Pattern>().expect("a name");
    let named = |names: &[&str], ports: &[Ports]| Rule {
        names: names.iter().map(|text| name(text)).collect(),
        ..rule(Action::Allow, &[], &[], ports)
    };
    let rules = [
        rule(Action::Deny, &["192.0.2.7"], &[], &[Ports::one(TCP, 443)]),
        named(&["pypi.org", "*.pypi.org"], &[Ports::one(TCP, 443)]),
        named(&["pypi.org"], &[Ports::one(TCP, 80), Ports::one(TCP, 443)]),
    ];
    let tables = compile(&rules).expect("is small");
    assert_eq!((traits(&rules), traits(&rules[..1])), (OPENS_NAMES, 0));
    for (text, port, expected) in [
        ("pypi.org", 443, Decision::opens(2)),
        ("pypi.org", 80, Decision::opens(3)),
        ("pypi.org", 81, Decision::NONE),
        ("*.pypi.org", 443, Decision::opens(2)),
        ("*.pypi.org", 80, Decision::NONE),
        ("files.pypi.org", 443, Decision::NONE),
    ] {
        let asked = (TCP, port);
        assert_eq!(tables.look_up_name(name(text).class(false), asked), expected, "{text} {port}");
        assert_eq!(
            decides_by_name(&rules, name(text).class(false), asked),
            expected,
            "{text} {port}"
        );
    }
    // What may be private is a name of its own.
    let private = Rule { private: true, ..named(&["pypi.org"], &[Ports::one(TCP, 22)]) };
    let tables = compile(&[rules[1].clone(), private]).expect("is small");
    let by = |private| tables.look_up_name(name("pypi.org").class(private), (TCP, 22));
    assert_eq!((by(true), by(false)), (Decision::opens(2), Decision::NONE));
    let tables = compile(&rules).expect("is small");
    let to: Net = "192.0.2.7".parse().expect("an address");
    let by_address = |port| tables.look_up(Direction::Out, &to, (TCP, port));
    assert_eq!((by_address(443), by_address(80)), (Decision::denies(1), Decision::NONE));
}

#[test]
fn p33_sources_are_looked_up_apart_from_destinations() {
    let from = |action, net: &str, port| Rule {
        direction: Direction::In,
        ..rule(action, &[net], &[], &[Ports::one(TCP, port)])
    };
    let rules = [
        from(Action::Allow, "192.0.2.0/24", 8888),
        from(Action::Deny, "192.0.2.7", 8888),
        rule(Action::Allow, &["198.51.100.0/24"], &[], &[Ports::one(TCP, 443)]),
    ];
    let tables = compile(&rules).expect("is small");
    assert_eq!(traits(&rules), LIMITS_SOURCES);
    for (direction, other, port, expected) in [
        (Direction::In, "192.0.2.1", 8888, Decision::opens(1)),
        (Direction::In, "192.0.2.7", 8888, Decision::denies(2)),
        (Direction::In, "192.0.2.1", 8889, Decision::NONE),
        (Direction::In, "198.51.100.1", 443, Decision::NONE),
        (Direction::Out, "192.0.2.1", 8888, Decision::NONE),
        (Direction::Out, "198.51.100.1", 443, Decision::opens(3)),
    ] {
        let other: Net = other.parse().expect("an address");
        assert_eq!(tables.look_up(direction, &other, (TCP, port)), expected, "{other} {port}");
        assert_eq!(decides(&rules, direction, &other, (TCP, port)), expected, "{other} {port}");
    }
}

fn some_net() -> impl Strategy<Value = Net> {
    // Few bits differ, so that networks lie within one another.
    let four = (0u32..8, 0u8..=32).prop_map(|(bits, length)| {
        Net::new(std::net::Ipv4Addr::from_bits(bits << 29 | bits).into(), length)
    });
    let six = (0u128..8, 0u8..=128).prop_map(|(bits, length)| {
        Net::new(std::net::Ipv6Addr::from_bits(bits << 125 | bits << 62 | bits).into(), length)
    });
    prop_oneof![four, six].prop_map(|net| net.expect("is short"))
}

fn some_ports() -> impl Strategy<Value = Ports> {
    let range = (prop_oneof![Just(TCP), Just(UDP)], 0u16..40, 0u16..40)
        .prop_map(|(protocol, a, b)| Ports { protocol, first: a.min(b), last: a.max(b) });
    prop_oneof![range, Just(Ports::any(TCP)), Just(Ports::echo(ICMP))]
}

fn some_rule() -> impl Strategy<Value = Rule> {
    let action =
        prop_oneof![6 => Just(Action::Allow), 2 => Just(Action::Deny), 1 => Just(Action::Audit)];
    let direction = prop_oneof![3 => Just(Direction::Out), 1 => Just(Direction::In)];
    let nets = || prop::collection::vec(some_net(), 0..3);
    let parts = (action, direction, nets(), nets(), prop::collection::vec(some_ports(), 1..3));
    parts.prop_map(|(action, direction, to, except, ports)| Rule {
        action,
        direction,
        to,
        except: except.into(),
        ports,
        ..Rule::default()
    })
}

proptest! {
    /// N1: the tables say what the rules say, wherever it is asked.
    #[test]
    fn n1_the_tables_say_what_the_rules_say(
        rules in prop::collection::vec((some_rule(), any::<bool>()), 0..12),
        list in prop::collection::vec(some_net(), 0..3),
        asked in prop::collection::vec((some_net(), 0u16..42), 1..20),
    ) {
        // Some have one list of exceptions together.
        let list: Arc<[Net]> = list.into();
        let rules: Vec<Rule> = rules
            .into_iter()
            .map(|(rule, shares)| if shares { Rule { except: Arc::clone(&list), ..rule } } else { rule })
            .collect();
        let tables = compile(&rules).expect("is small");
        for (near, port) in asked {
            let to = Net::host(near.address());
            for (protocol, port) in [(TCP, port), (UDP, port), (ICMP, 0), (TCP, u16::MAX)] {
                for direction in [Direction::Out, Direction::In] {
                    prop_assert_eq!(
                        tables.look_up(direction, &to, (protocol, port)),
                        decides(&rules, direction, &to, (protocol, port)),
                        "{:?} {} {} {}", direction, to, protocol, port
                    );
                }
            }
        }
    }
}
