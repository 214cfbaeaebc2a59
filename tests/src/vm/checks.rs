//! The tests, in the order in which they run.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use aya::programs::{
    TcAttachType, loaded_programs,
    tc::{self, TcHandle},
};
use enforcer::{
    control::desired::Closes,
    doctor::gather,
    kernel::{
        import,
        links::{Hooks, is_ingress},
    },
    netlink::filters,
};
use enforcer_common::abi::{event::Hook, verdict::DropReason};
use tokio::runtime::Handle;

use super::{
    arrivals::Arrivals,
    closure,
    daemon::{Daemon, PATIENCE},
    foreign::Foreign,
    probe::{self, connects},
    world::{
        BANNER, BULK, GATEWAY, HUB_PORT, NOTEBOOK_PORT, OTHER_PORT, Port, SINK_PORT, SOURCE_PORT,
        World,
    },
};
use crate::{
    harness::run::wait_for,
    hex,
    protocol::{ConnectBy, Connected, Request, Transferred},
};

/// Longest wait for a connection that is not to come about.
pub(super) const REFUSED_MS: u64 = 1500;
/// Longest wait for one that is.
pub(super) const ACCEPTED_MS: u64 = 10_000;
/// Longest bulk transfer under emulation.
const BULK_MS: u64 = 30_000;
/// Frames of a flood.
const FLOOD: u32 = 20_000;

/// Without enforcer the attacks work; otherwise the tests would prove nothing.
pub(super) fn open(world: &World) -> Result<()> {
    for probe in probe::all(world) {
        let arrived = probe.send(1)?;
        ensure!(arrived > 0, "{}: does not arrive unprotected", probe.name);
    }
    let from = &world.a.guest.actor;
    ensure!(connects(from, (GATEWAY, HUB_PORT), ACCEPTED_MS)?, "the hub");
    ensure!(connects(from, (GATEWAY, OTHER_PORT), ACCEPTED_MS)?, "another port");
    ensure!(connects(from, (world.b.port.ipv4, NOTEBOOK_PORT), ACCEPTED_MS)?, "a guest");
    Ok(())
}

/// Without programs attacks on the host work again; the bridge itself still keeps guests apart.
pub(super) fn second_layer(world: &World) -> Result<()> {
    for probe in probe::all(world) {
        let arrived = probe.send(3)? > 0;
        let expected = !probe.is_at(&world.b);
        ensure!(arrived == expected, "{}: arrived: {arrived}", probe.name);
    }
    Ok(())
}

/// TCX where the kernel has it.
pub(super) fn mechanism(daemon: &Daemon) -> Result<()> {
    let release = &daemon.features.release;
    println!("{release}: {}", if daemon.features.tcx { "TCX" } else { "clsact" });
    ensure!(daemon.features.tcx != release.starts_with("6.1."), "TCX is of 6.6");
    Ok(())
}

/// Prints how many instructions the verifier walked, for the committed table.
pub(super) fn verified(daemon: &Daemon) -> Result<()> {
    for hook in Hook::ALL {
        let id = daemon.path.lock().hooks.program_id(hook);
        let info = loaded_programs()
            .filter_map(Result::ok)
            .find(|info| info.id() == id)
            .context("the kernel does not list the program")?;
        let count = info.verified_instruction_count().context("the kernel does not say")?;
        println!("verified {} {count}", hook.name());
    }
    for name in import::PROGRAMS {
        let info = loaded_programs()
            .filter_map(Result::ok)
            .find(|info| info.name_as_str() == Some(name))
            .with_context(|| format!("the kernel does not list {name}"))?;
        let count = info.verified_instruction_count().context("the kernel does not say")?;
        println!("verified {name} {count}");
    }
    Ok(())
}

/// What the kernel itself says, by the way that fits it.
pub(super) fn attached(world: &World, daemon: &Daemon) -> Result<()> {
    for port in ports(world) {
        let hooks = if port == world.bridge {
            [Hook::FromBridge, Hook::ToBridge]
        } else {
            [Hook::FromGuest, Hook::ToGuest]
        };
        for hook in hooks {
            let hooks = &daemon.path.lock().hooks;
            let found = programs(world, hooks, port, hook)?;
            let ours = matches!(found[..], [one] if hooks.is_current(hook, one));
            ensure!(ours, "{} on {port}: {found:?}, not only ours", hook.name());
        }
    }
    ensure!(daemon.state.borrow().failures.is_empty(), "the control loop failed");
    Ok(())
}

pub(super) fn ports(world: &World) -> [u32; 4] {
    [world.bridge, world.a.port.ifindex, world.b.port.ifindex, world.x.port.ifindex]
}

/// Ids of the programs on a hook: TCX links, or filters.
pub(super) fn programs(world: &World, hooks: &Hooks, port: u32, hook: Hook) -> Result<Vec<u32>> {
    if hooks.uses_tcx() { Ok(hooks.list(port, hook)?) } else { filters(world, port, hook) }
}

fn filters(world: &World, port: u32, hook: Hook) -> Result<Vec<u32>> {
    let request = filters::programs(&world.netlink, port, is_ingress(hook));
    let found = Handle::current().block_on(request)?;
    Ok(found.iter().map(|filter| filter.program).collect())
}

