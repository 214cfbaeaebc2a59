//! What the stream accounts for, as numbers: of each counter of the kernel's, how many of its events
//! became records, and how many are told to be lost. Kept with the records themselves, these numbers
//! say after any end of the daemon what is missing.

use std::collections::BTreeMap;

use enforcer_common::abi::counter::CounterKey;
use serde::{Deserialize, Serialize};

use super::{
    loss::{self, LossKey, Losses},
    queue::Account,
    record::Cause,
};

/// Numbers by counter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Row>", into = "Vec<Row>")]
pub struct Accounts {
    rows: BTreeMap<CounterKey, Row>,
}

/// One counter's. Its own shape on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    owner: u32,
    reason: u16,
    hook: u8,
    /// Records that were written.
    written: u64,
    /// Records that were told to be lost, by cause.
    lost: BTreeMap<Cause, u64>,
}

impl From<Accounts> for Vec<Row> {
    fn from(accounts: Accounts) -> Self {
        accounts.rows.into_values().collect()
    }
}

impl From<Vec<Row>> for Accounts {
    fn from(rows: Vec<Row>) -> Self {
        let key = |row: &Row| CounterKey {
            owner: row.owner,
            reason: row.reason,
            hook: row.hook,
            reserved: 0,
        };
        Self { rows: rows.into_iter().map(|row| (key(&row), row)).collect() }
    }
}

impl Accounts {
    /// Takes in a record that was written.
    pub fn take(&mut self, account: &Account) {
        match *account {
            Account::Nothing | Account::Deletion(_) | Account::Erasure(_) => {}
            Account::Event(counter) => self.row(counter).written += 1,
            Account::Loss(key, count) => {
                *self.row(key.counter).lost.entry(key.cause).or_default() += count;
            }
        }
    }

    /// What is told of the losses that the kernel counts; a daemon counts its own from zero.
    #[must_use]
    pub fn told_of_kernel(&self) -> Losses {
        let kernel = |cause| matches!(cause, Cause::RateLimit | Cause::Ring | Cause::Uncounted);
        let of = |(counter, row): (&CounterKey, &Row)| {
            let counter = *counter;
            let lost = row.lost.clone().into_iter().filter(move |(cause, _)| kernel(*cause));
            lost.map(move |(cause, count)| (LossKey { counter, cause }, count))
        };
        let is_kernels = |counter: &CounterKey| !loss::is_daemons_own(counter.reason);
        self.rows.iter().filter(|(counter, _)| is_kernels(counter)).flat_map(of).collect()
    }

    /// How many of the records that the kernel wrote for each counter are accounted for: they were
    /// written down, or are told to be lost on the way.
    #[must_use]
    pub fn recorded(&self) -> BTreeMap<CounterKey, u64> {
        let sum = |row: &Row| {
            let on_the_way = |(cause, count): (&Cause, &u64)| match cause {
                Cause::Queue | Cause::Killed | Cause::Sink => *count,
                Cause::RateLimit | Cause::Ring | Cause::Uncounted | Cause::Decode => 0,
            };
            row.written + row.lost.iter().map(on_the_way).sum::<u64>()
        };
        self.rows.iter().map(|(counter, row)| (*counter, sum(row))).collect()
    }

    /// Forgets the counters of owners that are not kept.
    pub fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        self.rows.retain(|counter, _| keep(counter.owner));
    }

    fn row(&mut self, counter: CounterKey) -> &mut Row {
        self.rows.entry(counter).or_insert_with(|| Row {
            owner: counter.owner,
            reason: counter.reason,
            hook: counter.hook,
            ..Row::default()
        })
    }
}

/// What an earlier daemon read from the ring and did not write down.
#[derive(Debug)]
pub struct Missing {
    /// What it and those before it account for, of counters that are not settled yet.
    open: BTreeMap<CounterKey, u64>,
    /// Events of each counter that this daemon has read.
    seen: BTreeMap<CounterKey, u64>,
}

impl Missing {
    /// Nothing is settled. `counted`: counters that there are, by what the kernel says it recorded.
    #[must_use]
    pub fn new(accounts: &Accounts, counted: impl Iterator<Item = CounterKey>) -> Self {
        let accounted = accounts.recorded();
        let of = |counter| (counter, accounted.get(&counter).copied().unwrap_or(0));
        Self { open: counted.map(of).collect(), seen: BTreeMap::new() }
    }

