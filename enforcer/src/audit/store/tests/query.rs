//! Queries, held against a look at every record.

use std::{borrow::Cow, fs};

use serde_json::{Value, json};

use super::{Dir, line_of, open, open_with};
use crate::audit::store::{
    Effort, Entry, Line, Query, Settings, Store, names, parse_peer, query,
    time::{self, SECOND},
};

/// A record as it was made.
#[derive(Clone, Debug, Default)]
struct Made {
    seq: u64,
    time: u64,
    kind: &'static str,
    guest: u64,
    to: u64,
    port: u64,
    source_port: u64,
    start: u64,
    is_closed: bool,
}

impl Made {
    fn destination(&self) -> String {
        format!("192.0.{}.{}", self.to / 250, self.to % 250)
    }

    fn source(&self) -> String {
        format!("10.0.0.{}", self.guest)
    }

    fn line(&self) -> Line<'static> {
        let is_denied = self.kind == "denied";
        let mut fields = json!({
            "enforcer.v": 1, "event.action": self.kind, "event.sequence": self.seq, "@timestamp": time::text(self.time),
            "enforcer.monotonic_ns": self.time * 1000, "container.name": format!("guest-{}", self.guest),
            "enforcer.endpoint": self.guest, "enforcer.verdict": if is_denied { "deny" } else { "allow" },
            "source.ip": self.source(), "source.port": self.source_port, "network.iana_number": 6,
            "destination.ip": self.destination(), "destination.port": self.port,
        });
        if is_denied {
            fields["event.reason"] = json!(if self.port == 22 { "policy" } else { "no_flow" });
        }
        if self.kind == "flow_closed" {
            fields["event.start"] = json!(time::text(self.start));
        }
        let json = serde_json::to_vec(&fields).expect("JSON");
        Line { seq: self.seq, time: Cow::Owned(time::text(self.time)), json: Cow::Owned(json) }
    }
}

/// Records of flows that open and close, most soon, some late, some never; and denials.
fn make(count: u64) -> Vec<Made> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let (mut made, mut open): (Vec<Made>, Vec<usize>) = (Vec::new(), Vec::new());
    for seq in 1..=count {
        let time = 1_700_000_000 * SECOND + seq * SECOND / 50;
        let choice = random(10);
        let next = if choice < 4 && open.len() > 200 {
            // Of the last hundred, or any.
            let from = if random(50) == 0 { 0 } else { open.len() - 100 };
            let flow = open.remove(from + usize::try_from(random(100)).expect("small"));
            made[flow].is_closed = true;
            Made { seq, time, kind: "flow_closed", start: made[flow].time, ..made[flow].clone() }
        } else {
            let kind = if choice == 9 { "denied" } else { "flow_opened" };
            if kind == "flow_opened" {
                open.push(made.len());
            }
            // Few reach the address with number 777.
            let to = if random(20_000) == 0 { 777 } else { random(500) };
            let port = [22, 80, 443][usize::try_from(random(3)).expect("small")];
            let source_port = 1024 + seq % 60_000;
            let guest = 2 + random(30);
            Made { seq, time, kind, guest, to, port, source_port, ..Made::default() }
        };
        made.push(next);
    }
    made
}

fn ask(dir: &Dir, wanted: &Query) -> (Vec<u64>, Effort) {
    let mut seqs = Vec::new();
    let effort = query(&dir.0, wanted, &mut |_, entry| {
        seqs.push(entry.seq);
        true
    });
    seqs.sort_unstable();
    (seqs, effort.expect("can be read"))
}

fn expect(made: &[Made], fits: impl Fn(&Made) -> bool) -> Vec<u64> {
    made.iter().filter(|made| fits(made)).map(|made| made.seq).collect()
}

/// What was open at a time, by a look at all records.
fn expect_at(made: &[Made], at: u64) -> Vec<u64> {
    expect(made, |made| match made.kind {
        "flow_opened" => made.time <= at && !made.is_closed,
        "flow_closed" => made.start <= at && at <= made.time,
        _ => made.time.abs_diff(at) <= 60 * SECOND,
    })
}

