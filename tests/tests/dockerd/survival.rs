//! Daemons that are killed, replaced and doubled while guests misbehave: policy holds, and what is
//! allowed goes on.

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    attacks::Point,
    frames::{Ip, Ipv4, ethernet, ethertype, udp_packet},
    harness::{
        artifacts,
        capture::Captures,
        client::Actor,
        dockerd::Options,
        enforcer::{Enforcer, Settings},
        proof::rise,
        residue::Snapshot,
        topology::{Base, GATEWAY, HUB_PORT, NOTEBOOK_PORT, Rig, WORLD},
    },
    hex,
    protocol::{Filter, Id, Received, Request, Send, Sent, Serve, Served, Transferred},
};

/// In every forbidden datagram.
const MARKER: &[u8] = b"enforcer-test-survival";
/// Forbidden frames a second.
const RATE: u32 = 10_000;
/// Where a guest takes a bulk transfer.
const SINK: u16 = 7200;

/// A flood of forbidden datagrams from A on a thread of its own.
struct Flood {
    task: thread::JoinHandle<Result<Sent>>,
    captures: Captures,
}

impl Flood {
    fn start(rig: &Rig, frames: u32) -> Result<Self> {
        let scene = rig.scene()?;
        let ip = Ip::V4(Ipv4::new(scene.a.ipv4, WORLD, 0));
        let packet = udp_packet(&ip, 4000, 53, MARKER);
        let frame = ethernet(scene.host.mac, scene.a.mac, ethertype::IPV4, &packet);
        let filter = Filter { marker: hex::encode(MARKER), ..Filter::default() };
        let points = rig.points();
        let beyond: Vec<_> = points.into_iter().filter(|(at, ..)| *at != Point::Peer).collect();
        let captures = Captures::start(&beyond, &filter)?;
        let send = Send {
            interface: "eth0".into(),
            frames: vec![hex::encode(&frame)],
            repeat: frames,
            rate: RATE,
            ..Send::default()
        };
        let actor = rig.a.actor.clone();
        Ok(Self { task: thread::spawn(move || actor.send(send)), captures })
    }

    /// Frames that were sent, and frames that arrived anywhere.
    fn end(self) -> Result<(u64, u64)> {
        let sent = self.task.join().map_err(|panic| anyhow::anyhow!("the flood: {panic:?}"))??;
        let seen = self.captures.end()?;
        Ok((sent.sent, seen.values().map(|captured| captured.count).sum()))
    }
}

/// A connection that lives through everything.
struct Talk<'a> {
    actor: &'a Actor,
    id: Id,
}

impl<'a> Talk<'a> {
    fn open(actor: &'a Actor, rig: &Rig) -> Result<Self> {
        let connected = actor.hold(rig.a.at(NOTEBOOK_PORT), 2000)?;
        Ok(Self { actor, id: connected.id.with_context(|| format!("{connected:?}"))? })
    }

    /// Says something, and hears it again.
    fn go_on(&self, words: &str) -> Result<()> {
        let data = hex::encode(words.as_bytes());
        let _: Sent = self.actor.call(&Request::Write { id: self.id, data: data.clone() })?;
        let read = Request::Read { id: self.id, length: words.len(), timeout_ms: 10_000 };
        let heard: Received = self.actor.call(&read)?;
        ensure!(heard.data == data, "{words}: {heard:?}");
        Ok(())
    }
}

fn binary() -> Result<PathBuf> {
    artifacts::enforcer().context("no enforcer binary: set ENFORCER_BIN")
}

fn long() -> bool {
    std::env::var_os("ENFORCER_TEST_LONG").is_some()
}

/// A daemon beside guests that it knows.
fn start(settings: &Settings) -> Result<(Rig, Enforcer)> {
    let rig = Base::start(Options::default())?.with_guests()?;
    let daemon = Enforcer::start_beside(&rig, settings)?;
    for guest in [&rig.a, &rig.b] {
        daemon.wait_identified(&rig.host, &guest.name, "guest")?;
    }
    Ok((rig, daemon))
}

