//! A storm: two guests that send forbidden frames of many kinds at once, and what they themselves say
//! they sent, against which records are counted.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use enforcer_common::abi::verdict::DropReason;
use enforcer_tests::{
    attacks::{End, Scene},
    frames::{Ip, Ipv4, Tcp, ethernet, ethertype, flag, tagged, udp_packet},
    harness::{
        capture::Captures,
        topology::{Rig, WORLD},
    },
    hex,
    protocol::{Filter, Send, Sent},
};
use serde_json::Value;

use crate::flood::MARKER;

/// Frames a second, of each guest and reason.
const RATE: u32 = 300;
/// Longest wait until everything is accounted for, and how often it is looked at.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(250);

/// A frame of `from`'s for each of many reasons. None of them is sent by a guest's kernel by itself.
fn frames(scene: &Scene, from: End, other: End) -> Vec<(DropReason, Vec<u8>)> {
    let frame = |packet: &[u8]| ethernet(scene.host.mac, from.mac, ethertype::IPV4, packet);
    let ip = |protocol| Ipv4::new(from.ipv4, WORLD, protocol);
    let raw = |header: Ipv4| frame(&header.packet(MARKER));
    let udp = |header: Ipv4| udp_packet(&Ip::V4(header), 4000, 53, MARKER);
    let tcp = |flags| frame(&Tcp::new(4000, 80, flags).packet(&Ip::V4(ip(0)), MARKER));
    let honest = frame(&udp(ip(0)));
    let elsewhere = Ipv4::new(from.ipv4, other.ipv4, 0);
    vec![
        (DropReason::Policy, honest.clone()),
        (DropReason::SourceMac, ethernet(scene.host.mac, other.mac, ethertype::IPV4, &udp(ip(0)))),
        (DropReason::SourceAddress, frame(&udp(Ipv4::new(other.ipv4, WORLD, 0)))),
        (
            DropReason::EtherType,
            ethernet(scene.host.mac, from.mac, ethertype::EXPERIMENT, &[MARKER, MARKER].concat()),
        ),
        (DropReason::Vlan, tagged(&honest, &[(0x8100, 1)])),
        (DropReason::Fragment, raw(Ipv4 { fragment: 0x2000, ..ip(17) })),
        (DropReason::IpOptions, raw(Ipv4 { options: vec![131, 4, 0, 0], ..ip(17) })),
        (DropReason::Protocol, raw(ip(47))),
        (DropReason::L2Destination, ethernet(other.mac, from.mac, ethertype::IPV4, &udp(ip(0)))),
        (DropReason::GuestToGuest, frame(&udp(elsewhere))),
        (DropReason::NoFlow, tcp(flag::ACK)),
        (DropReason::TcpFlags, tcp(0)),
    ]
}

/// A guest and a reason.
type Key = (String, String);
/// How many frames, by guest and reason.
pub(super) type Counts = BTreeMap<Key, u64>;

/// Both guests at once, each reason on a thread of its own.
pub(super) struct Storm {
    tasks: Vec<(Key, thread::JoinHandle<Result<Sent>>)>,
    captures: Captures,
}

impl Storm {
    pub(super) fn start(rig: &Rig, seconds: u32) -> Result<Self> {
        let scene = rig.scene()?;
        let filter = Filter { marker: hex::encode(MARKER), ..Filter::default() };
        let captures = Captures::start(&rig.points(), &filter)?;
        let mut tasks = Vec::new();
        for (guest, from, other) in [(&rig.a, scene.a, scene.b), (&rig.b, scene.b, scene.a)] {
            for (reason, frame) in frames(&scene, from, other) {
                let send = Send {
                    interface: "eth0".into(),
                    frames: vec![hex::encode(&frame)],
                    repeat: RATE * seconds,
                    rate: RATE,
                    ..Send::default()
                };
                let actor = guest.actor.clone();
                let task = thread::spawn(move || actor.send(send));
                tasks.push(((guest.name.clone(), reason.name().to_owned()), task));
            }
        }
        Ok(Self { tasks, captures })
    }

