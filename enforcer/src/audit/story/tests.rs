//! Stories of made-up records.

use serde_json::{Value, json};

use super::*;

/// A record of alice's at a second, with these fields more.
fn hers(second: u64, fields: Value) -> Value {
    let mut record = json!({"event.action": "", "@timestamp": time(second), "user.name": "alice",
        "user.group.name": "course", "container.name": "jupyter-alice", "container.id": "beef01",
        "container.image.name": "lab:1", "network.name": "guests", "enforcer.endpoint": 7});
    let (Value::Object(record_fields), Value::Object(fields)) = (&mut record, fields) else {
        panic!("objects")
    };
    record_fields.extend(fields);
    record
}

fn time(second: u64) -> String {
    format!("2026-11-22T12:00:{second:02}.000000Z")
}

fn flow(second: u64, to: (&str, u64), source_port: u64) -> Value {
    hers(
        second,
        json!({"event.action": "flow_opened", "enforcer.hook": "from_guest", "enforcer.verdict": "allow",
        "source.ip": "10.0.0.2", "source.port": source_port, "destination.ip": to.0, "destination.port": to.1,
        "network.iana_number": 6}),
    )
}

fn end(second: u64, opened: &Value, bytes: (u64, u64), by: &str) -> Value {
    let mut end = opened.clone();
    for (key, value) in [
        ("event.action", json!("flow_closed")),
        ("event.start", opened["@timestamp"].clone()),
        ("@timestamp", json!(time(second))),
        ("enforcer.opener", json!(by)),
        ("source.packets", json!(bytes.0 / 10)),
        ("destination.packets", json!(bytes.1 / 10)),
        ("source.bytes", json!(bytes.0)),
        ("destination.bytes", json!(bytes.1)),
    ] {
        end[key] = value;
    }
    end
}

fn story(who: &str, records: &[Value], top: usize) -> Story {
    let mut candidates = Candidates::new(Who::parse(who));
    for (record, at) in records.iter().zip(1..) {
        candidates.take(record, at);
    }
    let mut teller = Teller::new(Asked::default(), candidates.one().expect("somebody"));
    for (record, at) in records.iter().zip(1..) {
        teller.take(record, at);
    }
    teller.finish(top)
}