#[test]
fn f01_n7_killed_under_load_nothing_passes_and_a_transfer_is_whole() -> Result<()> {
    const BYTES: u64 = 512 << 20;
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, mut daemon) = start(&Settings::default())?;
    let sink = rig.a.actor.listen(([0, 0, 0, 0], SINK), Serve::Sink)?;
    let talk = Talk::open(&rig.host.actor, &rig)?;
    let before = daemon.counts(&rig.host)?;

    let flood = Flood::start(&rig, RATE * 6)?;
    let (host, to) = (rig.host.actor.clone(), rig.a.at(SINK));
    let transfer = thread::spawn(move || -> Result<Transferred> {
        host.call(&Request::Transfer { to, send: BYTES, timeout_ms: 60_000 })
    });
    thread::sleep(Duration::from_secs(1));
    daemon.kill_now()?;
    talk.go_on("without a daemon")?;
    thread::sleep(Duration::from_secs(1));
    let begun = Instant::now();
    let daemon = daemon.restart(&rig.host, binary()?)?;
    let adopted = begun.elapsed();
    let (sent, arrived) = flood.end()?;
    let pushed = transfer.join().map_err(|panic| anyhow::anyhow!("the transfer: {panic:?}"))??;
    let received: Served = rig.a.actor.served(sink.id)?;
    ensure!(arrived == 0, "{arrived} of {sent} forbidden datagrams arrived");
    ensure!(received.received == BYTES && received.sha256 == pushed.sha256, "{received:?}");
    talk.go_on("with another daemon")?;

    let takeover = daemon.wait_record("the takeover", |record| record["kind"] == "takeover")?;
    ensure!(takeover["event"] == "same" && takeover["hooks"].as_u64() >= Some(6), "{takeover}");
    // The counters are the kernel's: what was denied meanwhile is in them, and each of it was
    // recorded, or counted as not recorded.
    let denied = rise(&before, &daemon.counts(&rig.host)?);
    let policy = denied.get("policy").copied().unwrap_or_default();
    ensure!(policy.events == sent, "{sent} sent, counted: {denied:?}");
    let accounted = policy.recorded + policy.suppressed + policy.lost;
    ensure!(accounted == policy.events, "{policy:?}");
    let told = |record: &serde_json::Value| {
        record["kind"] == "loss" && record["reason"] == "policy" && record["count"] != 0
    };
    daemon.wait_record("the loss record", told)?;
    println!(
        "killed under {RATE}/s: {sent} forbidden, 0 arrived; {BYTES} bytes whole; the next daemon \
         answered {} ms after its start",
        adopted.as_millis()
    );
    ensure!(adopted < Duration::from_secs(3), "taken over after {adopted:?}");
    finish(rig, daemon, &residue)
}

#[test]
fn f02_f10_upgrades_and_downgrades_leak_nothing_and_reset_nothing() -> Result<()> {
    upgrades(&Settings::default(), "tcx")
}

#[test]
fn f02_f10_upgrades_by_filters_leak_nothing_and_reset_nothing() -> Result<()> {
    upgrades(&Settings { clsact: true, ..Settings::default() }, "clsact")
}

/// Between two releases whose maps have different layouts, there and back.
fn upgrades(settings: &Settings, mechanism: &str) -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let Some(other) = artifacts::other_enforcer() else {
        ensure!(std::env::var_os("CI").is_none(), "set ENFORCER_OTHER_BIN");
        eprintln!("skipped: no binary of another layout; set ENFORCER_OTHER_BIN");
        return Ok(());
    };
    let times = if long() { 100 } else { 6 };
    let residue = Snapshot::take();
    let (rig, mut daemon) = start(settings)?;
    let programs = daemon.status(&rig.host)?["programs"].clone();
    ensure!(programs[0]["hook"] == mechanism, "{programs}");
    let talks = [Talk::open(&rig.host.actor, &rig)?, Talk::open(&rig.host.actor, &rig)?];
    let (mut sent, mut arrived, mut migrated) = (0, 0, 0);
    let begun = Instant::now();
    for round in 0..times {
        let flood = Flood::start(&rig, RATE * 3)?;
        let next = if round % 2 == 0 { other.clone() } else { binary()? };
        daemon.kill_now()?;
        daemon = daemon.restart(&rig.host, next)?;
        let takeover = daemon.wait_record("the takeover", |record| record["kind"] == "takeover")?;
        let carried = takeover["event"] == "migrated" && takeover["cut"] == 0;
        ensure!(carried, "round {round}: {takeover}");
        migrated += takeover["flows"].as_u64().unwrap_or_default();
        for talk in &talks {
            talk.go_on("still here").with_context(|| format!("round {round}"))?;
        }
        let (more, through) = flood.end()?;
        (sent, arrived) = (sent + more, arrived + through);
        daemon.wait_identified(&rig.host, &rig.a.name, "guest")?;
    }
    ensure!(arrived == 0, "{arrived} of {sent} forbidden datagrams arrived");
    println!(
        "{times} upgrades by {mechanism} in {:.0} s: {sent} forbidden datagrams, 0 arrived; \
         {migrated} flows carried over, 0 cut",
        begun.elapsed().as_secs_f64()
    );
    for (name, works) in rig.legal_traffic()? {
        ensure!(works, "{name} does not work any more");
    }
    finish(rig, daemon, &residue)
}

