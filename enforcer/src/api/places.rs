//! Who of those who connect gets a place: pure. Idle connections of a user give way to a new one of the
//! same user, so nobody locks out anybody, not even themselves.

/// Connections at once of one user.
pub(super) const EACH: usize = 16;
/// Connections at once of all users but root, who has places besides.
pub(super) const ALL: usize = 64;

/// A connection that has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Whose.
    pub(super) uid: u32,
    /// Its number; later ones have higher ones.
    pub(super) id: u64,
    /// Whether a request has come over it: then it is not idle.
    pub(super) asked: bool,
}

/// What becomes of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// There is a place.
    Admit,
    /// There is one when this connection is ended.
    Instead(u64),
    /// There is none.
    Refuse,
}

/// Decides about a new connection of `uid`.
pub(super) fn admit(places: &[Place], uid: u32) -> Admission {
    let own = places.iter().filter(|place| place.uid == uid);
    if own.clone().count() >= EACH {
        return instead(own);
    }
    let others = places.iter().filter(|place| place.uid != 0);
    if uid == 0 || others.clone().count() < ALL {
        return Admission::Admit;
    }
    // Whoever has most gives way.
    let many = |uid: u32| places.iter().filter(|place| place.uid == uid).count();
    let idle = others.filter(|place| !place.asked);
    match idle.map(|place| place.uid).max_by_key(|uid| many(*uid)) {
        Some(most) => instead(places.iter().filter(|place| place.uid == most)),
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

    fn places(of: &[(u32, usize, bool)]) -> Vec<Place> {
        let each = of.iter().flat_map(|(uid, count, asked)| vec![(*uid, *asked); *count]);
        (0u64..).zip(each).map(|(id, (uid, asked))| Place { uid, id, asked }).collect()
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
            assert_eq!(admit(&places(&there), uid), expected, "{there:?} {uid}");
        }
        // Of users who have equally many somebody gives way.
        assert!(matches!(admit(&places(&crowd), 5), Instead(_)));
    }
}
