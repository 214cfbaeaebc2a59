//! What starts have left behind that did not come to an end, and what becomes of it. Pure.
//!
//! A container that never ran, while nobody is starting it, is a start that broke off; so are volumes that were made
//! with it. A guest that stood aside for another comes back if the other never came, and goes if it did.

use std::collections::BTreeSet;

use super::names::{self, Known};

/// A container of enforcer's, as the engine lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Docker's id.
    pub id: String,
    /// What its name and labels say.
    pub known: Known,
    /// Whether it was made and has never run.
    pub is_unborn: bool,
    /// Whether it runs, is paused, or is about to run again.
    pub is_alive: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// Remove a container, by its id.
    Remove {
        /// Docker's id.
        id: String,
        /// Its name.
        name: String,
    },
    /// Remove a volume that was made for a guest that never ran.
    RemoveVolume(String),
    /// Give a container its name back.
    GiveBack {
        /// Docker's id.
        id: String,
        /// The name.
        name: String,
    },
}

/// What is to be done, in this order. `busy` are the names of guests that somebody is at work on.
#[must_use]
pub fn deeds(listed: &[Listed], busy: &BTreeSet<String>) -> Vec<Deed> {
    let mut deeds = Vec::new();
    let free = |one: &&Listed| !busy.contains(&one.known.seat.container());
    for one in listed.iter().filter(free) {
        let Known { seat, is_before, new_volumes, .. } = &one.known;
        let own = |is_before: bool| {
            move |other: &&Listed| other.known.seat == *seat && other.known.is_before == is_before
        };
        if *is_before {
            let successor = listed.iter().find(own(false));
            let id = one.id.clone();
            deeds.push(if successor.is_some_and(|other| !other.is_unborn) {
                Deed::Remove { id, name: seat.container_before() }
            } else {
                Deed::GiveBack { id, name: seat.container() }
            });
        } else if one.is_unborn {
            deeds.push(Deed::Remove { id: one.id.clone(), name: seat.container() });
            let volumes = new_volumes.iter().map(|of| names::volume(&seat.user, *of));
            deeds.extend(volumes.map(Deed::RemoveVolume));
        }
    }
    // A name is free before it is given back.
    deeds.sort_by_key(|deed| matches!(deed, Deed::GiveBack { .. }));
    deeds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        access::name::User,
        guest::names::{Seat, Use},
    };

    fn listed(id: &str, user: &str, is_before: bool, state: &str) -> Listed {
        let user = User { hub: "lab".parse().expect("a hub"), name: user.parse().expect("a user") };
        let seat = Seat { user, server: String::new() };
        let known = Known { seat, is_before, socket: None, new_volumes: vec![Use::Home] };
        let (is_unborn, is_alive) = (state == "created", state == "running");
        Listed { id: id.to_owned(), known, is_unborn, is_alive }
    }

    #[test]
    fn a_start_that_broke_off_leaves_neither_container_nor_new_volume() {
        let all = [
            listed("1", "ann", false, "created"),
            listed("2", "bob", false, "running"),
            listed("3", "eve", false, "exited"),
        ];
        let seat = all[0].known.seat.clone();
        let remove = Deed::Remove { id: "1".to_owned(), name: seat.container() };
        let volume = Deed::RemoveVolume(names::volume(&seat.user, Use::Home));
        assert_eq!(deeds(&all, &BTreeSet::new()), [remove, volume]);
        // Somebody is at it.
        assert_eq!(deeds(&all, &[seat.container()].into()), []);
    }

    #[test]
    fn a_guest_that_stood_aside_comes_back_unless_its_successor_came() {
        let before = listed("1", "ann", true, "exited");
        let name = before.known.seat.container();
        let back = Deed::GiveBack { id: "1".to_owned(), name: name.clone() };
        assert_eq!(
            deeds(std::slice::from_ref(&before), &BTreeSet::new()),
            std::slice::from_ref(&back)
        );
        for state in ["running", "exited"] {
            let all = [before.clone(), listed("2", "ann", false, state)];
            let gone = Deed::Remove { id: "1".to_owned(), name: format!("{name}.before") };
            assert_eq!(deeds(&all, &BTreeSet::new()), [gone], "{state}");
        }
        let all = [before, listed("2", "ann", false, "created")];
        let done = deeds(&all, &BTreeSet::new());
        assert_eq!(done.first(), Some(&Deed::Remove { id: "2".to_owned(), name }));
        assert_eq!((done.len(), done.last()), (3, Some(&back)));
    }
}
