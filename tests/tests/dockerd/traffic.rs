//! Bulk and many: what is allowed arrives whole, by super-packets, and without the daemon.

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    harness::topology::NOTEBOOK_PORT,
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
            let sunk: Served = a.actor.served(sink.id)?;
            ensure!(sunk.received == GIGABYTE, "{sunk:?}");
            ensure!(sunk.sha256 == pushed.sha256, "pushed {pushed:?}, arrived {sunk:?}");
            let pulled = transfer(SOURCE, 0)?;
            ensure!(pulled.bytes == GIGABYTE, "{pulled:?}");
            // Both are the same pattern.
            ensure!(pulled.sha256 == pushed.sha256, "pulled {pulled:?}, not {}", pushed.sha256);
            println!("1 GB to the guest in {} ms, back in {} ms", pushed.took_ms, pulled.took_ms);
            Ok(())
        })?;
        let denied: Vec<_> = counts.keys().filter(|reason| *reason != "flow_opened").collect();
        // The host's own multicast may fall into these seconds.
        ensure!(denied.iter().all(|reason| *reason == "not_addressed"), "denied: {counts:?}");
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
