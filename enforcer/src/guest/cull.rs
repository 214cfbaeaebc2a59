//! Which guests have to go. Pure; the clock is an argument.
//!
//! A guest is idle while nobody talks to it: no packet in a conversation that somebody else began. What it begins
//! itself does not count, or every guest would stay that says now and then that it lives.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::config::GuestLife;

/// Why a guest has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nobody has talked to it for so long.
    Idle(Duration),
    /// It is so old.
    Old(Duration),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle(time) => write!(f, "idle for {} s", time.as_secs()),
            Self::Old(time) => write!(f, "{} s old", time.as_secs()),
        }
    }
}

/// A guest that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running<'a> {
    /// Docker's id of the container.
    pub container: &'a str,
    /// How long ago it was made; `None`: nobody knows.
    pub age: Option<Duration>,
    /// The newest packet of a visitor, monotonic ns; `None`: none is known.
    pub visited_ns: Option<u64>,
}

/// What is remembered of guests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visits(BTreeMap<String, Memory>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Memory {
    /// When it was last seen to be talked to, monotonic ns.
    visited_ns: u64,
    /// How old it was at the last look: one that ends and is started again does not become younger.
    age: Duration,
    /// When that was, monotonic ns.
    looked_ns: u64,
}

impl Visits {
    /// Takes in who runs, and says who has to go, and why. One that is seen for the first time counts as visited now:
    /// nobody knows what was before.
    pub fn judge<'a>(
        &mut self,
        running: &[Running<'a>],
        life: &GuestLife,
        now_ns: u64,
    ) -> Vec<(&'a str, Why)> {
        self.0.retain(|id, _| running.iter().any(|guest| guest.container == id));
        let mut going = Vec::new();
        for guest in running {
            let first = Memory { visited_ns: now_ns, age: Duration::ZERO, looked_ns: now_ns };
            let memory = self.0.entry(guest.container.to_owned()).or_insert(first);
            let since = Duration::from_nanos(now_ns.saturating_sub(memory.looked_ns));
            memory.age = guest.age.unwrap_or_default().max(memory.age + since);
            memory.looked_ns = now_ns;
            memory.visited_ns = memory.visited_ns.max(guest.visited_ns.unwrap_or_default());
            let idle = Duration::from_nanos(now_ns.saturating_sub(memory.visited_ns));
            let old = Some(memory.age).filter(|age| life.max_age.is_some_and(|most| *age > most));
            let is_idle = life.idle_after.is_some_and(|most| idle > most);
            let why = old.map(Why::Old).or(is_idle.then_some(Why::Idle(idle)));
            going.extend(why.map(|why| (guest.container, why)));
        }
        going
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000_000_000;

    fn guest(container: &str, age: u64, visited: Option<u64>) -> Running<'_> {
        let age = Some(Duration::from_mins(age));
        Running { container, age, visited_ns: visited.map(|minutes| minutes * MINUTE) }
    }

    #[test]
    fn a_guest_goes_when_nobody_has_talked_to_it_or_when_it_is_old() {
        let life = GuestLife {
            idle_after: Some(Duration::from_mins(10)),
            max_age: Some(Duration::from_hours(2)),
            ..GuestLife::default()
        };
        let mut visits = Visits::default();
        // The first look of a daemon: whoever is there has just been visited, but is as old as it is.
        let first = [guest("a", 60, None), guest("b", 121, None), guest("c", 60, Some(990))];
        let going = visits.judge(&first, &life, 1000 * MINUTE);
        assert_eq!(going, [("b", Why::Old(Duration::from_mins(121)))]);
        let later = [guest("a", 70, None), guest("c", 70, Some(1009))];
        assert_eq!(visits.judge(&later, &life, 1010 * MINUTE), []);
        // The flow of the last visit is gone, and is remembered.
        let then = [guest("a", 71, None), guest("c", 71, None)];
        let going = visits.judge(&then, &life, 1011 * MINUTE);
        assert_eq!(going, [("a", Why::Idle(Duration::from_mins(11)))]);
        // One that ends and is started again is no younger for it.
        let again = [guest("c", 0, Some(1060))];
        let going = visits.judge(&again, &life, 1061 * MINUTE);
        assert_eq!(going, [("c", Why::Old(Duration::from_mins(121)))]);
        // One that has gone is forgotten.
        let _ = visits.judge(&[], &life, 1011 * MINUTE);
        assert_eq!(visits, Visits::default());
    }

    #[test]
    fn without_limits_and_without_an_age_everybody_stays() {
        let mut visits = Visits::default();
        let one = [guest("a", 1 << 30, Some(1))];
        assert_eq!(visits.judge(&one, &GuestLife::default(), u64::MAX), []);
        let life = GuestLife { max_age: Some(Duration::from_mins(1)), ..GuestLife::default() };
        let unknown = [Running { age: None, ..one[0] }];
        assert_eq!(Visits::default().judge(&unknown, &life, u64::MAX), []);
    }
}
