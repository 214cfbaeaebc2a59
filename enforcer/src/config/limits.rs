//! `[policies.NAME.limits]` and `[networks.NAME.limits]`: how much each guest may send and be sent.

use std::ops::RangeInclusive;

use enforcer_common::abi::policy::{self, Rate};
use toml::{Spanned, Value};

use super::{problem::Problems, raw::RawLimits};

const SECOND: u64 = 1_000_000_000;

/// New flows a second: above, there is nothing to limit.
const FLOWS: RangeInclusive<u64> = 1..=1_000_000;
/// Packets a second.
const PACKETS: RangeInclusive<u64> = 1..=1_000_000_000;
/// Bits a second. Below, a single super-packet of GSO takes more than a minute.
const BITS: RangeInclusive<u64> = 8_000..=1_000_000_000_000;
/// Bytes: four super-packets of GSO at least, or TCP would hardly move.
const BURST: RangeInclusive<u64> = LEAST_BURST..=1 << 30;

/// Least burst of a limit of bits, bytes.
const LEAST_BURST: u64 = 4 * 65_536;
/// Least burst of a limit of packets. A super-packet has up to 1,365, at the least segment that Linux sends.
const LEAST_PACKETS: u64 = 2048;
/// How long at its rate a burst may last at least, ns.
const LEAST_TIME: u64 = SECOND / 10;
/// How long at its rate a burst of new flows may last, ns: a page of a browser opens several at once.
const FLOWS_TIME: u64 = 2 * SECOND;

/// Limits as they are written. `None`: nothing is said; 0: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Flows that the guest opens, a second.
    pub new_flows_per_second: Option<u64>,
    /// Packets that it sends, a second.
    pub packets_per_second_out: Option<u64>,
    /// Packets that it is sent, a second.
    pub packets_per_second_in: Option<u64>,
    /// Bits that it sends, a second.
    pub bits_per_second_out: Option<u64>,
    /// Bits that it is sent, a second.
    pub bits_per_second_in: Option<u64>,
    /// What may come at once where bits are limited, bytes.
    pub burst: Option<u64>,
}

impl Limits {
    /// These; where they say nothing, the others.
    #[must_use]
    pub fn over(self, others: Self) -> Self {
        Self {
            new_flows_per_second: self.new_flows_per_second.or(others.new_flows_per_second),
            packets_per_second_out: self.packets_per_second_out.or(others.packets_per_second_out),
            packets_per_second_in: self.packets_per_second_in.or(others.packets_per_second_in),
            bits_per_second_out: self.bits_per_second_out.or(others.bits_per_second_out),
            bits_per_second_in: self.bits_per_second_in.or(others.bits_per_second_in),
            burst: self.burst.or(others.burst),
        }
    }

    /// Whether they limit nothing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.in_force() == policy::Limits::default()
    }

    /// As the packet path has them.
    #[must_use]
    pub fn in_force(&self) -> policy::Limits {
        let rate = |per_second: Option<u64>, burst_ns: &dyn Fn(u64) -> u64| match per_second {
            None | Some(0) => Rate::default(),
            Some(per_second) => Rate { per_second, burst_ns: burst_ns(per_second) },
        };
        let packets = |per_second| time_of(LEAST_PACKETS, per_second).max(LEAST_TIME);
        let bits = |per_second| match self.burst {
            Some(bytes) => time_of(bytes * 8, per_second),
            None => time_of(LEAST_BURST * 8, per_second).max(LEAST_TIME),
        };
        policy::Limits {
            new_flows: rate(self.new_flows_per_second, &|_| FLOWS_TIME),
            packets_out: rate(self.packets_per_second_out, &packets),
            packets_in: rate(self.packets_per_second_in, &packets),
            bits_out: rate(self.bits_per_second_out, &bits),
            bits_in: rate(self.bits_per_second_in, &bits),
        }
    }
}