#[test]
fn a2_of_200_000_records_a_query_finds_those_that_fit_and_no_other() {
    let dir = Dir::new();
    let settings = Settings { segment_bytes: 8 << 20, ..Settings::new(&dir.0) };
    let (mut store, _) = open_with(settings);
    let made = make(200_000);
    for batch in made.chunks(1000) {
        store.append(&batch.iter().map(Made::line).collect::<Vec<_>>()).expect("appends");
        store.rotate_if_due(super::at(0), &Value::Null).expect("rotates");
    }
    store.wait_for_compression();
    Store::close(store, &Value::Null).expect("closes");
    assert!(dir.names().contains(&names::index(5)));

    let to = |text: &str| Query { to: parse_peer(text).ok(), ..Query::default() };
    let (found, effort) = ask(&dir, &to("192.0.3.27"));
    assert_eq!(found, expect(&made, |made| made.to == 777));
    assert!(found.len() > 3 && effort.read * 4 < effort.blocks, "{effort:?}");
    let (found, _) = ask(&dir, &to("192.0.3.27:443"));
    assert_eq!(found, expect(&made, |made| made.to == 777 && made.port == 443));
    assert_eq!(ask(&dir, &to("192.0.3.2")).0, [0u64; 0], "no prefix");
    let (found, _) = ask(&dir, &to("10.0.0.5"));
    assert_eq!(found, [0u64; 0], "a source is no destination");
    let from = Query { from: parse_peer("10.0.0.5:2000").ok(), ..Query::default() };
    let (found, effort) = ask(&dir, &from);
    assert_eq!(found, expect(&made, |made| made.guest == 5 && made.source_port == 2000));
    assert!(effort.read * 4 < effort.blocks, "{effort:?}");

    let either = Query { either: "192.0.3.27".parse().ok(), ..Query::default() };
    let (found, effort) = ask(&dir, &either);
    assert_eq!(found, expect(&made, |made| made.to == 777));
    assert!(effort.read * 4 < effort.blocks, "{effort:?}");
    let either = Query { either: "10.0.0.5".parse().ok(), ..Query::default() };
    assert_eq!(ask(&dir, &either).0, expect(&made, |made| made.guest == 5));
    let mentions = vec!["guest-7\"".to_owned(), "192.0.3.27".to_owned()];
    let (found, _) = ask(&dir, &Query { mentions, ..Query::default() });
    assert_eq!(found.len(), made.len(), "a text that JSON escapes is not looked for");
    let mentions = vec!["\u{e9}".to_owned(), "192.0.3.27".to_owned()];
    let (found, _) = ask(&dir, &Query { mentions, ..Query::default() });
    assert_eq!(found, expect(&made, |made| made.to == 777));

    let (since, until) = (made[70_000].time, made[70_500].time);
    let window = Query { since: Some(since), until: Some(until), ..Query::default() };
    let (found, effort) = ask(&dir, &window);
    assert_eq!(found, expect(&made, |made| (since..=until).contains(&made.time)));
    assert!(effort.read < 5, "{effort:?}");
    let denied = Query {
        guest: vec!["guest-7".to_owned()],
        verdict: Some("deny".to_owned()),
        reason: Some("policy".to_owned()),
        ..Query::default()
    };
    let (found, _) = ask(&dir, &denied);
    assert_eq!(found, expect(&made, |m| m.guest == 7 && m.kind == "denied" && m.port == 22));

    let last = made.last().expect("records").time;
    let times = [made[0].time - 1, made[120_000].time, last + SECOND];
    for at in times {
        let (found, _) = ask(&dir, &Query { at: Some(at), ..Query::default() });
        assert_eq!(found, expect_at(&made, at), "at {}", time::text(at));
        assert!(at <= made[0].time || found.len() > 100, "{}", found.len());
    }
    let at = made[100_000].time;
    let wanted = Query { at: Some(at), to: parse_peer("192.0.1.7").ok(), ..Query::default() };
    let by_seq = |seq: &u64| made[usize::try_from(*seq).expect("small") - 1].to == 257;
    let expected: Vec<_> = expect_at(&made, at).into_iter().filter(by_seq).collect();
    assert!(!expected.is_empty());
    assert_eq!(ask(&dir, &wanted).0, expected);

    // Without an index, or with one that is damaged, the answer is the same.
    fs::remove_file(dir.file(&names::index(1))).expect("there");
    fs::write(dir.file(&names::index(2)), b"enfidx1\nnonsense").expect("writes");
    let (found, _) = ask(&dir, &to("192.0.3.27"));
    assert_eq!(found, expect(&made, |made| made.to == 777));
}

#[test]
fn what_a_query_hands_over_is_the_line_as_it_is_stored_and_it_can_stop() {
    let dir = Dir::new();
    let (mut store, _) = open(&dir);
    let odd = json!({"event.action": "later", "source.ip": 5, "container.name": "a \"b\"\\\n", "enforcer.verdict": []});
    store.append(&[line_of(1, odd), super::line(2), super::line(3)]).expect("appends");
    store.sync(&Value::Null).expect("syncs");
    let file = fs::read(dir.file(&names::plain(1))).expect("reads");
    let stored: Vec<_> = file.split(|byte| *byte == b'\n').skip(1).take(3).collect();
    let mut found = Vec::new();
    let all = Query::default();
    query(&dir.0, &all, &mut |line, _| {
        found.push(line.to_vec());
        found.len() < 2
    })
    .expect("can be read");
    assert_eq!(found, stored[..2]);
    let guest = Query { guest: vec!["a \"b\"\\\n".to_owned()], ..Query::default() };
    assert_eq!(ask(&dir, &guest).0, [1], "whatever the name has in it");
    assert_eq!(Entry::parse(stored[1]).reason, "policy");
}

#[test]
fn a2_of_two_users_of_one_name_the_hub_tells_which_one_is_meant() {
    let dir = Dir::new();
    let (mut store, _) = open(&dir);
    let of = |hub: &str| json!({"event.action": "denied", "user.name": "ann", "enforcer.hub": hub});
    let none = json!({"event.action": "denied", "user.name": "ann", "enforcer.why": "\"lab\""});
    store
        .append(&[line_of(1, of("lab")), line_of(2, of("course")), line_of(3, none)])
        .expect("appends");
    store.sync(&Value::Null).expect("syncs");
    let user = vec!["ann".to_owned()];
    let by = |hub: Option<&str>| Query {
        user: user.clone(),
        hub: hub.map(str::to_owned),
        ..Query::default()
    };
    assert_eq!(ask(&dir, &by(None)).0, [1, 2, 3]);
    assert_eq!(ask(&dir, &by(Some("lab"))).0, [1]);
    assert_eq!(ask(&dir, &by(Some("labs"))).0, [0u64; 0]);
}
