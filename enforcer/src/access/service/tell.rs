//! Changes as records.

use super::{By, Change, Event, GroupName, HubName, Kind, Reason, Seconds, User};
use crate::audit::record::{AccessChange, Body, GrantChange, GroupChange, time_of};

/// Why a group is made that nobody asked for just now.
pub(super) fn built_in() -> Reason {
    "built in".parse().unwrap_or_default()
}

/// A change in the store.
pub(super) fn record(change: &Change) -> Body {
    let about = AccessChange {
        number: Some(change.number),
        start: Some(time_of(change.at.0)),
        hub: change.hub.clone(),
        group: Some(change.group.clone()),
        user: change.user.clone(),
        until: change.until.map(|until| time_of(until.0)),
        why: Some(change.reason.as_str().to_owned()).filter(|why| !why.is_empty()),
        ..by(&change.by)
    };
    let event = change.event.name().to_owned();
    if change.event.is_of_a_grant() {
        let kind = change.kind.map(|kind: Kind| kind.name().to_owned());
        return Body::Grant(Box::new(GrantChange { event, kind, about }));
    }
    Body::Group(Box::new(GroupChange { event, about }))
}

/// A group that was made in a hub.
pub(super) fn recreated(hub: &HubName, group: &GroupName, now: Seconds) -> Body {
    let about = AccessChange {
        start: Some(time_of(now.0)),
        hub: hub.to_string(),
        group: Some(group.to_string()),
        why: Some(built_in().as_str().to_owned()),
        ..by(&By::config())
    };
    let event = Event::GroupRecreated.name().to_owned();
    Body::Group(Box::new(GroupChange { event, about }))
}

/// A hub that does not answer, and that nobody waits for.
pub(super) fn silent(hub: &HubName, why: &str) -> Body {
    let about =
        AccessChange { hub: hub.to_string(), error: why.to_owned(), ..AccessChange::default() };
    Body::Group(Box::new(GroupChange { event: "unavailable".to_owned(), about }))
}

/// Somebody gets no socket, because nobody knows the groups.
pub(super) fn no_groups(user: &User, why: &str) -> Body {
    let event = "unavailable".to_owned();
    Body::Group(Box::new(GroupChange { event, about: of(user, why) }))
}

/// Somebody gets no socket, or nobody does, because nobody knows the grants.
pub(super) fn no_grants(user: Option<&User>, why: &str) -> Body {
    let nobody = || AccessChange { error: why.to_owned(), ..AccessChange::default() };
    let about = user.map_or_else(nobody, |user| of(user, why));
    Body::Grant(Box::new(GrantChange { event: "unavailable".to_owned(), kind: None, about }))
}

fn of(user: &User, why: &str) -> AccessChange {
    AccessChange {
        hub: user.hub.to_string(),
        user: Some(user.name.to_string()),
        error: why.to_owned(),
        ..AccessChange::default()
    }
}

fn by(by: &By) -> AccessChange {
    AccessChange {
        by_uid: by.uid,
        by_name: by.name.clone(),
        by_via: by.via.clone(),
        ..AccessChange::default()
    }
}
