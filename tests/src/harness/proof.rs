//! Proof of one attack's outcome. A drop is proven by three observations: nothing was captured
//! anywhere, the named counters rose by exactly what was sent, and records written + suppressed +
//! lost account for all of it; with legal traffic passing in the same run.

use std::{collections::BTreeMap, fmt};

use anyhow::Result;

use super::{
    capture::Captures,
    enforcer::{Count, Counters, Counts, Enforcer, Mode},
    scenario,
    topology::Rig,
};
use crate::{
    attacks::{Attack, Point, Step, Through},
    hex,
    protocol::{Connected, Exchanged, Request, Send, Sent},
};

/// Milliseconds that a connect may take when it should fail: less than the kernel's first
/// retransmission, so that one attempt is one SYN.
const REFUSED_MS: u64 = 250;
/// The same when it should succeed, on a busy machine.
const ACCEPTED_MS: u64 = 3000;
const BR_NETFILTER: [&str; 2] =
    ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"];

/// Counters that rise when nobody attacks.
pub const NO_DENIALS: [&str; 4] = ["flow_opened", "flow_closed", "exec", "not_addressed"];

/// What was seen of one attack.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// What the kernel of A took: frames, attempts.
    pub sent: u64,
    /// What had its effect: captured where it aims at, accepted, answered.
    pub reached: u64,
    /// Captured by marker, by point.
    pub captured: BTreeMap<Point, u64>,
    /// Rise of the counters, by reason.
    pub counted: Counts,
    /// Reasons in the records of it.
    pub recorded: BTreeMap<String, u64>,
}

impl Observation {
    /// How much got through.
    #[must_use]
    pub fn through(&self) -> Through {
        Through::measure(self.sent, self.reached)
    }

    /// The reasons of denials that were counted, for tables; without those that also rise when
    /// nobody attacks.
    #[must_use]
    pub fn reasons(&self) -> String {
        let noise = |reason: &&String| NO_DENIALS.contains(&reason.as_str());
        let reasons: Vec<_> =
            self.counted.keys().filter(|reason| !noise(reason)).cloned().collect();
        reasons.join(" ")
    }
}

/// Performs an attack and observes it; with counters and records when the daemon runs.
pub fn observe(
    rig: &Rig,
    mode: Mode,
    enforcer: Option<&Enforcer>,
    attack: &Attack,
) -> Result<Observation> {
    rig.settle()?;
    let off = attack.without_br_netfilter && mode != Mode::Classic;
    for path in BR_NETFILTER.iter().filter(|_| off) {
        rig.host.sysctl(path, "0")?;
    }
    for (path, value, _) in attack.sysctls {
        rig.host.sysctl(path, value)?;
    }
    let before = enforcer.map(|daemon| daemon.counts(&rig.host)).transpose()?.unwrap_or_default();
    let records_before = enforcer.map_or(0, |daemon| daemon.records().len());
    let filter = match mode {
        Mode::Absent | Mode::Classic => attack.filter_of_its_own(),
        Mode::Passing | Mode::Enforcing => attack.filter(),
    };
    let captures = Captures::start(&rig.points(), &filter)?;
    let timeout_ms = match mode {
        Mode::Absent | Mode::Passing => ACCEPTED_MS,
        Mode::Classic if attack.classic == Through::All => ACCEPTED_MS,
        Mode::Classic | Mode::Enforcing => REFUSED_MS,
    };
    let performed = perform(rig, attack, timeout_ms);
    let captured = captures.end()?;
    let after = enforcer.map(|daemon| daemon.counts(&rig.host)).transpose()?.unwrap_or_default();
    for (path, _, value) in attack.sysctls {
        rig.host.sysctl(path, value)?;
    }
    for path in BR_NETFILTER.iter().filter(|_| off) {
        rig.host.sysctl(path, "1")?;
    }
    let (sent, effect) = performed?;
    let captured: BTreeMap<_, _> =
        captured.into_iter().map(|(point, captured)| (point, captured.count)).collect();
    let mut recorded = BTreeMap::new();
    if let Some(daemon) = enforcer {
        for record in daemon.records().iter().skip(records_before) {
            if let Some(reason) = record.get("event.reason").and_then(serde_json::Value::as_str) {
                *recorded.entry(reason.to_owned()).or_default() += 1;
            }
        }
    }
    let reached = effect.unwrap_or_else(|| captured.get(&attack.at).copied().unwrap_or_default());
    Ok(Observation { sent, reached, captured, counted: rise(&before, &after), recorded })
}

