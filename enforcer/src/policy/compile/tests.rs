use enforcer_common::packet::{ICMP, ICMPV6};
use proptest::prelude::*;

use super::*;
use crate::policy::rule::{Action, Ports, opens};

fn found(tables: &Tables, to: &Net, protocol: u8, port: u16) -> Option<u32> {
    tables.look_up(to, (protocol, port))
}

fn rule(action: Action, to: &[&str], except: &[&str], ports: &[Ports]) -> Rule {
    let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a network")).collect();
    Rule { action, to: nets(to), except: nets(except), ports: ports.to_vec(), name: String::new() }
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
fn the_size_of_the_tables_is_bounded() {
    let one = |number: u32| Rule {
        to: vec![
            Net::new(std::net::Ipv4Addr::from_bits(number << 8).into(), 24).expect("is short"),
        ],
        ..rule(Action::Allow, &[], &[], &[Ports { protocol: TCP, first: 1, last: 65_534 }])
    };
    // One class for all of them, since the rules differ only in name: no, each has its own number.
    let many: Vec<Rule> = (0..10_000).map(one).collect();
    assert_eq!(compile(&many), Err(TooLarge));
    let together = Rule { to: many.iter().flat_map(|rule| rule.to.clone()).collect(), ..one(0) };
    let tables = compile(&[together]).expect("is one class");
    assert!(tables.open.len() < 100, "{}", tables.open.len());
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
    let action = prop_oneof![3 => Just(Action::Allow), 1 => Just(Action::Deny)];
    let nets = || prop::collection::vec(some_net(), 0..3);
    let parts = (action, nets(), nets(), prop::collection::vec(some_ports(), 1..3));
    parts.prop_map(|(action, to, except, ports)| Rule {
        action,
        to,
        except,
        ports,
        name: String::new(),
    })
}

proptest! {
    /// N1: the tables say what the rules say, wherever it is asked.
    #[test]
    fn n1_the_tables_say_what_the_rules_say(
        rules in prop::collection::vec(some_rule(), 0..12),
        asked in prop::collection::vec((some_net(), 0u16..42), 1..20),
    ) {
        let tables = compile(&rules).expect("is small");
        for (near, port) in asked {
            let to = Net::host(near.address());
            for (protocol, port) in [(TCP, port), (UDP, port), (ICMP, 0), (TCP, u16::MAX)] {
                prop_assert_eq!(
                    found(&tables, &to, protocol, port),
                    opens(&rules, &to, protocol, port),
                    "{} {} {}", to, protocol, port
                );
            }
        }
    }
}
