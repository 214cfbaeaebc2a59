//! One transaction: rows that change, and the notes of it that the stream is to have.

use redb::{Database, Durability, ReadableTable as _, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::{
    Author, StoreError, boxed,
    rows::{GRANTS, GROUPS, MEMBERS, META, NEXT, OUTBOX, members, read, written},
};
use crate::access::{
    grant::{By, Grant, Kind, Note, Reason, Seconds},
    name::{GroupName, HubName, User, UserName},
};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Somebody made a group.
    GroupCreated,
    /// Somebody deleted one, with its members and its grant.
    GroupDeleted,
    /// A built-in group was missing.
    GroupRecreated,
    /// A user came into a group, or has another end there.
    MemberAdded,
    /// A user was taken out of a group.
    MemberRemoved,
    /// A user's time in a group is over.
    MemberExpired,
    /// A group has another grant.
    GrantSet,
    /// A grant's time is over.
    GrantExpired,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::GroupCreated,
        Self::GroupDeleted,
        Self::GroupRecreated,
        Self::MemberAdded,
        Self::MemberRemoved,
        Self::MemberExpired,
        Self::GrantSet,
        Self::GrantExpired,
    ];

    /// Its word in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::GroupCreated => "created",
            Self::GroupDeleted => "deleted",
            Self::GroupRecreated => "recreated",
            Self::MemberAdded => "added",
            Self::MemberRemoved => "removed",
            Self::MemberExpired | Self::GrantExpired => "expired",
            Self::GrantSet => "set",
        }
    }

    /// Whether it is about a grant, and not about a group.
    #[must_use]
    pub const fn is_of_a_grant(self) -> bool {
        matches!(self, Self::GrantSet | Self::GrantExpired)
    }
}

/// A change that was made, as the stream is to have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Its number: one that is told twice has the same.
    pub number: u64,
    /// When.
    pub at: Seconds,
    /// What.
    pub event: Event,
    /// In which hub.
    pub hub: String,
    /// Which group.
    pub group: String,
    /// Which user.
    pub user: Option<String>,
    /// Which grant.
    pub kind: Option<Kind>,
    /// Until when.
    pub until: Option<Seconds>,
    /// Who did it.
    pub by: By,
    /// Why.
    pub reason: Reason,
}

/// What a change is about.
pub(super) type About<'a> = (&'a HubName, &'a GroupName, Option<&'a UserName>);

/// A transaction that is being made. Dropped, it leaves nothing.
pub(super) struct Changing {
    transaction: WriteTransaction,
    told: Vec<Change>,
    /// Who makes it.
    pub(super) author: Option<Author>,
}

impl Changing {
    pub(super) fn begin(database: &Database) -> Result<Self, StoreError> {
        let mut transaction = database.begin_write().map_err(boxed)?;
        transaction.set_durability(Durability::Immediate).map_err(boxed)?;
        // Users choose their names, and a checksum alone does not tell a commit from what looks like one.
        transaction.set_two_phase_commit(true);
        Ok(Self { transaction, told: Vec::new(), author: None })
    }

    /// Has all of it on the disk.
    pub(super) fn commit(self) -> Result<Vec<Change>, StoreError> {
        self.transaction.commit().map_err(boxed)?;
        Ok(self.told)
    }

    pub(super) fn has_group(&self, hub: &HubName, group: &GroupName) -> Result<bool, StoreError> {
        let table = self.transaction.open_table(GROUPS).map_err(boxed)?;
        Ok(table.get((hub.as_str(), group.as_str())).map_err(boxed)?.is_some())
    }

    pub(super) fn has_grant(&self, hub: &HubName, group: &GroupName) -> Result<bool, StoreError> {
        let table = self.transaction.open_table(GRANTS).map_err(boxed)?;
        Ok(table.get((hub.as_str(), group.as_str())).map_err(boxed)?.is_some())
    }

    pub(super) fn require(&self, hub: &HubName, group: &GroupName) -> Result<(), StoreError> {
        if self.has_group(hub, group)? {
            return Ok(());
        }
        Err(StoreError::NoGroup { hub: hub.clone(), group: group.clone() })
    }

    pub(super) fn put_group(
        &self,
        hub: &HubName,
        group: &GroupName,
        note: &Note,
    ) -> Result<(), StoreError> {
        let mut table = self.transaction.open_table(GROUPS).map_err(boxed)?;
        let row = written(note);
        table.insert((hub.as_str(), group.as_str()), row.as_slice()).map_err(boxed)?;
        Ok(())
    }

    /// The group, its members and its grant.
    pub(super) fn drop_group(&self, hub: &HubName, group: &GroupName) -> Result<(), StoreError> {
        let key = (hub.as_str(), group.as_str());
        self.transaction.open_table(GROUPS).map_err(boxed)?.remove(key).map_err(boxed)?;
        self.transaction.open_table(GRANTS).map_err(boxed)?.remove(key).map_err(boxed)?;
        let mut table = self.transaction.open_table(MEMBERS).map_err(boxed)?;
        for (user, _) in members(&table, key.0, key.1)? {
            table.remove((key.0, key.1, user.as_str())).map_err(boxed)?;
        }
        Ok(())
    }

