//! Services: containers on a guest network that rules open to some of its guests.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    attacks::Point,
    frames::{Ip, Ipv4, Tcp, ethernet, ethertype, udp_packet},
    harness::{
        capture::Captures,
        client::Actor,
        container::{Container, Spec},
        dockerd::Options,
        enforcer::{Enforcer, Settings},
        proof::rise,
        residue::Snapshot,
        run::wait_for,
        topology::{BANNER, Base, GATEWAY, HUB_PORT, NETWORK, NOTEBOOK_PORT, Rig},
    },
    hex,
    protocol::{Filter, Received, Request, Send, Sent, Serve},
};
use serde_json::Value;

use crate::flood::{binary, finish};

const DB: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 77);
const SQL: u16 = 5432;
const LABEL: &str = "course.service=db";
const MARKER: &[u8] = b"enforcer-test-service";
const FRAMES: u64 = 20;

/// The service by its label; who is in the course may use it, but for one port that a rule denies; whose course is
/// another one may use nothing that is there.
const CONFIG: &str = "
[policies.course]
[[policies.course.allow]]
label = \"course.service=db\"
port = [22, 5432]
[[policies.course.deny]]
label = \"course.service\"
port = 22
[policies.others]
[[policies.others.allow]]
label = \"course.service=files\"
port = 5432
[[networks.guests.override]]
label = \"course=7\"
policy = \"course\"
[[networks.guests.override]]
label = \"course=8\"
policy = \"others\"
[[networks.guests.service]]
label = \"course.service\"
";

/// N1, N2: a guest reaches the port of a service that a rule of its policy opens, and nothing else of it; guests
/// with another policy or none reach nothing of it, and it reaches none of them. A restart of the daemon resets
/// nobody. A container at the same address that its creator did not label inherits nothing.
#[test]
fn n1_n2_a_service_is_open_to_those_whose_rules_name_it_and_opens_nothing_itself() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let rig = Base::start(Options::default())?.with_guests()?;
    let spec = Spec { network: NETWORK, ..Spec::default() };
    let begin = |spec: &Spec<'_>| -> Result<(Container, Actor)> {
        let container = Container::start(&rig.run, &rig.docker, spec)?;
        let actor = container.actor()?;
        Ok((container, actor))
    };
    let labels = &[LABEL];
    let (db, by_db) = begin(&Spec { name: "db", labels, ipv4: Some(DB), ..spec })?;
    let (_, student) = begin(&Spec { name: "student", labels: &["course=7"], ..spec })?;
    let (_, other) = begin(&Spec { name: "other", labels: &["course=8"], ..spec })?;
    serve(&by_db)?;

    // Nobody polices: everything is open, both ways.
    for port in [SQL, 22] {
        ensure!(reaches(&rig.a.actor, port)?, "without enforcer port {port} is closed");
    }
    ensure!(visits(&by_db, &rig)?, "without enforcer a guest is closed");
    let arrived = arriving(&by_db, || forged(&rig, &by_db))?;
    ensure!(arrived == FRAMES, "without enforcer {arrived} of {FRAMES} arrive");

    let settings = Settings { more: CONFIG.into(), ..Settings::default() };
    let daemon = Enforcer::start_beside(&rig, &settings)?;
    for guest in ["student", "other", rig.a.name.as_str(), rig.b.name.as_str()] {
        daemon.wait_identified(&rig.host, guest, "guest")?;
    }
    daemon.wait_identified(&rig.host, "db", "hub")?;
    for (who, actor, sql) in
        [("student", &student, true), ("other", &other, false), ("a", &rig.a.actor, false)]
    {
        ensure!(reaches(actor, SQL)? == sql, "{who} at port {SQL}: not {sql}");
        ensure!(!reaches(actor, 22)?, "{who} reaches port 22");
        let hub = actor.connect((GATEWAY, HUB_PORT), 2000)?;
        ensure!(hub.errno.is_none(), "{who} at the hub: {hub:?}");
    }
    // The hub is rule 1.
    daemon.wait_record("the flow that a rule opens", |record| {
        record["event.action"] == "flow_opened"
            && record["container.name"] == "student"
            && record["destination.ip"] == DB.to_string().as_str()
            && record["destination.port"] == SQL
            && record["rule.id"] == 2
    })?;
    daemon.wait_record("the denial by a rule", |record| {
        matches!(record["event.action"].as_str(), Some("connect_refused" | "denied"))
            && record["container.name"] == "student"
            && record["destination.port"] == 22
            && record["rule.id"] == 3
    })?;

    // What passes no system call is denied by the packet path: captured at the victim, counted, recorded.
    let before = daemon.counts(&rig.host)?;
    let arrived = arriving(&by_db, || forged(&rig, &by_db))?;
    let counts = rise(&before, &daemon.counts(&rig.host)?);
    let denied = counts.get("guest_to_guest").copied().unwrap_or_default();
    ensure!(arrived == 0 && denied.packets >= FRAMES, "{arrived} arrive, {counts:?}");

    // And it opens nothing to guests.
    let before = daemon.counts(&rig.host)?;
    ensure!(!visits(&by_db, &rig)?, "a service reaches a guest");
    let counts = rise(&before, &daemon.counts(&rig.host)?);
    ensure!(counts.get("guest_to_guest").is_some_and(|of| of.events > 0), "{counts:?}");
    daemon.wait_record("the service's denial", |record| {
        record["event.action"] == "denied"
            && record["container.name"] == "db"
            && record["event.reason"] == "guest_to_guest"
    })?;

    let told = explain(&daemon, &rig, SQL)?;
    ensure!(told["verdict"] == "allow" && told["rule"] == 2, "{told}");
    let why = told["rules"][1]["why"].as_str().unwrap_or_default();
    ensure!(why.contains("containers labelled course.service=db"), "{told}");
    ensure!(explain(&daemon, &rig, 22)?["verdict"] == "deny", "explained as open");
    // Of the files nobody is there.
    let reasons = daemon.reasons(&rig.host)?.join("\n");
    ensure!(reasons.contains("labelled course.service=files"), "{reasons}");

    let held = student.hold((DB, 7), 500)?;
    ensure!(held.id.is_none(), "port 7: {held:?}");
    let talk = student.hold((DB, SQL), 2000)?.id.context("closed")?;
    let daemon = daemon.restart(&rig.host, binary()?)?;
    daemon.wait_identified(&rig.host, "db", "hub")?;
    let data = hex::encode(b"more");
    let _: Sent = student.call(&Request::Write { id: talk, data: data.clone() })?;
    let read = Request::Read { id: talk, length: 4, timeout_ms: 5000 };
    let heard: Received = student.call(&read)?;
    ensure!(heard.data == data, "a restart reset it: {heard:?}");

    // The same address, and nobody's label; or a label that only its image has.
    db.commit(&rig.docker, "claims", labels)?;
    for (name, image) in [("plain", ""), ("claimant", "claims")] {
        let last = if name == "plain" { "db" } else { "plain" };
        rig.docker.call(|client| client.kill_container(last, None))?;
        wait_for("its address", Duration::from_secs(10), || {
            let inspected = rig.docker.call(|client| client.inspect_container(last, None))?;
            Ok((inspected.state.and_then(|state| state.running) != Some(true)).then_some(()))
        })?;
        let (_, actor) = begin(&Spec { name, image, ipv4: Some(DB), ..spec })?;
        serve(&actor)?;
        daemon.wait_identified(&rig.host, name, "guest")?;
        ensure!(!reaches(&student, SQL)?, "{name} inherits the rule");
        let reasons = daemon.reasons(&rig.host)?.join("\n");
        ensure!(reasons.contains("labelled course.service=db"), "{name}: {reasons}");
    }
    finish(rig, daemon, &residue)
}

