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
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    /// Sequence number.
    pub seq: u64,
    /// When it happened, RFC 3339.
    #[serde(borrow)]
    pub time: Cow<'a, str>,
    /// The same on the monotonic clock, ns.
    pub mono_ns: u64,
    /// When the flow that closed was opened, RFC 3339.
    #[serde(borrow)]
    pub start: Cow<'a, str>,
    /// The guest's name.
    #[serde(borrow)]
    pub container: Cow<'a, str>,
    /// Docker's id of it.
    #[serde(borrow)]
    pub container_id: Cow<'a, str>,
    /// The endpoint's id in the kernel.
    pub endpoint: u64,
    /// `allow` or `deny`.
    #[serde(borrow)]
    pub verdict: Cow<'a, str>,
    /// Why it was denied.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
    /// Number of the rule that allowed.
    pub rule: Option<u64>,
    /// Source address.
    #[serde(borrow)]
    pub source: Cow<'a, str>,
    /// Destination address.
    #[serde(borrow)]
    pub destination: Cow<'a, str>,
    /// IP protocol.
    pub protocol: Option<u64>,
    /// Source port, or ICMP type.
    pub source_port: Option<u64>,
    /// Destination port, or ICMP code.
    pub destination_port: Option<u64>,
    /// Packets from the one who opened the flow.
    pub packets_out: Option<u64>,
    /// Packets to the one who opened the flow.
    pub packets_in: Option<u64>,
    /// Bytes from the one who opened the flow.
    pub bytes_out: Option<u64>,
    /// Bytes to the one who opened the flow.
    pub bytes_in: Option<u64>,
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

    /// When it happened, microseconds; 0 if it does not say.
    pub(super) fn at(&self) -> u64 {
        time::micros(&self.time).unwrap_or(0)
    }

    /// When the flow was opened that this record closes.
    pub(super) fn opened_at(&self) -> Option<u64> {
        (self.kind == "flow_closed").then(|| time::micros(&self.start).unwrap_or(0))
    }

    /// Tells flows apart that may be open at one time.
    pub(super) fn flow(&self) -> u64 {
        let number = |value: Option<u64>| value.unwrap_or(u64::MAX).to_le_bytes();
        hash(&[
            &self.endpoint.to_le_bytes(),
            &number(self.protocol),
            self.source.as_bytes(),
            &number(self.source_port),
            self.destination.as_bytes(),
            &number(self.destination_port),
        ])
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
        kind: text("kind"),
        seq: number("seq").unwrap_or(0),
        time: text("time"),
        mono_ns: number("mono_ns").unwrap_or(0),
        start: text("start"),
        container: text("container"),
        container_id: text("container_id"),
        endpoint: number("endpoint").unwrap_or(0),
        verdict: text("verdict"),
        reason: text("reason"),
        rule: number("rule"),
        source: text("source"),
        destination: text("destination"),
        protocol: number("protocol"),
        source_port: number("source_port"),
        destination_port: number("destination_port"),
        packets_out: number("packets_out"),
        packets_in: number("packets_in"),
        bytes_out: number("bytes_out"),
        bytes_in: number("bytes_in"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_another_shape_keeps_what_it_has() {
        let line =
            br#"{"kind":"other","seq":7,"time":"t","reason":5,"source":{"a":1},"rule":null}"#;
        let entry = Entry::parse(line);
        assert_eq!((entry.kind.as_ref(), entry.seq, entry.time.as_ref()), ("other", 7, "t"));
        assert_eq!((entry.reason.as_ref(), entry.source.as_ref(), entry.rule), ("", "", None));
        assert_eq!(Entry::parse(b"not JSON"), Entry::default());
    }
}