pub(super) fn allowed(world: &World) -> Result<()> {
    let connected = world.a.guest.actor.connect((GATEWAY, HUB_PORT), ACCEPTED_MS)?;
    ensure!(connected.answer == hex::encode(BANNER.as_bytes()), "{connected:?}");
    Ok(())
}

pub(super) fn denied(world: &World, daemon: &Daemon) -> Result<()> {
    let port = world.a.port.ifindex;
    let before = daemon.denials(port, DropReason::Policy)?.events;
    let accepted = world.host.served(world.forbidden.id)?.accepted;
    ensure!(!connects(&world.a.guest.actor, (GATEWAY, OTHER_PORT), REFUSED_MS)?, "it connects");
    ensure!(world.host.served(world.forbidden.id)?.accepted == accepted, "it was accepted");
    ensure!(daemon.denials(port, DropReason::Policy)?.events > before, "it was not counted");
    Ok(())
}

pub(super) fn guest_to_guest(world: &World, daemon: &Daemon) -> Result<()> {
    let port = world.a.port.ifindex;
    let before = denials(daemon, port)?;
    let to = (world.b.port.ipv4, NOTEBOOK_PORT);
    ensure!(!connects(&world.a.guest.actor, to, REFUSED_MS)?, "it connects");
    ensure!(denials(daemon, port)? != before, "nothing was counted");
    Ok(())
}

fn denials(daemon: &Daemon, port: u32) -> Result<BTreeMap<&'static str, u64>> {
    let owner = daemon.id(port)?;
    let mut found = BTreeMap::new();
    for (key, counter) in daemon.counters.list()? {
        if key.owner == owner
            && let Some(reason) = DropReason::from_value(key.reason)
        {
            *found.entry(reason.name()).or_default() += counter.events;
        }
    }
    Ok(found)
}

/// Without what the guest's kernel says of its own accord, in the old belief that guests hear it.
fn conversation_denials(daemon: &Daemon, port: u32) -> Result<BTreeMap<&'static str, u64>> {
    let mut found = denials(daemon, port)?;
    for reason in [
        DropReason::Arp,
        DropReason::Ndp,
        DropReason::Router,
        DropReason::Multicast,
        DropReason::IcmpType,
        DropReason::NoFamily,
        DropReason::NotAddressed,
    ] {
        found.remove(reason.name());
    }
    Ok(found)
}

pub(super) fn closed(world: &World, daemon: &Daemon) -> Result<()> {
    let mut wrong = Vec::new();
    for probe in probe::all(world) {
        let port = probe.sender.port.ifindex;
        let counted = daemon.denials(port, probe.reason)?.events;
        let recorded = daemon.records(port, probe.reason)?;
        let arrived = probe.send(3)?;
        if arrived > 0 {
            wrong.push(format!("{}: arrived {arrived} times", probe.name));
        }
        let counted = daemon.denials(port, probe.reason)?.events - counted;
        if counted < 3 {
            let name = probe.reason.name();
            wrong.push(format!("{}: counted {counted} times as {name}", probe.name));
        }
        // The ring is looked at every 50 ms.
        let record = || Ok((daemon.records(port, probe.reason)? > recorded).then_some(()));
        if wait_for("a record", Duration::from_secs(2), record).is_err() {
            wrong.push(format!("{}: no record", probe.name));
        }
    }
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("; ")) }
}

pub(super) fn inbound(world: &World) -> Result<()> {
    for member in [&world.a, &world.b] {
        let data = hex::encode(b"notebook");
        let connected: Connected = world.host.call(&Request::Connect {
            to: (member.port.ipv4, NOTEBOOK_PORT).into(),
            by: ConnectBy::Plain,
            data: data.clone(),
            timeout_ms: ACCEPTED_MS,
            hold: false,
        })?;
        ensure!(connected.answer == data, "{}: {connected:?}", member.port.name);
    }
    Ok(())
}

/// Both ways over connections that the host opened, as large segments where the kernel makes them.
pub(super) fn bulk(world: &World, daemon: &Daemon) -> Result<()> {
    let b = &world.b;
    let before = conversation_denials(daemon, b.port.ifindex)?;
    let transfer = |port, send| -> Result<Transferred> {
        let to = (b.port.ipv4, port).into();
        world.host.call(&Request::Transfer { to, send, timeout_ms: BULK_MS })
    };
    let sent = transfer(SINK_PORT, BULK)?;
    let served = b.guest.actor.served(b.sink.id)?;
    ensure!(served.received == BULK && served.sha256 == sent.sha256, "to the guest: {served:?}");
    let received = transfer(SOURCE_PORT, 0)?;
    ensure!(received.bytes == BULK && received.sha256 == sent.sha256, "from the guest");
    let denied = conversation_denials(daemon, b.port.ifindex)?;
    ensure!(denied == before, "packets were denied: {denied:?}, before {before:?}");
    Ok(())
}