/// Listens at both ports.
fn serve(db: &Actor) -> Result<()> {
    db.listen((DB, SQL), Serve::Echo)?;
    db.listen((DB, 22), Serve::Banner(BANNER.into()))?;
    Ok(())
}

fn reaches(actor: &Actor, port: u16) -> Result<bool> {
    Ok(actor.connect((DB, port), 1000)?.errno.is_none())
}

/// Whether the service reaches A's notebook.
fn visits(db: &Actor, rig: &Rig) -> Result<bool> {
    Ok(db.connect(rig.a.at(NOTEBOOK_PORT), 1000)?.errno.is_none())
}

/// Frames of A's to the service, past every system call that asks: datagrams, and the beginning of a connection.
fn forged(rig: &Rig, db: &Actor) -> Result<()> {
    let scene = rig.scene()?;
    let mac = db.interface("eth0")?.mac;
    let ip = Ip::V4(Ipv4::new(scene.a.ipv4, DB, 0));
    let datagram = udp_packet(&ip, 4000, SQL, MARKER);
    let segment = Tcp::new(4001, SQL, 2).packet(&ip, MARKER);
    let frames = [datagram, segment]
        .map(|packet| hex::encode(&ethernet(mac, scene.a.mac, ethertype::IPV4, &packet)));
    let repeat = u32::try_from(FRAMES)? / 2;
    let all = Send {
        interface: "eth0".into(),
        frames: frames.into(),
        repeat,
        rate: 1000,
        ..Send::default()
    };
    let Sent { sent, .. } = rig.a.actor.send(all)?;
    ensure!(sent == FRAMES, "{sent} of {FRAMES}");
    Ok(())
}

/// How many marked frames arrive at the service while something is done.
fn arriving(db: &Actor, work: impl FnOnce() -> Result<()>) -> Result<u64> {
    let filter = Filter { marker: hex::encode(MARKER), ..Filter::default() };
    let captures = Captures::start(&[(Point::Peer, db, "eth0")], &filter)?;
    work()?;
    Ok(captures.end()?[&Point::Peer].count)
}

fn explain(daemon: &Enforcer, rig: &Rig, port: u16) -> Result<Value> {
    let to = format!("{DB}:{port}");
    let (code, said) =
        daemon.verb(&rig.host, "explain", &["--json", "--from", "student", "--to", &to])?;
    serde_json::from_str(&said).with_context(|| format!("{code}: {said}"))
}
