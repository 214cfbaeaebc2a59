//! Ports that come, go, move, change their names or crowd in: all of them are policed, and nothing of
//! them is left behind.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    attacks::Point,
    frames::{ethernet, ethertype},
    harness::{
        capture::Captures,
        enforcer::{Enforcer, Settings},
        netns::{Namespace, run_beside},
        residue::Snapshot,
        run::wait_for,
        topology::{GATEWAY, HUB_PORT, NOTEBOOK_PORT, Rig, WORLD},
    },
    hex,
    protocol::{Filter, Send},
};

use crate::flood::{Flood, MARKER, RATE, finish, long, start};

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
    wait_for("no pin left", Duration::from_secs(15), || {
        // Those of veths that are nobody's port go by themselves, after a while.
        let left = pins(&rig)?;
        Ok(left.lines().all(|pin| before.lines().any(|known| known == pin)).then_some(()))
    })?;
    finish(rig, daemon, &residue)
}

/// D07: the guest's end of a veth in a namespace that is not the guest's: nobody vouches for what
/// speaks there.
#[test]
fn d07_an_end_that_moves_to_another_namespace_is_closed_until_it_is_back() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, daemon) = start(&Settings::default())?;
    let elsewhere = Namespace::create(&rig.run, "elsewhere")?;
    let configure = [
        format!("addr add {}/24 dev eth0", rig.a.ipv4),
        "link set eth0 up".to_owned(),
        format!("route add default via {GATEWAY}"),
    ];
    run_beside(rig.a.pid, &format!("ip link set eth0 netns {}", elsewhere.pid()))?;
    for line in &configure {
        elsewhere.ip(line)?;
    }
    wait_for("its identity's loss", Duration::from_secs(10), || {
        let reasons = daemon.reasons(&rig.host)?;
        Ok(reasons.iter().any(|reason| reason.contains("is not identified")).then_some(()))
    })?;
    let flood = Flood::of(&rig, &elsewhere.actor, 5000)?;
    for to in [(GATEWAY, HUB_PORT), (GATEWAY, 22), (rig.b.ipv4, NOTEBOOK_PORT), (WORLD, 80)] {
        ensure!(elsewhere.actor.connect(to, 700)?.errno.is_some(), "{to:?} answers");
    }
    let (sent, arrived) = flood.end()?;
    ensure!(sent == 5000 && arrived == 0, "{arrived} of {sent} forbidden datagrams arrived");

    elsewhere.ip(&format!("link set eth0 netns {}", rig.a.pid))?;
    for line in &configure {
        run_beside(rig.a.pid, &format!("ip {line}"))?;
    }
    drop(elsewhere);
    wait_for("the hub to answer again", Duration::from_secs(10), || {
        Ok(rig.a.actor.connect((GATEWAY, HUB_PORT), 1000)?.errno.is_none().then_some(()))
    })?;
    ensure!(rig.a.actor.connect((GATEWAY, 22), 700)?.errno.is_some(), "back, and port 22 answers");
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
    wait_for("all ports policed", Duration::from_mins(3), || {
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
