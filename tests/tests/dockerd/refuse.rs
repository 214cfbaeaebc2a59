//! Refusals where no program knows a guest's processes: the packet path answers.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use enforcer_tests::{
    harness::{
        capture::Captures,
        dockerd::{Cgroups, Options},
        enforcer::{Enforcer, Settings},
        proof::rise,
        residue::Snapshot,
        run::wait_for,
        topology::{BRIDGE, Base, NETWORK, Rig, SUBNET6, WORLD, WORLD6},
    },
    hex,
    protocol::{Exchanged, Filter, Request},
};

use crate::flood::finish;

const AT_ONCE_MS: u64 = 100;
const SILENCE_MS: u64 = 700;
const MARKER: &[u8] = b"enforcer-test-refusal";

/// N8: without a cgroup v2 of its own a guest's refused connection fails at once, and so does a datagram, over both
/// families; nothing leaves the bridge, and each is counted as denied.
#[test]
fn n8_without_a_cgroup_the_packet_path_refuses_at_once() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    if !Path::new("/sys/fs/cgroup/unified").exists() {
        eprintln!("skipped: this machine has no v1 hierarchies");
        return Ok(());
    }
    let residue = Snapshot::take();
    let base = Base::start_ipv6(Options { cgroups: Cgroups::One, ..Options::default() })?;
    let settings =
        Settings { refuse_at_connect: true, subnet6: Some(SUBNET6.into()), ..Settings::default() };
    let daemon = Enforcer::start(&base, &settings)?;
    let rig = base.with_guests()?;
    daemon.wait_identified(&rig.host, &rig.a.name, "guest")?;
    // The bridge has its address only once it has asked whether another has it: it is up since its first port is.
    wait_for("the gateway's IPv6 address", Duration::from_secs(5), || {
        let tentative = rig.host.run(&format!("ip -6 addr show dev {BRIDGE} tentative"))?;
        Ok(tentative.trim().is_empty().then_some(()))
    })?;

    let before = daemon.counts(&rig.host)?;
    let filter = Filter { marker: hex::encode(MARKER), ..Filter::default() };
    let captures = Captures::start(&rig.points(), &filter)?;
    let destinations: [SocketAddr; 2] = [(WORLD, 80).into(), (WORLD6, 80).into()];
    for to in destinations {
        let refused = rig.a.actor.connect(to, SILENCE_MS)?;
        ensure!(refused.errno == Some(libc::ECONNREFUSED), "{to}: {refused:?}");
        ensure!(refused.took_ms < AT_ONCE_MS, "{to}: {refused:?}");
        let told = ask(&rig, to)?;
        ensure!(told.errno == Some(libc::ECONNREFUSED), "{to}, UDP: {told:?}");
    }
    let passed: u64 = captures.end()?.values().map(|captured| captured.count).sum();
    ensure!(passed == 0, "{passed} frames went on");
    let mut after = daemon.counts(&rig.host)?;
    after.retain(|key, _| key.endpoint == rig.a.name && key.hook == "from_guest");
    let counted = rise(&before, &after);
    let denied = counted.get("policy").map_or(0, |count| count.events);
    ensure!(denied == 4, "{counted:?}");
    let failed: Vec<_> = rig.legal_traffic()?.into_iter().filter(|(_, works)| !works).collect();
    ensure!(failed.is_empty(), "{failed:?}");

    // Nobody is told when the operator does not want it.
    let text = std::fs::read_to_string(daemon.config())?;
    let silent = text.replace("refuse_at_connect = true", "refuse_at_connect = false");
    ensure!(silent != text, "{NETWORK} has another config");
    std::fs::write(daemon.config(), silent)?;
    let (code, said) = daemon.verb(&rig.host, "reload", &[])?;
    ensure!(code == 0, "{code}: {said}");
    let waited = rig.a.actor.connect((WORLD, 80), SILENCE_MS)?;
    ensure!(waited.errno == Some(libc::ETIMEDOUT), "{waited:?}");
    finish(rig, daemon, &residue)
}

/// Sends a datagram from a socket that is connected, and waits for what comes back.
fn ask(rig: &Rig, to: SocketAddr) -> Result<Exchanged> {
    let began = Instant::now();
    let exchanged: Exchanged = rig.a.actor.call(&Request::UdpExchange {
        from_port: 0,
        to,
        data: hex::encode(MARKER),
        count: 1,
        segment: 0,
        timeout_ms: SILENCE_MS,
    })?;
    let took = began.elapsed().as_millis();
    ensure!(took < u128::from(AT_ONCE_MS), "{to}, UDP: {took} ms");
    Ok(exchanged)
}
