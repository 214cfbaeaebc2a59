//! What an operator looks at live: guests by traffic, what was denied them, flows, the gate. Pure.
//!
//! `status, flows (the control API), records (the stream) -> memory -> Sight`: `enforcer top` draws it, the dashboard
//! sends it as JSON. Rates are differences of what the kernel counts, never of what was recorded.

pub mod advice;
mod memory;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::model::{
    flows::FlowStatus,
    status::{GateStatus, Health},
};

pub use self::memory::Memory;

/// All of it at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sight {
    /// Version of the daemon.
    pub version: String,
    /// Whether policy is enforced, and why not.
    pub health: Health,
    /// The engine, in one line.
    pub docker: String,
    /// Ports of guest bridges, those of guests and hubs first by traffic.
    pub guests: Vec<Guest>,
    /// Denials by reason, most first.
    pub reasons: Vec<Reason>,
    /// The latest denials, newest first.
    pub denials: Vec<Denial>,
    /// Live flows, those with most bytes first.
    pub flows: Vec<FlowStatus>,
    /// How many more there are.
    pub other_flows: u64,
    /// Docker sockets that enforcer serves.
    pub gate: GateStatus,
    /// The latest requests there, newest first.
    pub calls: Vec<Call>,
    /// What is not seen, for people.
    pub unseen: Vec<String>,
}

/// One port of a guest bridge.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Guest {
    /// Container's name; empty: not identified.
    pub name: String,
    /// Guest network.
    pub network: String,
    /// `guest`, `hub`, `other` or `unknown`.
    pub role: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Name of its policy.
    pub policy: String,
    /// Whether that is in audit mode.
    pub audits: bool,
    /// Its limits, in words; empty: none.
    pub limits: String,
    /// `slow`, `cut` or `pause`; empty: it is let alone.
    pub held: String,
    /// Until when, RFC 3339; empty: it is not held, or until somebody lets it go.
    pub held_until: String,
    /// Flows towards it, half-open ones among them.
    pub flows_in: u32,
    /// Flows that it opened, half-open ones among them.
    pub flows_out: u32,
    /// Bits a second, both ways, Ethernet headers included.
    pub bits_per_second: u64,
    /// Frames and calls of it that were denied.
    pub denied: u64,
    /// The same, a second.
    pub denied_per_second: f64,
    /// The latest of its denials that there is a record of.
    pub last: Option<Denial>,
}

/// A reason, and how often it was one.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Reason {
    /// As records have it.
    pub reason: String,
    /// In a sentence.
    pub means: String,
    /// Frames and calls.
    pub denied: u64,
    /// The same, a second.
    pub per_second: f64,
}

/// A denial that there is a record of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Denial {
    /// Number of the record.
    pub seq: u64,
    /// When, RFC 3339.
    pub time: String,
    /// Container's name.
    pub guest: String,
    /// Guest network.
    pub network: String,
    /// Why.
    pub reason: String,
    /// Number of the rule that denies it; none opens it: `None`.
    pub rule: Option<u32>,
    /// Who sent it, and to whom: addresses, ports, or the socket.
    pub what: String,
    /// Where to, if it is a conversation that a guest began.
    pub to: Option<To>,
    /// The process, if it is known.
    pub process: String,
}

/// Where a conversation was to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct To {
    /// Address.
    pub address: std::net::IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Port; 0 where there is none.
    pub port: u16,
}

/// A request at the gate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Call {
    /// Number of the record.
    pub seq: u64,
    /// When, RFC 3339.
    pub time: String,
    /// Whose: `user of hub`, or the hub.
    pub whose: String,
    /// `allow` or `deny`.
    pub verdict: String,
    /// Method and path.
    pub request: String,
    /// Why it was refused.
    pub why: String,
}
