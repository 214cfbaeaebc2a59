//! Flows of a story: where to, and which of them were told twice, by their beginning and their end.

use std::collections::HashMap;

use serde_json::Value;

use super::text;
use crate::audit::store::flow_hash;

/// Flows that are remembered until their end. One more is counted again when it ends.
const OPEN: usize = 65_536;
/// Their ports are types or identifiers.
const ICMP: [u64; 2] = [1, 58];

/// The other end of a flow: address, port that was asked for, protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) address: String,
    pub(super) port: Option<u64>,
    pub(super) protocol: Option<u64>,
}

impl Key {
    /// Of a record; none if it has no address.
    pub(super) fn of(record: &Value, outward: bool) -> Option<Self> {
        let address = text(record, if outward { "destination.ip" } else { "source.ip" });
        let protocol = record["network.iana_number"].as_u64();
        let has_port = protocol.is_some_and(|protocol| !ICMP.contains(&protocol));
        let port = record["destination.port"].as_u64().filter(|_| has_port);
        (!address.is_empty()).then(|| Self { address: address.to_owned(), port, protocol })
    }
}

/// Flows whose beginning is told and whose end is not.
#[derive(Debug, Default)]
pub(super) struct Open(HashMap<u64, u32>);

impl Open {
    /// A flow was opened: one more.
    pub(super) fn open(&mut self, record: &Value) -> bool {
        let flow = hash(record);
        if self.0.len() < OPEN || self.0.contains_key(&flow) {
            *self.0.entry(flow).or_default() += 1;
        }
        true
    }

    /// A flow has ended; whether it is one more: its beginning was not told.
    pub(super) fn close(&mut self, record: &Value) -> bool {
        let flow = hash(record);
        let Some(count) = self.0.get_mut(&flow) else { return true };
        *count -= 1;
        if *count == 0 {
            self.0.remove(&flow);
        }
        false
    }

    /// How many have not ended.
    pub(super) fn count(&self) -> u64 {
        self.0.values().map(|count| u64::from(*count)).sum()
    }
}

/// Tells flows apart. Beginning and end of an ICMP flow have other numbers for ports.
fn hash(record: &Value) -> u64 {
    let protocol = record["network.iana_number"].as_u64();
    let is_icmp = protocol.is_some_and(|protocol| ICMP.contains(&protocol));
    let port = |key: &str| record[key].as_u64().filter(|_| !is_icmp);
    flow_hash(
        record["enforcer.endpoint"].as_u64().unwrap_or(0),
        protocol,
        (text(record, "source.ip"), port("source.port")),
        (text(record, "destination.ip"), port("destination.port")),
    )
}
