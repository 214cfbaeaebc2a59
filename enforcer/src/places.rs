//! Who of those who connect to a socket of ours gets a place: pure. Idle connections of somebody give way to a new
//! one of the same, so nobody locks out anybody, not even themselves.

/// How many places there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at once of one.
    pub each: usize,
    /// Connections at once of all but who is apart.
    pub all: usize,
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
    if own.clone().count() >= bounds.each {
        return instead(own);
    }
    let others = places.iter().filter(|place| Some(place.whose) != bounds.apart);
    if bounds.apart == Some(whose) || others.clone().count() < bounds.all {
        return Admission::Admit;
    }
    // Whoever has most gives way.
    let many = |whose: u32| places.iter().filter(|place| place.whose == whose).count();
    let idle = others.filter(|place| !place.asked);
    match idle.map(|place| place.whose).max_by_key(|whose| many(*whose)) {
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
    const BOUNDS: Bounds = Bounds { each: EACH, all: 64, apart: Some(0) };

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
}
