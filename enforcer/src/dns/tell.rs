//! Resolver 6: what is told of questions: a record or a count for each, and a sum by outcome.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::question::{NoQuestion, Question};
use crate::model::names::Outcome;

/// A question and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Whose it was.
    pub endpoint: u32,
    /// The name as it was asked for, with what is no letter of a name escaped; empty: not understood.
    pub name: String,
    /// The type; empty: not understood.
    pub kind: String,
    /// What became of it.
    pub outcome: Outcome,
    /// The pattern that allows the name, or `any`.
    pub rule: Option<String>,
    /// Groups that got leases.
    pub groups: Vec<u32>,
    /// Addresses in the answer; if it is refused for one, that one.
    pub addresses: Vec<IpAddr>,
    /// For how long the client may use the answer.
    pub ttl: Option<Duration>,
    /// Why there is no answer, for people.
    pub why: Option<String>,
}

/// Where questions are recorded.
pub trait Journal: Send + Sync {
    /// Records one.
    fn write(&self, asked: Asked);
    /// Counts one that has no record because there were too many.
    fn suppress(&self, endpoint: u32, outcome: Outcome);
}

/// Questions since the daemon started, by outcome; those of nobody in the directory apart.
#[derive(Debug, Default)]
pub struct Counts {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    strangers: AtomicU64,
}

impl Counts {
    pub(super) fn count(&self, outcome: Outcome) {
        let slot = Outcome::ALL.iter().zip(&self.outcomes).find(|(known, _)| **known == outcome);
        if let Some((_, count)) = slot {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn count_stranger(&self) {
        self.strangers.fetch_add(1, Ordering::Relaxed);
    }

    /// Outcomes by their words, and how many each.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let outcomes = Outcome::ALL.iter().zip(&self.outcomes);
        outcomes.map(|(outcome, count)| (outcome.name(), count.load(Ordering::Relaxed)))
    }

    /// Questions of nobody in the directory; they had no answer.
    #[must_use]
    pub fn strangers(&self) -> u64 {
        self.strangers.load(Ordering::Relaxed)
    }
}

/// What is told of a question that cannot be read.
pub(super) fn unread(endpoint: u32, outcome: Outcome) -> Asked {
    Asked {
        endpoint,
        name: String::new(),
        kind: String::new(),
        outcome,
        rule: None,
        groups: Vec::new(),
        addresses: Vec::new(),
        ttl: None,
        why: None,
    }
}

pub(super) fn of(
    endpoint: u32,
    question: &Result<Question, NoQuestion>,
    outcome: Outcome,
) -> Asked {
    let (name, kind) = match question {
        Ok(question) => (question.asked.to_ascii(), question.kind.to_string()),
        Err(_) => (String::new(), String::new()),
    };
    Asked { name, kind, ..unread(endpoint, outcome) }
}
