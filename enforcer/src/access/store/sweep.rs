//! What is over goes.

use redb::{ReadableDatabase as _, ReadableTable as _};

use super::{
    Author, Change, Event, Store, StoreError, boxed,
    rows::{GRANTS, MEMBERS, read},
};
use crate::access::{
    grant::{Grant, Note, Seconds},
    name::{GroupName, HubName, User, UserName},
};

/// A membership, or a grant where there is no user.
pub(super) type Over = (HubName, GroupName, Option<UserName>);

impl Store {
    /// Removes what is over, so that no clock that is set back brings it to life again.
    pub fn sweep(&self, author: &Author) -> Result<Vec<Change>, StoreError> {
        let over = self.over(author.now)?;
        if over.is_empty() {
            return Ok(Vec::new());
        }
        self.end(&over, author)
    }

    /// Removes these, but for what somebody has prolonged or removed since they were found.
    pub(super) fn end(&self, over: &[Over], author: &Author) -> Result<Vec<Change>, StoreError> {
        self.change(author, |changing| {
            for (hub, group, user) in over {
                if let Some(user) = user {
                    let user = User { hub: hub.clone(), name: user.clone() };
                    if changing.has_lapsed_member(&user, group, author.now)? {
                        changing.drop_member(&user, group)?;
                        changing.tell(
                            Event::MemberExpired,
                            (hub, group, Some(&user.name)),
                            None,
                        )?;
                    }
                } else if changing.has_lapsed_grant(hub, group, author.now)? {
                    let kind = changing.drop_grant(hub, group)?;
                    changing.tell(Event::GrantExpired, (hub, group, None), kind)?;
                }
            }
            Ok(())
        })
    }

    pub(super) fn over(&self, now: Seconds) -> Result<Vec<Over>, StoreError> {
        let reading = self.database.begin_read().map_err(boxed)?;
        let mut over = Vec::new();
        let bad = |table| move |_error| StoreError::Row { table };
        for row in reading.open_table(MEMBERS).map_err(boxed)?.iter().map_err(boxed)? {
            let (key, value) = row.map_err(boxed)?;
            if !read::<Note>("members", value.value())?.holds(now) {
                let (hub, group, user) = key.value();
                over.push((
                    hub.parse().map_err(bad("members"))?,
                    group.parse().map_err(bad("members"))?,
                    Some(user.parse().map_err(bad("members"))?),
                ));
            }
        }
        for row in reading.open_table(GRANTS).map_err(boxed)?.iter().map_err(boxed)? {
            let (key, value) = row.map_err(boxed)?;
            if !read::<Grant>("grants", value.value())?.note.holds(now) {
                let (hub, group) = key.value();
                let group = group.parse().map_err(bad("grants"))?;
                over.push((hub.parse().map_err(bad("grants"))?, group, None));
            }
        }
        Ok(over)
    }
}
