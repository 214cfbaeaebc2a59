//! Who is at the other end of a gate's socket, and whether it serves them: the socket's principal, the kernel's word
//! on the connection (`SO_PEERCRED`, `SO_PEERPIDFD`) and the process's cgroup together (S17). The decision is pure.
//!
//! Whoever connects answers for what is asked over the connection, also where they hand it on (S18).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{net::UnixStream, sync::watch, time::timeout};

use super::{cgroup, principal::Principal};
use crate::{
    access::name::User,
    api::{
        identity::{Identity, attest},
        roles::{Peer, Role, Roles},
    },
    config::{Config, HubPlace},
    model::{
        caller::Caller,
        inventory::{Container, Inventory},
    },
};

/// Label by which a container's creator says for which user of the hub it is.
pub const USER_LABEL: &str = "enforcer.user";
/// Label by which it says of which hub.
pub const HUB_LABEL: &str = "enforcer.hub";

/// Longest wait for the engine to tell of a container that has just begun.
const TOLD: Duration = Duration::from_secs(2);

/// Somebody whom a socket serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visitor {
    /// The process.
    pub caller: Caller,
    /// Docker's id of its container; `None`: it is of this host.
    pub container: Option<String>,
}

/// Why a socket does not serve somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// The process has ended, or the kernel does not say where it is.
    #[error("the process that connected is not known any more")]
    Gone,
    /// It is in no container of the engine's, and not who may come from this host.
    #[error("this socket is for containers of its owner")]
    NoContainer,
    /// Its container is somebody else's.
    #[error("this socket is not for this container")]
    Others,
}

/// What is known when somebody connects.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Containers and whose they are.
    pub inventory: &'a Inventory,
    /// Hubs and their networks.
    pub config: &'a Config,
    /// Users of this host that are hubs.
    pub roles: &'a Roles,
}

impl Known<'_> {
    /// Whether a socket serves a process in this container, or in none; only the kernel's word counts.
    pub fn admits(
        &self,
        principal: &Principal,
        peer: Peer,
        container: Option<&Container>,
    ) -> Result<(), Stranger> {
        match (principal, container) {
            (Principal::User(_), None) => Err(Stranger::NoContainer),
            (Principal::User(user), Some(container))
                if user_of(container).as_ref() == Some(user) =>
            {
                Ok(())
            }
            (Principal::User(_), Some(_)) => Err(Stranger::Others),
            (Principal::Hub(hub), None) => match self.roles.role(peer) {
                Ok(Role::Admin) if peer.uid == 0 => Ok(()),
                Ok(Role::Hub(name)) if peer.is_of_host && name == hub.as_str() => Ok(()),
                _ => Err(Stranger::NoContainer),
            },
            (Principal::Hub(hub), Some(container)) => {
                let networks = self.config.hubs.get(hub).map(|hub| hub.networks.as_slice());
                let is_hub_s = |network: &String| {
                    let of = self.config.networks.get(network);
                    of.is_some_and(|network| {
                        network.hubs.iter().any(|rule| match &rule.at {
                            HubPlace::Container(name) => *name == container.name,
                            HubPlace::Gateway | HubPlace::Address(_) => false,
                        })
                    }) && container.networks.values().any(|name| name == network)
                };
                let is_own = networks.unwrap_or_default().iter().any(is_hub_s);
                if is_own && !container.provenance.is_of_a_user_s_socket() {
                    Ok(())
                } else {
                    Err(Stranger::Others)
                }
            }
        }
    }
}

/// The user whose a container is: what its creator said of it, and not what its image may have said of itself.
#[must_use]
pub fn user_of(container: &Container) -> Option<User> {
    let said = Some(&container.provenance).filter(|said| said.is_told)?;
    let label = |key: &str| said.labels.get(key);
    let (hub, name) = (label(HUB_LABEL)?.parse().ok()?, label(USER_LABEL)?.parse().ok()?);
    Some(User { hub, name })
}

/// Where the answers come from.
#[derive(Clone, Debug)]
pub struct Doorman {
    /// Containers.
    pub inventory: watch::Receiver<Arc<Inventory>>,
    /// The config.
    pub config: watch::Receiver<Arc<Config>>,
    /// Users of this host that are hubs.
    pub roles: watch::Receiver<Roles>,
}

impl Doorman {
    /// Looks who it is. Whoever is not served is told of, too.
    pub async fn identify(
        &self,
        principal: &Principal,
        stream: &UnixStream,
    ) -> (Visitor, Result<(), Stranger>) {
        let Ok((Identity { peer, caller }, cgroups)) = attest(stream) else {
            return (Visitor::default(), Err(Stranger::Gone));
        };
        let stranger = |caller, why| (Visitor { caller, container: None }, Err(why));
        let Some(cgroups) = cgroups else { return stranger(caller, Stranger::Gone) };
        let container = match self.container(&cgroups).await {
            None if cgroup::has_id(&cgroups) && !peer.is_of_host => {
                return stranger(caller, Stranger::Others);
            }
            container => container,
        };
        let verdict = {
            let (inventory, config) = (self.inventory.borrow(), self.config.borrow());
            let roles = self.roles.borrow();
            let known = Known { inventory: &inventory, config: &config, roles: &roles };
            known.admits(principal, peer, container.as_ref())
        };
        (Visitor { caller, container: container.map(|container| container.id) }, verdict)
    }