/// What A sent and, for attacks that are not counted by capture, how much of it had its effect.
fn perform(rig: &Rig, attack: &Attack, timeout_ms: u64) -> Result<(u64, Option<u64>)> {
    let a = &rig.a.actor;
    match &attack.step {
        Step::Frames { frames, repeat, by } => {
            let sent: Sent = a.send(Send {
                interface: "eth0".into(),
                frames: frames.iter().map(|frame| hex::encode(frame)).collect(),
                repeat: *repeat,
                by: by.clone(),
                rate: 0,
            })?;
            Ok((sent.sent, None))
        }
        Step::RawIp { to, packets } => {
            let packets = packets.iter().map(|packet| hex::encode(packet)).collect();
            let sent: Sent = a.call(&Request::RawIp { to: *to, packets })?;
            Ok((sent.sent, None))
        }
        Step::Connect { to, by } => {
            let mut accepted = 0;
            for to in to {
                let connected: Connected = a.call(&Request::Connect {
                    to: *to,
                    by: *by,
                    data: hex::encode(&attack.marker),
                    timeout_ms,
                    hold: false,
                })?;
                accepted += u64::from(connected.errno.is_none() && connected.peer.is_some());
            }
            Ok((to.len() as u64, Some(accepted)))
        }
        Step::Ask { to } => {
            let mut answered = 0;
            for to in to {
                let exchanged: Exchanged = a.call(&Request::UdpExchange {
                    from_port: 0,
                    to: *to,
                    data: hex::encode(&attack.marker),
                    count: 1,
                    segment: 0,
                    timeout_ms,
                })?;
                answered += u64::from(exchanged.answer.is_some());
            }
            Ok((to.len() as u64, Some(answered)))
        }
        Step::Segments { to, size, count } => {
            let mut part = attack.marker.clone();
            part.resize(usize::from(*size), 0);
            let exchanged: Exchanged = a.call(&Request::UdpExchange {
                from_port: 0,
                to: *to,
                data: hex::encode(&part.repeat(usize::from(*count))),
                count: 1,
                segment: *size,
                timeout_ms: 50,
            })?;
            Ok((exchanged.sent, None))
        }
        Step::Scenario(which) => {
            let outcome = scenario::perform(rig, attack, *which)?;
            Ok((outcome.sent, Some(outcome.reached)))
        }
    }
}

/// What speaks against the expectation; empty: it holds.
#[must_use]
pub fn judge(mode: Mode, attack: &Attack, seen: &Observation) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut expect = |holds: bool, complaint: String| {
        if !holds {
            complaints.push(Complaint { title: attack.title(), complaint });
        }
    };
    if seen.sent == 0 {
        // The kernel may refuse a header that lies; anything else must have left A.
        expect(!attack.exact, "the kernel took nothing of it".into());
        return complaints;
    }
    match mode {
        Mode::Absent | Mode::Classic => {
            let expected = if mode == Mode::Absent { attack.unprotected } else { attack.classic };
            let through = seen.through();
            let holds = through == expected
                // "some" is what cannot be said exactly.
                || (expected == Through::Some && through == Through::All);
            expect(
                holds,
                format!(
                    "{} of {} got through, expected {}",
                    seen.reached,
                    seen.sent,
                    expected.name()
                ),
            );
        }
        Mode::Enforcing | Mode::Passing => {
            expect(seen.reached == 0, format!("{} of {} got through", seen.reached, seen.sent));
            for (point, count) in &seen.captured {
                expect(*count == 0, format!("{count} frames captured at {}", point.name()));
            }
            let named = attack
                .reasons
                .iter()
                .filter_map(|reason| seen.counted.get(reason.name()))
                .fold(Count::default(), |sum, count| add(sum, *count));
            let counted = if attack.exact { named.events == seen.sent } else { named.events > 0 };
            expect(
                counted,
                format!(
                    "sent {}, but {} counted under its reasons; all that rose: {:?}",
                    seen.sent, named.events, seen.counted
                ),
            );
            expect(
                named.recorded + named.suppressed + named.lost == named.events,
                format!("records do not account for the denials: {named:?}"),
            );
        }
    }
    complaints
}

/// One failed expectation.
#[derive(Clone, Debug)]
pub struct Complaint {
    title: String,
    complaint: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.title, self.complaint)
    }
}

/// How much the counters rose, by reason. One that has gone, with its endpoint, did not rise.
#[must_use]
pub fn rise(before: &Counters, after: &Counters) -> Counts {
    let mut rise = Counts::new();
    for (key, now) in after {
        let then = before.get(key).copied().unwrap_or_default();
        // Counters of a name are a sum over its endpoints, and those of one that is gone are
        // forgotten after a minute: what fell did not rise.
        let then = if then.events > now.events { *now } else { then };
        let more = Count {
            events: now.events - then.events,
            packets: now.packets - then.packets,
            recorded: now.recorded - then.recorded,
            suppressed: now.suppressed - then.suppressed,
            lost: now.lost - then.lost,
        };
        if more.events > 0 {
            let sum = rise.entry(key.reason.clone()).or_default();
            *sum = add(*sum, more);
        }
    }
    rise
}

fn add(a: Count, b: Count) -> Count {
    Count {
        events: a.events + b.events,
        packets: a.packets + b.packets,
        recorded: a.recorded + b.recorded,
        suppressed: a.suppressed + b.suppressed,
        lost: a.lost + b.lost,
    }
}
