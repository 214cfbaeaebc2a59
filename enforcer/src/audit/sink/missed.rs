//! What a sink misses, by whose it is: a gap alone would hide whom it is about.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use crate::audit::{
    loss::{self, LossKey},
    queue::Account,
    record::{Body, Cause, Record, Subject},
    stream::{Line, beside, gap_to},
};

/// Lines that were not handed over, one entry for each unbroken range.
#[derive(Clone, Debug, Default)]
pub(super) struct Missed(Arc<Mutex<VecDeque<Range>>>);

#[derive(Debug, Default)]
struct Range {
    last: u64,
    losses: BTreeMap<LossKey, (Subject, u64)>,
}

impl Missed {
    /// Takes in a line; `anew`: the one before it was handed over.
    pub(super) fn add(&self, line: &Line, anew: bool) {
        let mut ranges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if anew || ranges.is_empty() {
            ranges.push_back(Range::default());
        }
        let Some(range) = ranges.back_mut() else { return };
        range.last = line.seq;
        let (key, count) = match line.account {
            Account::Event(counter) => (LossKey { counter, cause: Cause::Sink }, 1),
            Account::Loss(key, count) => (key, count),
            Account::Nothing | Account::Deletion(_) => return,
        };
        let subject = || {
            let record: Option<Record> = serde_json::from_str(&line.text).ok();
            record.and_then(|record| record.body.subject().cloned()).unwrap_or_default()
        };
        range.losses.entry(key).or_insert_with(|| (subject(), 0)).1 += count;
    }

    /// The records that stand for those from `from` to the one before `next`: a gap, and behind it a
    /// loss of each who is missing something. There are no more of them than of the missing.
    pub(super) fn stand_ins(&self, from: u64, next: &Line) -> Vec<Arc<Line>> {
        let mut ranges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while ranges.front().is_some_and(|range| range.last + 1 < next.seq) {
            ranges.pop_front();
        }
        let known = ranges.front().is_some_and(|range| range.last + 1 == next.seq);
        let losses = known.then(|| ranges.pop_front()).flatten().unwrap_or_default().losses;
        drop(ranges);
        let mut lines = Vec::with_capacity(losses.len() + 1);
        let first = next.seq.saturating_sub(losses.len() as u64).max(from);
        if first > from {
            lines.push(Arc::new(gap_to(from, first - 1, next)));
        }
        for (seq, (key, (subject, count))) in (first..next.seq).zip(losses) {
            let body = Body::Loss(loss::of(subject, key, count));
            lines.push(Arc::new(beside(seq, next, body, Account::Loss(key, count))));
        }
        lines
    }
}
