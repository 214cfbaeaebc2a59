//! What is remembered from one look to the next, so that there are rates and latest denials.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use enforcer_common::packet::{ICMP, ICMPV6, TCP, UDP};

use super::{Call, Denial, Guest, Reason, Sight, To, advice};
use crate::{
    audit::record::{Body, Record},
    model::{
        flows::FlowsReport,
        status::{CounterStatus, EndpointStatus, RestraintStatus, StatusReport},
    },
};

/// Denials and requests that are shown.
const LATEST: usize = 100;
/// Guests whose last denial is remembered.
const GUESTS: usize = 4096;
/// Reasons of counters that count no denial.
const NO_DENIALS: [&str; 3] = ["flow_opened", "flow_closed", "exec"];
/// The reason of the counter of flows that ended.
const FLOW_CLOSED: &str = "flow_closed";

/// A port: its network and its container.
type Port = (String, String);

/// What was counted at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
struct Counted {
    bytes: BTreeMap<Port, u64>,
    denied: BTreeMap<Port, u64>,
    reasons: BTreeMap<String, u64>,
}

/// What is remembered.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    before: Option<(u64, Counted)>,
    last: BTreeMap<Port, Denial>,
    denials: VecDeque<Denial>,
    calls: VecDeque<Call>,
}

impl Memory {
    /// Takes in a record of the stream.
    pub fn hear(&mut self, record: &Record) {
        if let Some(denial) = denial(record) {
            let port = (denial.network.clone(), denial.guest.clone());
            if self.last.len() < GUESTS || self.last.contains_key(&port) {
                self.last.insert(port, denial.clone());
            }
            push(&mut self.denials, denial);
        } else if let Body::Gate(_) = &record.body {
            self.calls.extend(call(record));
            self.calls.drain(..self.calls.len().saturating_sub(LATEST));
        }
    }

    /// What is to be seen now; `now_ns` is of any clock that never goes back.
    pub fn look(&mut self, report: &StatusReport, flows: &FlowsReport, now_ns: u64) -> Sight {
        if self.last.len() >= GUESTS {
            // Guests come and go: those that are gone make room.
            let there: BTreeSet<(&str, &str)> = report
                .endpoints
                .iter()
                .map(|port| (port.network.as_str(), port.container.as_str()))
                .collect();
            self.last
                .retain(|(network, guest), _| there.contains(&(network.as_str(), guest.as_str())));
        }
        let counted = count(report, flows);
        let (then_ns, before) = self.before.take().unwrap_or_else(|| (now_ns, counted.clone()));
        let elapsed_ns = now_ns.saturating_sub(then_ns);
        let rates = Rates { before: &before, now: &counted, elapsed_ns };
        let held: BTreeMap<&str, &RestraintStatus> =
            report.restrained.iter().map(|one| (one.container.as_str(), one)).collect();
        let of = |port: &EndpointStatus| {
            let held = held.get(port.container.as_str()).copied();
            self.guest(port, held, &rates)
        };
        let mut guests: Vec<Guest> = report.endpoints.iter().map(of).collect();
        guests.sort_by(|one, other| {
            let rank = |guest: &Guest| (guest.bits_per_second, guest.denied);
            rank(other).cmp(&rank(one)).then_with(|| one.name.cmp(&other.name))
        });
        let mut reasons: Vec<Reason> = counted
            .reasons
            .iter()
            .map(|(reason, denied)| Reason {
                reason: reason.clone(),
                means: advice::means(reason).to_owned(),
                denied: *denied,
                per_second: rates.of(&before.reasons, &counted.reasons, reason),
            })
            .collect();
        reasons.sort_by(|one, other| {
            other.denied.cmp(&one.denied).then_with(|| one.reason.cmp(&other.reason))
        });
        self.before = Some((now_ns, counted));
        Sight {
            version: report.version.clone(),
            health: report.health.clone(),
            docker: report.docker.clone(),
            guests,
            reasons,
            denials: self.denials.iter().rev().cloned().collect(),
            flows: flows.flows.clone(),
            other_flows: flows.others,
            gate: report.gate,
            calls: self.calls.iter().rev().cloned().collect(),
            unseen: report.unseen.clone(),
        }
    }

    fn guest(
        &self,
        port: &EndpointStatus,
        held: Option<&RestraintStatus>,
        rates: &Rates<'_>,
    ) -> Guest {
        let key = (port.network.clone(), port.container.clone());
        let bytes = rates.of(&rates.before.bytes, &rates.now.bytes, &key);
        let flows = port.flows;
        Guest {
            name: port.container.clone(),
            network: port.network.clone(),
            role: port.role.clone(),
            addresses: port.addresses.clone(),
            policy: port.policy.clone(),
            audits: port.audits,
            limits: if port.limits.is_empty() { String::new() } else { port.limits.to_string() },
            held: held.map(|held| held.answer.clone()).unwrap_or_default(),
            held_until: held.and_then(|held| held.until.clone()).unwrap_or_default(),
            flows_in: flows.inbound_established + flows.inbound_half_open,
            flows_out: flows.outbound_established + flows.outbound_half_open,
            bits_per_second: whole(bytes * 8.0),
            denied: rates.now.denied.get(&key).copied().unwrap_or_default(),
            denied_per_second: rates.of(&rates.before.denied, &rates.now.denied, &key),
            last: self.last.get(&key).cloned(),
        }
    }
}

