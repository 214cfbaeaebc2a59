//! Sums by key, of as many keys as memory is meant for: what comes later is summed up as the rest, and
//! said to be. Pure.

use std::{collections::HashMap, hash::Hash};

/// Something that adds up.
pub(super) trait Sum: Default {
    /// Takes in another one.
    fn add(&mut self, other: &Self);
    /// What comes first in a list has more of this.
    fn weight(&self) -> (u64, u64);
}

/// Sums of at most so many keys, and of the rest.
#[derive(Debug)]
pub(super) struct Tally<K, V> {
    most: usize,
    sums: HashMap<K, V>,
    /// Of keys for which there was no room.
    rest: V,
    rested: bool,
}

/// The keys with most, and what the others come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Top<K, V> {
    pub(super) first: Vec<(K, V)>,
    /// How many keys are not among them.
    pub(super) others: u64,
    /// There are more: there was no room to tell them apart.
    pub(super) at_least: bool,
    /// What they come to.
    pub(super) rest: V,
}

impl<K: Eq + Hash + Ord, V: Sum> Tally<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self { most, sums: HashMap::new(), rest: V::default(), rested: false }
    }

    pub(super) fn add(&mut self, key: K, value: &V) {
        if let Some(sum) = self.sums.get_mut(&key) {
            sum.add(value);
        } else if self.sums.len() < self.most {
            self.sums.entry(key).or_default().add(value);
        } else {
            self.rest.add(value);
            self.rested = true;
        }
    }

    pub(super) fn top(self, count: usize) -> Top<K, V> {
        let mut all: Vec<(K, V)> = self.sums.into_iter().collect();
        all.sort_by(|(key, one), (other_key, other)| {
            other.weight().cmp(&one.weight()).then_with(|| key.cmp(other_key))
        });
        let mut rest = self.rest;
        let tail = all.split_off(count.min(all.len()));
        for (_, value) in &tail {
            rest.add(value);
        }
        let others = u64::try_from(tail.len()).unwrap_or(u64::MAX) + u64::from(self.rested);
        Top { first: all, others, at_least: self.rested, rest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Eq)]
    struct Number(u64);

    impl Sum for Number {
        fn add(&mut self, other: &Self) {
            self.0 += other.0;
        }

        fn weight(&self) -> (u64, u64) {
            (self.0, 0)
        }
    }

    #[test]
    fn what_there_is_no_room_for_is_summed_up_and_said() {
        let mut tally = Tally::new(3);
        for (key, value) in [("a", 1), ("b", 5), ("c", 2), ("a", 2), ("d", 100), ("e", 100)] {
            tally.add(key, &Number(value));
        }
        let top = tally.top(2);
        assert_eq!(top.first, [("b", Number(5)), ("a", Number(3))]);
        assert_eq!((top.others, top.at_least, top.rest), (2, true, Number(202)));
        let mut tally = Tally::new(3);
        tally.add("a", &Number(1));
        let top = tally.top(2);
        assert_eq!((top.others, top.at_least, top.rest), (0, false, Number(0)));
    }
}