    pub(super) fn put_member(
        &self,
        user: &User,
        group: &GroupName,
        note: &Note,
    ) -> Result<(), StoreError> {
        let mut table = self.transaction.open_table(MEMBERS).map_err(boxed)?;
        let (key, row) = ((user.hub.as_str(), group.as_str(), user.name.as_str()), written(note));
        table.insert(key, row.as_slice()).map_err(boxed)?;
        Ok(())
    }

    /// Whether somebody is in a group whose time there is over.
    pub(super) fn has_lapsed_member(
        &self,
        user: &User,
        group: &GroupName,
        now: Seconds,
    ) -> Result<bool, StoreError> {
        let table = self.transaction.open_table(MEMBERS).map_err(boxed)?;
        let key = (user.hub.as_str(), group.as_str(), user.name.as_str());
        let row = table.get(key).map_err(boxed)?;
        row.map_or(Ok(false), |row| Ok(!read::<Note>("members", row.value())?.holds(now)))
    }

    /// Whether a group has a grant whose time is over.
    pub(super) fn has_lapsed_grant(
        &self,
        hub: &HubName,
        group: &GroupName,
        now: Seconds,
    ) -> Result<bool, StoreError> {
        let table = self.transaction.open_table(GRANTS).map_err(boxed)?;
        let row = table.get((hub.as_str(), group.as_str())).map_err(boxed)?;
        row.map_or(Ok(false), |row| Ok(!read::<Grant>("grants", row.value())?.note.holds(now)))
    }

    /// Whether this hub's privileged group had its first grant; it has had it then. A group that comes back does not
    /// bring back a grant that somebody took away.
    pub(super) fn give_once(&self, hub: &HubName) -> Result<bool, StoreError> {
        let mut meta = self.transaction.open_table(META).map_err(boxed)?;
        let key = format!("given/{hub}");
        let given = meta.insert(key.as_str(), 1).map_err(boxed)?;
        Ok(given.is_some())
    }

    /// Whether there was one.
    pub(super) fn drop_member(&self, user: &User, group: &GroupName) -> Result<bool, StoreError> {
        let mut table = self.transaction.open_table(MEMBERS).map_err(boxed)?;
        let key = (user.hub.as_str(), group.as_str(), user.name.as_str());
        Ok(table.remove(key).map_err(boxed)?.is_some())
    }

    pub(super) fn put_grant(
        &self,
        hub: &HubName,
        group: &GroupName,
        grant: &Grant,
    ) -> Result<(), StoreError> {
        let mut table = self.transaction.open_table(GRANTS).map_err(boxed)?;
        let row = written(grant);
        table.insert((hub.as_str(), group.as_str()), row.as_slice()).map_err(boxed)?;
        Ok(())
    }

    /// Which one it was.
    pub(super) fn drop_grant(
        &self,
        hub: &HubName,
        group: &GroupName,
    ) -> Result<Option<Kind>, StoreError> {
        let mut table = self.transaction.open_table(GRANTS).map_err(boxed)?;
        let removed = table.remove((hub.as_str(), group.as_str())).map_err(boxed)?;
        removed.map(|row| Ok(read::<Grant>("grants", row.value())?.kind)).transpose()
    }

    pub(super) fn tell(
        &mut self,
        event: Event,
        about: About<'_>,
        kind: Option<Kind>,
    ) -> Result<(), StoreError> {
        self.note(event, about, kind, None)
    }

    pub(super) fn tell_until(
        &mut self,
        event: Event,
        about: About<'_>,
        until: Option<Seconds>,
    ) -> Result<(), StoreError> {
        self.note(event, about, None, until)
    }

    pub(super) fn tell_grant(
        &mut self,
        (hub, group): (&HubName, &GroupName),
        kind: Kind,
        until: Option<Seconds>,
    ) -> Result<(), StoreError> {
        self.note(Event::GrantSet, (hub, group, None), Some(kind), until)
    }

    fn note(
        &mut self,
        event: Event,
        (hub, group, user): About<'_>,
        kind: Option<Kind>,
        until: Option<Seconds>,
    ) -> Result<(), StoreError> {
        // Without an author nothing is told: only what is told already is forgotten so.
        let Some(Author { by, reason, now }) = self.author.clone() else { return Ok(()) };
        let mut meta = self.transaction.open_table(META).map_err(boxed)?;
        let number = meta.get(NEXT).map_err(boxed)?.map_or(1, |row| row.value());
        meta.insert(NEXT, number + 1).map_err(boxed)?;
        let change = Change {
            number,
            at: now,
            event,
            hub: hub.to_string(),
            group: group.to_string(),
            user: user.map(ToString::to_string),
            kind,
            until,
            by,
            reason,
        };
        let mut outbox = self.transaction.open_table(OUTBOX).map_err(boxed)?;
        outbox.insert(number, written(&change).as_slice()).map_err(boxed)?;
        self.told.push(change);
        Ok(())
    }

    /// Notes up to this number are no longer needed.
    pub(super) fn forget(&self, number: u64) -> Result<(), StoreError> {
        let mut outbox = self.transaction.open_table(OUTBOX).map_err(boxed)?;
        outbox.retain_in(..=number, |_, _| false).map_err(boxed)
    }
}