/// What `enforcer doctor` takes for programs of others on a guest's port.
fn strangers(world: &World, port: Port) -> Result<Vec<u32>> {
    let hooks = [Hook::FromGuest, Hook::ToGuest];
    let found = gather::strangers_on(&world.netlink, (port.ifindex, port.name), hooks);
    let found = Handle::current().block_on(found)?;
    Ok(found.iter().map(|stranger| stranger.program).collect())
}

/// Another program goes before ours; the control loop puts ours first again.
pub(super) fn moved(world: &World, daemon: &Daemon) -> Result<()> {
    let port = world.a.port;
    let first = |hooks: &Hooks| -> Result<Option<u32>> {
        Ok(programs(world, hooks, port.ifindex, Hook::FromGuest)?.first().copied())
    };
    let back = || {
        daemon.wake();
        wait_for("ours first again", PATIENCE, || {
            let hooks = &daemon.path.lock().hooks;
            let ours = first(hooks)?.is_some_and(|id| hooks.is_current(Hook::FromGuest, id));
            Ok(ours.then_some(()))
        })
    };
    let mut foreign = Foreign::load()?;
    // Locked, so that the control loop does not mend it before it was seen.
    let loaded = daemon.path.lock();
    let link = foreign.attach_first(port.name, daemon.features.tcx)?;
    ensure!(first(&loaded.hooks)? == Some(foreign.id()?), "the other program is not first");
    drop(loaded);
    back()?;
    ensure!(strangers(world, port)? == [foreign.id()?], "doctor does not see the other program");
    drop(link);
    // A link that is closed may be taken off a moment later.
    let mut left = Vec::new();
    let gone = wait_for("the other program's end", PATIENCE, || {
        left = strangers(world, port)?;
        Ok(left.is_empty().then_some(()))
    });
    gone.with_context(|| {
        format!("doctor sees {left:?}; ours is {:?}", first(&daemon.path.lock().hooks))
    })?;
    attached(world, daemon)?;
    if !daemon.features.tcx {
        let loaded = daemon.path.lock();
        tc::qdisc_detach_program(port.name, TcAttachType::Ingress, Hook::FromGuest.name())?;
        ensure!(first(&loaded.hooks)?.is_none(), "the filter is still there");
        drop(loaded);
        back()?;
    }
    daemon.settle(world)
}

/// Filters are replaced while they work. A TCX link that is in place is left alone.
pub(super) fn no_gap(world: &World, daemon: &Daemon) -> Result<()> {
    let port = world.a.port.ifindex;
    let probe = probe::flood(world);
    // Told by ports, frames to the host are the programs' business alone.
    let closed = daemon.path.closes == Closes::ByBridge;
    let past_programs = || -> Result<u64> {
        if closed { closure::dropped(&daemon.closure, "prerouting") } else { Ok(0) }
    };
    let before = daemon.denied(port)?;
    let past_before = past_programs()?;
    let arrivals = Arrivals::at(world, port)?;
    let arrived = probe.send_during(FLOOD, || {
        for _ in 0..20 {
            daemon.path.attach_port(port)?;
        }
        Ok(())
    })?;
    ensure!(arrived == 0, "{arrived} of {FLOOD} frames came through");
    let past = past_programs()?;
    ensure!(past == past_before, "{} frames met no program", past - past_before);
    // For whatever reason: a port that the control loop still mends has no identity meanwhile.
    arrivals.all_counted(world, port, FLOOD.into(), || Ok(daemon.denied(port)? - before))?;

    // A gap would have been seen.
    let arrived = probe.send_during(FLOOD, || {
        for _ in 0..20 {
            daemon.path.lock().hooks.detach(port, Hook::FromGuest)?;
            std::thread::sleep(Duration::from_millis(1));
            daemon.path.attach_port(port)?;
        }
        Ok(())
    })?;
    if closed {
        ensure!(arrived == 0, "{arrived} frames came through a gap, the bridge closed");
        ensure!(past_programs()? > past, "no frame met the gap that there was");
    } else {
        ensure!(arrived > 0, "no frame came through a gap that there was");
    }
    attached(world, daemon)
}

/// What killed daemons leave, at worst under both handles, is taken over.
pub(super) fn leftover(world: &World, daemon: &Daemon) -> Result<()> {
    if daemon.features.tcx {
        // Links have pins: see `survival`.
        return Ok(());
    }
    let port = world.a.port;
    for left in [&[1_u16][..], &[2], &[1, 2]] {
        // Locked, so that the control loop does not mend it first.
        let hooks = &mut daemon.path.lock().hooks;
        tc::qdisc_detach_program(port.name, TcAttachType::Ingress, Hook::FromGuest.name())?;
        let mut foreign = Foreign::load()?;
        for minor in left {
            foreign.leave_behind(port.name, TcHandle::new(0x6566, *minor))?;
        }
        let found = filters(world, port.ifindex, Hook::FromGuest)?;
        ensure!(found.len() == left.len(), "not left behind: {found:?}");
        hooks.attach(port.ifindex, Hook::FromGuest)?;
        let found = filters(world, port.ifindex, Hook::FromGuest)?;
        let ours = hooks.program_id(Hook::FromGuest);
        ensure!(found == [ours], "{left:?} not taken over: {found:?}");
    }
    Ok(())
}
