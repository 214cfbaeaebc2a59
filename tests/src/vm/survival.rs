//! Policy outlives the daemon, and comes back when somebody takes a part of it away.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use enforcer::{
    audit::record::Body,
    config::DEFAULT_PIN_DIR,
    kernel::{canary, pins::Pins, sweep, takeover::Takeover},
};
use enforcer_common::abi::event::Hook;
use tokio::{runtime::Runtime, time::Instant};

use super::{
    arrivals::Arrivals,
    checks,
    daemon::{Daemon, PATIENCE},
    guest::mount_bpffs,
    probe::{self, connects},
    world::{GATEWAY, HUB_PORT, NOTEBOOK_PORT, World},
};
use crate::{
    harness::{client::Actor, run::wait_for},
    hex,
    protocol::{Id, Received, Request, Sent},
};

const ACCEPTED_MS: u64 = 10_000;

fn pins() -> Result<Pins> {
    Pins::existing(DEFAULT_PIN_DIR.as_ref()).context("no pin directory")
}

/// The repairs that were recorded since the last call.
fn repairs(daemon: &mut Daemon) -> Vec<(String, String, u64)> {
    let mut found = Vec::new();
    while let Ok(body) = daemon.journal.try_recv() {
        if let Body::Repair(repair) = body {
            found.push((repair.what, repair.interface, repair.gap_ms));
        }
    }
    found
}

/// Waits for the record of a repair; the gap that it tells, ms.
fn repaired(
    daemon: &mut Daemon,
    seen: &mut Vec<(String, String, u64)>,
    what: &str,
    interface: &str,
) -> Result<u64> {
    let found = wait_for(&format!("repair of {what} {interface}"), PATIENCE, || {
        seen.extend(repairs(daemon));
        let found = seen.iter().find(|(is, on, _)| is == what && on == interface);
        Ok(found.map(|(_, _, gap)| *gap))
    });
    found.with_context(|| format!("recorded: {seen:?}"))
}

/// F05: programs that somebody takes off come back, and the gap is recorded.
pub(super) fn detached(world: &World, daemon: &mut Daemon) -> Result<()> {
    daemon.settle(world)?;
    repairs(daemon);
    let ports = [(world.a.port.name, world.a.port.ifindex), ("guests0", world.bridge)];
    for (name, ifindex) in ports {
        let removed = sweep::programs([ifindex].into_iter())?;
        ensure!(!daemon.features.tcx || removed == 2, "{removed} programs taken off {name}");
        let hooks = if ifindex == world.bridge {
            [Hook::FromBridge, Hook::ToBridge]
        } else {
            [Hook::FromGuest, Hook::ToGuest]
        };
        let mut seen = Vec::new();
        for hook in hooks {
            let gap = repaired(daemon, &mut seen, &format!("program {}", hook.name()), name)?;
            println!("{} on {name}: back after {gap} ms at most", hook.name());
        }
        daemon.settle(world)?;
        checks::attached(world, daemon)?;
    }
    arrives_nowhere(world)
}

/// F09: removed pins come back; so they do when another file system hides them.
pub(super) fn unpinned(world: &World, daemon: &mut Daemon) -> Result<()> {
    repairs(daemon);
    let pins = pins()?;
    let mut paths = vec![pins.map("FLOWS"), pins.map("ENDPOINTS")];
    if daemon.features.tcx {
        paths.push(pins.link(world.a.port.ifindex, Hook::FromGuest));
    }
    for path in &paths {
        fs::remove_file(path).with_context(|| path.display().to_string())?;
    }
    repaired(daemon, &mut Vec::new(), "pins", "")?;
    ensure!(paths.iter().all(|path| path.exists()), "not pinned again");
    checks::attached(world, daemon)?;

    mount_bpffs()?;
    ensure!(!paths[0].exists(), "the old pins are still seen");
    repaired(daemon, &mut Vec::new(), "pins", "")?;
    ensure!(paths.iter().all(|path| path.exists()), "not pinned again");
    checks::attached(world, daemon)?;
    arrives_nowhere(world)
}

/// What somebody writes into our maps does not stay.
pub(super) fn tampered(world: &World, daemon: &mut Daemon) -> Result<()> {
    repairs(daemon);
    let port = world.a.port;
    daemon.path.lock().maps.endpoints.remove(&port.ifindex)?;
    daemon.wake();
    repaired(daemon, &mut Vec::new(), "endpoint", port.name)?;
    daemon.settle(world)?;
    arrives_nowhere(world)
}

/// O1: the self-probe is denied by every program that sits, and passes when there is no such map.
pub(super) fn probed(daemon: &mut Daemon) -> Result<()> {
    let observed = daemon.state.borrow().observed.clone();
    let loaded = &mut *daemon.path.lock();
    let programs = loaded.hooks.sitting(&observed.first);
    ensure!(programs.len() >= 4, "{programs:?}");
    let passed = canary::run(&mut loaded.maps, &programs)?;
    ensure!(passed.is_empty(), "let a forbidden frame pass: {passed:?}");
    // Nothing of it stays.
    let endpoints = loaded.maps.endpoints.list()?;
    ensure!(endpoints.iter().all(|(ifindex, _)| *ifindex != 1), "{endpoints:?}");
    canary::forget(&mut daemon.counters)?;
    let owners: Vec<_> = daemon.counters.list()?.iter().map(|(key, _)| key.owner).collect();
    ensure!(!owners.contains(&canary::OWNER), "{owners:?}");
    Ok(())
}

