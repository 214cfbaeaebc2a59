use serde_json::json;

use super::*;
use crate::{
    audit::attempt::tests::record,
    config::{Config, parse},
    control::rules::{Here, policy_rules},
    policy::rule::opens,
};

const WISH: Wish<'_> =
    Wish { policy: "course", image: None, network: None, min_guests: 2, scan: 20, merge: false };
const TCP: u8 = 6;
const UDP: u8 = 17;

fn learn(wish: Wish<'_>, records: &[Value]) -> Learnt {
    let mut learning = Learning::new(wish);
    for record in records {
        learning.take(record);
    }
    learning.finish()
}

/// What our own parser makes of it.
fn config(learnt: &Learnt) -> Config {
    let text =
        format!("{}\n[networks.lab]\nbridge = \"br-lab\"\npolicy = \"course\"\n", learnt.toml);
    parse(&text, "f").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn is_open(learnt: &Learnt, to: &str, protocol: u8, port: u16) -> bool {
    let rules = policy_rules(&config(learnt).policies["course"], &Here::default());
    opens(&rules, &to.parse().expect("an address"), protocol, port).is_some()
}

fn audited(guest: &str, to: &str, port: u16) -> Value {
    let mut one = record("flow_opened", None, guest, to, (TCP, port));
    one["enforcer.would_deny"] = json!("policy");
    one
}

fn opened(guest: &str, to: &str, protocol: u8, port: u16) -> Value {
    record("flow_opened", None, guest, to, (protocol, port))
}

/// The text of a rule for an address, comments included.
fn about<'a>(learnt: &'a Learnt, to: &str) -> Vec<&'a str> {
    learnt.toml.split("\n\n").filter(|block| block.contains(to)).collect()
}

#[test]
fn o2_several_guests_destinations_become_rules_and_the_others_wait_for_a_person() {
    let mut records = vec![
        audited("ada", "151.101.0.223", 443),
        audited("ben", "151.101.0.223", 443),
        opened("ada", "151.101.0.223", TCP, 80),
        opened("ben", "151.101.0.223", TCP, 80),
        opened("ada", "151.101.0.223", TCP, 81),
        opened("ben", "151.101.0.223", TCP, 81),
        // One guest only.
        audited("ada", "151.101.0.223", 22),
        audited("ada", "198.51.100.9", 6667),
        // Private, metadata, another guest.
        audited("ada", "10.1.2.3", 5432),
        audited("ben", "10.1.2.3", 5432),
        record("denied", Some("policy"), "ada", "169.254.169.254", (TCP, 80)),
        record("denied", Some("policy"), "ben", "169.254.169.254", (TCP, 80)),
        record("denied", Some("guest_to_guest"), "ben", "10.7.0.9", (TCP, 80)),
        // Echo and IPv6.
        opened("ada", "2606:4700::1111", 58, 128),
        opened("ben", "2606:4700::1111", 58, 128),
        record("connect_refused", Some("policy"), "ada", "203.0.114.7", (UDP, 53)),
        record("connect_refused", Some("policy"), "ben", "203.0.114.7", (UDP, 53)),
    ];
    records.push(json!({"event.action": "dns_query", "dns.question.name": "pypi.org\n[x]",
        "dns.resolved_ip": ["151.101.0.223"]}));
    records.push(json!({"event.action": "loss", "event.reason": "policy", "enforcer.count": 3}));
    let learnt = learn(WISH, &records);
    for (to, protocol, port, expected) in [
        ("151.101.0.223", TCP, 443, true),
        ("151.101.0.223", TCP, 80, true),
        ("151.101.0.223", TCP, 81, true),
        ("151.101.0.223", TCP, 82, false),
        ("151.101.0.223", TCP, 22, false),
        ("151.101.0.222", TCP, 443, false),
        ("198.51.100.9", TCP, 6667, false),
        ("10.1.2.3", TCP, 5432, false),
        ("169.254.169.254", TCP, 80, false),
        ("2606:4700::1111", 58, 0, true),
        ("203.0.114.7", UDP, 53, true),
        ("203.0.114.7", TCP, 53, false),
    ] {
        assert_eq!(is_open(&learnt, to, protocol, port), expected, "{to} {port}\n{}", learnt.toml);
    }
    let [open, rare] = about(&learnt, "151.101.0.223")[..] else { panic!("{}", learnt.toml) };
    assert!(open.contains("port = [\"80-81\", 443]"), "{open}");
    assert!(open.contains("# 2 guests, 6 attempts, 2 of them not opened by any rule"), "{open}");
    assert!(open.contains("# called pypi.org [x]\n"), "a name begins no line: {open}");
    assert!(rare.contains("# Left out: seen from fewer than 2 guests.\n# 1 guests"), "{rare}");
    assert!(rare.contains("\n# [[policies.course.allow]]\n# to = "), "{rare}");
    for (to, why) in
        [("10.1.2.3", "not an address of the public internet"), ("169.254.169.254", "metadata")]
    {
        assert!(about(&learnt, to)[0].contains(why), "{}", learnt.toml);
    }
    assert_eq!((learnt.guests, learnt.neighbours, learnt.lost), (2, 1, 3));
    assert!(learnt.toml.contains("READ IT BEFORE USE"), "{}", learnt.toml);
}