/// Of each limit the lower one.
#[must_use]
pub fn stricter(one: policy::Limits, other: policy::Limits) -> policy::Limits {
    let lower = |one: Rate, other: Rate| match (one.per_second, other.per_second) {
        (_, 0) => one,
        (0, _) => other,
        (first, second) if first <= second => one,
        _ => other,
    };
    policy::Limits {
        new_flows: lower(one.new_flows, other.new_flows),
        packets_out: lower(one.packets_out, other.packets_out),
        packets_in: lower(one.packets_in, other.packets_in),
        bits_out: lower(one.bits_out, other.bits_out),
        bits_in: lower(one.bits_in, other.bits_in),
    }
}

/// How long the rate takes for so much, ns.
fn time_of(units: u64, per_second: u64) -> u64 {
    Rate { per_second, burst_ns: 0 }.cost_ns(units)
}

/// What a value counts.
#[derive(Clone, Copy)]
enum Kind {
    Flows,
    Packets,
    Bits,
    Bytes,
}

impl Kind {
    fn bounds(self) -> RangeInclusive<u64> {
        match self {
            Self::Flows => FLOWS,
            Self::Packets => PACKETS,
            Self::Bits => BITS,
            Self::Bytes => BURST,
        }
    }

    fn units(self) -> &'static [(&'static str, u64)] {
        match self {
            Self::Flows | Self::Packets => &[],
            Self::Bits => {
                &[("bit", 1), ("kbit", 1000), ("mbit", 1_000_000), ("gbit", 1_000_000_000)]
            }
            Self::Bytes => &[("kib", 1 << 10), ("mib", 1 << 20), ("gib", 1 << 30)],
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Flows => "write flows a second from 1 to 1000000, or 0 for no limit",
            Self::Packets => "write packets a second from 1 to 1000000000, or 0 for no limit",
            Self::Bits => {
                "write bits a second from 8000 to 1000000000000, also as \"10 Mbit\" (kbit, Mbit, Gbit), or 0 \
                 for no limit"
            }
            Self::Bytes => "write bytes from 262144 to 1073741824, also as \"512 KiB\" (KiB, MiB)",
        }
    }
}

/// Checks one table.
pub(super) fn limits(raw: &RawLimits, problems: &mut Problems<'_>) -> Limits {
    let mut value = |value: &Option<Spanned<Value>>, kind| {
        let value = value.as_ref()?;
        let number = number(value.get_ref(), kind);
        if number.is_none() {
            let message = format!("{} is no such limit: {}", value.get_ref(), kind.advice());
            problems.add(value.span(), message);
        }
        number
    };
    Limits {
        new_flows_per_second: value(&raw.new_flows_per_second, Kind::Flows),
        packets_per_second_out: value(&raw.packets_per_second_out, Kind::Packets),
        packets_per_second_in: value(&raw.packets_per_second_in, Kind::Packets),
        bits_per_second_out: value(&raw.bits_per_second_out, Kind::Bits),
        bits_per_second_in: value(&raw.bits_per_second_in, Kind::Bits),
        burst: value(&raw.burst, Kind::Bytes),
    }
}

fn number(value: &Value, kind: Kind) -> Option<u64> {
    let number = match value {
        Value::Integer(number) => u64::try_from(*number).ok()?,
        Value::String(text) => with_unit(text, kind)?,
        _ => return None,
    };
    let none = number == 0 && !matches!(kind, Kind::Bytes);
    (none || kind.bounds().contains(&number)).then_some(number)
}

