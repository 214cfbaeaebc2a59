use serde_json::json;

use super::*;
use crate::{audit::attempt::tests::record, config::parse};

const CONFIG: &str = r#"
[policies.open]
[[policies.open.allow]]
to = ["192.0.2.0/24", "198.51.100.0/24"]
port = 443
[[policies.open.deny]]
to = "192.0.2.66"
[[policies.open.allow]]
host = true
port = 22
[policies.exam]
[policies.learning]
mode = "audit"
[networks.lab]
bridge = "br-lab"
subnet = "10.7.0.0/24"
gateway = "10.7.0.1"
policy = "open"
[[networks.lab.hub]]
gateway = true
port = 8081
[[networks.lab.hub]]
container = "hub"
port = 9000
[[networks.lab.override]]
group = "exam"
policy = "exam"
[[networks.lab.override]]
user = "ben"
policy = "learning"
[networks.somewhere]
bridge = "br-some"
policy = "open"
[networks.labelled]
bridge = "br-label"
subnet = "10.8.0.0/24"
[[networks.labelled.override]]
label = "course=7"
policy = "open"
"#;

const TCP: u8 = 6;

fn replay(config: &str, own: Option<&[IpAddr]>, records: &[Value]) -> Report {
    let config = parse(config, "f.toml").expect("is good");
    let mut replay = Replay::new(&config, own);
    for record in records {
        replay.take(record);
    }
    replay.finish(100)
}

fn with(mut record: Value, fields: &[(&str, &str)]) -> Value {
    for (key, value) in fields {
        record[*key] = json!(value);
    }
    record
}

#[test]
fn o2_a_replay_says_what_would_have_been_decided_otherwise_and_by_which_rule() {
    let opened = |to: &str, port| record("flow_opened", None, "ada", to, (TCP, port));
    let denied = |to: &str, port| record("denied", Some("policy"), "ada", to, (TCP, port));
    let audited = |to: &str, port| with(opened(to, port), &[("enforcer.would_deny", "policy")]);
    let refused = |to: &str, port| {
        with(
            record("connect_refused", Some("policy"), "ada", to, (TCP, port)),
            &[("enforcer.hook", "")],
        )
    };
    let exam = [("user.group.name", "exam")];
    let ben = [("user.name", "ben")];
    // What was, and what it would be, by which rule.
    for (record, expected) in [
        (opened("192.0.2.7", 443), None),
        (opened("192.0.2.7", 80), Some(("allow", "deny", None))),
        (opened("192.0.2.66", 443), Some(("allow", "deny", Some("deny at f.toml:6")))),
        (denied("192.0.2.7", 443), Some(("deny", "allow", Some("allow at f.toml:3")))),
        (refused("198.51.100.1", 443), Some(("deny", "allow", Some("allow at f.toml:3")))),
        (denied("192.0.2.7", 80), None),
        (audited("192.0.2.7", 443), Some(("audit", "allow", Some("allow at f.toml:3")))),
        (audited("192.0.2.7", 80), Some(("audit", "deny", None))),
        (denied("10.7.0.1", 22), Some(("deny", "allow", Some("allow at f.toml:8")))),
        (opened("10.7.0.1", 8081), None),
        (denied("10.7.0.1", 23), None),
        (with(opened("192.0.2.7", 443), &exam), Some(("allow", "deny", None))),
        (with(denied("203.0.113.1", 22), &ben), Some(("deny", "audit", None))),
        (with(denied("169.254.169.254", 80), &ben), None),
        (record("denied", Some("guest_to_guest"), "ada", "10.7.0.9", (TCP, 80)), None),
        (opened("10.7.0.9", 80), Some(("allow", "deny", None))),
    ] {
        let report = replay(CONFIG, Some(&[]), std::slice::from_ref(&record));
        assert!(report.not_judged.is_empty(), "{record}: {report:?}");
        let found = report.changes.first().map(|c| (c.was, c.would_be, c.rule.as_deref()));
        assert_eq!(found, expected, "{record}");
        assert_eq!(report.same, u64::from(expected.is_none()), "{record}");
    }
}

