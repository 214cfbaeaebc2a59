//! Resolver: how much a client may ask. Pure; time is an argument, counted from the resolver's start.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher as _,
    time::Duration,
};

use crate::model::names::DomainName;

/// In which new names are counted.
pub const WINDOW: Duration = Duration::from_mins(10);

/// So many a second, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In a second.
    pub per_second: u32,
    /// At once, after a rest.
    pub burst: u32,
}

/// A token bucket. Tokens are counted in nanoseconds of a second's share, so that nothing is rounded.
#[derive(Clone, Debug)]
pub struct Bucket {
    rate: Rate,
    /// Tokens times 1e9.
    level: u128,
    at: Duration,
}

const TOKEN: u128 = 1_000_000_000;

impl Bucket {
    /// A full one.
    #[must_use]
    pub const fn new(rate: Rate, now: Duration) -> Self {
        Self { rate, level: rate.burst as u128 * TOKEN, at: now }
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now: Duration) -> bool {
        let gained = now.saturating_sub(self.at).as_nanos() * u128::from(self.rate.per_second);
        self.at = self.at.max(now);
        self.level = (self.level + gained).min(u128::from(self.rate.burst) * TOKEN);
        let is_there = self.level >= TOKEN;
        self.level -= if is_there { TOKEN } else { 0 };
        is_there
    }
}

/// What is counted of one client.
#[derive(Debug)]
pub struct Limits {
    questions: Bucket,
    /// Answers that say that there were too many questions.
    refusals: Bucket,
    names: Names,
}

/// What becomes of a question that is one too many, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is looked at.
    Take,
    /// The client is told that it asks too much.
    Refuse,
    /// Nor is there an answer.
    Drop,
}

impl Limits {
    /// Nothing was asked yet. `names`: new names in a [`WINDOW`].
    #[must_use]
    pub fn new(questions: Rate, names: usize, now: Duration) -> Self {
        Self {
            questions: Bucket::new(questions, now),
            refusals: Bucket::new(questions, now),
            names: Names { most: names, ..Names::default() },
        }
    }

    /// A question came.
    pub fn question(&mut self, now: Duration) -> Turn {
        if self.questions.take(now) {
            Turn::Take
        } else if self.refusals.take(now) {
            Turn::Refuse
        } else {
            Turn::Drop
        }
    }

    /// Whether a name that no rule names may be asked for now.
    pub fn name(&mut self, name: &DomainName, now: Duration) -> bool {
        self.names.take(name, now)
    }
}

/// The names of a window, as hashes: what they are does not matter, and two of a hash are a name for free.
#[derive(Debug, Default)]
struct Names {
    most: usize,
    hasher: RandomState,
    /// When each began to count.
    since: HashMap<u64, Duration>,
}

impl Names {
    fn take(&mut self, name: &DomainName, now: Duration) -> bool {
        let key = self.hasher.hash_one(name);
        let is_old = |since: &Duration| now.saturating_sub(*since) >= WINDOW;
        if self.since.get(&key).is_some_and(|since| !is_old(since)) {
            return true;
        }
        if self.since.len() >= self.most {
            self.since.retain(|_, since| !is_old(since));
        }
        let has_room = self.since.len() < self.most;
        if has_room {
            self.since.insert(key, now);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 20, burst: 100 };

    fn name(number: usize) -> DomainName {
        format!("a{number}.evil.net").parse().expect("a name")
    }

    #[test]
    fn p30_questions_beyond_the_rate_are_refused_and_then_dropped() {
        let mut limits = Limits::new(RATE, 10, Duration::ZERO);
        let mut turns = |count: usize, now: Duration| {
            let all: Vec<Turn> = (0..count).map(|_| limits.question(now)).collect();
            [Turn::Take, Turn::Refuse, Turn::Drop]
                .map(|turn| all.iter().filter(|one| **one == turn).count())
        };
        assert_eq!(turns(250, Duration::ZERO), [100, 100, 50]);
        assert_eq!(turns(50, Duration::from_secs(1)), [20, 20, 10]);
        assert_eq!(turns(500, Duration::from_hours(1)), [100, 100, 300]);
        // A clock that goes back gives nothing.
        assert_eq!(turns(5, Duration::ZERO), [0, 0, 5]);
    }

    #[test]
    fn a_bucket_loses_no_part_of_a_token() {
        let mut bucket = Bucket::new(Rate { per_second: 3, burst: 1 }, Duration::ZERO);
        assert!(bucket.take(Duration::ZERO));
        let taken = (1..=3000).filter(|ms| bucket.take(Duration::from_millis(*ms))).count();
        assert!((8..=9).contains(&taken), "{taken}");
    }

    #[test]
    fn p30_of_ten_thousand_new_names_only_those_of_a_window_are_asked_for() {
        let mut limits = Limits::new(RATE, 200, Duration::ZERO);
        let count = |limits: &mut Limits, names: std::ops::Range<usize>, now| {
            names.filter(|number| limits.name(&name(*number), now)).count()
        };
        assert_eq!(count(&mut limits, 0..10_000, Duration::ZERO), 200);
        let late = WINDOW.saturating_sub(Duration::from_secs(1));
        assert_eq!(count(&mut limits, 10_000..20_000, late), 0);
        assert_eq!(count(&mut limits, 0..200, late), 200, "a name that counts may be asked again");
        assert_eq!(count(&mut limits, 20_000..30_000, WINDOW), 200);
        assert!(limits.names.since.len() <= 200, "{}", limits.names.since.len());
    }
}
