//! A collector on loopback that answers as it is told, and keeps what it took.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Mutex, PoisonError},
    thread,
};

use enforcer_common::abi::counter::CounterKey;
use opentelemetry_proto::tonic::{
    collector::logs::v1::{
        ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
    },
    common::v1::any_value,
    logs::v1::LogRecord,
};
use prost::Message as _;

use super::*;
use crate::audit::{
    account::Accounts,
    queue::{Account, Draft},
    record::{Body, Cause, Daemon, Gap, Record, Subject, Traffic},
    sink::{Progress, QUEUE, Running},
    stream,
};
use crate::model::caller::Caller;

/// What the collector does with a request.
#[derive(Clone, Debug)]
enum Act {
    /// Takes it.
    Take,
    /// Takes all but so many.
    Without(i64),
    /// Refuses it with this status and this header.
    Refuse(u16, &'static str),
    /// Takes it and does not say so.
    Hang(Duration),
    /// Refuses more records than these.
    AtMost(usize),
}

#[derive(Debug, Default)]
struct Heard {
    acts: VecDeque<Act>,
    /// Once there are no more acts.
    otherwise: Option<Act>,
    /// Heads of requests.
    heads: Vec<String>,
    /// What was in each request that was taken.
    taken: Vec<ExportLogsServiceRequest>,
    connections: usize,
}

#[derive(Clone)]
struct Collector {
    port: u16,
    heard: Arc<Mutex<Heard>>,
}

impl Collector {
    fn start(acts: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let heard = Heard { acts: acts.into_iter().collect(), ..Heard::default() };
        let collector = Self { port, heard: Arc::new(Mutex::new(heard)) };
        let here = collector.clone();
        // They end with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                here.heard().connections += 1;
                let here = here.clone();
                thread::spawn(move || here.converse(&stream));
            }
        });
        collector
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves a connection until it ends.
    fn converse(&self, mut stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head).ok()? == 0 {
                    return None;
                }
            }
            let head = head.to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1)?.lines().next()?.parse().ok()?;
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            let request = ExportLogsServiceRequest::decode(&*body).expect("protobuf");
            stream.write_all(&self.answer(head, request)).ok()?;
        }
    }

    fn answer(&self, text: String, request: ExportLogsServiceRequest) -> Vec<u8> {
        let mut heard = self.heard();
        heard.heads.push(text);
        let act = heard.acts.pop_front().or_else(|| heard.otherwise.clone());
        let mut response = ExportLogsServiceResponse::default();
        match act.unwrap_or(Act::Take) {
            Act::Refuse(status, header) => {
                return format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n{header}\r\n").into();
            }
            Act::AtMost(most) if records_of(&request).count() > most => {
                return b"HTTP/1.1 413 No\r\ncontent-length: 0\r\n\r\n".to_vec();
            }
            Act::Hang(pause) => {
                heard.taken.push(request);
                drop(heard);
                thread::sleep(pause);
                return Vec::new();
            }
            Act::Without(rejected_log_records) => {
                heard.taken.push(request);
                let error_message = "not these".to_owned();
                let partial = ExportLogsPartialSuccess { rejected_log_records, error_message };
                response.partial_success = Some(partial);
            }
            Act::Take | Act::AtMost(_) => heard.taken.push(request),
        }
        let body = response.encode_to_vec();
        let start = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        [start.into_bytes(), body].concat()
    }

    /// A sink that posts to it.
    fn sink(&self) -> Otlp {
        self.sink_with(Headers::default(), Duration::from_secs(5))
    }

    fn sink_with(&self, headers: Headers, timeout: Duration) -> Otlp {
        let endpoint = format!("http://127.0.0.1:{}/v1/logs", self.port);
        let endpoint = endpoint.parse().expect("an address");
        Otlp::new(Settings { endpoint, headers, timeout }).expect("a client")
    }

    /// Everything that it took, in order.
    fn records(&self) -> Vec<LogRecord> {
        self.heard().taken.iter().flat_map(|request| records_of(request).cloned()).collect()
    }

    /// The same, as records.
    fn bodies(&self) -> Vec<Record> {
        let text = |record: &LogRecord| text(record.body.as_ref().expect("a body"));
        let read = |text: String| serde_json::from_str(&text).expect("a record");
        self.records().iter().map(text).map(read).collect()
    }
}

fn records_of(request: &ExportLogsServiceRequest) -> impl Iterator<Item = &LogRecord> {
    let scopes = request.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
    scopes.flat_map(|scope| &scope.log_records)
}

