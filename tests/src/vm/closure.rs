//! The bridge where no program sits: closed by nftables' bridge family, in both directions, for
//! everything that has no stamp, and for nothing else.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use enforcer::{
    closure::{self, ClosureError, Table},
    config::Config,
    control::desired::Closes,
    supervise::closing,
};
use tokio::runtime::Runtime;

use super::{
    checks::{ACCEPTED_MS, REFUSED_MS},
    daemon::{Daemon, PATIENCE},
    probe::{self, connects},
    world::{GATEWAY, HUB_PORT, NOTEBOOK_PORT, World},
};
use crate::{frames::ethernet, harness::run::wait_for, hex, protocol::Send};

/// Kept from every bridge's forwarding (802.1X): such frames take another hook.
const LINK_LOCAL_GROUP: [u8; 6] = [1, 0x80, 0xc2, 0, 0, 3];
/// EAPOL.
const EAPOL: u16 = 0x888e;

/// No program was ever loaded, and no frame passes; without the table every one does.
pub(super) fn without_programs(runtime: &Runtime, world: &World, config: &Config) -> Result<()> {
    let (table, closes) = runtime.block_on(closing::close(config))?;
    ensure!(table.read().0.is_some(), "it is not read back as it was written");
    closed(world, closes)?;
    if closes == Closes::ByPorts {
        ensure!(dropped(&table, "forward")? > 0, "no drop was counted");
    } else {
        let before = dropped(&table, "input")?;
        let group = ethernet(LINK_LOCAL_GROUP, world.a.port.mac, EAPOL, &[0; 46]);
        let frames =
            Send { interface: "eth0".into(), frames: vec![hex::encode(&group)], ..<_>::default() };
        world.a.guest.actor.send(frames)?;
        wait_for("a link-local frame to be dropped", PATIENCE, || {
            Ok((dropped(&table, "input")? > before).then_some(()))
        })?;
        ensure!(dropped(&table, "prerouting")? > 0, "no drop of a guest's frames was counted");
        ensure!(dropped(&table, "output")? > 0, "no drop of the host's frames was counted");
    }
    table.remove()?;
    table.remove()?;
    super::checks::open(world)
}

/// Frames that the table dropped at a hook; none where it has no such chain.
pub(super) fn dropped(table: &Table, hook: &str) -> Result<u64> {
    // A reading is kept for a second.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let (closed, drops) = table.read();
    ensure!(closed.is_some(), "the table has changed");
    Ok(drops.get(hook).copied().unwrap_or_default())
}

/// Nothing arrives at a guest; told by bridges, nothing arrives at the host nor comes from it.
pub(super) fn closed(world: &World, closes: Closes) -> Result<()> {
    for probe in probe::all(world) {
        let arrived = probe.send(3)?;
        let open = closes == Closes::ByPorts && !probe.is_at(&world.b);
        ensure!((arrived > 0) == open, "{}: arrived {arrived} times", probe.name);
    }
    if closes == Closes::ByBridge {
        let from = &world.a.guest.actor;
        ensure!(!connects(from, (GATEWAY, HUB_PORT), REFUSED_MS)?, "a guest reaches the hub");
        let to = (world.a.port.ipv4, NOTEBOOK_PORT);
        ensure!(!connects(&world.host, to, REFUSED_MS)?, "the host reaches a guest");
    }
    Ok(())
}

/// While programs run, the table drops none of the frames that they let through.
pub(super) fn with_programs(world: &World, daemon: &Daemon) -> Result<()> {
    ensure!(daemon.closure.read().0.is_some(), "the control loop has not closed the bridge");
    let before = daemon.closure.read().1;
    super::checks::allowed(world)?;
    super::checks::inbound(world)?;
    dropped(&daemon.closure, "")?;
    let after = daemon.closure.read().1;
    ensure!(after == before, "legal frames were dropped: {before:?}, now {after:?}");
    Ok(())
}

/// Another tool flushes every rule, or changes ours: the control loop writes them again.
pub(super) fn repaired(world: &World, daemon: &Daemon) -> Result<()> {
    let (chain, rules) = match daemon.path.closes {
        Closes::ByPorts => ("forward", 1),
        // Two for each of three chains: bridges of the file, and own networks'.
        Closes::ByBridge | Closes::Not => ("prerouting", 6),
    };
    let changes: [&[&str]; 3] = [
        &["flush", "ruleset"],
        &["flush", "chain", "bridge", "enforcer", chain],
        &["delete", "table", "bridge", "enforcer"],
    ];
    for change in changes {
        let done = Command::new("nft").args(change).env("PATH", "/usr/sbin:/sbin:/bin").status()?;
        ensure!(done.success(), "nft {change:?}");
        // By the resync alone: nothing else tells of it.
        let mut text = String::new();
        let whole = wait_for("the table to be whole again", PATIENCE, || {
            let found = Command::new("nft")
                .args(["list", "table", "bridge", "enforcer"])
                .env("PATH", "/usr/sbin:/sbin:/bin")
                .output()?;
            text = String::from_utf8_lossy(&found.stdout).into_owned();
            Ok((text.matches("counter").count() == rules).then_some(()))
        });
        whole.with_context(|| {
            format!("after {change:?}: {text}; failed: {:?}", daemon.state.borrow().failures)
        })?;
    }
    daemon.settle(world)?;
    ensure!(connects(&world.a.guest.actor, (GATEWAY, HUB_PORT), ACCEPTED_MS)?, "the hub");
    Ok(())
}

/// The programs are gone and the table is not.
pub(super) fn outlives(world: &World, closes: Closes) -> Result<()> {
    closed(world, closes)?;
    closure::remove().map_err(|error: ClosureError| error.into())
}
