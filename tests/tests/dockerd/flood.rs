//! Guests that misbehave all the while, and a conversation that must not notice.

use std::{net::SocketAddr, path::PathBuf, thread};

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
        netns::Namespace,
        proof::rise,
        residue::Snapshot,
        topology::{Base, NOTEBOOK_PORT, Rig, WORLD},
    },
    hex,
    protocol::{Filter, Id, Received, Request, Send, Sent},
};

/// In every forbidden datagram.
pub(super) const MARKER: &[u8] = b"enforcer-test-survival";
/// Forbidden frames a second.
pub(super) const RATE: u32 = 10_000;

/// A flood of forbidden datagrams from A on a thread of its own.
pub(super) struct Flood {
    task: thread::JoinHandle<Result<Sent>>,
    captures: Captures,
}

impl Flood {
    pub(super) fn start(rig: &Rig, frames: u32) -> Result<Self> {
        Self::of(rig, &rig.a.actor, frames)
    }

    /// From whoever has A's end of the wire.
    pub(super) fn of(rig: &Rig, actor: &Actor, frames: u32) -> Result<Self> {
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
        let actor = actor.clone();
        Ok(Self { task: thread::spawn(move || actor.send(send)), captures })
    }

    /// Frames that were sent, and frames that arrived anywhere.
    pub(super) fn end(self) -> Result<(u64, u64)> {
        let sent = self.task.join().map_err(|panic| anyhow::anyhow!("the flood: {panic:?}"))??;
        let seen = self.captures.end()?;
        Ok((sent.sent, seen.values().map(|captured| captured.count).sum()))
    }
}

/// A connection that lives through everything.
pub(super) struct Talk<'a> {
    actor: &'a Actor,
    id: Id,
}

impl<'a> Talk<'a> {
    pub(super) fn open(actor: &'a Actor, rig: &Rig) -> Result<Self> {
        Self::to(actor, rig.a.at(NOTEBOOK_PORT))
    }

    /// To whoever says everything again.
    pub(super) fn to(actor: &'a Actor, at: impl Into<SocketAddr>) -> Result<Self> {
        let connected = actor.hold(at, 2000)?;
        Ok(Self { actor, id: connected.id.with_context(|| format!("{connected:?}"))? })
    }

    /// Says something, and hears it again.
    pub(super) fn go_on(&self, words: &str) -> Result<()> {
        let data = hex::encode(words.as_bytes());
        let _: Sent = self.actor.call(&Request::Write { id: self.id, data: data.clone() })?;
        let read = Request::Read { id: self.id, length: words.len(), timeout_ms: 10_000 };
        let heard: Received = self.actor.call(&read)?;
        ensure!(heard.data == data, "{words}: {heard:?}");
        Ok(())
    }
}

pub(super) fn binary() -> Result<PathBuf> {
    artifacts::enforcer().context("no enforcer binary: set ENFORCER_BIN")
}

pub(super) fn long() -> bool {
    std::env::var_os("ENFORCER_TEST_LONG").is_some()
}

/// A daemon beside guests that it knows.
pub(super) fn start(settings: &Settings) -> Result<(Rig, Enforcer)> {
    let rig = Base::start(Options::default())?.with_guests()?;
    let daemon = Enforcer::start_beside(&rig, settings)?;
    for guest in [&rig.a, &rig.b] {
        daemon.wait_identified(&rig.host, &guest.name, "guest")?;
    }
    Ok((rig, daemon))
}

/// Does something, and fails unless it was denied exactly `times` for `reasons` together, and records
/// account for it.
pub(super) fn denied(
    daemon: &Enforcer,
    host: &Namespace,
    (times, reasons): (u64, &[&str]),
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let before = daemon.counts(host)?;
    work()?;
    let counts = rise(&before, &daemon.counts(host)?);
    let named = || reasons.iter().filter_map(|reason| counts.get(*reason));
    let events: u64 = named().map(|count| count.events).sum();
    ensure!(events == times, "{events} denials for {reasons:?}, not {times}: {counts:?}");
    let accounted: u64 = named().map(|count| count.recorded + count.suppressed + count.lost).sum();
    ensure!(accounted == times, "records do not account for the denials: {counts:?}");
    Ok(())
}

/// Ends everything; nothing is left behind.
pub(super) fn finish(rig: Rig, daemon: Enforcer, residue: &Snapshot) -> Result<()> {
    daemon.stop()?;
    rig.stop()?;
    residue.ensure_nothing_new()
}