#[test]
fn o2_what_a_record_does_not_tell_is_counted_and_not_guessed() {
    let opened = |to: &str, port| record("flow_opened", None, "ada", to, (TCP, port));
    let denied = |to: &str, port| record("denied", Some("policy"), "ada", to, (TCP, port));
    let in_network = |record, network: &str| with(record, &[("network.name", network)]);
    for (record, words) in [
        (in_network(opened("192.0.2.7", 443), "gone"), "no such guest network"),
        (opened("10.7.0.9", 9000), "may be a hub's container"),
        (
            record("denied", Some("guest_to_guest"), "ada", "10.7.0.9", (TCP, 9000)),
            "a hub's container",
        ),
        (in_network(opened("10.1.2.3", 443), "somewhere"), "does not name the network's subnet"),
        (
            in_network(opened("192.0.2.7", 443), "labelled"),
            "label that [audit] labels does not name",
        ),
        (with(opened("192.0.2.7", 443), &[("user.name", "p-0123456789abcdef")]), "a pseudonym"),
        (opened("fe80::1", 443), "link-local"),
        (with(opened("192.0.2.7", 443), &[("destination.ip", "?")]), "tells too little"),
    ] {
        let report = replay(CONFIG, None, std::slice::from_ref(&record));
        let told: Vec<_> = report.not_judged.keys().collect();
        assert!(told.len() == 1 && told[0].contains(words), "{record}: {report:?}");
        assert!(report.changes.is_empty() && report.same == 0);
    }
    // Labels that the config has recorded are there, or the guest has none.
    let labelled = format!("[audit]\nlabels = [\"course\"]\n{CONFIG}");
    let one = in_network(opened("192.0.2.7", 443), "labelled");
    assert_eq!(replay(&labelled, None, std::slice::from_ref(&one)).changes[0].would_be, "deny");
    let mut course = one;
    course["container.labels"] = json!({"course": "7"});
    assert_eq!(replay(CONFIG, None, &[course]).same, 1);

    // Whether it is this host's own address only the host knows.
    let report = replay(CONFIG, None, &[denied("192.0.2.7", 443)]);
    assert!(report.changes[0].unless_host, "{report:?}");
    let own: IpAddr = "192.0.2.7".parse().expect("an address");
    assert_eq!(replay(CONFIG, Some(&[own]), &[denied("192.0.2.7", 443)]).same, 1);
    assert!(!replay(CONFIG, Some(&[]), &[denied("192.0.2.7", 443)]).changes[0].unless_host);
}

#[test]
fn a1_changes_are_grouped_and_what_was_lost_is_told() {
    let opened = |second: u32| {
        let time = format!("2026-11-22T12:00:{second:02}.000000Z");
        with(record("flow_opened", None, "ada", "192.0.2.7", (TCP, 80)), &[("@timestamp", &time)])
    };
    let other = record("flow_opened", None, "ben", "192.0.2.7", (TCP, 80));
    let loss = json!({"event.action": "loss", "event.reason": "flow_opened", "enforcer.count": 5});
    let exec = json!({"event.action": "exec"});
    let records = [opened(30), other, opened(10), opened(20), loss, exec];
    let report = replay(CONFIG, None, &records);
    let [change, _ben] = report.changes.as_slice() else { panic!("{report:?}") };
    assert_eq!((change.guest.as_str(), change.count), ("ada", 3));
    assert!(change.first.contains(":10.") && change.last.contains(":30."), "{change:?}");
    assert_eq!((report.lost, report.unrelated, report.others), (5, 1, 0));
    let config = parse(CONFIG, "f").expect("is good");
    let mut replay = Replay::new(&config, None);
    for record in &records {
        replay.take(record);
    }
    assert_eq!(replay.finish(1).others, 1, "those beyond the first");
}
