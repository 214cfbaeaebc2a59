//! Limits of a guest, in words and in JSON.

use std::fmt;

use enforcer_common::abi::policy::{Limits, Rate};
use serde::{Deserialize, Serialize};

/// Limits in force; 0: none. The keys are those of the config.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LimitsInForce {
    /// Flows that the guest opens, a second.
    #[serde(default, skip_serializing_if = "is_none")]
    pub new_flows_per_second: u64,
    /// Packets that it sends, a second.
    #[serde(default, skip_serializing_if = "is_none")]
    pub packets_per_second_out: u64,
    /// Packets that it is sent, a second.
    #[serde(default, skip_serializing_if = "is_none")]
    pub packets_per_second_in: u64,
    /// Bits that it sends, a second.
    #[serde(default, skip_serializing_if = "is_none")]
    pub bits_per_second_out: u64,
    /// Bits that it is sent, a second.
    #[serde(default, skip_serializing_if = "is_none")]
    pub bits_per_second_in: u64,
    /// Bytes that it may send at once, where its bits are limited.
    #[serde(default, skip_serializing_if = "is_none")]
    pub burst_out: u64,
    /// Bytes that it may be sent at once, where these bits are limited.
    #[serde(default, skip_serializing_if = "is_none")]
    pub burst_in: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
const fn is_none(limit: &u64) -> bool {
    *limit == 0
}

impl From<&Limits> for LimitsInForce {
    fn from(limits: &Limits) -> Self {
        Self {
            new_flows_per_second: limits.new_flows.per_second,
            packets_per_second_out: limits.packets_out.per_second,
            packets_per_second_in: limits.packets_in.per_second,
            bits_per_second_out: limits.bits_out.per_second,
            bits_per_second_in: limits.bits_in.per_second,
            burst_out: burst(&limits.bits_out),
            burst_in: burst(&limits.bits_in),
        }
    }
}

impl LimitsInForce {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Bytes that a limit of bits lets through at once.
fn burst(bits: &Rate) -> u64 {
    let bytes = u128::from(bits.burst_ns) * u128::from(bits.per_second) / 8_000_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// `20 new flows/s; out 10 Mbit/s (burst 262144 bytes), 1000 packets/s; in 1 Gbit/s (…)`, or `none`.
impl fmt::Display for LimitsInForce {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flows = (self.new_flows_per_second != 0)
            .then(|| format!("{} new flows/s", self.new_flows_per_second));
        let out = way("out", self.bits_per_second_out, self.burst_out, self.packets_per_second_out);
        let into = way("in", self.bits_per_second_in, self.burst_in, self.packets_per_second_in);
        let all: Vec<String> = [flows, out, into].into_iter().flatten().collect();
        formatter.write_str(if all.is_empty() { "none" } else { "" })?;
        formatter.write_str(&all.join("; "))
    }
}

fn way(name: &str, bits: u64, burst: u64, packets: u64) -> Option<String> {
    let bits = (bits != 0).then(|| format!("{}/s (burst {burst} bytes)", rate(bits)));
    let packets = (packets != 0).then(|| format!("{packets} packets/s"));
    let all: Vec<String> = [bits, packets].into_iter().flatten().collect();
    (!all.is_empty()).then(|| format!("{name} {}", all.join(", ")))
}

/// With the largest unit that keeps it whole.
fn rate(bits: u64) -> String {
    let units = [(1_000_000_000, "Gbit"), (1_000_000, "Mbit"), (1000, "kbit")];
    let unit = units.into_iter().find(|(size, _)| bits.is_multiple_of(*size));
    let (size, unit) = unit.unwrap_or((1, "bit"));
    format!("{} {unit}", bits / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o2_limits_are_told_with_their_units() {
        let rate = |per_second, burst_ns| Rate { per_second, burst_ns };
        let limits = Limits {
            new_flows: rate(20, 2_000_000_000),
            packets_out: rate(1000, 0),
            bits_out: rate(10_000_000, 209_715_200),
            bits_in: rate(1_500_000, 1_398_101_334),
            ..Limits::default()
        };
        let told = LimitsInForce::from(&limits);
        assert_eq!(
            told.to_string(),
            "20 new flows/s; out 10 Mbit/s (burst 262144 bytes), 1000 packets/s; \
             in 1500 kbit/s (burst 262144 bytes)"
        );
        assert_eq!(LimitsInForce::default().to_string(), "none");
        let json = serde_json::to_value(told).expect("is JSON");
        assert_eq!(json["bits_per_second_in"], 1_500_000);
        assert!(json.get("packets_per_second_in").is_none() && !told.is_empty());
        assert_eq!(serde_json::from_value::<LimitsInForce>(json).expect("reads back"), told);
    }
}
