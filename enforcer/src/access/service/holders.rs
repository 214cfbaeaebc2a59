//! Everybody who may have a Docker socket at this moment.

use std::{collections::BTreeMap, iter, time::Duration};

use futures_util::future::join_all;
use tokio::time::timeout;

use super::{Access, AccessError, now};
use crate::{
    access::{
        grant::Note,
        judge::{self, Answer, Granted, Membership, Question},
        name::{HubName, User, UserName},
        store::StoreError,
    },
    causes::causes,
};

/// Longest that one hub may take for all its groups.
const PATIENCE: Duration = Duration::from_secs(8);

/// A user who may have a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Who.
    pub user: User,
    /// What, and by which group.
    pub granted: Granted,
    /// How the user came into the group; `None`: the hub knows.
    pub member: Option<Note>,
}

impl Access {
    /// All holders; and of which hubs they are not known, and why. Hubs that keep their own groups are asked now.
    pub async fn holders(&self) -> (Vec<Holder>, Vec<String>) {
        let config = self.config();
        if !config.access.docker_socket {
            return (Vec::new(), Vec::new());
        }
        let hubs = iter::once(HubName::local()).chain(config.hubs.keys().cloned());
        let asked = hubs.map(|hub| async move {
            let answer = match timeout(PATIENCE, self.holders_of(&hub)).await {
                Ok(answer) => answer.map_err(|error| causes(&error)),
                Err(_elapsed) => Err(format!("no answer within {PATIENCE:?}")),
            };
            answer.map_err(|why| format!("who of hub {hub} has a socket: {why}"))
        });
        let (mut holders, mut unknown) = (Vec::new(), Vec::new());
        for answer in join_all(asked).await {
            match answer {
                Ok(of_hub) => holders.extend(of_hub),
                Err(why) => unknown.push(why),
            }
        }
        (holders, unknown)
    }

    async fn holders_of(&self, hub: &HubName) -> Result<Vec<Holder>, AccessError> {
        let grants = self.grants(hub).await?;
        let mut users = BTreeMap::<UserName, Vec<Membership>>::new();
        for (group, _) in grants.iter().filter(|(_, grant)| grant.kind.socket().is_some()) {
            let members = match self.members(hub, group).await {
                // It is gone, and its grant gives nobody anything.
                Err(AccessError::Store(StoreError::NoGroup { .. })) => continue,
                members => members?,
            };
            for (name, note) in members {
                let membership = Membership { group: group.clone(), note };
                users.entry(name).or_default().push(membership);
            }
        }
        let (grants, now) = (Ok(grants), now());
        let holder = |(name, memberships)| {
            let memberships = Ok(memberships);
            let question =
                Question { enabled: true, memberships: &memberships, grants: &grants, now };
            let Answer::Granted(granted) = judge::socket_for(&question) else { return None };
            let mut memberships = memberships.ok()?.into_iter();
            let member = memberships.find(|one| one.group == granted.group)?.note;
            Some(Holder { user: User { hub: hub.clone(), name }, granted, member })
        };
        Ok(users.into_iter().filter_map(holder).collect())
    }
}
