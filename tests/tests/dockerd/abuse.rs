//! Guests that abuse their network, and what becomes of them and of their neighbours.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    frames::{Ip, Ipv4, Tcp, ethernet, ethertype},
    harness::{
        client::Actor,
        enforcer::{Enforcer, Settings},
        proof::rise,
        residue::Snapshot,
        run::wait_for,
        topology::{GATEWAY, HUB_PORT, Rig, WORLD},
    },
    hex,
    protocol::{Send, Sent},
};
use serde_json::Value;

use crate::{
    flood::{Talk, binary, finish, start},
    policies::reload,
};

const SYN: u8 = 2;

/// A sweep: a few ports are enough here.
const SWEEP: &str = "
[abuse]
window = \"10s\"
cut_for = \"10m\"
[abuse.port_sweep]
more_than = 20
answer = \"cut\"
[abuse.failed_connects]
answer = \"ignore\"
[policies.course]
[[policies.course.allow]]
to = \"198.51.100.2\"
port = 80
";

/// A guest that sweeps ports is cut off within seconds: it opens nothing any more but to its hub. Whoever comes to it
/// notices nothing, nor does its neighbour. A restart does not free it, a pardon does.
#[test]
fn abuse_a_guest_that_sweeps_is_cut_off_until_it_is_pardoned() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, daemon) = start(&Settings { more: SWEEP.into(), ..Settings::default() })?;
    let closed = fs::read_to_string(daemon.config())?;
    let gateway = format!("gateway = \"{GATEWAY}\"\n");
    let open = closed.replacen(&gateway, &format!("{gateway}policy = \"course\"\n"), 1);
    reload(&daemon, &rig, &open)?;
    ensure!(reaches(&rig.a.actor)? && reaches(&rig.b.actor)?, "both may go there");
    let talk = Talk::open(&rig.host.actor, &rig)?;

    knock(&rig, 1000..1040)?;
    let record = answered(&daemon, "cut")?;
    ensure!(
        record["enforcer.abuse"] == "port_sweep"
            && record["enforcer.outcome"] == "done"
            && record["container.name"] == rig.a.name.as_str()
            && record["enforcer.measured"].as_u64().is_some_and(|measured| measured > 20)
            && record["enforcer.threshold"] == 20
            && record["enforcer.until"].is_string(),
        "{record}"
    );
    ensure!(!reaches(&rig.a.actor)?, "it is cut off, says the record");
    ensure!(reaches(&rig.b.actor)?, "its neighbour did nothing");
    talk.go_on("a visitor who is there")?;
    for (what, works) in rig.legal_traffic()? {
        ensure!(works, "{what} does not work beside a cut");
    }
    let held = restrained(&daemon, &rig)?;
    ensure!(held.len() == 1 && held[0]["container"] == rig.a.name.as_str(), "{held:?}");
    ensure!(held[0]["answer"] == "cut" && held[0]["until"].is_string(), "{held:?}");
    let (_, table) = daemon.verb(&rig.host, "status", &[])?;
    ensure!(table.contains("Slowed, cut off or paused for abuse"), "{table}");

    let daemon = daemon.restart(&rig.host, binary()?)?;
    for guest in [&rig.a, &rig.b] {
        daemon.wait_identified(&rig.host, &guest.name, "guest")?;
    }
    wait_for(
        "the neighbour",
        Duration::from_secs(10),
        || Ok(reaches(&rig.b.actor)?.then_some(())),
    )?;
    ensure!(!reaches(&rig.a.actor)?, "a restart freed it");
    ensure!(restrained(&daemon, &rig)?.len() == 1, "a restart forgot it");
    talk.go_on("a visitor who is still there")?;

    let (code, said) = daemon.verb(&rig.host, "pardon", &[&rig.a.name])?;
    ensure!(code == 0 && said.contains("no longer cut off"), "{code}: {said}");
    wait_for("the pardon", Duration::from_secs(5), || Ok(reaches(&rig.a.actor)?.then_some(())))?;
    answered(&daemon, "pardon")?;
    ensure!(restrained(&daemon, &rig)?.is_empty(), "pardoned and held");
    let (code, said) = daemon.verb(&rig.host, "pardon", &[&rig.a.name])?;
    ensure!(code == 2 && said.contains("neither slowed, cut off nor paused"), "{code}: {said}");
    finish(rig, daemon, &residue)
}

