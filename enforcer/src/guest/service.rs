//! Guests as the daemon has them: orders in, containers at the engine out, and a record of each. Whatever does not come
//! to an end is undone, and what cannot be undone now is undone at the next chance.

mod act;
mod look;
mod start;
mod sweep;
mod tell;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use enforcer_common::abi::{endpoint::Role, event::Hook};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::{left::Deed, names::Seat, sockets::Sockets};
use crate::{
    access::{
        grant::Socket,
        judge::{Answer, Granted},
        name::{HubName, User},
        service::Access,
    },
    audit::record::Body,
    causes::causes,
    config::Config,
    control::reconcile::State,
    docker::{
        Engine, EngineError,
        guests::{Entry, VolumeError},
    },
    model::{caller::Caller, declined::Declined},
};

/// Longest that a removal waits for what comes after it.
const RELEASE: Duration = Duration::from_secs(3);

/// Who wants something, and what that one may.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The hub that is meant.
    pub hub: HubName,
    /// Whether it may go beyond the sizes of the config.
    pub is_admin: bool,
    /// For records.
    pub by: Caller,
}

/// See the module. A copy is the same one.
#[derive(Clone, Debug)]
pub struct Guests(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: watch::Receiver<Arc<Config>>,
    access: Access,
    state: watch::Receiver<Arc<State>>,
    journal: mpsc::UnboundedSender<Body>,
    sockets: Arc<dyn Sockets>,
    /// Held from the count of guests to the one that is made: two starts do not take the same room.
    admission: tokio::sync::Mutex<()>,
    /// Names of guests that somebody is at work on.
    busy: Mutex<BTreeSet<String>>,
    /// What could not be undone yet, by the name of the guest, in its order.
    left: Mutex<BTreeMap<String, Vec<Deed>>>,
}

/// Somebody is at work on a guest, until this is dropped.
#[derive(Debug)]
struct Claim {
    guests: Guests,
    name: String,
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.guests.0.busy).remove(&self.name);
    }
}

impl Guests {
    /// Nothing is asked of the engine yet.
    #[must_use]
    pub fn new(
        config: watch::Receiver<Arc<Config>>,
        access: Access,
        state: watch::Receiver<Arc<State>>,
        journal: mpsc::UnboundedSender<Body>,
        sockets: Arc<dyn Sockets>,
    ) -> Self {
        Self(Arc::new(Inner {
            config,
            access,
            state,
            journal,
            sockets,
            admission: tokio::sync::Mutex::default(),
            busy: Mutex::default(),
            left: Mutex::default(),
        }))
    }

    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.0.config.borrow())
    }

    async fn engine(&self) -> Result<Engine, Declined> {
        let socket = self.config().docker_socket.clone();
        Engine::connect(&socket).await.map_err(|error| failed(&error))
    }

    /// Sees to it that nobody else is at work on a guest.
    fn claim(&self, seat: &Seat) -> Result<Claim, Declined> {
        let name = seat.container();
        if !lock(&self.0.busy).insert(name.clone()) {
            let who = seat.described();
            return Err(Declined::conflict(format!(
                "somebody is at work on the guest of {who}: try again when that is done"
            )));
        }
        Ok(Claim { guests: self.clone(), name })
    }

    /// The socket that a user may have now, and the group that gives it; or why there is none.
    async fn may_have(&self, user: &User) -> Result<(Socket, String), String> {
        self.served(self.0.access.socket_for(user).await)
    }

    /// The same of what groups and grants say.
    fn served(&self, answer: Answer) -> Result<(Socket, String), String> {
        match answer {
            Answer::Refused(why) => Err(why.to_string()),
            Answer::Granted(Granted { .. }) if !self.0.sockets.serves() => {
                Err("the user may have a Docker socket, but nothing here serves one".to_owned())
            }
            Answer::Granted(Granted { socket, group, .. }) => Ok((socket, group.to_string())),
        }
    }

    /// Removes the socket of a user who has no container any more. Whoever waits for more than that does not wait long
    /// for it: the gate itself looks now and then, too.
    async fn release(&self, engine: &Engine, user: &User) {
        let release = async {
            // Nobody makes a guest between the look and the deed.
            let _admission = self.0.admission.lock().await;
            if engine.users().await.is_ok_and(|users| !users.contains(user)) {
                self.0.sockets.close_for(user).await;
            }
        };
        if timeout(RELEASE, release).await.is_err() {
            tracing::debug!(%user, "the socket of a guest that has gone is looked at later");
        }
    }

    /// Whether the kernel holds the policy of a container's endpoint on a network.
    fn is_policed(&self, container: &str, network: &str) -> bool {
        is_policed(&self.0.state.borrow(), container, network)
    }
}

