//! What the collector refused for good, until it has been told. Pure.

use std::{collections::VecDeque, sync::Arc};

use crate::audit::{
    record::{Body, Cause, Record},
    sink::missed::Range,
    stream::{Line, gap_of},
};

/// Ranges that are kept apart; beyond that whose their records were is not told any more.
const MOST: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// Ranges of which everything is missing, in order.
    whole: VecDeque<Whole>,
    /// A range of which something is missing.
    part: Option<Part>,
}

#[derive(Debug)]
struct Whole {
    from: u64,
    range: Range,
    /// The last of them, for its time.
    at: Arc<Line>,
}

#[derive(Debug)]
struct Part {
    from: u64,
    to: u64,
    count: u64,
    at: Arc<Line>,
}

impl Owed {
    pub(super) fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.part.is_none()
    }

    /// Takes in lines that were refused; how many records they are. Those that stand for others are
    /// none: the others are counted already.
    pub(super) fn refuse(&mut self, lines: &[Arc<Line>]) -> u64 {
        let (Some(first), Some(at)) = (lines.first(), lines.last()) else { return 0 };
        let (from, at) = (first_of(first), Arc::clone(at));
        let mut range = Range::default();
        for line in lines {
            range.add(line);
        }
        match self.whole.back_mut() {
            Some(last) if last.range.last + 1 == from => {
                last.range.extend(range);
                last.at = at;
            }
            _ => self.whole.push_back(Whole { from, range, at }),
        }
        if self.whole.len() > MOST
            && let Some(Whole { from, range, at }) = self.whole.pop_front()
        {
            self.add_part(Part { from, to: range.last, count: range.last + 1 - from, at });
        }
        lines.iter().filter(|line| !stands_for_others(line)).count() as u64
    }

    /// Takes in lines of which so many were rejected; how many records they are.
    pub(super) fn reject(&mut self, lines: &[Arc<Line>], rejected: u64) -> u64 {
        let (Some(first), Some(at)) = (lines.first(), lines.last()) else { return 0 };
        let (from, to, at) = (first_of(first), at.seq, Arc::clone(at));
        self.add_part(Part { from, to, count: rejected, at });
        let records = lines.iter().filter(|line| !stands_for_others(line)).count() as u64;
        rejected.min(records)
    }

    fn add_part(&mut self, new: Part) {
        self.part = Some(match self.part.take() {
            None => new,
            Some(old) => Part {
                from: old.from.min(new.from),
                to: old.to.max(new.to),
                count: old.count + new.count,
                at: if old.to > new.to { old.at } else { new.at },
            },
        });
    }

    /// The records that tell it, in order.
    pub(super) fn lines(&self) -> Vec<Arc<Line>> {
        let part = self.part.iter();
        let mut lines: Vec<_> = part
            .map(|Part { from, to, count, at }| Arc::new(gap_of(*from, *to, *count, at)))
            .collect();
        for Whole { from, range, at } in &self.whole {
            lines.extend(range.stand_ins(*from, at));
        }
        lines.sort_by_key(|line| line.seq);
        lines
    }
}

fn body(line: &Line) -> Option<Body> {
    let record: Option<Record> = serde_json::from_str(&line.text).ok();
    record.map(|record| record.body)
}

/// Number of the first line that is missing with this one.
fn first_of(line: &Line) -> u64 {
    match body(line) {
        Some(Body::Gap(gap)) => gap.from_seq.min(line.seq),
        _ => line.seq,
    }
}

fn stands_for_others(line: &Line) -> bool {
    match body(line) {
        Some(Body::Gap(_)) => true,
        Some(Body::Loss(loss)) => loss.cause == Cause::Sink,
        _ => false,
    }
}
