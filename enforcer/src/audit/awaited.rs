//! Audit path 2, beforehand: what a container does before the engine has told whose it is waits for that, for a moment.
//! The engine answers questions about a container when its start is over, and by then its process runs.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// Longest that the events of one owner wait, from the first of them on.
const LONGEST: Duration = Duration::from_secs(1);
/// Events that wait at most.
const MOST: usize = 1024;

/// Events of those whose name is awaited.
#[derive(Debug)]
pub struct Awaited<T> {
    events: VecDeque<(u32, T)>,
    /// When the first event of each came, monotonic ns: until nobody waits for its name any more.
    since: BTreeMap<u32, u64>,
}

impl<T> Default for Awaited<T> {
    fn default() -> Self {
        Self { events: VecDeque::new(), since: BTreeMap::new() }
    }
}

impl<T> Awaited<T> {
    /// Keeps an event of an owner whose name is awaited; gives it back where there is no more time or room for that.
    pub fn keep(&mut self, owner: u32, event: T, now_ns: u64) -> Option<T> {
        let since = *self.since.entry(owner).or_insert(now_ns);
        if is_over(since, now_ns) || self.events.len() >= MOST {
            return Some(event);
        }
        self.events.push_back((owner, event));
        None
    }

    /// The events that wait no longer, the first one first.
    pub fn release(&mut self, is_awaited: impl Fn(u32) -> bool, now_ns: u64) -> Vec<T> {
        self.since.retain(|owner, _| is_awaited(*owner));
        let waits =
            |owner: &u32| self.since.get(owner).is_some_and(|since| !is_over(*since, now_ns));
        let (kept, released) =
            std::mem::take(&mut self.events).into_iter().partition(|(owner, _)| waits(owner));
        self.events = kept;
        let released: VecDeque<(u32, T)> = released;
        released.into_iter().map(|(_, event)| event).collect()
    }

    /// Whether this owner's name was awaited when this was asked last.
    #[must_use]
    pub fn knows(&self, owner: u32) -> bool {
        self.since.contains_key(&owner)
    }

    /// Whether no event waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

fn is_over(since: u64, now_ns: u64) -> bool {
    u128::from(now_ns.saturating_sub(since)) > LONGEST.as_nanos()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a2_an_event_waits_for_the_name_of_its_owner_and_the_order_stays() {
        let mut awaited = Awaited::default();
        for (owner, event) in [(7, "a"), (8, "b"), (7, "c")] {
            assert_eq!(awaited.keep(owner, event, 0), None);
        }
        assert_eq!(awaited.release(|_| true, SECOND), Vec::<&str>::new());
        assert_eq!(awaited.release(|owner| owner == 8, SECOND), ["a", "c"]);
        assert_eq!(awaited.release(|_| false, SECOND), ["b"]);
        assert!(awaited.is_empty());
    }

    #[test]
    fn a1_nobody_waits_for_ever_and_not_twice() {
        let mut awaited = Awaited::default();
        assert_eq!(awaited.keep(7, "a", 0), None);
        assert_eq!(awaited.release(|_| true, SECOND + 1), ["a"]);
        assert_eq!(awaited.keep(7, "b", SECOND + 2), Some("b"), "its time is over");
        // Known meanwhile: another one gets this number later.
        assert_eq!(awaited.release(|_| false, 2 * SECOND), Vec::<&str>::new());
        assert_eq!(awaited.keep(7, "c", 3 * SECOND), None);
    }

    #[test]
    fn a1_there_is_room_for_so_many() {
        let mut awaited = Awaited::default();
        let kept = (0..2 * MOST).filter(|event| awaited.keep(7, *event, 0).is_none()).count();
        assert_eq!(kept, MOST);
    }
}
