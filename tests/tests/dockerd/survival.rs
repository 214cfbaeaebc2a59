//! Daemons that are killed, replaced and doubled while guests misbehave: policy holds, and what is
//! allowed goes on.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    harness::{
        artifacts,
        enforcer::Settings,
        proof::rise,
        residue::Snapshot,
        topology::{GATEWAY, HUB_PORT},
    },
    protocol::{Request, Serve, Served, Transferred},
};

use crate::flood::{Flood, RATE, Talk, binary, finish, long, start};

/// Where a guest takes a bulk transfer.
const SINK: u16 = 7200;

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

    let takeover =
        daemon.wait_record("the takeover", |record| record["event.action"] == "takeover")?;
    ensure!(
        takeover["enforcer.event"] == "same" && takeover["enforcer.hooks"].as_u64() >= Some(6),
        "{takeover}"
    );
    // The counters are the kernel's: what was denied meanwhile is in them, and each of it was
    // recorded, or counted as not recorded.
    let denied = rise(&before, &daemon.counts(&rig.host)?);
    let policy = denied.get("policy").copied().unwrap_or_default();
    ensure!(policy.events == sent, "{sent} sent, counted: {denied:?}");
    let accounted = policy.recorded + policy.suppressed + policy.lost;
    ensure!(accounted == policy.events, "{policy:?}");
    let told = |record: &serde_json::Value| {
        record["event.action"] == "loss"
            && record["event.reason"] == "policy"
            && record["enforcer.count"] != 0
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
        let takeover =
            daemon.wait_record("the takeover", |record| record["event.action"] == "takeover")?;
        let carried = takeover["enforcer.event"] == "migrated" && takeover["enforcer.cut"] == 0;
        ensure!(carried, "round {round}: {takeover}");
        migrated += takeover["enforcer.flows"].as_u64().unwrap_or_default();
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
    let takeover =
        daemon.wait_record("the takeover", |record| record["event.action"] == "takeover")?;
    let told = takeover["enforcer.event"] == "rebuilt"
        && takeover["enforcer.from"] == 7777
        && takeover["enforcer.cut"].as_u64() >= Some(1);
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
