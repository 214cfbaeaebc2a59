use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use boon::{Compiler, SchemaIndex, Schemas};
use enforcer_common::{
    abi::{
        counter::{CounterKey, FLOW_OPENED},
        event::{Call, ConnectRefused, EndCause, Event, FlowEnd, Hook, Process, SocketCall},
        policy::AUDITED,
        verdict::DropReason,
    },
    packet,
};
use serde_json::{Value, json};

use super::schema;
use crate::{
    audit::{
        claim,
        decode::{Began, Decoded, Ended, Judged, Refused, SocketDenied},
        enrich::Names,
        loss::{self, LossKey},
        queue::{Account, Draft},
        record::{
            Abuse, AccessChange, AllowanceChange, Body, Cause, Clock, ConfigChange, Daemon,
            DnsQuery, Erased, Gap, GateCall, GrantChange, GroupChange, Guest, Life, Outside,
            PolicyChange, Repair, Stored, Subject, Takeover, Unseen, time_of,
        },
        store::Retention,
        stream,
    },
    digest,
    model::{caller::Caller, heard::Heard, names::Outcome, owner::Owner, provenance::Provenance},
};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schema/record-v1.schema.json");
const ASK: &str = "ENFORCER_WRITE_SCHEMA";

const CLOCK: Clock = Clock { wall: std::time::SystemTime::UNIX_EPOCH, mono_ns: 0 };

/// The names that the Elastic Common Schema has, and the JSON type in which it has them. A keyword is
/// taken as a string or as a number: its own examples have both.
const ECS: &[(&str, &[&str])] = &[
    ("@timestamp", &["string"]),
    ("container.id", &["string"]),
    ("container.image.name", &["string"]),
    ("container.labels", &["object"]),
    ("container.name", &["string"]),
    ("destination.bytes", &["integer"]),
    ("destination.ip", &["string"]),
    ("destination.mac", &["string"]),
    ("destination.packets", &["integer"]),
    ("destination.port", &["integer"]),
    ("dns.question.name", &["string"]),
    ("dns.question.type", &["string"]),
    ("dns.resolved_ip", &["array"]),
    ("ecs.version", &["string"]),
    ("error.message", &["string"]),
    ("event.action", &["string"]),
    ("event.duration", &["integer"]),
    ("event.end", &["string"]),
    ("event.reason", &["string"]),
    ("event.sequence", &["integer"]),
    ("event.start", &["string"]),
    ("file.hash.sha256", &["string"]),
    ("file.path", &["string"]),
    ("http.request.bytes", &["integer"]),
    ("http.request.method", &["string"]),
    ("http.response.bytes", &["integer"]),
    ("http.response.status_code", &["integer"]),
    ("network.iana_number", &["integer", "string"]),
    ("network.name", &["string"]),
    ("process.exit_code", &["integer"]),
    ("process.executable", &["string"]),
    ("process.group.id", &["string"]),
    ("process.name", &["string"]),
    ("process.parent.pid", &["integer"]),
    ("process.pid", &["integer"]),
    ("process.user.id", &["string"]),
    ("rule.id", &["integer", "string"]),
    ("rule.name", &["string"]),
    ("service.version", &["string"]),
    ("source.bytes", &["integer"]),
    ("source.ip", &["string"]),
    ("source.mac", &["string"]),
    ("source.packets", &["integer"]),
    ("source.port", &["integer"]),
    ("url.path", &["string"]),
    ("url.query", &["string"]),
    ("user.group.name", &["string"]),
    ("user.name", &["string"]),
];

/// The committed schema, ready to judge.
struct Validator(Schemas, SchemaIndex);

impl Validator {
    fn new() -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.enable_format_assertions();
        compiler.add_resource("record.json", committed()).expect("is a resource");
        let index = compiler.compile("record.json", &mut schemas).expect("is a schema");
        Self(schemas, index)
    }

    fn check(&self, record: &Value) -> Result<(), String> {
        self.0.validate(record, self.1).map_err(|error| format!("{error:#}"))
    }
}

