//! Who of those who connect to a socket of ours gets a place: pure. Idle connections of somebody give way to a new
//! one of the same, so nobody locks out anybody, not even themselves. Beyond the places that all share, each may have
//! some that nobody else takes, however busy the others are.

use std::collections::BTreeMap;

/// How many places there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at once of one.
    pub each: usize,
    /// Connections at once of one that count for nobody else: the first ones of each.
    pub own: usize,
    /// Connections at once of all but who is apart, without those that are each one's own.
    pub all: usize,
    /// Connections at once of everybody, own ones and who is apart too: what open files, or memory, allow.
    pub most: usize,
    /// Who has places besides those of all.
    pub apart: Option<u32>,
}

/// A connection that has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose: a number of a user, or of whatever else has places.
    pub whose: u32,
    /// Its number; later ones have higher ones.
    pub id: u64,
    /// Whether a request has come over it: then it is not idle.
    pub asked: bool,
}

/// What becomes of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// There is a place.
    Admit,
    /// There is one when this connection is ended.
    Instead(u64),
    /// There is none.
    Refuse,
}

/// Decides about a new connection of `whose`.
#[must_use]
pub fn admit(bounds: &Bounds, places: &[Place], whose: u32) -> Admission {
    let own = places.iter().filter(|place| place.whose == whose);
    let count = own.clone().count();
    if count >= bounds.each {
        return instead(own);
    }
    if places.len() >= bounds.most {
        return instead_of_most(places, |_, _| true);
    }
    let is_apart = |whose: u32| bounds.apart == Some(whose);
    if is_apart(whose) || count < bounds.own {
        return Admission::Admit;
    }
    let beyond = |whose: u32, count: usize| {
        if is_apart(whose) { 0 } else { count.saturating_sub(bounds.own) }
    };
    let shared: usize = counts(places).iter().map(|(whose, count)| beyond(*whose, *count)).sum();
    if shared < bounds.all {
        return Admission::Admit;
    }
    // Of what is somebody's own nothing is gained.
    instead_of_most(places, |whose, count| beyond(whose, count) > 0)
}

fn counts(places: &[Place]) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for place in places {
        *counts.entry(place.whose).or_default() += 1;
    }
    counts
}

/// The place of the oldest idle connection of whoever has most, among those of whom one is taken and who have an idle
/// one.
fn instead_of_most(places: &[Place], is_taken: impl Fn(u32, usize) -> bool) -> Admission {
    let counts = counts(places);
    let count = |whose: u32| counts.get(&whose).copied().unwrap_or_default();
    let idle = places.iter().filter(|place| !place.asked).map(|place| place.whose);
    let most = idle.filter(|whose| is_taken(*whose, count(*whose))).max_by_key(|of| count(*of));
    match most {
        Some(most) => instead(places.iter().filter(|place| place.whose == most)),
        None => Admission::Refuse,
    }
}

/// The place of the oldest idle connection.
fn instead<'a>(places: impl Iterator<Item = &'a Place>) -> Admission {
    let oldest = places.filter(|place| !place.asked).map(|place| place.id).min();
    oldest.map_or(Admission::Refuse, Admission::Instead)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EACH: usize = 16;
    const BOUNDS: Bounds = Bounds { each: EACH, own: 0, all: 64, most: 1000, apart: Some(0) };
    /// With places of one's own.
    const OWN: Bounds = Bounds { own: 4, all: 24, most: 50, ..BOUNDS };

    fn places(of: &[(u32, usize, bool)]) -> Vec<Place> {
        let each = of.iter().flat_map(|(uid, count, asked)| vec![(*uid, *asked); *count]);
        (0u64..).zip(each).map(|(id, (uid, asked))| Place { whose: uid, id, asked }).collect()
    }

    #[test]
    fn a_new_connection_gets_a_place_and_an_idle_one_gives_way() {
        use Admission::{Admit, Instead, Refuse};
        let crowd: Vec<_> = (1..=4).map(|uid| (uid, EACH, false)).collect();
        let busy: Vec<_> = (1..=4).map(|uid| (uid, EACH, true)).collect();
        let uneven =
            [(7, 1, false), (8, 2, false), (1, EACH, true), (2, EACH, true), (3, EACH, true)];
        let full: Vec<_> = uneven.into_iter().chain([(9, 13, true)]).collect();
        for (there, uid, expected) in [
            (vec![], 0, Admit),
            (vec![(0, EACH - 1, true)], 0, Admit),
            // The oldest idle one of the same user.
            (vec![(0, 3, true), (0, EACH - 3, false)], 0, Instead(3)),
            (vec![(0, EACH, true)], 0, Refuse),
            // Others' connections do not count.
            (vec![(5, EACH, true)], 6, Admit),
            (crowd.clone(), 0, Admit),
            (busy.clone(), 0, Admit),
            (busy, 5, Refuse),
            // 7 and 8 have idle ones; 8 has more.
            (full, 5, Instead(1)),
        ] {
            assert_eq!(admit(&BOUNDS, &places(&there), uid), expected, "{there:?} {uid}");
        }
        // Of users who have equally many somebody gives way.
        assert!(matches!(admit(&BOUNDS, &places(&crowd), 5), Instead(_)));
    }

    #[test]
    fn s26_who_has_few_places_gets_one_however_busy_the_others_are() {
        use Admission::{Admit, Instead, Refuse};
        // Two that are busy have all that is shared, and what is their own.
        let full = [(1, EACH, true), (2, EACH, true)];
        let with = |more: &[(u32, usize, bool)]| [&full, more].concat();
        for (there, whose, expected) in [
            (with(&[]), 3, Admit),
            (with(&[(3, 3, true)]), 3, Admit),
            (with(&[(3, 4, true)]), 3, Refuse),
            (with(&[(3, 4, true)]), 4, Admit),
            (with(&[(3, 4, true)]), 1, Refuse),
            // An idle one of 3's own would make no room among the shared ones.
            (with(&[(3, 4, false)]), 4, Admit),
            (vec![(1, EACH, true), (2, 2, false), (2, 14, true), (3, 4, true)], 3, Instead(16)),
            // Who is apart takes none of the shared ones.
            (vec![(0, EACH, true), (1, EACH, true), (2, 15, true)], 2, Admit),
            // All that there are at all.
            (
                with(&[(3, 4, true), (4, 4, true), (5, 4, true), (6, 4, true), (7, 2, true)]),
                8,
                Refuse,
            ),
            (
                with(&[(3, 4, true), (4, 4, true), (5, 4, true), (6, 4, true), (7, 2, false)]),
                8,
                Instead(48),
            ),
            (
                with(&[(3, 4, true), (4, 4, true), (5, 4, true), (6, 4, true), (7, 2, true)]),
                0,
                Refuse,
            ),
        ] {
            assert_eq!(admit(&OWN, &places(&there), whose), expected, "{there:?} {whose}");
        }
    }
}