fn text(value: &opentelemetry_proto::tonic::common::v1::AnyValue) -> String {
    match &value.value {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        other => panic!("{other:?} is no text"),
    }
}

fn attribute(record: &LogRecord, key: &str) -> Option<any_value::Value> {
    let found = record.attributes.iter().find(|attribute| attribute.key == key);
    found.and_then(|attribute| attribute.value.clone()?.value)
}

/// A denial of a guest; guests have ids from 7.
fn line(seq: u64) -> Arc<Line> {
    let endpoint = 7 + u32::from(seq.is_multiple_of(3));
    let subject = Subject { endpoint, role: "guest".into(), ..Subject::default() };
    let traffic = Traffic {
        subject,
        hook: "from_guest".into(),
        verdict: "deny".into(),
        reason: Some("policy".into()),
        rule: None,
        would_deny: None,
        ingress_ifindex: 3,
        frame_len: 60,
        ethertype: "0x0800".into(),
        source_mac: "02:00:00:00:00:01".into(),
        destination_mac: "02:00:00:00:00:02".into(),
        source: Some("10.0.0.2".into()),
        destination: Some("192.0.2.1".into()),
        protocol: Some(6),
        source_port: Some(40_000),
        destination_port: Some(25),
        tcp_flags: Some(2),
    };
    let body = Body::Denied(Box::new(traffic));
    let account = Account::of(&body);
    assert!(matches!(account, Account::Event(CounterKey { owner, .. }) if owner == endpoint));
    let time = "2026-11-22T12:00:00.000001Z".to_owned();
    Arc::new(stream::line(seq, Draft { time, mono_ns: u64::MAX, body, account }, &mut Vec::new()))
}

fn lines(numbers: std::ops::RangeInclusive<u64>) -> Vec<Arc<Line>> {
    numbers.map(line).collect()
}

/// Offers again what was not taken, as it is done for every sink; gives what was said meanwhile.
fn deliver(sink: &mut Otlp, lines: &[Arc<Line>]) -> Vec<String> {
    let mut said = Vec::new();
    while let Err(error) = sink.take(lines) {
        said.push(error.to_string());
        thread::sleep(Duration::from_millis(10));
        assert!(said.len() < 1000, "{said:?}");
    }
    said.dedup();
    said
}

/// Every number up to `last` is there once, as a record or in a gap; how many are missing.
fn is_complete(records: &[Record], last: u64) -> u64 {
    let (mut next, mut missing) = (1, 0);
    for record in records {
        match &record.body {
            Body::Gap(gap) => {
                assert_eq!((gap.from_seq, gap.to_seq), (next, record.seq));
                assert_eq!(gap.count, record.seq + 1 - next);
                missing += gap.count;
            }
            Body::Loss(loss) if loss.cause == Cause::Sink => missing += 1,
            _ => assert_eq!(record.seq, next),
        }
        next = record.seq + 1;
    }
    assert_eq!(next, last + 1);
    missing
}

/// What records account for, however they tell it.
fn accounts<'a>(records: impl Iterator<Item = &'a Body>) -> u64 {
    let mut accounts = Accounts::default();
    records.for_each(|body| accounts.take(&Account::of(body)));
    accounts.recorded().values().sum()
}