/// Two moments, and the time between them.
struct Rates<'a> {
    before: &'a Counted,
    now: &'a Counted,
    elapsed_ns: u64,
}

impl Rates<'_> {
    /// How much it grew, a second. What was not counted before has not grown yet: it may be older than this look.
    fn of<K: Ord>(&self, before: &BTreeMap<K, u64>, now: &BTreeMap<K, u64>, key: &K) -> f64 {
        let (Some(before), Some(now)) = (before.get(key), now.get(key)) else { return 0.0 };
        if self.elapsed_ns == 0 {
            return 0.0;
        }
        float(now.saturating_sub(*before)) * 1e9 / float(self.elapsed_ns)
    }
}

#[expect(clippy::cast_precision_loss, reason = "what is shown has three digits")]
fn float(number: u64) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are positive, and the cast saturates"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

fn count(report: &StatusReport, flows: &FlowsReport) -> Counted {
    let mut counted = Counted::default();
    for port in &report.endpoints {
        let key = (port.network.clone(), port.container.clone());
        counted.bytes.insert(key.clone(), 0);
        counted.denied.insert(key, 0);
    }
    for counter in &report.counters {
        let key = (counter.network.clone(), counter.container.clone());
        if is_denial(counter) {
            *counted.reasons.entry(counter.reason.clone()).or_default() += counter.events;
            if let Some(denied) = counted.denied.get_mut(&key) {
                *denied += counter.events;
            }
        } else if counter.reason == FLOW_CLOSED
            && let Some(bytes) = counted.bytes.get_mut(&key)
        {
            *bytes += counter.bytes;
        }
    }
    for flow in &flows.flows {
        let key = (flow.network.clone(), flow.guest.clone());
        if let Some(bytes) = counted.bytes.get_mut(&key) {
            *bytes += flow.bytes_in + flow.bytes_out;
        }
    }
    counted
}

fn is_denial(counter: &CounterStatus) -> bool {
    !NO_DENIALS.contains(&counter.reason.as_str())
}

fn push(latest: &mut VecDeque<Denial>, denial: Denial) {
    if latest.len() == LATEST {
        latest.pop_front();
    }
    latest.push_back(denial);
}

fn denial(record: &Record) -> Option<Denial> {
    let base = || {
        let subject = record.body.subject().cloned().unwrap_or_default();
        Denial {
            seq: record.seq,
            time: record.time.clone(),
            guest: subject.container,
            network: subject.network,
            ..Denial::default()
        }
    };
    match &record.body {
        Body::Denied(frame) => {
            // Only what the guest itself sends is a conversation that it began.
            let to = || {
                let protocol = frame.protocol.filter(|_| frame.hook == "from_guest")?;
                let address = frame.destination.as_ref()?.parse().ok()?;
                to(address, protocol, frame.destination_port.unwrap_or_default())
            };
            let reason = frame.reason.clone().unwrap_or_default();
            Some(Denial { reason, rule: frame.rule, what: frame.to_string(), to: to(), ..base() })
        }
        Body::ConnectRefused(call) => {
            let to = call.destination.parse().ok();
            Some(Denial {
                reason: call.reason.clone(),
                rule: call.rule,
                what: format!(
                    "{} to {} port {}",
                    call.call, call.destination, call.destination_port
                ),
                to: to.and_then(|address| self::to(address, call.protocol, call.destination_port)),
                process: format!("{} ({})", call.process.name, call.process.pid),
                ..base()
            })
        }
        Body::SocketRefused(call) => Some(Denial {
            reason: call.reason.clone(),
            what: format!("{} {}", call.call, call.socket.as_deref().unwrap_or("a socket")),
            process: format!("{} ({})", call.process.name, call.process.pid),
            ..base()
        }),
        _ => None,
    }
}

fn to(address: std::net::IpAddr, protocol: u8, port: u16) -> Option<To> {
    match protocol {
        TCP | UDP => Some(To { address, protocol, port }),
        // Its "port" is a code.
        ICMP | ICMPV6 => Some(To { address, protocol, port: 0 }),
        _ => None,
    }
}

fn call(record: &Record) -> Option<Call> {
    let Body::Gate(call) = &record.body else { return None };
    // What lasts is told once, when it is over.
    if call.event == "begun" {
        return None;
    }
    let whose = match &call.user {
        Some(user) => format!("{user} of {}", call.hub),
        None => call.hub.clone(),
    };
    let request = [call.method.as_deref(), call.path.as_deref()];
    let why = call.why.clone().or_else(|| call.count.map(|count| format!("{count} more refused")));
    Some(Call {
        seq: record.seq,
        time: record.time.clone(),
        whose,
        verdict: call.verdict.clone(),
        request: request.into_iter().flatten().collect::<Vec<_>>().join(" "),
        why: why.unwrap_or_default(),
    })
}
