//! What was not written, as numbers in the stream: the kernel's counters and this daemon's own are
//! compared with the last look, and differences become loss records.

use std::collections::BTreeMap;

use enforcer_common::abi::{
    counter::{
        CONNECT_REFUSED, Counter, CounterKey, EXEC, FLOW_CLOSED, FLOW_OPENED, SOCKET_REFUSED, Told,
    },
    event::Hook,
    verdict::DropReason,
};

use super::{
    enrich::Names,
    record::{Cause, Loss, Subject},
};
use crate::model::names::Outcome;

/// What a number of missing records is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LossKey {
    /// Owner, reason and hook.
    pub counter: CounterKey,
    /// Why they are missing.
    pub cause: Cause,
}

/// Losses by what they are about, cumulative.
pub type Losses = BTreeMap<LossKey, u64>;

/// Remembers what has been told.
#[derive(Debug, Default)]
pub struct Ledger {
    told: Losses,
}

impl Ledger {
    /// Goes on from what an earlier daemon told.
    #[must_use]
    pub const fn new(told: Losses) -> Self {
        Self { told }
    }

    /// What has not been told yet. Nothing is marked as told: see [`Ledger::tell`].
    #[must_use]
    pub fn untold(&self, losses: &Losses) -> Vec<(LossKey, u64)> {
        losses
            .iter()
            .map(|(key, count)| {
                (*key, count.saturating_sub(self.told.get(key).copied().unwrap_or(0)))
            })
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// A loss record for this many was queued.
    pub fn tell(&mut self, key: LossKey, count: u64) {
        *self.told.entry(key).or_default() += count;
    }

    /// Forgets an owner whose counters were removed.
    pub fn forget(&mut self, owner: u32) {
        self.told.retain(|key, _| key.counter.owner != owner);
    }
}

/// The losses that the kernel counted.
#[must_use]
pub fn of_kernel(counters: &[(CounterKey, Counter)]) -> Losses {
    counters
        .iter()
        .flat_map(|(key, counter)| {
            // Of what a bridge floods to ports that it is not for nothing is recorded: nothing is missing.
            let is_recorded = key.reason != DropReason::NotAddressed as u16;
            let suppressed = if is_recorded { counter.suppressed } else { 0 };
            [(Cause::RateLimit, suppressed), (Cause::Ring, counter.lost)]
                .map(|(cause, count)| (LossKey { counter: *key, cause }, count))
        })
        .collect()
}

/// What earlier daemons told of the kernel's losses.
#[must_use]
pub fn told(kept: &[(CounterKey, Told)]) -> Losses {
    let causes = |(key, told): &(CounterKey, Told)| {
        let counter = *key;
        let causes = if counter == CounterKey::default() {
            [(Cause::Uncounted, told.lost), (Cause::RateLimit, 0)]
        } else {
            [(Cause::Ring, told.lost), (Cause::RateLimit, told.suppressed)]
        };
        causes.map(|(cause, count)| (LossKey { counter, cause }, count))
    };
    kept.iter().flat_map(causes).collect()
}

/// What the kernel is to keep of a counter, so that the next daemon does not tell it again.
#[must_use]
pub fn to_keep(key: CounterKey, ledger: &Ledger) -> Told {
    let count = |cause| ledger.told.get(&LossKey { counter: key, cause }).copied().unwrap_or(0);
    // No counter is of nobody, so that key is free for what had no counter.
    let lost = if key == CounterKey::default() { Cause::Uncounted } else { Cause::Ring };
    Told { suppressed: count(Cause::RateLimit), lost: count(lost) }
}

/// The record of a loss.
#[must_use]
pub fn record(names: &Names, key: LossKey, count: u64) -> Loss {
    of(names.subject(key.counter.owner), key, count)
}

/// The record of a loss of somebody who is known already.
#[must_use]
pub fn of(subject: Subject, key: LossKey, count: u64) -> Loss {
    Loss {
        subject,
        hook: Hook::from_value(key.counter.hook).map_or("", Hook::name).to_owned(),
        reason: reason_name(key.counter.reason),
        cause: key.cause,
        count,
    }
}

/// The word for a counter's reason.
#[must_use]
pub fn reason_name(reason: u16) -> String {
    match DropReason::from_value(reason) {
        Some(reason) => reason.name().to_owned(),
        None => match OTHERS.iter().find(|(value, _)| *value == reason) {
            Some((_, name)) => (*name).to_owned(),
            None => match Outcome::ALL.into_iter().find(|known| query_reason(*known) == reason) {
                Some(outcome) => format!("{QUERY_WORD}{}", outcome.name()),
                None => format!("reason_{reason}"),
            },
        },
    }
}

/// [`CounterKey::reason`] of questions to the resolver, by what became of them. The daemon counts these
/// itself: no map of the kernel has them, and no other daemon knows their number.
#[must_use]
pub const fn query_reason(outcome: Outcome) -> u16 {
    QUERIES + outcome as u16
}

/// Whether a reason is one that the daemon counts itself.
#[must_use]
pub fn is_daemons_own(reason: u16) -> bool {
    Outcome::ALL.into_iter().any(|outcome| query_reason(outcome) == reason)
}

/// Far from what the kernel counts, at both ends.
const QUERIES: u16 = 0x4000;
/// Before the word of an outcome.
const QUERY_WORD: &str = "dns_";

/// Counters of what is no frame denied.
const OTHERS: [(u16, &str); 5] = [
    (FLOW_OPENED, "flow_opened"),
    (FLOW_CLOSED, "flow_closed"),
    (EXEC, "exec"),
    (CONNECT_REFUSED, "connect_refused"),
    (SOCKET_REFUSED, "socket_refused"),
];

/// The value of a counter's reason by its word.
#[must_use]
pub fn reason_value(word: &str) -> Option<u16> {
    if let Some((value, _)) = OTHERS.iter().find(|(_, name)| *name == word) {
        return Some(*value);
    }
    if let Some(outcome) = word.strip_prefix(QUERY_WORD) {
        let outcome = Outcome::ALL.into_iter().find(|known| known.name() == outcome)?;
        return Some(query_reason(outcome));
    }
    match DropReason::ALL.iter().find(|reason| reason.name() == word) {
        Some(reason) => Some(*reason as u16),
        None => word.strip_prefix("reason_")?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(suppressed: u64, lost: u64) -> Losses {
        let key = CounterKey { owner: 7, reason: 22, hook: 1, reserved: 0 };
        of_kernel(&[(key, Counter { suppressed, lost, ..Counter::default() })])
    }

    fn tell_all(ledger: &mut Ledger, losses: &Losses) -> Vec<(Cause, u64)> {
        let untold = ledger.untold(losses);
        for (key, count) in &untold {
            ledger.tell(*key, *count);
        }
        untold.into_iter().map(|(key, count)| (key.cause, count)).collect()
    }

    #[test]
    fn each_loss_is_told_once_and_all_of_it() {
        let mut ledger = Ledger::default();
        // Counters at each look -> what is told.
        let looks = [
            ((0, 0), vec![]),
            ((5, 0), vec![(Cause::RateLimit, 5)]),
            ((5, 0), vec![]),
            ((9, 2), vec![(Cause::RateLimit, 4), (Cause::Ring, 2)]),
        ];
        for ((suppressed, lost), told) in looks {
            assert_eq!(tell_all(&mut ledger, &counters(suppressed, lost)), told);
        }
    }

    #[test]
    fn a1_of_frames_that_a_bridge_floods_no_record_is_missing() {
        let reason = DropReason::NotAddressed as u16;
        let key = CounterKey { owner: 7, reason, hook: 1, reserved: 0 };
        let flooded = of_kernel(&[(key, Counter { suppressed: 5, ..Counter::default() })]);
        assert_eq!(tell_all(&mut Ledger::default(), &flooded), []);
    }

    #[test]
    fn what_could_not_be_queued_is_told_next_time() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.untold(&counters(5, 0)).len(), 1);
        assert_eq!(tell_all(&mut ledger, &counters(8, 0)), [(Cause::RateLimit, 8)]);
        ledger.forget(7);
        assert_eq!(tell_all(&mut ledger, &counters(8, 0)), [(Cause::RateLimit, 8)]);
    }

    #[test]
    fn reasons_have_the_names_of_denials() {
        assert_eq!(reason_name(22), "policy");
        assert_eq!(reason_name(0), "flow_opened");
        assert_eq!(reason_name(FLOW_CLOSED), "flow_closed");
        assert_eq!(reason_name(999), "reason_999");
        let known = DropReason::ALL.iter().map(|reason| *reason as u16);
        for value in
            known.chain([FLOW_OPENED, FLOW_CLOSED, EXEC, CONNECT_REFUSED, SOCKET_REFUSED, 999])
        {
            assert_eq!(reason_value(&reason_name(value)), Some(value));
        }
        assert_eq!(reason_value("nonsense"), None);
        for outcome in Outcome::ALL {
            let value = query_reason(outcome);
            assert_eq!(reason_name(value), format!("dns_{}", outcome.name()));
            assert_eq!(reason_value(&reason_name(value)), Some(value));
            assert!(is_daemons_own(value));
        }
        let kernels = [0, 22, FLOW_CLOSED, EXEC, CONNECT_REFUSED, SOCKET_REFUSED];
        assert!(!kernels.into_iter().any(is_daemons_own));
    }
}