#[test]
fn a_record_keeps_its_fields() {
    let collector = Collector::start([]);
    let mut sink = collector.sink();
    let daemon = Body::Daemon(Daemon {
        event: "start".into(),
        version: "1".into(),
        pid: 1,
        by: Caller::default(),
    });
    let time = "1970-01-01T00:00:01.5Z".to_owned();
    let draft = Draft { time, mono_ns: 3, body: daemon, account: Account::Nothing };
    let lines = [line(1), Arc::new(stream::line(2, draft, &mut Vec::new()))];
    let before = SystemTime::now();
    assert_eq!(deliver(&mut sink, &lines), Vec::<String>::new());

    let heads = collector.heard().heads.clone();
    assert!(heads[0].starts_with("post /v1/logs http/1.1\r\n"), "{heads:?}");
    for wanted in [
        "content-type: application/x-protobuf\r\n".to_owned(),
        format!("user-agent: enforcer/{}\r\n", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(heads[0].contains(&wanted), "{heads:?}");
    }
    let request = collector.heard().taken[0].clone();
    let resource = request.resource_logs[0].resource.clone().expect("a resource");
    let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    for (key, wanted) in [
        ("service.name", "enforcer"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("host.name", host.trim()),
    ] {
        let found = resource.attributes.iter().find(|it| it.key == key).expect(key);
        assert_eq!(text(found.value.as_ref().expect(key)), wanted);
    }
    let scope = request.resource_logs[0].scope_logs[0].scope.clone().expect("a scope");
    assert_eq!(scope.name, "enforcer.audit");

    let records = collector.records();
    for (record, line) in records.iter().zip(&lines) {
        assert_eq!(text(record.body.as_ref().expect("a body")), line.text);
        let fields: serde_json::Map<_, _> = serde_json::from_str(&line.text).expect("an object");
        // Each field is an attribute of its name, and the id is one more.
        assert_eq!(record.attributes.len(), fields.len() + 1);
        for (key, value) in fields {
            let found = attribute(record, &key);
            let wanted = match value {
                serde_json::Value::String(text) => any_value::Value::StringValue(text),
                serde_json::Value::Number(number) => match number.as_i64() {
                    Some(number) => any_value::Value::IntValue(number),
                    None => any_value::Value::StringValue(number.to_string()),
                },
                other => panic!("{other} is new: say what becomes of it"),
            };
            assert_eq!(found, Some(wanted), "{key}");
        }
        let observed = Duration::from_nanos(record.observed_time_unix_nano);
        assert!(SystemTime::UNIX_EPOCH + observed >= before);
    }
    assert_eq!(records[0].time_unix_nano, 1_795_348_800_000_001_000);
    assert_eq!(records[1].time_unix_nano, 1_500_000_000);
    assert_eq!((records[0].severity_number, &*records[0].severity_text), (13, "WARN"));
    assert_eq!((records[1].severity_number, &*records[1].severity_text), (9, "INFO"));
    assert_eq!(records[0].event_name, "enforcer.denied");
    assert_eq!(records[1].event_name, "enforcer.daemon");
    assert_ne!(attribute(&records[0], "log.record.uid"), attribute(&records[1], "log.record.uid"));
}

#[test]
fn a1_what_a_collector_wants_later_is_neither_lost_nor_taken_twice() {
    let acts = [
        Act::Refuse(503, ""),
        Act::Take,
        Act::Refuse(429, "retry-after: 1\r\n"),
        Act::Take,
        Act::Refuse(502, ""),
        Act::Refuse(504, ""),
    ];
    let collector = Collector::start(acts);
    let mut sink = collector.sink();
    assert_eq!(deliver(&mut sink, &lines(1..=5)).len(), 1);
    let begun = Instant::now();
    let said = deliver(&mut sink, &lines(6..=7));
    // The first pause of its own choice would be half of that.
    assert!(begun.elapsed() >= Duration::from_secs(1), "Retry-After is not honoured");
    assert!(said.len() == 1 && said[0].contains("429 Too Many Requests"), "{said:?}");
    assert_eq!(deliver(&mut sink, &lines(8..=9)).len(), 2);
    assert_eq!(is_complete(&collector.bodies(), 9), 0);
    assert_eq!(collector.heard().heads.len(), 7, "it is asked more often than it may be");
    // A request may follow before the connection of the one before is free.
    let heard = collector.heard();
    assert!(heard.connections < heard.heads.len(), "a connection is never kept");
    drop(heard);
    assert!(sink.settle().is_ok());
}

#[test]
fn a1_what_did_arrive_before_a_failure_is_not_posted_again() {
    // Two requests, of which the second fails.
    let collector = Collector::start([Act::Take, Act::Refuse(503, "retry-after: 0\r\n")]);
    let mut sink = collector.sink();
    let last = AT_ONCE as u64 + 10;
    assert_eq!(deliver(&mut sink, &lines(1..=last)).len(), 1);
    assert_eq!(is_complete(&collector.bodies(), last), 0);
}

#[test]
fn a1_a_batch_refused_for_good_blocks_nothing_and_is_told_in_a_gap_of_each() {
    let collector = Collector::start([Act::Refuse(400, "")]);
    let mut sink = collector.sink();
    let all = lines(1..=25);
    assert_eq!(deliver(&mut sink, &all[..10]), Vec::<String>::new());
    let refused = sink.refused();
    assert_eq!(refused.lines, 10);
    assert!(refused.why.expect("why").contains("for good: 400 Bad Request"));
    assert!(collector.records().is_empty());
    // What comes next takes the word of it along.
    deliver(&mut sink, &all[10..]);
    assert_eq!(sink.refused(), Refused::default());
    assert!(sink.settle().is_ok());
    let bodies = collector.bodies();
    assert_eq!(is_complete(&bodies, 25), 10);
    assert!(matches!(&bodies[0].body, Body::Gap(Gap { from_seq: 1, to_seq: 8, count: 8 })));
    // Of each guest, to the frame.
    let (mut told, mut wanted) = (Accounts::default(), Accounts::default());
    for record in &bodies {
        told.take(&Account::of(&record.body));
    }
    for line in &all {
        wanted.take(&line.account);
    }
    assert_eq!(told.recorded(), wanted.recorded());
    assert_eq!(wanted.recorded().len(), 2);
}

#[test]
fn a1_a_gap_that_is_refused_is_no_record_and_is_told_again() {
    let collector = Collector::start([Act::Refuse(400, "")]);
    let mut sink = collector.sink();
    // The queue was full: the first four are in a gap, which the stream made.
    let (gap, next) = (stream::gap_to(1, 4, &line(5)), lines(5..=6));
    deliver(&mut sink, &[vec![Arc::new(gap)], next].concat());
    assert_eq!(sink.refused().lines, 2, "the four are counted already");
    deliver(&mut sink, &lines(7..=7));
    assert_eq!(is_complete(&collector.bodies(), 7), 6);
}

#[test]
fn a1_a_collector_that_refuses_for_long_gets_one_gap() {
    let collector = Collector::start([]);
    collector.heard().otherwise = Some(Act::Refuse(401, ""));
    let mut sink = collector.sink();
    for round in 0..20 {
        deliver(&mut sink, &lines(round * 5 + 1..=round * 5 + 5));
    }
    // It is not told of its gap with each batch.
    assert_eq!(collector.heard().heads.len(), 21);
    assert_eq!(sink.refused().lines, 100);
    let why = sink.settle().expect_err("it is told");
    assert!(why.to_string().contains("401 Unauthorized"), "{why}");
    // It mends its ways, and is told without anything new.
    collector.heard().otherwise = None;
    sink.tell = None;
    assert!(sink.settle().is_ok());
    assert_eq!(is_complete(&collector.bodies(), 100), 100);
    assert_eq!(sink.refused(), Refused::default());
}

#[test]
fn a1_a_partial_success_is_counted_and_told() {
    let collector = Collector::start([Act::Without(3), Act::Take, Act::Without(4)]);
    let mut sink = collector.sink();
    deliver(&mut sink, &lines(1..=10));
    let refused = sink.refused();
    assert_eq!(refused.lines, 3);
    assert_eq!(refused.why.as_deref(), Some("the collector rejects records: not these"));
    assert!(sink.settle().is_ok(), "the word of it is taken");
    // All of them are rejected: then it is known which.
    deliver(&mut sink, &lines(11..=14));
    assert_eq!(sink.refused().lines, 4);
    deliver(&mut sink, &lines(15..=15));
    let gaps: Vec<_> = collector
        .bodies()
        .into_iter()
        .filter_map(|record| match record.body {
            Body::Gap(gap) => Some((gap.from_seq, gap.to_seq, gap.count)),
            _ => None,
        })
        .collect();
    assert_eq!(gaps, [(1, 10, 3), (11, 12, 2)]);
    let bodies = collector.bodies();
    let losses = bodies.iter().filter(|record| matches!(record.body, Body::Loss(_)));
    assert_eq!(losses.map(|record| record.seq).collect::<Vec<_>>(), [13, 14]);
}

#[test]
fn a_batch_that_is_too_large_is_halved_until_it_fits() {
    let collector = Collector::start([]);
    collector.heard().otherwise = Some(Act::AtMost(3));
    let mut sink = collector.sink();
    deliver(&mut sink, &lines(1..=20));
    assert_eq!(is_complete(&collector.bodies(), 20), 0);
    assert_eq!(sink.refused(), Refused::default());
    // A single one that does not fit is lost, and told.
    collector.heard().otherwise = Some(Act::AtMost(0));
    deliver(&mut sink, &lines(21..=21));
    assert_eq!(sink.refused().lines, 1);
    collector.heard().otherwise = None;
    deliver(&mut sink, &lines(22..=22));
    assert_eq!(is_complete(&collector.bodies(), 22), 1);
    // So is what tells of those that were refused.
    collector.heard().otherwise = Some(Act::Refuse(400, ""));
    deliver(&mut sink, &lines(23..=40));
    collector.heard().otherwise = Some(Act::AtMost(1));
    deliver(&mut sink, &lines(41..=41));
    assert_eq!(is_complete(&collector.bodies(), 41), 19);
}

#[test]
fn f14_a_collector_that_never_answers_holds_nobody_up() {
    let collector = Collector::start([]);
    collector.heard().otherwise = Some(Act::Hang(Duration::from_mins(5)));
    let limit = Duration::from_millis(300);
    let mut sink = collector.sink_with(Headers::default(), limit);
    let begun = Instant::now();
    let error = sink.take(&lines(1..=2)).expect_err("no answer");
    assert!(error.to_string().contains("no answer within 300ms"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    // A pause: it is not asked at once again.
    assert!(sink.take(&lines(1..=2)).is_err());
    assert_eq!(collector.heard().heads.len(), 1);
    let begun = Instant::now();
    drop(sink);
    assert!(begun.elapsed() < Duration::from_secs(1));

    // The daemon's end has a bound of its own.
    let patient = collector.sink_with(Headers::default(), Duration::from_mins(1));
    let mut running = Running::start(patient).expect("a thread");
    running.offer(&line(1));
    thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    assert!(!running.finish(Duration::from_millis(200)));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn a1_f14_a_stuck_collector_is_told_what_it_missed() {
    const LINES: u64 = 2 * QUEUE as u64;
    let collector = Collector::start([]);
    collector.heard().otherwise = Some(Act::Refuse(503, "retry-after: 0\r\n"));
    let mut running = Running::start(collector.sink()).expect("a thread");
    let progress = running.progress();
    let progress = || -> Progress { progress.lock().expect("lock").clone() };
    for seq in 1..=LINES {
        running.offer(&line(seq));
    }
    while progress().failing.is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    collector.heard().otherwise = None;
    while progress().taken < QUEUE as u64 {
        thread::sleep(Duration::from_millis(1));
    }
    running.offer(&line(LINES + 1));
    assert!(running.finish(Duration::from_secs(20)));
    let bodies = collector.bodies();
    let missing = is_complete(&bodies, LINES + 1);
    assert!(missing > 0, "it missed nothing");
    assert_eq!(progress().missed, missing);
    assert_eq!(progress().failing, None);
    assert_eq!(accounts(bodies.iter().map(|record| &record.body)), LINES + 1);
}

#[test]
fn a1_what_a_running_sink_was_refused_is_counted_once() {
    let collector = Collector::start([Act::Refuse(400, "")]);
    let mut running = Running::start(collector.sink()).expect("a thread");
    let progress = running.progress();
    running.offer(&line(1));
    while progress.lock().expect("lock").missed == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    running.offer(&line(2));
    assert!(running.finish(Duration::from_secs(10)));
    let progress = progress.lock().expect("lock").clone();
    assert_eq!(progress, Progress { seq: 2, taken: 1, missed: 1, ..Progress::default() });
    assert_eq!(is_complete(&collector.bodies(), 2), 1);
}

#[test]
fn headers_go_along_and_a_file_is_read_again() {
    use std::os::unix::fs::OpenOptionsExt as _;

    let collector = Collector::start([]);
    let path = std::env::temp_dir().join(format!("enforcer-otlp-{}", std::process::id()));
    let mut sink = collector.sink_with(Headers::In(path.clone()), Duration::from_secs(5));
    let error = sink.take(&lines(1..=1)).expect_err("no file");
    assert!(error.to_string().contains("headers_file"), "{error}");
    let mut file =
        fs::File::options().create_new(true).write(true).mode(0o600).open(&path).expect("new");
    file.write_all(b"X-Key: one\n").expect("written");
    deliver(&mut sink, &lines(1..=1));
    fs::write(&path, "X-Key: two\n").expect("written");
    deliver(&mut sink, &lines(2..=2));
    fs::remove_file(&path).expect("removed");
    let heads = collector.heard().heads.clone();
    assert!(
        heads[0].contains("x-key: one\r\n") && heads[1].contains("x-key: two\r\n"),
        "{heads:?}"
    );
}

#[test]
fn a_record_that_comes_twice_has_the_id_it_had() {
    // Taken, and the answer gets lost.
    let collector = Collector::start([Act::Hang(Duration::ZERO)]);
    let mut sink = collector.sink_with(Headers::default(), Duration::from_millis(200));
    deliver(&mut sink, &lines(1..=2));
    let ids: Vec<_> = collector
        .records()
        .iter()
        .map(|record| attribute(record, "log.record.uid").expect("an id"))
        .collect();
    assert_eq!(ids.len(), 4);
    assert!(ids[..2] == ids[2..] && ids[0] != ids[1], "{ids:?}");
}
