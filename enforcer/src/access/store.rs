//! What this host knows of groups, memberships and grants, in one file of an embedded database. Each change is
//! one transaction that is on the disk when the call returns, together with the note of it that is still to be
//! told (`outbox`): after a crash there is all of it, or nothing.
//!
//! ```text
//! meta     "schema" -> version, "next" -> number of the next change
//! groups   (hub, group)       -> note
//! members  (hub, group, user) -> note
//! grants   (hub, group)       -> kind and note
//! outbox   number             -> change, until the stream has it
//! ```
//!
//! A file that is damaged, newer than this version, or that others may write is an error and never an empty
//! store: who cannot read grants gives none. See ADR 14.

mod change;
mod error;
mod rows;
mod sweep;
#[cfg(test)]
pub(super) mod tests;

use std::{collections::BTreeMap, path::Path};

use redb::{Database, ReadableDatabase as _, ReadableTable as _};

use self::{
    change::Changing,
    rows::{GRANTS, GROUPS, MEMBERS, OUTBOX, of_hub, read},
};
pub use self::{
    change::{Change, Event},
    error::StoreError,
    rows::VERSION,
};
use super::{
    grant::{By, Grant, Kind, Note, Reason, Seconds},
    judge::Membership,
    name::{GroupName, HubName, User, UserName},
};
use crate::database;

/// The built-in group whose members may have a filtered socket unless somebody says otherwise.
pub const PRIVILEGED: &str = "docker-privileged";

/// The last second of the year 9999.
const LATEST: Seconds = Seconds(253_402_300_799);

/// Who changes something, why, and when.
#[derive(Clone, Debug)]
pub struct Author {
    /// Who.
    pub by: By,
    /// Why.
    pub reason: Reason,
    /// Now.
    pub now: Seconds,
}

impl Author {
    fn note(&self, until: Option<Seconds>) -> Result<Note, StoreError> {
        if until.is_some_and(|until| until <= self.now || until > LATEST) {
            return Err(StoreError::NoEnd);
        }
        let Self { by, reason, now } = self.clone();
        Ok(Note { since: now, until, by, reason })
    }
}

/// A group as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: GroupName,
    /// Since when, by whom and why.
    pub note: Note,
    /// How many members it has, those whose time is over left out.
    pub members: usize,
    /// What its members may have, unless that is over.
    pub grant: Option<Grant>,
}

/// See the module.
#[derive(Debug)]
pub struct Store {
    database: Database,
}

