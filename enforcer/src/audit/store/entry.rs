//! A record as a query sees it: whatever fields it has, of any kind and version.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::{bloom::hash, time};

/// The fields that a query looks at; a missing one is empty or zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Entry<'a> {
    /// What the record tells: `flow_opened`, `flow_closed`, `denied`, …
    #[serde(rename = "event.action", borrow)]
    pub kind: Cow<'a, str>,
    /// Sequence number.
    #[serde(rename = "event.sequence")]
    pub seq: u64,
    /// When it happened, RFC 3339.
    #[serde(rename = "@timestamp", borrow)]
    pub time: Cow<'a, str>,
    /// The same on the monotonic clock, ns.
    #[serde(rename = "enforcer.monotonic_ns")]
    pub mono_ns: u64,
    /// When the flow that closed was opened, RFC 3339.
    #[serde(rename = "event.start", borrow)]
    pub start: Cow<'a, str>,
    /// The user that the guest was started for.
    #[serde(rename = "user.name", borrow)]
    pub user: Cow<'a, str>,
    /// The hub that it was started by.
    #[serde(rename = "enforcer.hub", borrow)]
    pub hub: Cow<'a, str>,
    /// The guest's name.
    #[serde(rename = "container.name", borrow)]
    pub container: Cow<'a, str>,
    /// Docker's id of it.
    #[serde(rename = "container.id", borrow)]
    pub container_id: Cow<'a, str>,
    /// The endpoint's id in the kernel.
    #[serde(rename = "enforcer.endpoint")]
    pub endpoint: u64,
    /// `allow` or `deny`.
    #[serde(rename = "enforcer.verdict", borrow)]
    pub verdict: Cow<'a, str>,
    /// Why it was denied.
    #[serde(rename = "event.reason", borrow)]
    pub reason: Cow<'a, str>,
    /// Why it would have been denied but for audit mode.
    #[serde(rename = "enforcer.would_deny", borrow)]
    pub would_deny: Cow<'a, str>,
    /// Number of the rule that allowed, or would have denied.
    #[serde(rename = "rule.id")]
    pub rule: Option<u64>,
    /// Source address.
    #[serde(rename = "source.ip", borrow)]
    pub source: Cow<'a, str>,
    /// Destination address.
    #[serde(rename = "destination.ip", borrow)]
    pub destination: Cow<'a, str>,
    /// IP protocol.
    #[serde(rename = "network.iana_number")]
    pub protocol: Option<u64>,
    /// Source port, or ICMP type.
    #[serde(rename = "source.port")]
    pub source_port: Option<u64>,
    /// Destination port, or ICMP code.
    #[serde(rename = "destination.port")]
    pub destination_port: Option<u64>,
    /// Packets from the one who opened the flow.
    #[serde(rename = "source.packets")]
    pub source_packets: Option<u64>,
    /// Packets to the one who opened the flow.
    #[serde(rename = "destination.packets")]
    pub destination_packets: Option<u64>,
    /// Bytes from the one who opened the flow.
    #[serde(rename = "source.bytes")]
    pub source_bytes: Option<u64>,
    /// Bytes to the one who opened the flow.
    #[serde(rename = "destination.bytes")]
    pub destination_bytes: Option<u64>,
}

impl<'a> Entry<'a> {
    /// Reads a line. A field of another type than it has here counts as missing.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Self {
        if let Ok(entry) = serde_json::from_slice(line) {
            return entry;
        }
        serde_json::from_slice::<Value>(line).map(|value| loose(&value)).unwrap_or_default()
    }

    /// When it happened, microseconds since 1970; 0 if it does not say.
    #[must_use]
    pub fn at(&self) -> u64 {
        time::micros(&self.time).unwrap_or(0)
    }

    /// When the flow was opened that this record closes.
    pub(super) fn opened_at(&self) -> Option<u64> {
        (self.kind == "flow_closed").then(|| time::micros(&self.start).unwrap_or(0))
    }

    /// Tells flows apart that may be open at one time.
    pub(super) fn flow(&self) -> u64 {
        let from = (self.source.as_ref(), self.source_port);
        let to = (self.destination.as_ref(), self.destination_port);
        flow_hash(self.endpoint, self.protocol, from, to)
    }

    /// What of it the index remembers: its addresses, alone and with their ports.
    pub(super) fn hashes(&self) -> impl Iterator<Item = u64> {
        let end = |side, address: &str, port: Option<u64>| {
            let alone = address_hash(side, address, None);
            let both = port.map(|port| address_hash(side, address, Some(port)));
            let is_there = !address.is_empty();
            [is_there.then_some(alone), both.filter(|_| is_there)]
        };
        let from = end(Side::From, &self.source, self.source_port);
        let to = end(Side::To, &self.destination, self.destination_port);
        from.into_iter().chain(to).flatten()
    }
}

/// Tells the flows of an endpoint apart by their ends.
pub(in crate::audit) fn flow_hash(
    endpoint: u64,
    protocol: Option<u64>,
    from: (&str, Option<u64>),
    to: (&str, Option<u64>),
) -> u64 {
    let number = |value: Option<u64>| value.unwrap_or(u64::MAX).to_le_bytes();
    hash(&[
        &endpoint.to_le_bytes(),
        &number(protocol),
        from.0.as_bytes(),
        &number(from.1),
        to.0.as_bytes(),
        &number(to.1),
    ])
}

/// One end of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Source.
    From,
    /// Destination.
    To,
}

/// What stands for an address in the index.
pub(super) fn address_hash(side: Side, address: &str, port: Option<u64>) -> u64 {
    let side = match side {
        Side::From => b"from".as_slice(),
        Side::To => b"to",
    };
    match port {
        None => hash(&[side, address.as_bytes()]),
        Some(port) => hash(&[side, address.as_bytes(), &port.to_le_bytes()]),
    }
}

fn loose(value: &Value) -> Entry<'static> {
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned().into();
    let number = |name: &str| value[name].as_u64();
    Entry {
        kind: text("event.action"),
        seq: number("event.sequence").unwrap_or(0),
        time: text("@timestamp"),
        mono_ns: number("enforcer.monotonic_ns").unwrap_or(0),
        start: text("event.start"),
        user: text("user.name"),
        hub: text("enforcer.hub"),
        container: text("container.name"),
        container_id: text("container.id"),
        endpoint: number("enforcer.endpoint").unwrap_or(0),
        verdict: text("enforcer.verdict"),
        reason: text("event.reason"),
        would_deny: text("enforcer.would_deny"),
        rule: number("rule.id"),
        source: text("source.ip"),
        destination: text("destination.ip"),
        protocol: number("network.iana_number"),
        source_port: number("source.port"),
        destination_port: number("destination.port"),
        source_packets: number("source.packets"),
        destination_packets: number("destination.packets"),
        source_bytes: number("source.bytes"),
        destination_bytes: number("destination.bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_another_shape_keeps_what_it_has() {
        let line =
            br#"{"event.action":"other","event.sequence":7,"@timestamp":"t","event.reason":5,"source.ip":{"a":1},"rule.id":null}"#;
        let entry = Entry::parse(line);
        assert_eq!((entry.kind.as_ref(), entry.seq, entry.time.as_ref()), ("other", 7, "t"));
        assert_eq!((entry.reason.as_ref(), entry.source.as_ref(), entry.rule), ("", "", None));
        assert_eq!(Entry::parse(b"not JSON"), Entry::default());
    }
}