/// The same sweep, answered milder: two new flows a second.
const SLOW: &str = "
[abuse]
window = \"10s\"
slow_for = \"10m\"
[abuse.slow]
new_flows_per_second = 2
[abuse.port_sweep]
more_than = 20
answer = \"slow\"
[abuse.failed_connects]
answer = \"ignore\"
[policies.course]
[[policies.course.allow]]
to = \"198.51.100.2\"
port = 80
";
/// Connections in a row, and how many of them a guest that is slowed may have in that time.
const ROW: usize = 20;
const SLOWED: usize = 12;

/// A guest that sweeps ports is slowed within seconds: it still reaches what its policy opens, but seldom. Whoever comes
/// to it notices nothing, nor does its neighbour. A restart does not free it, a pardon does.
#[test]
fn abuse_a_guest_that_sweeps_is_slowed_until_it_is_pardoned() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, daemon) = start(&Settings { more: SLOW.into(), ..Settings::default() })?;
    let closed = fs::read_to_string(daemon.config())?;
    let gateway = format!("gateway = \"{GATEWAY}\"\n");
    let open = closed.replacen(&gateway, &format!("{gateway}policy = \"course\"\n"), 1);
    reload(&daemon, &rig, &open)?;
    ensure!(row(&rig.a.actor, 2000)? == ROW, "before it is slowed");
    let talk = Talk::open(&rig.host.actor, &rig)?;

    knock(&rig, 1000..1040)?;
    let record = answered(&daemon, "slow")?;
    ensure!(
        record["enforcer.outcome"] == "done"
            && record["container.name"] == rig.a.name.as_str()
            && record["enforcer.until"].is_string(),
        "{record}"
    );
    let slowed = |when: &str| -> Result<()> {
        let reached = row(&rig.a.actor, 100)?;
        ensure!((1..=SLOWED).contains(&reached), "{when} {reached} of {ROW} are made");
        let neighbour = row(&rig.b.actor, 2000)?;
        ensure!(neighbour == ROW, "{when} its neighbour makes {neighbour} of {ROW}");
        Ok(())
    };
    let before = daemon.counts(&rig.host)?;
    slowed("when it is slowed")?;
    let counts = rise(&before, &daemon.counts(&rig.host)?);
    ensure!(counts.get("rate_new_flows").is_some_and(|of| of.events > 0), "{counts:?}");
    talk.go_on("a visitor who is there")?;
    for (what, works) in rig.legal_traffic()? {
        ensure!(works, "{what} does not work beside a guest that is slowed");
    }
    let held = restrained(&daemon, &rig)?;
    ensure!(held.len() == 1 && held[0]["answer"] == "slow", "{held:?}");
    let to = format!("{WORLD}:80");
    let asked = ["--json", "--from", rig.a.name.as_str(), "--to", &to];
    let (code, said) = daemon.verb(&rig.host, "explain", &asked)?;
    let told: Value = serde_json::from_str(&said).with_context(|| format!("{code}: {said}"))?;
    ensure!(told["limits"]["new_flows_per_second"] == 2 && told["verdict"] == "allow", "{told}");

    let daemon = daemon.restart(&rig.host, binary()?)?;
    for guest in [&rig.a, &rig.b] {
        daemon.wait_identified(&rig.host, &guest.name, "guest")?;
    }
    slowed("after a restart")?;
    talk.go_on("a visitor who is still there")?;

    let (code, said) = daemon.verb(&rig.host, "pardon", &[&rig.a.name])?;
    ensure!(code == 0 && said.contains("no longer slowed"), "{code}: {said}");
    answered(&daemon, "pardon")?;
    wait_for("the pardon", Duration::from_secs(10), || {
        Ok((row(&rig.a.actor, 2000)? == ROW).then_some(()))
    })?;
    ensure!(restrained(&daemon, &rig)?.is_empty(), "pardoned and held");
    finish(rig, daemon, &residue)
}