/// Whether the kernel holds the policy of a container's endpoint on a network.
pub(crate) fn is_policed(state: &State, container: &str, network: &str) -> bool {
    let hooks = [Hook::FromGuest, Hook::ToGuest];
    state.desired.endpoints.iter().any(|(ifindex, endpoint)| {
        let of = state.desired.networks.get(&endpoint.network);
        let held = state.observed.endpoints.get(ifindex);
        endpoint.container.as_deref() == Some(container)
            && endpoint.role == Role::Guest
            && of.is_some_and(|of| of.name == network)
            && held.is_some_and(|held| held.policy == endpoint.policy)
            && hooks.iter().all(|hook| state.observed.first.contains(&(*ifindex, *hook)))
    })
}

/// The guest of a seat, among all.
fn of_seat<'a>(all: &'a [Entry], seat: &Seat) -> Option<&'a Entry> {
    let own = |entry: &&Entry| entry.listed.known.seat == *seat;
    let current = all.iter().find(|entry| own(entry) && !entry.listed.known.is_before);
    current.or_else(|| all.iter().find(own))
}

fn nobody(seat: &Seat) -> Declined {
    Declined::unknown(format!("there is no guest of {}", seat.described()))
}

fn failed(error: &EngineError) -> Declined {
    Declined::failed(causes(error))
}

impl From<VolumeError> for Declined {
    fn from(error: VolumeError) -> Self {
        match error {
            VolumeError::Engine(error) => failed(&error),
            VolumeError::SomebodyElses(_) => Self::conflict(error.to_string()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use enforcer_common::abi::endpoint::Endpoint;

    use super::*;
    use crate::model::desired::{DesiredEndpoint, DesiredNetwork};

    fn state() -> State {
        let mut state = State::default();
        let network = DesiredNetwork {
            name: "lab".to_owned(),
            bridge: "br-lab".to_owned(),
            gateway4: None,
            gateway6: None,
            gateway_link_local: None,
            mac: [2, 0, 0, 0, 0, 1],
            owned: false,
        };
        let endpoint = DesiredEndpoint {
            network: 3,
            policy: 5,
            role: Role::Guest,
            container: Some("abc".to_owned()),
            name: "guest".to_owned(),
            mac: [2, 0, 0, 0, 0, 2],
            ipv4: None,
            ipv6: None,
            published: Vec::new(),
        };
        state.desired.networks.insert(3, network);
        state.desired.endpoints.insert(7, endpoint);
        let held = Endpoint { policy: 5, ..Endpoint::default() };
        state.observed.endpoints.insert(7, held);
        state.observed.first.extend([(7, Hook::FromGuest), (7, Hook::ToGuest)]);
        state
    }

    #[test]
    fn n7_a_guest_is_policed_when_the_kernel_holds_all_of_it() {
        assert!(is_policed(&state(), "abc", "lab"));
        assert!(!is_policed(&state(), "abd", "lab") && !is_policed(&state(), "abc", "two"));
        assert!(!is_policed(&State::default(), "abc", "lab"));
        let changes: [fn(&mut State); 4] = [
            |state| state.observed.endpoints.clear(),
            |state| state.observed.first.retain(|(_, hook)| *hook != Hook::FromGuest),
            |state| state.observed.endpoints.get_mut(&7).expect("held").policy = 6,
            |state| state.desired.endpoints.get_mut(&7).expect("wanted").role = Role::Unknown,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut other = state();
            change(&mut other);
            assert!(!is_policed(&other, "abc", "lab"), "{number}");
        }
    }
}