    /// How many frames the senders' kernels took. None of them arrived anywhere.
    pub(super) fn end(self) -> Result<Counts> {
        let mut sent = Counts::new();
        for (key, task) in self.tasks {
            let done = task.join().map_err(|panic| anyhow::anyhow!("a sender: {panic:?}"))??;
            sent.insert(key, done.sent);
        }
        let seen = self.captures.end()?;
        let arrived: u64 = seen.values().map(|captured| captured.count).sum();
        ensure!(arrived == 0, "{arrived} frames arrived: {seen:?}");
        ensure!(sent.values().all(|count| *count > 0), "somebody sent nothing: {sent:?}");
        Ok(sent)
    }
}

/// What records account for: denials that are written, and ones that are told to be lost.
#[derive(Clone, Debug, Default)]
pub(super) struct Accounts {
    pub(super) written: Counts,
    pub(super) lost: Counts,
    /// By the cause of the loss.
    pub(super) causes: BTreeMap<String, u64>,
}

impl Accounts {
    pub(super) fn of(records: &[Value]) -> Self {
        let mut accounts = Self::default();
        for record in records {
            let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
            let key = (text("container.name"), text("event.reason"));
            match record["event.action"].as_str() {
                Some("denied") => *accounts.written.entry(key).or_default() += 1,
                Some("loss") => {
                    let count = record["enforcer.count"].as_u64().unwrap_or(0);
                    *accounts.lost.entry(key).or_default() += count;
                    *accounts.causes.entry(text("enforcer.cause")).or_default() += count;
                }
                _ => {}
            }
        }
        accounts
    }

    /// What is accounted for of what was sent.
    fn sums(&self, sent: &Counts) -> Counts {
        let of = |counts: &Counts, key| counts.get(key).copied().unwrap_or(0);
        let sum = |key| of(&self.written, key) + of(&self.lost, key);
        sent.keys().map(|key| (key.clone(), sum(key))).collect()
    }
}

/// Waits until records account for everything that was sent, to the frame; fails if they account for
/// more. Gives the records.
pub(super) fn ensure_accounted(
    what: &str,
    sent: &Counts,
    mut read: impl FnMut() -> Result<Vec<Value>>,
) -> Result<Vec<Value>> {
    let begun = Instant::now();
    loop {
        let records = read()?;
        let accounts = Accounts::of(&records);
        let found = accounts.sums(sent);
        if found == *sent {
            return Ok(records);
        }
        let is_more = sent.iter().any(|(key, count)| found[key] > *count);
        if is_more || begun.elapsed() >= PATIENCE {
            let wrong = sent.iter().filter(|(key, count)| found[*key] != **count);
            let wrong: Vec<_> = wrong.map(|(key, count)| (key, count, found[key])).collect();
            bail!("{what}: sent, accounted for: {wrong:?}; lost by {:?}", accounts.causes);
        }
        thread::sleep(LOOK);
    }
}

/// Each number is there once, or covered by a gap; how many are missing.
pub(super) fn ensure_contiguous(what: &str, records: &[Value]) -> Result<u64> {
    let (mut next, mut missing) = (None, 0);
    for record in records {
        let seq = record["event.sequence"].as_u64().with_context(|| format!("{what}: {record}"))?;
        let is_gap = record["event.action"] == "gap";
        let first = if is_gap { record["enforcer.from_seq"].as_u64() } else { Some(seq) };
        if let Some(next) = next {
            ensure!(first == Some(next), "{what}: {next} is missing before {record}");
        }
        if is_gap {
            missing += record["enforcer.count"].as_u64().unwrap_or(0);
        }
        next = Some(seq + 1);
    }
    Ok(missing)
}

/// Those with a number: the store's own lines have none.
pub(super) fn numbered(mut records: Vec<Value>) -> Vec<Value> {
    records.retain(|record| record["event.sequence"].is_u64());
    records
}