impl Store {
    /// Opens the store in this directory. Where there is no file, a new one is made; the directory too.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Ok(Self { database: database::open(&rows::FORM, dir)? })
    }

    /// All groups of a hub.
    pub fn groups(&self, hub: &HubName, now: Seconds) -> Result<Vec<Group>, StoreError> {
        let reading = self.database.begin_read().map_err(boxed)?;
        let (groups, members, grants) = (
            reading.open_table(GROUPS).map_err(boxed)?,
            reading.open_table(MEMBERS).map_err(boxed)?,
            reading.open_table(GRANTS).map_err(boxed)?,
        );
        let mut found = Vec::new();
        for row in groups.range::<(&str, &str)>(of_hub(hub)..).map_err(boxed)? {
            let (key, value) = row.map_err(boxed)?;
            let (of, name) = key.value();
            if of != hub.as_str() {
                break;
            }
            let grant = grants.get((of, name)).map_err(boxed)?;
            let grant = grant.map(|row| read::<Grant>("grants", row.value())).transpose()?;
            found.push(Group {
                name: name.parse().map_err(|_error| StoreError::Row { table: "groups" })?,
                note: read("groups", value.value())?,
                members: rows::members(&members, of, name)?
                    .iter()
                    .filter(|(_, note)| note.holds(now))
                    .count(),
                grant: grant.filter(|grant| grant.note.holds(now)),
            });
        }
        Ok(found)
    }

    /// Who is in a group, those whose time is over left out.
    pub fn members(
        &self,
        hub: &HubName,
        group: &GroupName,
        now: Seconds,
    ) -> Result<Vec<(UserName, Note)>, StoreError> {
        let reading = self.database.begin_read().map_err(boxed)?;
        let groups = reading.open_table(GROUPS).map_err(boxed)?;
        if groups.get((hub.as_str(), group.as_str())).map_err(boxed)?.is_none() {
            return Err(StoreError::NoGroup { hub: hub.clone(), group: group.clone() });
        }
        let members = reading.open_table(MEMBERS).map_err(boxed)?;
        let mut found = rows::members(&members, hub.as_str(), group.as_str())?;
        found.retain(|(_, note)| note.holds(now));
        Ok(found)
    }

    /// Groups of a user and grants of the user's hub, as they were at one moment. Nothing is left out for being over:
    /// that is for the judge.
    pub fn standing(
        &self,
        user: &User,
    ) -> Result<(Vec<Membership>, BTreeMap<GroupName, Grant>), StoreError> {
        let reading = self.database.begin_read().map_err(boxed)?;
        let groups = reading.open_table(GROUPS).map_err(boxed)?;
        let members = reading.open_table(MEMBERS).map_err(boxed)?;
        let mut found = Vec::new();
        for row in groups.range::<(&str, &str)>(of_hub(&user.hub)..).map_err(boxed)? {
            let (key, _) = row.map_err(boxed)?;
            let (hub, group) = key.value();
            if hub != user.hub.as_str() {
                break;
            }
            if let Some(row) = members.get((hub, group, user.name.as_str())).map_err(boxed)? {
                found.push(Membership {
                    group: group.parse().map_err(|_error| StoreError::Row { table: "groups" })?,
                    note: Some(read("members", row.value())?),
                });
            }
        }
        let grants = reading.open_table(GRANTS).map_err(boxed)?;
        Ok((found, rows::grants(&grants, &user.hub)?))
    }

    /// Grants of a hub's groups, those whose time is over too.
    pub fn grants(&self, hub: &HubName) -> Result<BTreeMap<GroupName, Grant>, StoreError> {
        let reading = self.database.begin_read().map_err(boxed)?;
        rows::grants(&reading.open_table(GRANTS).map_err(boxed)?, hub)
    }

    /// Makes a group. It has no members and no grant.
    pub fn create(
        &self,
        hub: &HubName,
        group: &GroupName,
        author: &Author,
    ) -> Result<Vec<Change>, StoreError> {
        self.change(author, |changing| {
            if changing.has_group(hub, group)? {
                return Err(StoreError::Exists { hub: hub.clone(), group: group.clone() });
            }
            changing.put_group(hub, group, &author.note(None)?)?;
            changing.tell(Event::GroupCreated, (hub, group, None), None)
        })
    }

    /// Deletes a group with its members and its grant, unless it is one of these.
    pub fn delete(
        &self,
        hub: &HubName,
        group: &GroupName,
        builtin: &[GroupName],
        author: &Author,
    ) -> Result<Vec<Change>, StoreError> {
        if builtin.contains(group) {
            return Err(StoreError::BuiltIn(group.clone()));
        }
        self.change(author, |changing| {
            changing.require(hub, group)?;
            changing.drop_group(hub, group)?;
            changing.tell(Event::GroupDeleted, (hub, group, None), None)
        })
    }

    /// Puts a user into a group, or gives a membership another end.
    pub fn add(
        &self,
        user: &User,
        group: &GroupName,
        until: Option<Seconds>,
        author: &Author,
    ) -> Result<Vec<Change>, StoreError> {
        let note = author.note(until)?;
        self.change(author, |changing| {
            changing.require(&user.hub, group)?;
            changing.put_member(user, group, &note)?;
            changing.tell_until(Event::MemberAdded, (&user.hub, group, Some(&user.name)), until)
        })
    }

    /// Takes a user out of a group.
    pub fn remove(
        &self,
        user: &User,
        group: &GroupName,
        author: &Author,
    ) -> Result<Vec<Change>, StoreError> {
        self.change(author, |changing| {
            changing.require(&user.hub, group)?;
            if !changing.drop_member(user, group)? {
                return Err(StoreError::NoMember { user: user.clone(), group: group.clone() });
            }
            changing.tell(Event::MemberRemoved, (&user.hub, group, Some(&user.name)), None)
        })
    }

    /// Says what a group's members may have. `is_known`: the group is one of the hub's own, which are not kept
    /// here.
    pub fn set_grant(
        &self,
        (hub, group): (&HubName, &GroupName),
        (kind, until): (Kind, Option<Seconds>),
        is_known: bool,
        author: &Author,
    ) -> Result<Vec<Change>, StoreError> {
        let note = author.note(until)?;
        self.change(author, |changing| {
            if !is_known {
                changing.require(hub, group)?;
            }
            changing.put_grant(hub, group, &Grant { kind, note: note.clone() })?;
            changing.tell_grant((hub, group), kind, until)
        })
    }

    /// Makes the built-in groups that are missing in any of these hubs. [`PRIVILEGED`] comes with its grant.
    pub fn ensure_builtin(
        &self,
        hubs: &[HubName],
        names: &[GroupName],
        author: &Author,
    ) -> Result<Vec<Change>, StoreError> {
        // Nothing is written where nothing is missing: this is asked at each start of a guest.
        if self.missing(hubs, names)?.is_empty() {
            return Ok(Vec::new());
        }
        let note = author.note(None)?;
        self.change(author, |changing| {
            for (hub, group) in
                hubs.iter().flat_map(|hub| names.iter().map(move |name| (hub, name)))
            {
                if changing.has_group(hub, group)? {
                    continue;
                }
                changing.put_group(hub, group, &note)?;
                changing.tell(Event::GroupRecreated, (hub, group, None), None)?;
                if group.as_str() == PRIVILEGED
                    && !changing.has_grant(hub, group)?
                    && !changing.give_once(hub)?
                {
                    let grant = Grant { kind: Kind::Filtered, note: note.clone() };
                    changing.put_grant(hub, group, &grant)?;
                    changing.tell_grant((hub, group), grant.kind, None)?;
                }
            }
            Ok(())
        })
    }

    fn missing(
        &self,
        hubs: &[HubName],
        names: &[GroupName],
    ) -> Result<Vec<(HubName, GroupName)>, StoreError> {
        let reading = self.database.begin_read().map_err(boxed)?;
        let groups = reading.open_table(GROUPS).map_err(boxed)?;
        let mut missing = Vec::new();
        for (hub, group) in hubs.iter().flat_map(|hub| names.iter().map(move |name| (hub, name))) {
            if groups.get((hub.as_str(), group.as_str())).map_err(boxed)?.is_none() {
                missing.push((hub.clone(), group.clone()));
            }
        }
        Ok(missing)
    }

    /// Changes that the stream may not have, in their order.
    pub fn untold(&self) -> Result<Vec<Change>, StoreError> {
        let reading = self.database.begin_read().map_err(boxed)?;
        let rows = reading.open_table(OUTBOX).map_err(boxed)?;
        rows.iter()
            .map_err(boxed)?
            .map(|row| read("outbox", row.map_err(boxed)?.1.value()))
            .collect()
    }

    /// Forgets that these were to be told: all up to this number.
    pub fn told(&self, number: u64) -> Result<(), StoreError> {
        let changing = Changing::begin(&self.database)?;
        changing.forget(number)?;
        changing.commit().map(drop)
    }

    /// One transaction: all that `make` does and the notes of it, or nothing.
    fn change(
        &self,
        author: &Author,
        make: impl FnOnce(&mut Changing) -> Result<(), StoreError>,
    ) -> Result<Vec<Change>, StoreError> {
        let mut changing = Changing::begin(&self.database)?;
        changing.author = Some(author.clone());
        make(&mut changing)?;
        changing.commit()
    }
}

/// Errors of the database are large, and there are many kinds.
fn boxed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Database(Box::new(error.into()))
}