#[test]
fn o2_a_guest_that_scans_teaches_nothing_and_is_told() {
    let mut records =
        vec![opened("ada", "203.0.114.7", TCP, 443), opened("eve", "203.0.114.7", TCP, 443)];
    records.extend((0..30).map(|n| opened("eve", &format!("151.101.0.{n}"), TCP, 23)));
    let learnt = learn(WISH, &records);
    assert_eq!((learnt.guests, &learnt.scans[..]), (1, &["eve".to_owned()][..]));
    assert!(!is_open(&learnt, "203.0.114.7", TCP, 443), "ada alone does not count for two");
    assert!(learnt.toml.contains("more than 20 destinations each: eve."), "{}", learnt.toml);
    assert!(about(&learnt, "151.101.0.5").is_empty());
    assert!(is_open(&learn(Wish { min_guests: 1, ..WISH }, &records), "203.0.114.7", TCP, 443));
}

#[test]
fn o2_one_image_and_network_are_learnt_apart_from_others() {
    let mut other = opened("ben", "203.0.114.7", TCP, 443);
    other["container.image.name"] = json!("other:2");
    let mut elsewhere = opened("cyd", "203.0.114.7", TCP, 443);
    elsewhere["network.name"] = json!("elsewhere");
    let records = [opened("ada", "203.0.114.7", TCP, 443), other, elsewhere];
    for (wish, guests) in [
        (WISH, 3),
        (Wish { image: Some("course:1"), ..WISH }, 2),
        (Wish { image: Some("course:1"), network: Some("lab"), ..WISH }, 1),
        (Wish { image: Some("nobody's"), ..WISH }, 0),
    ] {
        let learnt = learn(wish, &records);
        assert_eq!(learnt.guests, guests, "{wish:?}");
        config(&learnt);
    }
    assert!(learn(WISH, &records).toml.contains("They had course:1, other:2"));
}

#[test]
fn o2_addresses_become_a_network_only_where_that_is_asked_for_and_all_of_it_is_public() {
    let both = |to: &str, port| [opened("ada", to, TCP, port), opened("ben", to, TCP, port)];
    let records = [
        both("151.101.0.1", 443),
        both("151.101.0.2", 443),
        both("151.101.0.3", 80),
        both("151.101.1.1", 443),
        both("168.63.129.1", 443),
        both("168.63.129.2", 443),
        both("2606:4700::1", 443),
        both("2606:4700::2", 443),
    ]
    .concat();
    let apart = learn(WISH, &records);
    assert!(apart.rules.len() == 8 && !is_open(&apart, "151.101.0.9", TCP, 443));
    let merged = learn(Wish { merge: true, ..WISH }, &records);
    let nets: Vec<&str> = merged.rules.iter().map(|rule| rule.to.as_str()).collect();
    for (to, port, expected) in [
        ("151.101.0.9", 443, true),
        ("151.101.0.9", 80, false),
        ("151.101.0.3", 80, true),
        ("151.101.1.9", 443, false),
        ("2606:4700::9", 443, true),
        ("168.63.129.2", 443, true),
        ("168.63.129.9", 443, false),
        ("168.63.129.16", 443, false),
    ] {
        assert_eq!(is_open(&merged, to, TCP, port), expected, "{to} {port}: {nets:?}");
    }
    assert!(about(&merged, "151.101.0.0/24")[0].contains("2 addresses of it were seen"));
}