#[test]
fn a2_a_story_says_who_when_where_to_and_how_much() {
    let open = flow(2, ("192.0.2.7", 443), 4001);
    let again = flow(3, ("192.0.2.7", 443), 4002);
    let other = flow(4, ("192.0.2.8", 80), 4003);
    let mut inward = end(9, &flow(5, ("10.0.0.2", 8888), 5000), (70, 900), "host");
    inward["source.ip"] = json!("10.0.0.1");
    let denied = hers(
        6,
        json!({"event.action": "denied", "enforcer.hook": "from_guest", "event.reason": "policy",
        "source.ip": "10.0.0.2", "destination.ip": "192.0.2.9", "destination.port": 25, "network.iana_number": 6}),
    );
    let records = [
        // The engine names no user, and is heard before anybody knows one.
        json!({"event.action": "docker", "@timestamp": time(0), "enforcer.event": "container start",
            "container.name": "jupyter-alice", "container.id": "beef01"}),
        hers(1, json!({"event.action": "guest", "enforcer.event": "policed"})),
        open.clone(),
        again,
        other.clone(),
        json!({"event.action": "gap", "@timestamp": time(5), "enforcer.count": 4}),
        denied.clone(),
        denied,
        hers(
            7,
            json!({"event.action": "loss", "event.reason": "policy", "enforcer.cause": "rate_limit", "enforcer.count": 50}),
        ),
        hers(
            7,
            json!({"event.action": "loss", "event.reason": "flow_opened", "enforcer.cause": "queue", "enforcer.count": 2}),
        ),
        json!({"event.action": "loss", "@timestamp": time(7), "enforcer.cause": "uncounted", "enforcer.count": 3,
            "enforcer.endpoint": 0, "event.reason": "reason_0"}),
        hers(
            8,
            json!({"event.action": "exec", "process.executable": "/bin/sh", "process.user.id": "0"}),
        ),
        hers(
            8,
            json!({"event.action": "exec", "process.executable": "/bin/sh", "process.user.id": "0"}),
        ),
        hers(
            8,
            json!({"event.action": "gate_call", "http.request.method": "POST", "url.path": "/containers/create"}),
        ),
        hers(
            8,
            json!({"event.action": "connect_refused", "event.reason": "policy", "enforcer.call": "connect",
            "destination.ip": "192.0.2.9", "destination.port": 25, "network.iana_number": 6}),
        ),
        end(8, &open, (1000, 200), "guest"),
        end(8, &other, (10, 20), "guest"),
        inward,
        json!({"event.action": "docker", "@timestamp": time(10), "enforcer.event": "container die",
            "container.name": "jupyter-alice", "container.id": "beef01", "process.exit_code": 137}),
        json!({"event.action": "denied", "@timestamp": time(11), "user.name": "ben", "container.name": "b",
            "container.id": "beef02", "enforcer.hook": "from_guest", "event.reason": "arp"}),
    ];
    let story = story("alice", &records, 1);
    assert_eq!((story.records, story.first, story.last), (17, time(0), time(10)));
    assert_eq!((story.users, story.groups), (["alice".into()].into(), ["course".into()].into()));
    let container = &story.containers.items[0];
    assert_eq!((story.containers.items.len(), container.image.as_str()), (1, "lab:1"));
    assert_eq!(container.addresses, ["10.0.0.2".to_owned()].into());
    let life: Vec<_> = story.life.items.iter().map(|moment| moment.what.as_str()).collect();
    assert_eq!(life, ["container start", "policed", "container die exit code 137"]);

    let [to] = &story.to.items[..] else { panic!("{:?}", story.to) };
    assert_eq!((to.address.as_str(), to.port, to.flows), ("192.0.2.7", Some(443), 2));
    assert_eq!((to.bytes_out, to.bytes_in, to.packets_out), (1000, 200, 100));
    assert_eq!((to.first.clone(), to.last.clone()), (time(2), time(8)));
    assert_eq!((story.to.others, story.to.at_least), (2, false));
    assert_eq!((story.to.rest.flows, story.to.rest.denied, story.to.rest.bytes_in), (1, 3, 20));
    let [from] = &story.from.items[..] else { panic!("{:?}", story.from) };
    assert_eq!((from.address.as_str(), from.port), ("10.0.0.1", Some(8888)));
    assert_eq!((from.flows, from.bytes_out, from.bytes_in), (1, 900, 70));
    let totals = Totals {
        flows_out: 3,
        flows_in: 1,
        open: 1,
        audited: 0,
        packets_out: 191,
        packets_in: 29,
        bytes_out: 1910,
        bytes_in: 290,
    };
    assert_eq!(story.totals, totals);

    let [denied] = &story.denied[..] else { panic!("{:?}", story.denied) };
    assert_eq!((denied.reason.as_str(), denied.records, denied.refused), ("policy", 2, 1));
    assert_eq!((&denied.lost, denied.count()), (&[("rate_limit".to_owned(), 50)].into(), 53));
    assert_eq!(story.lost[0].count, 2);
    assert_eq!((story.gaps, story.lost_of_nobody), (4, 3));
    assert_eq!(
        (story.commands.items[0].what.as_str(), story.commands.items[0].count),
        ("/bin/sh", 2)
    );
    let call = &story.other.items[0];
    assert_eq!(
        (call.what.as_str(), call.detail.as_str()),
        ("gate_call", "POST /containers/create")
    );
}

#[test]
fn a_flow_is_one_flow_although_two_records_tell_of_it() {
    let open = flow(2, ("192.0.2.7", 443), 4001);
    let ended = end(3, &open, (10, 10), "guest");
    let mut ping = flow(4, ("192.0.2.7", 0), 8);
    ping["network.iana_number"] = json!(1);
    let mut ping_end = end(5, &ping, (10, 10), "guest");
    (ping_end["source.port"], ping_end["destination.port"]) = (json!(77), json!(77));
    for (records, flows, open_flows) in [
        (vec![open.clone()], 1, 1),
        (vec![open.clone(), ended.clone()], 1, 0),
        (vec![ended.clone()], 1, 0),
        (vec![open.clone(), ended.clone(), open.clone(), ended], 2, 0),
        (vec![ping, ping_end], 1, 0),
    ] {
        let story = story("alice", &records, 5);
        assert_eq!((story.totals.flows_out, story.totals.open), (flows, open_flows), "{records:?}");
        assert_eq!(story.to.items.len(), 1, "{records:?}");
    }
}

#[test]
fn a_story_has_a_bounded_size_and_says_what_it_summed_up() {
    let scope = {
        let mut candidates = Candidates::new(Who::parse("alice"));
        candidates.take(&flow(0, ("192.0.2.7", 443), 1), 1);
        candidates.one().expect("alice")
    };
    let mut teller = Teller::new(Asked::default(), scope);
    let count = u64::try_from(PLACES).expect("small") + 500;
    for number in 0..count {
        let to = format!("10.{}.{}.{}", number >> 16, (number >> 8) & 255, number & 255);
        teller.take(&flow(1, (&to, 443), 1), 1);
        teller.take(&hers(1, json!({"event.action": "guest", "enforcer.event": "policed"})), 1);
    }
    let story = teller.finish(3);
    assert_eq!((story.to.items.len(), story.to.at_least), (3, true));
    assert_eq!(story.to.others, u64::try_from(PLACES).expect("small") - 3 + 1);
    assert_eq!(
        story.to.items.iter().map(|place| place.flows).sum::<u64>() + story.to.rest.flows,
        count
    );
    assert_eq!(story.life.others, count - 1000);
}
