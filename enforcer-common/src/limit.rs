//! Stage *limit*: whether a frame that rules let pass is within its endpoint's rates. Pure; time is an
//! argument.
//!
//! A bucket is one number, so that several CPUs may change it without a lock: the time by which all that
//! passed is paid for, at the rate of the limit (the generic cell rate algorithm of ATM). What passes puts it
//! off by its cost. It is never further ahead of the clock than the burst, and what it was behind the
//! clock is forgotten: that is the full bucket.

use crate::abi::policy::Rate;

const SECOND: u64 = 1_000_000_000;
/// Most that is charged at once: no frame comes near it, and its cost fits 64 bits.
const MOST_UNITS: u64 = 1 << 32;

/// ARP and neighbour discovery of a guest. A kernel asks for a neighbour three times, a second apart, and
/// again when it has not heard of one for half a minute; there are the gateway and a few hubs.
pub const NEIGHBOURS: Rate = Rate { per_second: 64, burst_ns: 2 * SECOND };

/// Answers to what policy denies a guest ([`crate::refusal`]): more than a program that waits for each asks for.
pub const ANSWERS: Rate = Rate { per_second: 256, burst_ns: SECOND };

/// What becomes of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whether there was enough in it.
    pub passes: bool,
    /// Its new value.
    pub due_ns: u64,
}

impl Rate {
    /// Whether there is a limit at all.
    #[must_use]
    #[inline(always)]
    pub const fn is_set(&self) -> bool {
        self.per_second != 0
    }

    /// How long the rate takes for so much, ns. Rounded up: never more passes than the limit says.
    #[must_use]
    #[inline(always)]
    pub const fn cost_ns(&self, units: u64) -> u64 {
        if self.per_second == 0 {
            return 0;
        }
        let units = if units > MOST_UNITS { MOST_UNITS } else { units };
        (units * SECOND).div_ceil(self.per_second)
    }

    /// Takes what costs `cost_ns` from the bucket `due_ns`.
    #[must_use]
    #[inline(always)]
    pub const fn take(&self, due_ns: u64, cost_ns: u64, now_ns: u64) -> Taken {
        let latest = now_ns.saturating_add(self.burst_ns);
        // Further ahead it is only after the limit was another, or the clock went back.
        let due_ns = if due_ns > latest { latest } else { due_ns };
        let from = if due_ns < now_ns { now_ns } else { due_ns };
        if cost_ns > latest - from {
            return Taken { passes: false, due_ns };
        }
        Taken { passes: true, due_ns: from + cost_ns }
    }
}

/// Bytes of a frame as on the wire: each segment of a super-packet of `len` bytes has the headers in front
/// of its share of the payload.
#[must_use]
#[inline(always)]
pub const fn wire_bytes(len: u32, payload_len: u32, segments: u32) -> u64 {
    let headers = len.saturating_sub(payload_len) as u64;
    len as u64 + headers * segments.saturating_sub(1) as u64
}

#[cfg(test)]
mod tests;