/// How many connections of a row are made.
fn row(actor: &Actor, timeout_ms: u64) -> Result<usize> {
    let mut made = 0;
    for _ in 0..ROW {
        made += usize::from(actor.connect((WORLD, 80), timeout_ms)?.errno.is_none());
    }
    Ok(made)
}

/// A guest that knocks at mail servers is stopped, where the config says so; its neighbour is not.
#[test]
fn abuse_a_guest_that_sends_mail_is_stopped() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let more = "\n[abuse.smtp]\nmore_than = 5\nanswer = \"stop\"\n".to_owned();
    let (rig, daemon) = start(&Settings { more, ..Settings::default() })?;
    for _ in 0..8 {
        knock(&rig, 25..26)?;
    }
    let record = answered(&daemon, "stop")?;
    ensure!(
        record["enforcer.abuse"] == "smtp"
            && record["enforcer.outcome"] == "done"
            && record["container.name"] == rig.a.name.as_str(),
        "{record}"
    );
    ensure!(!state(&rig)?.0, "it runs on");
    let hub = rig.b.actor.connect((GATEWAY, HUB_PORT), 2000)?;
    ensure!(hub.errno.is_none(), "its neighbour: {hub:?}");
    finish(rig, daemon, &residue)
}

/// One connection to where pools listen is enough to be paused, where the config says so; a pardon lets it go on.
#[test]
fn abuse_a_guest_that_looks_for_a_pool_is_paused_until_it_is_pardoned() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let more = "\n[abuse.stratum]\nanswer = \"pause\"\n".to_owned();
    let (rig, daemon) = start(&Settings { more, ..Settings::default() })?;
    knock(&rig, 3333..3334)?;
    let record = answered(&daemon, "pause")?;
    ensure!(
        record["enforcer.abuse"] == "stratum" && record["enforcer.outcome"] == "done",
        "{record}"
    );
    ensure!(state(&rig)? == (true, true), "it is not paused");
    let (code, said) = daemon.verb(&rig.host, "pardon", &[&rig.a.name])?;
    ensure!(code == 0 && said.contains("goes on"), "{code}: {said}");
    let record = answered(&daemon, "pardon")?;
    ensure!(record["enforcer.outcome"] == "done", "{record}");
    ensure!(state(&rig)? == (true, false), "it is paused still");
    finish(rig, daemon, &residue)
}

/// One SYN of A to each of these ports of the world.
fn knock(rig: &Rig, ports: std::ops::Range<u16>) -> Result<()> {
    let scene = rig.scene()?;
    let ip = Ip::V4(Ipv4::new(scene.a.ipv4, WORLD, 0));
    let frame = |port| {
        let packet = Tcp::new(4000, port, SYN).packet(&ip, &[]);
        hex::encode(&ethernet(scene.host.mac, scene.a.mac, ethertype::IPV4, &packet))
    };
    let frames: Vec<String> = ports.map(frame).collect();
    let count = u64::try_from(frames.len())?;
    let all = Send { interface: "eth0".into(), frames, repeat: 1, rate: 1000, ..Send::default() };
    let Sent { sent, .. } = rig.a.actor.send(all)?;
    ensure!(sent == count, "{sent} of {count}");
    Ok(())
}

fn reaches(actor: &Actor) -> Result<bool> {
    Ok(actor.connect((WORLD, 80), 500)?.errno.is_none())
}

/// The record of an answer.
fn answered(daemon: &Enforcer, answer: &str) -> Result<Value> {
    daemon.wait_record(answer, |record| {
        record["event.action"] == "abuse" && record["enforcer.answer"] == answer
    })
}

/// Who is held, by status.
fn restrained(daemon: &Enforcer, rig: &Rig) -> Result<Vec<Value>> {
    let status = daemon.status(&rig.host)?;
    status["restrained"].as_array().cloned().context("no list of who is held")
}

/// Whether A's container runs, and whether it is paused.
fn state(rig: &Rig) -> Result<(bool, bool)> {
    let name = rig.a.name.as_str();
    let inspected = rig.docker.call(|client| client.inspect_container(name, None))?;
    let state = inspected.state.context("no state")?;
    Ok((state.running == Some(true), state.paused == Some(true)))
}