/// Nobody says what the maps look like: the flows in them end and are counted, nothing else opens.
#[test]
fn f10_n7_maps_that_are_not_understood_are_rebuilt_closed() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, mut daemon) = start(&Settings::default())?;
    let talk = Talk::open(&rig.host.actor, &rig)?;
    talk.go_on("before")?;
    daemon.kill_now()?;
    let pins = "/sys/fs/bpf/enforcer";
    let maps = rig.host.run(&format!("ls {pins}"))?;
    let ours = maps.lines().find(|name| name.starts_with('v')).context("no maps")?;
    rig.host.run(&format!("mv {pins}/{ours} {pins}/v7777"))?;
    rig.host.run(&format!("rm {pins}/v7777/LAYOUT"))?;
    talk.go_on("without a daemon")?;

    let flood = Flood::start(&rig, RATE * 4)?;
    let daemon = daemon.restart(&rig.host, binary()?)?;
    let takeover = daemon.wait_record("the takeover", |record| record["kind"] == "takeover")?;
    let told = takeover["event"] == "rebuilt"
        && takeover["from"] == 7777
        && takeover["cut"].as_u64() >= Some(1);
    ensure!(told, "{takeover}");
    daemon.wait_identified(&rig.host, &rig.a.name, "guest")?;
    let (sent, arrived) = flood.end()?;
    ensure!(arrived == 0, "{arrived} of {sent} forbidden datagrams arrived");
    ensure!(talk.go_on("cut").is_err(), "the connection is in no map, and goes on");
    rig.settle()?;
    for (name, works) in rig.legal_traffic()? {
        ensure!(works, "{name} does not work");
    }
    let left = rig.host.run(&format!("ls {pins}"))?;
    ensure!(!left.contains("v7777"), "the old maps are left: {left}");
    finish(rig, daemon, &residue)
}

#[test]
fn f22_a_second_daemon_is_refused_and_changes_nothing() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, daemon) = start(&Settings::default())?;
    let before = daemon.status(&rig.host)?["programs"].clone();
    let (code, text) = daemon.verb(&rig.host, "run", &[])?;
    ensure!(code == 1 && text.contains("another enforcer runs already"), "{code}: {text}");
    let after = daemon.status(&rig.host)?["programs"].clone();
    ensure!(before == after, "programs changed: {before} to {after}");
    let hub = rig.a.actor.connect((GATEWAY, HUB_PORT), 2000)?;
    ensure!(hub.errno.is_none(), "the hub does not answer any more: {hub:?}");
    finish(rig, daemon, &residue)
}

/// D07, D22: what comes and goes leaves no pin behind, whatever its name was.
#[test]
fn d07_veths_that_come_go_and_change_their_names_leave_nothing() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let times = if long() { 1000 } else { 60 };
    let residue = Snapshot::take();
    let (rig, daemon) = start(&Settings::default())?;
    let pins = |rig: &Rig| rig.host.run("ls /sys/fs/bpf/enforcer/links");
    let before = pins(&rig)?;
    let flood = Flood::start(&rig, RATE * 5)?;
    let host = &rig.host;
    let begun = Instant::now();
    for round in 0..times {
        host.ip("link add vethcome type veth peer name vethpeer")?;
        host.ip("link set vethcome master guests0 up")?;
        host.ip("link set vethcome name vethgone")?;
        if round % 2 == 0 {
            host.ip("link set vethgone nomaster")?;
        }
        host.ip("link del vethgone")?;
    }
    let (sent, arrived) = flood.end()?;
    ensure!(arrived == 0, "{arrived} of {sent} forbidden datagrams arrived");
    println!("{times} veths in {:.1} s", begun.elapsed().as_secs_f64());
    // A port of a known guest under another name stays what it is.
    let interface = port_of(&daemon, &rig)?;
    host.ip(&format!("link set {interface} name vethrenamed"))?;
    let flood = Flood::start(&rig, 1000)?;
    let (sent, arrived) = flood.end()?;
    ensure!(arrived == 0, "{arrived} of {sent} forbidden datagrams arrived");
    host.ip(&format!("link set vethrenamed name {interface}"))?;
    enforcer_tests::harness::run::wait_for("no pin left", Duration::from_secs(15), || {
        // Those of veths that are nobody's port go by themselves, after a while.
        let left = pins(&rig)?;
        Ok(left.lines().all(|pin| before.lines().any(|known| known == pin)).then_some(()))
    })?;
    finish(rig, daemon, &residue)
}