    /// The container of a process, once the engine has told whose it is.
    async fn container(&self, cgroups: &str) -> Option<Container> {
        let find = |containers: &BTreeMap<String, Container>| {
            let id = cgroup::container(cgroups, |id| containers.contains_key(id))?;
            containers.get(&id).cloned()
        };
        if !cgroup::has_id(cgroups) {
            return None;
        }
        let mut inventory = self.inventory.clone();
        let is_told = |inventory: &Arc<Inventory>| {
            find(&inventory.containers).is_some_and(|container| container.provenance.is_told)
        };
        let told = timeout(TOLD, inventory.wait_for(is_told)).await;
        drop(told);
        find(&self.inventory.borrow().containers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::parse,
        model::provenance::{GATE_LABEL, Provenance},
    };

    const CONFIG: &str = "[hubs.lab]\nnetworks = [\"lab\"]\n[hubs.two]\nnetworks = [\"two\"]\n\
        [networks.lab]\nbridge = \"br-lab\"\n[[networks.lab.hub]]\ncontainer = \"hub\"\nport = 8081\n\
        [networks.two]\nbridge = \"br-two\"\n[[networks.two.hub]]\ncontainer = \"hub2\"\nport = 8081\n";

    fn user(hub: &str, name: &str) -> Principal {
        let (hub, name) = (hub.parse().expect("a hub"), name.parse().expect("a user"));
        Principal::User(User { hub, name })
    }

    fn container(name: &str, network: &str, labels: &[(&str, &str)]) -> Container {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let provenance =
            Provenance { is_told: true, labels: labels.collect(), ..Provenance::default() };
        Container {
            name: name.to_owned(),
            networks: [("id".to_owned(), network.to_owned())].into(),
            provenance: Arc::new(provenance),
            ..Container::default()
        }
    }

    #[test]
    fn s17_a_socket_serves_its_principal_and_nobody_else() {
        let config = parse(CONFIG, "f").expect("valid");
        let roles = Roles { hubs: [(2000, "lab".to_owned())].into(), admins: [1000].into() };
        let inventory = Inventory::default();
        let known = Known { inventory: &inventory, config: &config, roles: &roles };
        let hub = |name: &str| Principal::Hub(name.parse().expect("a hub"));
        let peer = |uid, is_of_host| Peer { uid, is_of_host };
        let of = |hub: &'static str, user: &'static str| [(HUB_LABEL, hub), (USER_LABEL, user)];
        let ann = container("ann", "lab", &of("lab", "ann"));
        let (gone, others) = (Err(Stranger::NoContainer), Err(Stranger::Others));
        let untold = Container { provenance: Arc::default(), ..ann.clone() };
        for (principal, peer, container, expected) in [
            // A user's socket: containers of that user, whoever is in them, and nobody of this host.
            (user("lab", "ann"), peer(0, false), Some(ann.clone()), Ok(())),
            (user("lab", "ann"), peer(1000, false), Some(ann.clone()), Ok(())),
            (user("lab", "ben"), peer(0, false), Some(ann.clone()), others),
            (user("two", "ann"), peer(0, false), Some(ann.clone()), others),
            (user("lab", "ann"), peer(0, true), None, gone),
            (user("lab", "ann"), peer(0, false), Some(untold), others),
            (user("lab", "ann"), peer(0, false), Some(container("x", "lab", &[])), others),
            (
                user("lab", "ann"),
                peer(0, false),
                Some(container("x", "lab", &[(USER_LABEL, "ann")])),
                others,
            ),
            // A hub's socket: root and the hub's user outside of containers, and the hub's container.
            (hub("lab"), peer(0, true), None, Ok(())),
            (hub("lab"), peer(0, false), None, gone),
            (hub("lab"), peer(1000, true), None, gone),
            (hub("lab"), peer(2000, true), None, Ok(())),
            (hub("lab"), peer(2000, false), None, gone),
            (hub("two"), peer(2000, true), None, gone),
            (hub("lab"), peer(0, false), Some(container("hub", "lab", &[])), Ok(())),
            (hub("lab"), peer(0, false), Some(container("hub", "bridge", &[])), others),
            // S22: whatever a user's socket made is called.
            (
                hub("lab"),
                peer(0, false),
                Some(container("hub", "lab", &[(GATE_LABEL, "user")])),
                others,
            ),
            (hub("two"), peer(0, false), Some(container("hub", "lab", &[])), others),
            (hub("lab"), peer(0, false), Some(ann.clone()), others),
            (hub("none"), peer(0, false), Some(container("hub", "lab", &[])), others),
        ] {
            let name = container.as_ref().map(|container| container.name.clone());
            let found = known.admits(&principal, peer, container.as_ref());
            assert_eq!(found, expected, "{principal} {peer:?} {name:?}");
        }
    }
}
