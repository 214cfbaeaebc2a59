//! What a sink misses, by whose it is: a gap alone would hide whom it is about.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::audit::{
    loss::{self, LossKey},
    queue::Account,
    record::{Body, Cause, Record, Subject},
    stream::{Line, beside, gap_to},
};

/// Lines that were not handed over.
#[derive(Clone, Debug, Default)]
pub(super) struct Missed(Arc<Mutex<Ranges>>);

/// Unbroken ranges, each with its last line.
type Ranges = VecDeque<(Range, Arc<Line>)>;

/// An unbroken range of lines that a sink lacks.
#[derive(Debug, Default)]
pub(super) struct Range {
    /// Number of its last line.
    pub(super) last: u64,
    losses: Losses,
}

/// Who lacks how many.
type Losses = BTreeMap<LossKey, (Subject, u64)>;

impl Range {
    /// Takes in the next line.
    pub(super) fn add(&mut self, line: &Line) {
        self.last = line.seq;
        let (key, count) = match line.account {
            Account::Event(counter) => (LossKey { counter, cause: Cause::Sink }, 1),
            Account::Loss(key, count) => (key, count),
            Account::Nothing | Account::Deletion(_) | Account::Erasure(_) => return,
        };
        let subject = || {
            let record: Option<Record> = serde_json::from_str(&line.text).ok();
            record.and_then(|record| record.body.subject().cloned()).unwrap_or_default()
        };
        self.losses.entry(key).or_insert_with(|| (subject(), 0)).1 += count;
    }

    /// Takes in the range that follows.
    pub(super) fn extend(&mut self, next: Self) {
        self.last = next.last;
        for (key, (subject, count)) in next.losses {
            self.losses.entry(key).or_insert((subject, 0)).1 += count;
        }
    }

    /// The records that stand for it; it begins at `from`, and they have the time of `at`.
    pub(super) fn stand_ins(&self, from: u64, at: &Line) -> Vec<Arc<Line>> {
        stand_ins(&self.losses, from, self.last, at)
    }
}

/// A gap, and behind it a loss of each who is missing something. There are no more of them than of the
/// missing.
fn stand_ins(losses: &Losses, from: u64, to: u64, at: &Line) -> Vec<Arc<Line>> {
    let mut lines = Vec::with_capacity(losses.len() + 1);
    let first = (to + 1).saturating_sub(losses.len() as u64).max(from);
    if first > from {
        lines.push(Arc::new(gap_to(from, first - 1, at)));
    }
    for (seq, (key, (subject, count))) in (first..=to).zip(losses) {
        let body = Body::Loss(loss::of(subject.clone(), *key, *count));
        lines.push(Arc::new(beside(seq, at, body, Account::Loss(*key, *count))));
    }
    lines
}

impl Missed {
    /// Takes in a line; `anew`: the one before it was handed over.
    pub(super) fn add(&self, line: &Arc<Line>, anew: bool) {
        let mut ranges = self.lock();
        if anew || ranges.is_empty() {
            ranges.push_back((Range::default(), Arc::clone(line)));
        }
        let Some((range, last)) = ranges.back_mut() else { return };
        range.add(line);
        *last = Arc::clone(line);
    }

    /// The records that stand for those from `from` to the one before `next`.
    pub(super) fn stand_ins(&self, from: u64, next: &Line) -> Vec<Arc<Line>> {
        let to = next.seq - 1;
        let losses = self.take(to..=to).map(|(range, _)| range.losses).unwrap_or_default();
        stand_ins(&losses, from, to, next)
    }

    /// The records that stand for those from `from` on, if no line came after them; and the number of
    /// the last one.
    pub(super) fn rest(&self, from: u64) -> Option<(Vec<Arc<Line>>, u64)> {
        let (range, last) = self.take(from..=u64::MAX)?;
        Some((range.stand_ins(from, &last), range.last))
    }

    /// The range whose last line is one of `ends`. What ends before them is told already.
    fn take(&self, ends: RangeInclusive<u64>) -> Option<(Range, Arc<Line>)> {
        let mut ranges = self.lock();
        while ranges.front().is_some_and(|(range, _)| range.last < *ends.start()) {
            ranges.pop_front();
        }
        ranges.pop_front_if(|(range, _)| ends.contains(&range.last))
    }

    fn lock(&self) -> MutexGuard<'_, Ranges> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
