//! What there is to know of guests.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use tokio::time::timeout;

use super::{Guests, failed, nobody, of_seat, start::order_of};
use crate::{
    access::{
        grant::{Kind, Socket},
        name::{HubName, User, UserName},
    },
    audit::record::time_of,
    docker::guests::Entry,
    guest::names::Seat,
    model::{
        declined::Declined,
        guest::{GuestDetail, GuestLogs, GuestStatus},
    },
};

/// Longest wait for hubs that know who may have a socket: a list goes without them.
const PATIENCE: Duration = Duration::from_secs(3);
/// Lines of a guest when nobody says how many, and the most.
const LINES: (u32, u32) = (100, 10_000);

impl Guests {
    /// Guests of a hub, or of all; of one user, or of all.
    pub async fn list(
        &self,
        hub: Option<&HubName>,
        user: Option<&UserName>,
    ) -> Result<Vec<GuestStatus>, Declined> {
        let all = self.engine().await?.managed().await.map_err(|error| failed(&error))?;
        let is_meant = |entry: &&Entry| {
            let of = &entry.listed.known.seat.user;
            hub.is_none_or(|hub| of.hub == *hub) && user.is_none_or(|user| of.name == *user)
        };
        let mut meant: Vec<&Entry> = all.iter().filter(is_meant).collect();
        meant.sort_by(|one, other| one.listed.known.seat.cmp(&other.listed.known.seat));
        let users = meant.iter().filter(|entry| entry.listed.is_alive);
        let users: Vec<&User> = users.map(|entry| &entry.listed.known.seat.user).collect();
        let now = self.sockets_now(users).await;
        let status = |entry: &&Entry| self.status(entry, needs_restart(entry, &now));
        Ok(meant.iter().map(status).collect())
    }

    /// All that there is to know of a guest.
    pub async fn inspect(&self, seat: &Seat) -> Result<GuestDetail, Declined> {
        let engine = self.engine().await?;
        let all = engine.managed().await.map_err(|error| failed(&error))?;
        let entry = of_seat(&all, seat).ok_or_else(|| nobody(seat))?;
        let condition = engine.condition(&entry.listed.id).await;
        let condition = condition.map_err(|error| failed(&error))?.unwrap_or_default();
        let now = self.sockets_now([&seat.user].into()).await;
        let guest = self.status(entry, needs_restart(entry, &now));
        Ok(GuestDetail {
            address: condition.addresses.get(&guest.network).cloned(),
            guest,
            order: order_of(entry),
            volumes: condition.volumes,
            exit_code: condition.exit_code.filter(|_| !condition.is_alive),
        })
    }

    /// The last lines of what a guest wrote.
    pub async fn logs(&self, seat: &Seat, tail: Option<u32>) -> Result<GuestLogs, Declined> {
        let engine = self.engine().await?;
        let all = engine.managed().await.map_err(|error| failed(&error))?;
        let entry = of_seat(&all, seat).ok_or_else(|| nobody(seat))?;
        let (some, most) = LINES;
        let output = engine.logs(&entry.listed.id, tail.unwrap_or(some).min(most)).await;
        let output = output.map_err(|error| failed(&error))?;
        Ok(GuestLogs { text: output.text(), cut: output.cut })
    }

    /// Sockets that users may have now. Those of whom nobody can say in time are left out.
    async fn sockets_now(&self, users: Vec<&User>) -> BTreeMap<User, Option<Socket>> {
        let mut users = users;
        users.sort_unstable();
        users.dedup();
        let asked = users.into_iter().map(async |user| {
            let may_have = timeout(PATIENCE, self.may_have(user)).await.ok()?;
            Some((user.clone(), may_have.ok().map(|(socket, _)| socket)))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// A guest as it is told.
    pub(super) fn status(&self, entry: &Entry, restart_needed: Option<bool>) -> GuestStatus {
        let Seat { user, server } = &entry.listed.known.seat;
        let network = entry.networks.first().cloned().unwrap_or_default();
        GuestStatus {
            hub: user.hub.to_string(),
            user: user.name.to_string(),
            server: Some(server.clone()).filter(|server| !server.is_empty()),
            container: entry.name.clone(),
            container_id: entry.listed.id.clone(),
            image: entry.image.clone(),
            state: entry.state.clone(),
            policed: entry.listed.is_alive && self.is_policed(&entry.listed.id, &network),
            network,
            socket: entry.listed.known.socket.map_or(Kind::None, Socket::kind).name().to_owned(),
            restart_needed,
            created: time_of(entry.created),
        }
    }
}

/// Whether a guest that runs would have another socket if it were started now.
fn needs_restart(entry: &Entry, now: &BTreeMap<User, Option<Socket>>) -> Option<bool> {
    let known = &entry.listed.known;
    let may_have = now.get(&known.seat.user).filter(|_| entry.listed.is_alive)?;
    Some(*may_have != known.socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::{left::Listed, names::Known};

    #[test]
    fn s1_a_guest_whose_socket_is_not_what_its_user_may_have_needs_a_restart() {
        let user = User { hub: HubName::local(), name: "ann".parse().expect("a user") };
        let entry = |socket, is_alive| {
            let seat = Seat { user: user.clone(), server: String::new() };
            let known = Known { seat, is_before: false, socket, new_volumes: Vec::new() };
            let listed = Listed { id: "abc".to_owned(), known, is_unborn: false, is_alive };
            Entry {
                listed,
                name: String::new(),
                image: String::new(),
                state: String::new(),
                networks: Vec::new(),
                created: 0,
                labels: BTreeMap::new(),
            }
        };
        let now = |socket| BTreeMap::from([(user.clone(), socket)]);
        let (filtered, raw) = (Some(Socket::Filtered), Some(Socket::Raw));
        for (has, may_have, expected) in [
            (None, None, false),
            (filtered, filtered, false),
            (filtered, None, true),
            (None, filtered, true),
            (filtered, raw, true),
        ] {
            let found = needs_restart(&entry(has, true), &now(may_have));
            assert_eq!(found, Some(expected), "{has:?} {may_have:?}");
            assert_eq!(needs_restart(&entry(has, false), &now(may_have)), None);
        }
        assert_eq!(needs_restart(&entry(filtered, true), &BTreeMap::new()), None);
    }
}
