//! Bulk and many: what is allowed arrives whole, by super-packets, and without the daemon.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    harness::{
        enforcer::Mode,
        proof::{NO_DENIALS, observe, rise},
        topology::NOTEBOOK_PORT,
    },
    hex,
    protocol::{
        Captured, Capturing, ConnectBy, Connected, Filter, Request, Serve, Served, Transferred,
    },
};

use crate::shared::{self, INBOUND_ESTABLISHED};

const GIGABYTE: u64 = 1 << 30;
const SINK: u16 = 7100;
const SOURCE: u16 = 7101;
const LARGEST_FRAME: usize = 1514;

#[test]
fn n4_one_gigabyte_each_way_is_intact() -> Result<()> {
    shared::with(|shared| {
        let (host, a) = (&shared.rig.host.actor, &shared.rig.a);
        let any = [0, 0, 0, 0];
        let sink = a.actor.listen((any, SINK), Serve::Sink)?;
        let source = a.actor.listen((any, SOURCE), Serve::Source(GIGABYTE))?;
        let transfer = |port, send| -> Result<Transferred> {
            host.call(&Request::Transfer { to: a.at(port), send, timeout_ms: 90_000 })
        };
        let counts = shared.counting(|| {
            let pushed = transfer(SINK, GIGABYTE)?;
            let received: Served = a.actor.served(sink.id)?;
            ensure!(received.received == GIGABYTE, "{received:?}");
            ensure!(received.sha256 == pushed.sha256, "pushed {pushed:?}, arrived {received:?}");
            let pulled = transfer(SOURCE, 0)?;
            ensure!(pulled.bytes == GIGABYTE, "{pulled:?}");
            // Both are the same pattern.
            ensure!(pulled.sha256 == pushed.sha256, "pulled {pulled:?}, not {}", pushed.sha256);
            println!("1 GB to the guest in {} ms, back in {} ms", pushed.took_ms, pulled.took_ms);
            Ok(())
        })?;
        // The host's own multicast, and a guest that asks for a hub that has gone, may fall into
        // these seconds.
        let expected = |reason: &str| NO_DENIALS.contains(&reason) || reason == "arp";
        let denied = counts.keys().any(|reason| !expected(reason));
        ensure!(!denied, "denied: {counts:?}");
        for id in [sink.id, source.id] {
            a.actor.call::<()>(&Request::Close { id, reset: false })?;
        }
        Ok(())
    })
}

/// Without super-packets on the wire the test above and the rows of super-packets prove little.
#[test]
fn p16_p32_segmentation_offload_is_on_both_ways() -> Result<()> {
    shared::with(|shared| {
        let (host, a) = (&shared.rig.host.actor, &shared.rig.a);
        let source = a.actor.listen(([0, 0, 0, 0], 7102), Serve::Source(8 << 20))?;
        let sink = a.actor.listen(([0, 0, 0, 0], 7103), Serve::Sink)?;
        for (port, send, seen_by, interface) in [
            (7102, 0, host, enforcer_tests::harness::topology::BRIDGE),
            (7103, 8 << 20, &a.actor, "eth0"),
        ] {
            let capture: Capturing = seen_by.call(&Request::Capture {
                interface: interface.into(),
                filter: Filter { port: Some(port), ..Filter::default() },
                outgoing: false,
                keep: 64,
            })?;
            host.call::<Transferred>(&Request::Transfer {
                to: a.at(port),
                send,
                timeout_ms: 30_000,
            })?;
            // What it missed does not matter here.
            let seen: Captured =
                seen_by.call(&Request::CaptureEnd { id: capture.id, settle_ms: 40 })?;
            let largest = seen.frames.iter().map(|frame| frame.len() / 2).max().unwrap_or(0);
            ensure!(largest > 2 * LARGEST_FRAME, "port {port}: the largest frame has {largest}");
        }
        for id in [source.id, sink.id] {
            a.actor.call::<()>(&Request::Close { id, reset: false })?;
        }
        Ok(())
    })
}

#[test]
fn n7_frozen_daemon_keeps_accepting_short_connections() -> Result<()> {
    shared::with(|shared| {
        let (host, a) = (&shared.rig.host.actor, &shared.rig.a);
        shared.daemon.freeze()?;
        let mut failed = Vec::new();
        let mut visit = || -> Result<()> {
            for number in 0..2 * INBOUND_ESTABLISHED {
                let connected: Connected = host.call(&Request::Connect {
                    to: a.at(NOTEBOOK_PORT),
                    by: ConnectBy::Plain,
                    data: hex::encode(b"visit"),
                    timeout_ms: 2000,
                    hold: false,
                })?;
                if connected.answer != hex::encode(b"visit") {
                    failed.push((number, connected));
                }
            }
            Ok(())
        };
        let visited = visit();
        shared.daemon.thaw()?;
        visited.context("while the daemon stood still")?;
        ensure!(failed.is_empty(), "{} failed, first {:?}", failed.len(), failed.first());
        shared.ensure_legal()
    })
}

/// The quota of the test above is real: held connections beyond it are refused.
#[test]
fn n7_quota_of_held_connections_is_kept() -> Result<()> {
    shared::with(|shared| {
        let (host, b) = (&shared.rig.host.actor, &shared.rig.b);
        let listener = b.actor.listen(([0, 0, 0, 0], 7104), Serve::Hold)?;
        let mut held = Vec::new();
        let counts = shared.counting(|| {
            for _ in 0..INBOUND_ESTABLISHED {
                held.extend(host.hold(b.at(7104), 1000)?.id);
            }
            // The handshake's last segment is denied: only B knows that it is not connected.
            for _ in 0..3 {
                held.extend(host.hold(b.at(7104), 250)?.id);
            }
            Ok(())
        })?;
        for id in &held {
            host.call::<()>(&Request::Close { id: *id, reset: true })?;
        }
        b.actor.call::<()>(&Request::Close { id: listener.id, reset: false })?;
        let refused = counts.get("quota_established").copied().unwrap_or_default();
        ensure!(refused.events > 0, "nothing was refused: {counts:?}");
        shared.ensure_legal()
    })
}

/// Long enough for neighbour entries to grow old and be asked again, with an attack among them.
#[test]
#[ignore = "takes two minutes"]
fn n4_legal_traffic_never_fails_for_two_minutes() -> Result<()> {
    shared::with(|shared| {
        let rig = &shared.rig;
        let attacks = enforcer_tests::attacks::catalogue(&rig.scene()?);
        let attack = attacks.iter().find(|attack| attack.name == "raw IP socket to the world");
        let attack = attack.context("the catalogue has changed")?;
        let started = Instant::now();
        let mut failures = Vec::new();
        let mut rounds = 0;
        while started.elapsed() < Duration::from_mins(2) {
            rounds += 1;
            let before = shared.daemon.counts(&rig.host)?;
            observe(rig, Mode::Absent, None, attack)?;
            let legal = rig.legal_traffic()?;
            if legal.iter().any(|(_, works)| !works) {
                let counts = rise(&before, &shared.daemon.counts(&rig.host)?);
                let table = rig.host.ip("neigh")?;
                let at = started.elapsed();
                failures.push(format!("{at:?}: {legal:?}\n{counts:?}\n{table}"));
            }
        }
        ensure!(failures.is_empty(), "of {rounds} rounds:\n{}", failures.join("\n"));
        Ok(())
    })
}
