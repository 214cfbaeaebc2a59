//! Which of the engine's events are about guests: those of the guest networks, and those of containers
//! that are or were on one. A container is created before anybody sees it on a network, so events of
//! strangers are kept for a while. Pure.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, SystemTime},
};

use super::{
    life,
    record::{Docker, format_time, text},
};
use crate::model::{heard::Heard, owner::Owners};

/// Most events of strangers that are kept: a container that waits longer than the engine takes for so
/// many others starts its story late.
const STRANGERS: usize = 256;
/// Most containers that are remembered after they left, for the end of their story.
const DEPARTED: usize = 4096;

/// Sorts events.
#[derive(Debug, Default)]
pub struct Claims {
    here: BTreeSet<String>,
    departed: VecDeque<String>,
    waiting: VecDeque<Heard>,
}

impl Claims {
    /// Takes in the owners of now; returns what was heard of those who are new.
    pub fn meet(&mut self, owners: &Owners) -> Vec<Heard> {
        let known = owners.values().filter(|owner| life::is_somebody(owner));
        let here: BTreeSet<String> = known.filter_map(|owner| owner.container.clone()).collect();
        self.departed.extend(self.here.difference(&here).cloned());
        self.departed.retain(|container| !here.contains(container));
        self.departed.drain(..self.departed.len().saturating_sub(DEPARTED));
        self.here = here;
        let (claimed, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|heard| heard.container.as_ref().is_some_and(|id| self.here.contains(id)));
        self.waiting = waiting;
        Vec::from(claimed)
    }

    /// Takes in an event; returns it if it is about a guest, about a network for which
    /// `is_guest_network`, or about the engine itself.
    pub fn hear(&mut self, heard: Heard, is_guest_network: impl Fn(&str) -> bool) -> Option<Heard> {
        if let Some(network) = &heard.network {
            return is_guest_network(network).then_some(heard);
        }
        let Some(container) = &heard.container else { return Some(heard) };
        let has_left = self.departed.contains(container);
        if has_left && heard.event == "container destroy" {
            self.departed.retain(|departed| departed != container);
        }
        if has_left || self.here.contains(container) {
            return Some(heard);
        }
        if self.waiting.len() == STRANGERS {
            self.waiting.pop_front();
        }
        self.waiting.push_back(heard);
        None
    }
}

/// The record of an event.
#[must_use]
pub fn record(heard: Heard) -> Docker {
    let clean = |value: Option<String>| value.as_deref().map(text);
    Docker {
        start: heard.time_ns.and_then(wall),
        event: heard.event,
        network: clean(heard.network).unwrap_or_default(),
        container_id: clean(heard.container),
        container: clean(heard.name).unwrap_or_default(),
        image: clean(heard.image),
        exit_code: heard.exit_code,
        signal: heard.signal,
    }
}

/// Nanoseconds since 1970, for people.
fn wall(ns: i64) -> Option<String> {
    let since = Duration::from_nanos(u64::try_from(ns).ok()?);
    Some(format_time(SystemTime::UNIX_EPOCH.checked_add(since)?))
}

#[cfg(test)]
mod tests {
    use enforcer_common::abi::endpoint::Role;

    use super::*;
    use crate::model::owner::Owner;

    fn heard(event: &str, container: &str) -> Heard {
        Heard { event: event.to_owned(), container: Some(container.to_owned()), ..Heard::default() }
    }

    fn owners(containers: &[&str]) -> Owners {
        let owner = |container: &&str| Owner {
            role: Some(Role::Guest),
            container: Some((*container).to_owned()),
            ..Owner::nobody()
        };
        (1..).zip(containers.iter().map(owner)).collect()
    }

    #[test]
    fn a3_a_guests_story_begins_before_it_is_known_and_ends_after_it_left() {
        let mut claims = Claims::default();
        let never = |_: &str| false;
        assert_eq!(claims.hear(heard("container create", "ann"), never), None);
        assert_eq!(claims.hear(heard("container create", "database"), never), None);
        assert_eq!(claims.meet(&owners(&["ann"])), [heard("container create", "ann")]);
        assert_eq!(claims.meet(&owners(&["ann"])), [], "once");
        for (event, told) in [
            ("container start", true),
            ("container die", true),
            ("container destroy", true),
            ("container destroy", false),
        ] {
            if event == "container die" {
                assert_eq!(claims.meet(&Owners::new()), []);
            }
            let event = heard(event, "ann");
            assert_eq!(claims.hear(event.clone(), never), told.then_some(event));
        }
    }

    #[test]
    fn a3_events_of_guest_networks_are_told_and_of_others_not() {
        let mut claims = Claims::default();
        let is_guest_network = |name: &str| name == "guests";
        for (network, told) in [("guests", true), ("bridge", false)] {
            let event =
                Heard { network: Some(network.to_owned()), ..heard("network connect", "c") };
            assert_eq!(claims.hear(event.clone(), is_guest_network), told.then_some(event));
        }
    }

    #[test]
    fn a3_that_the_engine_is_not_heard_is_told() {
        let lost = Heard::of_the_engine("engine lost");
        assert_eq!(Claims::default().hear(lost.clone(), |_| false), Some(lost));
    }

    #[test]
    fn strangers_do_not_fill_the_memory() {
        let mut claims = Claims::default();
        for number in 0..2 * STRANGERS {
            let _ = claims.hear(heard("container create", &number.to_string()), |_| false);
        }
        assert_eq!(claims.waiting.len(), STRANGERS);
        assert_eq!(claims.meet(&owners(&["0"])), []);
        let last = (2 * STRANGERS - 1).to_string();
        assert_eq!(claims.meet(&owners(&[&last])), [heard("container create", &last)]);
        for number in 0..2 * DEPARTED {
            let _ = claims.meet(&owners(&[&number.to_string()]));
        }
        assert_eq!(claims.departed.len(), DEPARTED);
    }
}