/// F01, F23, N7: without a daemon policy is what it was; a new one takes it over and cuts nothing.
pub(super) fn outlived(runtime: &Runtime, world: &World, daemon: Daemon) -> Result<Daemon> {
    let id = daemon.id(world.a.port.ifindex)?;
    let links = daemon.path.lock().hooks.held().count();
    let live = world.host.hold((world.a.port.ipv4, NOTEBOOK_PORT), ACCEPTED_MS)?;
    let live = live.id.context("no connection")?;
    talk(&world.host, live, "before")?;

    daemon.stop();
    arrives_nowhere(world)?;
    ensure!(connects(&world.a.guest.actor, (GATEWAY, HUB_PORT), ACCEPTED_MS)?, "the hub");
    ensure!(connects(&world.host, (world.b.port.ipv4, NOTEBOOK_PORT), ACCEPTED_MS)?, "a guest");
    talk(&world.host, live, "meanwhile")?;

    let begun = Instant::now();
    let daemon = Daemon::start(runtime, world)?;
    println!("taken over after {} ms", begun.elapsed().as_millis());
    let taken = &daemon.takeover;
    ensure!(*taken == Takeover::Same { links }, "{links} hooks, {taken:?}");
    ensure!(daemon.id(world.a.port.ifindex)? == id, "another id: its flows are cut");
    checks::attached(world, &daemon)?;
    talk(&world.host, live, "after")?;
    arrives_nowhere(world)?;
    Ok(daemon)
}

/// F02: a new daemon's programs replace the old one's while forbidden frames come in.
pub(super) fn upgraded(runtime: &Runtime, world: &World, mut daemon: Daemon) -> Result<Daemon> {
    const TIMES: u32 = 2;
    const FRAMES: u32 = 20_000;
    let port = world.a.port.ifindex;
    let before = daemon.denied(port)?;
    let probe = probe::flood(world);
    let arrivals = Arrivals::at(world, port)?;
    let mut arrived = 0;
    for _ in 0..TIMES {
        let mut next = None;
        arrived += probe.send_during(FRAMES, || {
            daemon.stop();
            next = Some(Daemon::start(runtime, world)?);
            Ok(())
        })?;
        daemon = next.context("no daemon")?;
    }
    ensure!(arrived == 0, "{arrived} frames came through");
    let counted =
        arrivals.all_counted(world, port, u64::from(FRAMES) * u64::from(TIMES), || {
            Ok(daemon.denied(port)? - before)
        })?;
    println!("{TIMES} upgrades, {counted} frames denied, none came through");
    Ok(daemon)
}

/// F09: a daemon that starts where another file system hides the pins finds the programs by their
/// interfaces, and at no time lets one of them work on maps that know nobody.
pub(super) fn hidden(runtime: &Runtime, world: &World, daemon: Daemon) -> Result<Daemon> {
    let probe = probe::flood(world);
    let mut next = None;
    let arrived = probe.send_during(20_000, || {
        daemon.stop();
        mount_bpffs()?;
        next = Some(Daemon::start(runtime, world)?);
        Ok(())
    })?;
    let daemon = next.context("no daemon")?;
    ensure!(arrived == 0, "{arrived} frames came through");
    ensure!(daemon.takeover == Takeover::Fresh, "{:?}", daemon.takeover);
    checks::attached(world, &daemon)?;
    arrives_nowhere(world)?;
    Ok(daemon)
}

/// F23: what is swept away is gone, and attacks on the host work again.
pub(super) fn swept(world: &World, daemon: Daemon) -> Result<()> {
    daemon.stop();
    sweep::programs(checks::ports(world).into_iter())?;
    pins()?.remove_all()?;
    ensure!(Pins::existing(DEFAULT_PIN_DIR.as_ref()).is_none(), "pins are left");
    Ok(())
}

/// Says something over a connection to an echo, and hears it again.
pub(super) fn talk(actor: &Actor, id: Id, words: &str) -> Result<()> {
    let data = hex::encode(words.as_bytes());
    let _: Sent = actor.call(&Request::Write { id, data: data.clone() })?;
    let length = words.len();
    let heard: Received = actor.call(&Request::Read { id, length, timeout_ms: ACCEPTED_MS })?;
    ensure!(heard.data == data, "{words}: {heard:?}");
    Ok(())
}

fn arrives_nowhere(world: &World) -> Result<()> {
    for probe in probe::all(world) {
        let arrived = probe.send(1)?;
        ensure!(arrived == 0, "{}: arrived {arrived} times", probe.name);
    }
    Ok(())
}