fn committed() -> Value {
    let text = fs::read_to_string(FILE).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Every property of the schema, the schema of its kind, and the kind; the kind of what all have is
/// empty.
fn properties(schema: &Value) -> Vec<(String, String, Value)> {
    let of = |kind: &str, part: &Value| {
        let fields = part["properties"].as_object().cloned().unwrap_or_default();
        fields.into_iter().map(|(name, field)| (name, kind.to_owned(), field)).collect::<Vec<_>>()
    };
    let mut all = of("", schema);
    for branch in schema["oneOf"].as_array().expect("kinds") {
        let kind = branch["properties"]["event.action"]["const"].as_str().expect("a kind");
        all.extend(of(kind, branch));
        if let Some(path) = branch["$ref"].as_str() {
            let target = schema.pointer(path.trim_start_matches('#')).expect("a definition");
            all.extend(of(kind, target));
        }
    }
    all
}

/// What a field's values are, through one reference.
fn type_of(schema: &Value, field: &Value) -> Value {
    let field = match field["$ref"].as_str() {
        Some(path) => schema.pointer(path.trim_start_matches('#')).expect("a definition"),
        None => field,
    };
    match (&field["type"], &field["const"]) {
        (Value::Null, Value::String(_)) => json!("string"),
        // An enum whose words have comments.
        (Value::Null, _) if field["oneOf"][0]["const"].is_string() => json!("string"),
        (kind, _) => kind.clone(),
    }
}

/// A record of each kind as code makes it, with everything in it and with as little as may be.
fn samples() -> Vec<Body> {
    let mut names = Names::new(vec!["course".to_owned()]);
    let owner = Owner {
        network: "guests".to_owned(),
        ifindex: 20,
        interface: "veth0".to_owned(),
        role: Some(enforcer_common::abi::endpoint::Role::Guest),
        container: Some("abc".to_owned()),
        name: "ann".to_owned(),
        provenance: std::sync::Arc::new(Provenance {
            is_told: true,
            in_doubt: None,
            user: Some("ann".to_owned()),
            group: Some("staff".to_owned()),
            server: Some("lab".to_owned()),
            hub: Some("course".to_owned()),
            groups: vec!["staff".to_owned(), "course-7".to_owned()],
            client: Some("192.0.2.9".to_owned()),
            image: Some("python:3".to_owned()),
            labels: [("course".to_owned(), "a.b".to_owned())].into(),
        }),
    };
    names.update(&std::sync::Arc::new([(7, owner)].into()), 0);
    let mut bodies = Vec::new();
    for (owner, ethertype, family, protocol) in
        [(7, 0x0800, 4, packet::TCP), (8, 0x86dd, 6, packet::ICMPV6), (8, 0x88cc, 0, 0)]
    {
        for (reason, rule) in [(None, 3), (None, AUDITED | 3), (Some(DropReason::Policy), 3)] {
            let event = Event { owner, ethertype, family, protocol, rule, ..Event::default() };
            let judged = Judged { hook: Hook::FromGuest, reason, event };
            bodies.push(names.enrich(&Decoded::Judged(judged), CLOCK));
        }
    }
    for (cause, opener) in EndCause::ALL.into_iter().zip((0..5).cycle()) {
        let rule = if opener == 1 { AUDITED } else { 0 };
        let end = FlowEnd { owner: 7, opener, rule, family: packet::IPV4, ..FlowEnd::default() };
        bodies.push(names.enrich(&Decoded::Ended(Ended { cause, end }), CLOCK));
    }
    let process = Process { pid: 10, comm: *b"curl\0aaaaaaaaaaa", ..Process::default() };
    for (parent_pid, cut) in [(0, false), (9, true)] {
        let process = Process { parent_pid, ..process };
        let began = Began { owner: 7, time_ns: 5, process, executable: b"/bin/curl".to_vec(), cut };
        bodies.push(names.enrich(&Decoded::Began(Box::new(began)), CLOCK));
    }
    for (call, family) in
        Call::ALL.into_iter().zip([packet::IPV4, packet::IPV6].into_iter().cycle())
    {
        let event = ConnectRefused { process, owner: 7, family, ..ConnectRefused::default() };
        let refused = Refused { call, reason: DropReason::Policy, event };
        bodies.push(names.enrich(&Decoded::Refused(refused), CLOCK));
    }
    for (call, name) in SocketCall::ALL.into_iter().zip([&b"/run/docker.sock\0"[..], b"\0x", b""]) {
        let denied =
            SocketDenied { owner: 7, time_ns: 5, process, call, maker: 1, name: name.to_vec() };
        bodies.push(names.enrich(&Decoded::SocketDenied(Box::new(denied)), CLOCK));
    }
    bodies.extend(of_the_resolver(&names));
    let counter = CounterKey { owner: 7, reason: FLOW_OPENED, hook: 1, reserved: 0 };
    for (counter, cause) in [
        (counter, Cause::RateLimit),
        (counter, Cause::Ring),
        (counter, Cause::Queue),
        (CounterKey::default(), Cause::Uncounted),
        (CounterKey::default(), Cause::Decode),
        (CounterKey { reason: DropReason::Policy as u16, ..counter }, Cause::Killed),
        (counter, Cause::Sink),
        (
            CounterKey { reason: loss::query_reason(Outcome::Malformed), ..counter },
            Cause::RateLimit,
        ),
    ] {
        bodies.push(Body::Loss(loss::record(&names, LossKey { counter, cause }, 3)));
    }
    bodies.extend(of_lives());
    bodies.extend(of_abuse());
    bodies.extend(of_access());
    bodies.extend(of_orders());
    bodies.extend(of_the_daemon());
    bodies
}

fn of_the_resolver(names: &Names) -> Vec<Body> {
    let query = |outcome: Outcome| DnsQuery {
        subject: names.subject(7),
        outcome: outcome.name().to_owned(),
        ..DnsQuery::default()
    };
    let full = DnsQuery {
        name: "pypi.org.".to_owned(),
        kind: "AAAA".to_owned(),
        rule: Some("*.org".to_owned()),
        addresses: vec!["192.0.2.1".to_owned(), "2001:db8::1".to_owned()],
        groups: vec![3],
        ttl: Some(5),
        why: Some("3 records are left out".to_owned()),
        ..query(Outcome::Answered)
    };
    let all = Outcome::ALL.into_iter().map(query).chain([full]);
    all.map(|query| Body::DnsQuery(Box::new(query))).collect()
}

fn alice() -> Caller {
    Caller {
        uid: Some(1000),
        user: Some("alice".to_owned()),
        pid: Some(70),
        comm: Some("enforcer".to_owned()),
    }
}

fn of_abuse() -> Vec<Body> {
    let text = str::to_owned;
    vec![
        Body::Abuse(Box::new(Abuse {
            subject: Subject { role: text("guest"), ..Subject::default() },
            signal: text("port_sweep"),
            measured: Some(101),
            threshold: Some(100),
            window_s: Some(60),
            answer: text("cut"),
            outcome: text("failed"),
            until: Some(CLOCK.rfc3339(5)),
            error: text("the kernel does not hold it yet"),
            why: String::new(),
            by: Caller::default(),
        })),
        Body::Abuse(Box::new(Abuse {
            subject: Subject { role: text("guest"), ..Subject::default() },
            signal: text("smtp"),
            answer: text("pardon"),
            outcome: text("done"),
            by: alice(),
            ..Abuse::default()
        })),
        Body::Abuse(Box::new(Abuse {
            subject: Subject { role: text("guest"), ..Subject::default() },
            signal: text("asked"),
            answer: text("cut"),
            outcome: text("done"),
            until: Some(CLOCK.rfc3339(5)),
            why: text("a complaint"),
            by: alice(),
            ..Abuse::default()
        })),
        Body::Allowance(Box::new(AllowanceChange {
            event: text("allowed"),
            subject: Subject { role: text("guest"), ..Subject::default() },
            id: 7,
            destination: text("192.0.2.9"),
            destination_port: 443,
            protocol: 6,
            until: CLOCK.rfc3339(5),
            why: text("a lesson"),
            by: alice(),
        })),
    ]
}

fn of_the_daemon() -> Vec<Body> {
    let text = str::to_owned;
    let takeover = Takeover {
        event: text("same"),
        from: None,
        hooks: None,
        flows: None,
        cut: None,
        why: None,
    };
    let full = Takeover {
        event: text("rebuilt"),
        from: Some(4),
        hooks: Some(2),
        flows: Some(1),
        cut: Some(0),
        why: Some(text("no layout")),
    };
    let stored =
        Stored { event: text("torn"), dir: text("/a"), count: Some(9), ..Stored::default() };
    let retention = Retention {
        segment: 1,
        lines: 3,
        bytes: 900,
        first_seq: 1,
        last_seq: 3,
        ended: CLOCK.rfc3339(5),
        head: "0a".repeat(32),
        because: text("age"),
    };
    let outside = Outside {
        container_id: Some(text("abc")),
        why: text("unpoliced_network"),
        to: text("lan (bridge)"),
        action: text("disconnect"),
        outcome: text("failed"),
        error: text("the engine is busy"),
        ..Outside::default()
    };
    let repair = |interface: &str| Repair {
        what: text("program from_guest"),
        interface: text(interface),
        gap_ms: 5,
        mended: true,
    };
    let config = |event: &str, why: Option<String>| ConfigChange {
        event: text(event),
        file: text("/etc/enforcer.toml"),
        digest: why.is_none().then(|| digest::of_text("")),
        why,
        by: alice(),
    };
    vec![
        Body::Unseen(Unseen {
            what: text("process_exec"),
            why: text("no BTF"),
            ..Unseen::default()
        }),
        Body::Unseen(Unseen {
            what: text("kernel_proof"),
            why: text("no BPF LSM"),
            ..Unseen::default()
        }),
        Body::Unseen(Unseen {
            what: text("processes"),
            container_id: Some(text("abc")),
            container: text("ann"),
            why: text("cgroup v1"),
        }),
        Body::Gap(Gap { from_seq: 2, to_seq: 4, count: 3 }),
        Body::Outside(outside),
        Body::Repair(repair("")),
        Body::Repair(repair("veth0")),
        Body::Takeover(takeover),
        Body::Takeover(full),
        Body::Stored(stored),
        Body::Retention(retention),
        Body::Erased(Erased {
            pseudonym: text("p-0123456789abcdef"),
            count: 2,
            start: CLOCK.rfc3339(5),
            by: alice(),
        }),
        Body::Config(config("reloaded", None)),
        Body::Config(config("refused", Some(text("line 3")))),
        Body::Daemon(Daemon {
            event: text("start"),
            version: text("0.1.0"),
            pid: 7,
            by: Caller::default(),
        }),
        Body::Daemon(Daemon { event: text("stop"), version: text("0.1.0"), pid: 7, by: alice() }),
    ]
}

fn of_access() -> Vec<Body> {
    let text = str::to_owned;
    let full = AccessChange {
        number: Some(7),
        start: Some(time_of(1_700_000_000)),
        hub: text("lab"),
        group: Some(text("docker-privileged")),
        user: Some(text("ann")),
        until: Some(time_of(u64::MAX)),
        by_uid: Some(0),
        by_name: text("root"),
        by_via: text("control"),
        why: Some(text("a course")),
        error: text("no answer"),
    };
    let least = AccessChange::default;
    let groups = super::words::group_events()
        .into_iter()
        .map(|event| Body::Group(Box::new(GroupChange { event: text(event), about: least() })));
    let grants = super::words::grant_events().into_iter().map(|event| {
        Body::Grant(Box::new(GrantChange { event: text(event), kind: None, about: least() }))
    });
    let kinds = super::words::grants().into_iter().map(|kind| {
        let (event, kind) = (text("set"), Some(text(kind)));
        Body::Grant(Box::new(GrantChange { event, kind, about: full.clone() }))
    });
    let added = GroupChange { event: text("added"), about: full.clone() };
    let added = [Body::Group(Box::new(added))];
    groups.chain(grants).chain(kinds).chain(added).chain(of_gate()).collect()
}

fn of_gate() -> Vec<Body> {
    let text = |text: &str| Some(text.to_owned());
    let full = GateCall {
        hub: "lab".to_owned(),
        user: text("ann"),
        grant: text("raw"),
        verdict: "allow".to_owned(),
        rule: text("grant.raw"),
        method: text("POST"),
        path: text("/v1.43/containers/create"),
        query: text("name=x"),
        request: text("{}"),
        status: Some(201),
        sent: Some(300),
        received: Some(200),
        duration: Some(7_000),
        container_id: text("abc"),
        why: text("over"),
        count: Some(1),
        by: Caller { uid: Some(0), user: None, pid: Some(7), comm: text("docker") },
        ..GateCall::default()
    };
    let least = GateCall { verdict: "deny".to_owned(), ..GateCall::default() };
    let each = super::words::gate_events().into_iter().flat_map(|event| {
        let of = |call: &GateCall| GateCall { event: event.to_owned(), ..call.clone() };
        [of(&full), of(&least)]
    });
    each.map(|call| Body::Gate(Box::new(call))).collect()
}

fn of_lives() -> Vec<Body> {
    let text = str::to_owned;
    let heard = Heard {
        event: text("container die"),
        time_ns: Some(7_000_000_000),
        network: Some(text("guests")),
        container: Some(text("abc")),
        name: Some(text("ann")),
        image: Some(text("python:3")),
        exit_code: Some(137),
        signal: Some(9),
    };
    let policy = |event: &str, digest: Option<String>| PolicyChange {
        event: text(event),
        policy: text("guests (guest)"),
        rules: 2,
        audits: digest.is_none(),
        digest,
    };
    let guest = |event: &str| {
        Body::Guest(Box::new(Guest {
            subject: Subject { role: text("guest"), ..Subject::default() },
            event: text(event),
        }))
    };
    vec![
        guest("policed"),
        guest("gone"),
        Body::Docker(Box::new(claim::record(heard))),
        Body::Docker(Box::new(claim::record(Heard {
            event: text("network create"),
            ..Heard::default()
        }))),
        Body::Policy(policy("changed", Some(digest::of_text("")))),
        Body::Policy(policy("dropped", None)),
    ]
}

fn of_orders() -> Vec<Body> {
    let text = str::to_owned;
    let full = Life {
        hub: text("lab"),
        user: Some(text("ann")),
        server: Some(text("two")),
        container_id: Some(text("abc")),
        container: text("guest-lab-ann"),
        image: Some(text("python:3")),
        grant: Some(text("filtered")),
        group: Some(text("docker-privileged")),
        why: text("idle for 3600 s"),
        error: text("no space"),
        by: alice(),
        ..Life::default()
    };
    let events = super::words::life_events().into_iter();
    let events = events.map(|event| Life { event: text(event), ..Life::default() });
    let full = [Life { event: text("failed"), ..full }];
    events.chain(full).map(|life| Body::Life(Box::new(life))).collect()
}

/// The line of a record, read back.
fn line(body: Body) -> Value {
    let draft =
        Draft { time: CLOCK.rfc3339(9_000), mono_ns: 9_000, body, account: Account::Nothing };
    serde_json::from_str(&stream::line(1, draft, &mut Vec::new()).text).expect("is JSON")
}

#[test]
fn the_committed_schema_is_that_of_the_types() {
    if std::env::var_os(ASK).is_some() {
        let text = serde_json::to_string_pretty(&schema()).expect("serialises");
        fs::write(FILE, text + "\n").expect("is written");
    }
    assert!(
        committed() == schema(),
        "docs/schema/record-v1.schema.json is not what the types of records give. If the change is \
         meant, write it anew: {ASK}=1 cargo test -p enforcer --lib audit::schema"
    );
}

#[test]
fn a_record_of_every_kind_is_as_the_schema_says() {
    let validator = Validator::new();
    let mut kinds = BTreeSet::new();
    for record in samples().into_iter().map(line) {
        validator.check(&record).unwrap_or_else(|error| panic!("{record}\n{error}"));
        kinds.insert(record["event.action"].as_str().expect("a kind").to_owned());
    }
    let known: BTreeSet<String> = properties(&schema())
        .into_iter()
        .map(|(_, kind, _)| kind)
        .filter(|k| !k.is_empty())
        .collect();
    assert_eq!(kinds, known, "a kind of record was not tried");
}

#[test]
fn what_is_no_record_is_refused_and_what_is_more_is_not() {
    let validator = Validator::new();
    let good = samples().into_iter().map(line).find(|line| line["event.action"] == "denied");
    let good = good.expect("a denial");
    assert_eq!(validator.check(&good), Ok(()));
    let refused = [
        ("enforcer.v", json!(2)),
        ("enforcer.v", Value::Null),
        ("event.sequence", json!("1")),
        ("event.sequence", json!(-1)),
        ("event.sequence", Value::Null),
        ("@timestamp", json!("yesterday")),
        ("event.action", json!("forgiven")),
        ("event.action", json!("flow_closed")),
        ("event.reason", json!("a whim")),
        ("enforcer.hook", json!("from_ghost")),
        ("enforcer.role", Value::Null),
        ("enforcer.verdict", json!(true)),
        ("source.ip", json!("10.0.0.256")),
        ("source.mac", json!("02-00-00-00-00-01")),
        ("source.port", json!(65_536)),
        ("network.iana_number", json!("6")),
    ];
    for (name, value) in refused {
        let mut bad = good.clone();
        let fields = bad.as_object_mut().expect("an object");
        // Null stands for a field that is missing.
        if value.is_null() {
            fields.remove(name).expect("was there");
        } else {
            fields.insert(name.to_owned(), value);
        }
        assert!(validator.check(&bad).is_err(), "{name}: {bad}");
    }
    assert!(validator.check(&json!("a line that is no object")).is_err());
    let mut more = good;
    more["enforcer.later"] = json!({"a": 1});
    more["chain"] = json!("00");
    assert_eq!(validator.check(&more), Ok(()), "fields may be added");
}

#[test]
fn a_name_is_ecs_s_or_our_own_and_has_one_type_in_all_kinds() {
    let schema = schema();
    let ecs: BTreeMap<_, _> = ECS.iter().copied().collect();
    let mut types: BTreeMap<String, (Value, String)> = BTreeMap::new();
    for (name, kind, field) in properties(&schema) {
        let found = type_of(&schema, &field);
        if !name.starts_with("enforcer.") {
            let known = ecs.get(name.as_str());
            let known =
                known.unwrap_or_else(|| panic!("ECS has no {name}, or it is not in the table"));
            assert!(
                found.as_str().is_some_and(|f| known.contains(&f)),
                "{name} in {kind}: {found}"
            );
        }
        let (first, of) = types.entry(name.clone()).or_insert((found.clone(), kind.clone()));
        assert_eq!(*first, found, "{name} is of two types: in {of} and in {kind}");
    }
    // A consumer that makes objects of dots needs room for both.
    for name in types.keys() {
        let inside = format!("{name}.");
        let within = types.keys().find(|other| other.starts_with(&inside));
        assert_eq!(within, None, "{name} is a value and an object");
    }
}