/// `10 Mbit`, `10 Mbit/s` or `512 KiB`. A number alone is an integer, without quotes.
fn with_unit(text: &str, kind: Kind) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    let unit =
        if matches!(kind, Kind::Bits) { unit.strip_suffix("/s").unwrap_or(unit) } else { unit };
    let (_, times) = kind.units().iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.parse::<u64>().ok()?.checked_mul(*times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn network(limits: &str) -> String {
        format!("[networks.a]\nbridge = \"br-a\"\n[networks.a.limits]\n{limits}")
    }

    #[test]
    fn o2_limits_are_read_as_people_write_them() {
        let text = network(
            "new_flows_per_second = 20\npackets_per_second_out = 1000\nbits_per_second_out = \"10 Mbit\"\n\
             bits_per_second_in = \"1gbit/s\"\nburst = \"512 KiB\"\npackets_per_second_in = 0\n",
        );
        let limits = parse(&text, "f").expect("is good").networks["a"].limits;
        let expected = Limits {
            new_flows_per_second: Some(20),
            packets_per_second_out: Some(1000),
            packets_per_second_in: Some(0),
            bits_per_second_out: Some(10_000_000),
            bits_per_second_in: Some(1_000_000_000),
            burst: Some(524_288),
        };
        assert_eq!(limits, expected);
        let force = limits.in_force();
        assert_eq!(force.new_flows, Rate { per_second: 20, burst_ns: 2 * SECOND });
        assert_eq!(force.packets_out, Rate { per_second: 1000, burst_ns: 2_048_000_000 });
        assert_eq!(force.packets_in, Rate::default());
        assert_eq!(force.bits_out, Rate { per_second: 10_000_000, burst_ns: 419_430_400 });
        // Without a burst: four super-packets, or what the rate lets through in a tenth of a second.
        let force = Limits { burst: None, ..limits }.in_force();
        assert_eq!((force.bits_out.burst_ns, force.bits_in.burst_ns), (209_715_200, 100_000_000));
        assert_eq!(Limits::default().in_force(), policy::Limits::default());
    }

    #[test]
    fn abuse_of_two_limits_the_lower_one_counts_and_none_is_no_limit() {
        let limits = |flows, out, into| {
            let limits = Limits {
                new_flows_per_second: flows,
                bits_per_second_out: out,
                bits_per_second_in: into,
                ..Limits::default()
            };
            limits.in_force()
        };
        let slow = limits(Some(2), Some(1_000_000), None);
        let own = limits(Some(20), None, Some(9_000));
        let both = limits(Some(2), Some(1_000_000), Some(9_000));
        assert_eq!((stricter(own, slow), stricter(slow, own)), (both, both));
        let strict = limits(Some(1), Some(0), Some(8_000));
        assert_eq!(stricter(strict, slow).new_flows.per_second, 1, "never looser than it was");
    }

    #[test]
    fn o2_a_policy_s_own_limit_wins_and_0_is_one_of_its_own() {
        let own = Limits { bits_per_second_out: Some(0), burst: Some(9), ..Limits::default() };
        let networks = Limits {
            bits_per_second_out: Some(7),
            bits_per_second_in: Some(8),
            ..Limits::default()
        };
        let both = own.over(networks);
        assert_eq!((both.bits_per_second_out, both.bits_per_second_in), (Some(0), Some(8)));
        assert_eq!(both.burst, Some(9));
        assert_eq!(both.in_force().bits_out, Rate::default());
    }

    #[test]
    fn o2_a_bad_limit_is_refused_with_its_line_and_its_unit() {
        for (limit, words) in [
            ("bits_per_second_out = \"10 MB\"", "also as \"10 Mbit\""),
            ("bits_per_second_out = \"10\"", "also as \"10 Mbit\""),
            ("bits_per_second_in = 100", "bits a second from 8000"),
            ("bits_per_second_in = \"99999999999 Gbit\"", "bits a second from 8000"),
            ("bits_per_second_in = 1.5", "bits a second from 8000"),
            ("packets_per_second_out = \"1 kbit\"", "packets a second from 1"),
            ("packets_per_second_in = -1", "packets a second from 1"),
            ("new_flows_per_second = 2000000", "flows a second from 1"),
            ("burst = 1500", "bytes from 262144"),
            ("burst = 0", "bytes from 262144"),
            ("burst = \"1 Mbit\"", "also as \"512 KiB\""),
            ("bits_per_second = 1", "did you mean `bits_per_second_in`"),
        ] {
            for text in [
                network(limit),
                format!("\n\n[policies.p.limits]\n{limit}\n[networks.a]\nbridge = \"b\""),
            ] {
                let error = parse(&text, "f").expect_err(limit);
                let [problem] = error.problems.as_slice() else { panic!("{limit}: {error}") };
                assert!(problem.line == 4 && problem.message.contains(words), "{limit}: {error}");
            }
        }
    }
}