fn port_of(daemon: &Enforcer, rig: &Rig) -> Result<String> {
    let status = daemon.status(&rig.host)?;
    let endpoints = status["endpoints"].as_array().context("no endpoints")?;
    let found = endpoints.iter().find(|endpoint| endpoint["container"] == *rig.a.name);
    Ok(found.and_then(|found| found["interface"].as_str()).context("no port")?.to_owned())
}

/// F12: more ports than anybody attaches to at once. All are denied from the first frame on.
#[test]
fn f12_a_crowd_of_new_ports_is_denied_at_once_and_policed_in_turn() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let ports: u32 = if long() { 1000 } else { 100 };
    let residue = Snapshot::take();
    let (rig, daemon) = start(&Settings::default())?;
    daemon.freeze()?;
    let pid = rig.world.pid();
    let lines = |line: &dyn Fn(u32) -> String| (0..ports).map(line).collect::<Vec<_>>().join("\n");
    let outside = lines(&|port| {
        format!(
            "link add vethf{port} type veth peer name crowd{port} netns {pid}\n\
             link set vethf{port} master guests0 up"
        )
    });
    let file = rig.run.make_dir("crowd")?.join("batch");
    std::fs::write(&file, outside)?;
    rig.host.ip(&format!("-batch {}", file.display()))?;
    std::fs::write(&file, lines(&|port| format!("link set crowd{port} up")))?;
    rig.world.ip(&format!("-batch {}", file.display()))?;

    // Each tries the guests and the host.
    let filter = Filter { marker: hex::encode(MARKER), ..Filter::default() };
    let points = rig.points();
    let near: Vec<_> = points.into_iter().filter(|(at, ..)| *at == Point::Peer).collect();
    let captures = Captures::start(&near, &filter)?;
    let frame = ethernet(
        rig.b.mac,
        [2, 0, 0, 0, 0, 9],
        ethertype::EXPERIMENT,
        &[MARKER, &[0; 46]].concat(),
    );
    for port in (0..ports).step_by(10) {
        rig.world.actor.send(Send {
            interface: format!("crowd{port}"),
            frames: vec![hex::encode(&frame)],
            repeat: 5,
            ..Send::default()
        })?;
    }
    let arrived: u64 = captures.end()?.values().map(|captured| captured.count).sum();
    ensure!(arrived == 0, "{arrived} frames of new ports arrived");

    let begun = Instant::now();
    daemon.thaw()?;
    let mut most = 0;
    enforcer_tests::harness::run::wait_for("all ports policed", Duration::from_mins(3), || {
        let Ok(status) = daemon.status(&rig.host) else { return Ok(None) };
        let backlog = status["backlog"].as_u64().unwrap_or_default();
        most = most.max(backlog);
        let known = status["endpoints"].as_array().map_or(0, Vec::len);
        Ok((backlog == 0 && known >= ports as usize + 2).then_some(()))
    })?;
    let took = begun.elapsed();
    println!(
        "{ports} ports policed in {:.1} s, {:.0} a second; backlog of up to {most} seen",
        took.as_secs_f64(),
        f64::from(ports) / took.as_secs_f64()
    );
    let hub = rig.a.actor.connect((GATEWAY, HUB_PORT), 2000)?;
    ensure!(hub.errno.is_none(), "the hub does not answer: {hub:?}");
    finish(rig, daemon, &residue)
}

/// Ends everything; nothing is left behind.
fn finish(rig: Rig, daemon: Enforcer, residue: &Snapshot) -> Result<()> {
    daemon.stop()?;
    rig.stop()?;
    residue.ensure_nothing_new()
}
