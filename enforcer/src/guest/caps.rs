//! Whether there is room for one more guest. Pure.

use super::names::Seat;
use crate::{access::name::User, config::GuestLife};

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The user has as many as a user may have.
    #[error(
        "{user} has {count} guests already, and [guests] max_per_user is {most}: remove one first"
    )]
    User {
        /// Who.
        user: User,
        /// How many guests.
        count: usize,
        /// How many there may be.
        most: u32,
    },
    /// Everybody together has.
    #[error(
        "there are {count} guests already, and [guests] max_in_all is {most}: remove one first"
    )]
    All {
        /// How many guests.
        count: usize,
        /// How many there may be.
        most: u32,
    },
}

/// Judges. `there` are the seats of all guests that exist, running or not; one that the new guest takes the place
/// of does not count.
pub fn admit<'a>(
    new: &Seat,
    there: impl IntoIterator<Item = &'a Seat>,
    life: &GuestLife,
) -> Result<(), Full> {
    let mut others: Vec<&Seat> = there.into_iter().filter(|seat| *seat != new).collect();
    others.sort_unstable();
    others.dedup();
    // A number that does not fit is more than any.
    let reaches =
        |count: usize, most: u32| u32::try_from(count).map_or(true, |count| count >= most);
    let own = others.iter().filter(|seat| seat.user == new.user).count();
    if reaches(own, life.max_per_user) {
        return Err(Full::User { user: new.user.clone(), count: own, most: life.max_per_user });
    }
    if reaches(others.len(), life.max_in_all) {
        return Err(Full::All { count: others.len(), most: life.max_in_all });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(hub: &str, name: &str, server: &str) -> Seat {
        let user = User { hub: hub.parse().expect("a hub"), name: name.parse().expect("a user") };
        Seat { user, server: server.to_owned() }
    }

    #[test]
    fn a_user_has_room_for_so_many_guests_and_so_has_the_host() {
        let life = GuestLife { max_per_user: 2, max_in_all: 4, ..GuestLife::default() };
        let new = seat("lab", "ann", "new");
        let (one, two) = (seat("lab", "ann", ""), seat("lab", "ann", "two"));
        assert_eq!(admit(&new, [], &life), Ok(()));
        assert_eq!(admit(&new, [&one], &life), Ok(()));
        let full = Full::User { user: new.user.clone(), count: 2, most: 2 };
        assert_eq!(admit(&new, [&one, &two], &life), Err(full));
        // What it takes the place of, once or twice there, makes room.
        assert_eq!(admit(&new, [&one, &new, &new], &life), Ok(()));
        // Somebody of the same name elsewhere is somebody else, but takes up room.
        let elsewhere = [seat("b", "ann", ""), seat("b", "ann", "1"), seat("b", "ann", "2")];
        assert_eq!(admit(&new, &elsewhere, &life), Ok(()));
        let all = elsewhere.iter().chain([&one]);
        assert_eq!(admit(&new, all, &life), Err(Full::All { count: 4, most: 4 }));
    }
}