    /// This daemon has read an event.
    pub fn see(&mut self, counter: CounterKey) {
        if self.open.contains_key(&counter) {
            *self.seen.entry(counter).or_default() += 1;
        }
    }

    /// Whether everything is settled.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.open.is_empty()
    }

    /// What was read so far, for [`Missing::settle`].
    #[must_use]
    pub fn seen(&self) -> BTreeMap<CounterKey, u64> {
        self.seen.clone()
    }

    /// Compares what was read with what the kernel said it had `recorded` before the ring was
    /// emptied once more. What it recorded and nobody has is missing; that is returned. Counters of
    /// which nothing was read since `before`, which is older, are settled: there is no more to it.
    pub fn settle(
        &mut self,
        before: &BTreeMap<CounterKey, u64>,
        recorded: &BTreeMap<CounterKey, u64>,
    ) -> Vec<(CounterKey, u64)> {
        let mut found = Vec::new();
        self.open.retain(|counter, accounted| {
            let count = |of: &BTreeMap<CounterKey, u64>| of.get(counter).copied().unwrap_or(0);
            let seen = count(&self.seen);
            // Certain in any case: all that was recorded by then has been read by now.
            let missing = count(recorded).saturating_sub(*accounted + seen);
            if missing > 0 {
                found.push((*counter, missing));
                *accounted += missing;
            }
            count(before) != seen
        });
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: CounterKey = CounterKey { owner: 7, reason: 22, hook: 1, reserved: 0 };
    const B: CounterKey = CounterKey { owner: 8, reason: 22, hook: 1, reserved: 0 };

    fn accounts() -> Accounts {
        let mut accounts = Accounts::default();
        for _ in 0..5 {
            accounts.take(&Account::Event(A));
        }
        for (cause, count) in
            [(Cause::Queue, 2), (Cause::Killed, 3), (Cause::RateLimit, 100), (Cause::Ring, 50)]
        {
            accounts.take(&Account::Loss(LossKey { counter: A, cause }, count));
        }
        accounts
    }

    #[test]
    fn accounts_read_back_and_sum_up() {
        let accounts = accounts();
        let text = serde_json::to_string(&accounts).expect("serialises");
        assert_eq!(serde_json::from_str::<Accounts>(&text).expect("reads"), accounts);
        assert_eq!(accounts.recorded(), BTreeMap::from([(A, 10)]));
        let ring = LossKey { counter: A, cause: Cause::Ring };
        let rate = LossKey { counter: A, cause: Cause::RateLimit };
        assert_eq!(accounts.told_of_kernel(), Losses::from([(rate, 100), (ring, 50)]));
        let mut none = accounts;
        none.retain(|owner| owner != 7);
        assert_eq!(none, Accounts::default());
    }

    #[test]
    fn a1_what_the_daemon_counts_itself_begins_at_zero_with_the_next_one() {
        let reason = loss::query_reason(crate::model::names::Outcome::Answered);
        let counter = CounterKey { reason, hook: 0, ..A };
        let key = LossKey { counter, cause: Cause::RateLimit };
        let mut accounts = Accounts::default();
        accounts.take(&Account::Event(counter));
        accounts.take(&Account::Loss(key, 100));
        assert_eq!(accounts.told_of_kernel(), Losses::new());
        let mut missing = Missing::new(&accounts, [A].into_iter());
        assert_eq!(missing.settle(&BTreeMap::new(), &BTreeMap::from([(A, 0)])), []);
    }

    #[test]
    fn a1_what_was_read_and_not_written_is_missing_once_the_counter_is_calm() {
        let mut missing = Missing::new(&accounts(), [A, B].into_iter());
        // The kernel recorded 20 of A: 10 are accounted for, 4 were in the ring.
        for _ in 0..4 {
            missing.see(A);
        }
        let recorded = BTreeMap::from([(A, 20), (B, 0)]);
        let before = missing.seen();
        missing.see(A);
        assert_eq!(missing.settle(&before, &recorded), [(A, 5)], "what is certain");
        assert!(!missing.is_settled(), "A is not calm");
        let recorded = BTreeMap::from([(A, 21), (B, 0)]);
        let before = missing.seen();
        assert_eq!(missing.settle(&before, &recorded), [(A, 1)]);
        assert!(missing.is_settled());
        missing.see(A);
        assert_eq!(missing.seen(), BTreeMap::from([(A, 5)]), "it is no matter any more");
    }
}
