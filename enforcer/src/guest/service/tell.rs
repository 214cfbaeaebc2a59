//! What becomes of guests, as records.

use crate::{
    access::name::User,
    audit::record::{Body, Life, LifeEvent},
    docker::guests::Entry,
    guest::names::Seat,
    model::caller::Caller,
};

use super::Guests;

impl Guests {
    pub(super) fn tell(&self, event: LifeEvent, life: Life) {
        let life = Life { event: event.name().to_owned(), ..life };
        // Nobody listens any more: the daemon is stopping.
        let _ = self.0.journal.send(Body::Life(Box::new(life)));
    }
}

/// What is known of a guest by its seat alone.
pub(super) fn of_seat(seat: &Seat, by: &Caller) -> Life {
    let server = Some(seat.server.clone()).filter(|server| !server.is_empty());
    Life { server, container: seat.container(), ..of_user(&seat.user, by) }
}

/// What is known of a user's guests.
pub(super) fn of_user(user: &User, by: &Caller) -> Life {
    Life {
        hub: user.hub.to_string(),
        user: Some(user.name.to_string()),
        by: by.clone(),
        ..Life::default()
    }
}

/// What is known of a guest that there is.
pub(super) fn of_entry(entry: &Entry, by: &Caller) -> Life {
    Life {
        container: entry.name.clone(),
        container_id: Some(entry.listed.id.clone()),
        image: Some(entry.image.clone()),
        ..of_seat(&entry.listed.known.seat, by)
    }
}
