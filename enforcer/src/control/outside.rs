//! Containers that step outside: guests with a way out that nothing polices. Pure.
//!
//! A guest is a container on a guest network, or one that carries a label of the config. Only what
//! runs counts: a container that is merely created reaches nobody.

mod askers;
mod docket;
mod strangers;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt};

pub use self::{
    askers::Askers,
    docket::{Attempt, Docket},
    strangers::Strangers,
};
use crate::{
    config::Config,
    model::inventory::{Container, Inventory},
};

/// A guest's way out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outside {
    /// Docker's id of the container.
    pub container: String,
    /// When this life of it began: what was done to an earlier one does not count.
    pub started: String,
    /// Its name.
    pub name: String,
    /// The way out.
    pub why: Why,
    /// What closes it.
    pub remedy: Remedy,
}

/// A way out that nothing polices.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// The host's network namespace.
    HostNetwork,
    /// Another container's network namespace: whose, for people.
    Namespace(String),
    /// A network that is no guest network.
    Network {
        /// Name.
        name: String,
        /// Driver; empty: not known yet.
        driver: String,
    },
    /// The engine's resolver, which asks from the host: whom, for people.
    EngineResolver(String),
}

/// What closes a way out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remedy {
    /// Nothing less than ending the container.
    Kill,
    /// Taking this network away, by Docker's id; what is left is policed.
    Disconnect(String),
}

impl Why {
    /// The word that records use.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::HostNetwork => "host_network",
            Self::Namespace(_) => "container_namespace",
            Self::Network { .. } => "unpoliced_network",
            Self::EngineResolver(_) => "engine_resolver",
        }
    }

    /// What it is a way to, where the word does not say.
    #[must_use]
    pub fn to(&self) -> String {
        match self {
            Self::HostNetwork => String::new(),
            Self::Namespace(of) | Self::EngineResolver(of) => of.clone(),
            Self::Network { name, driver } if driver.is_empty() => name.clone(),
            Self::Network { name, driver } => format!("{name} ({driver})"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostNetwork => formatter.write_str("it has the host's network"),
            Self::Namespace(of) => write!(formatter, "it is in the network namespace of {of}"),
            Self::Network { .. } => {
                write!(formatter, "it is on {}, which is no guest network", self.to())
            }
            Self::EngineResolver(whom) => write!(
                formatter,
                "it has no name servers of its own, and for it the engine asks {whom} from the host's \
                 network"
            ),
        }
    }
}

/// Every way out that a guest has now, in the order of ids.
#[must_use]
pub fn outside(config: &Config, inventory: &Inventory, askers: &Askers) -> Vec<Outside> {
    let judge = Judge::new(config, inventory, askers);
    let running = inventory.containers.values().filter(|container| container.running);
    running.filter(|container| judge.is_guest(container)).flat_map(|c| judge.ways_out(c)).collect()
}

/// Whether a guest runs of whom nobody can tell whom the engine asks for it.
#[must_use]
pub fn has_unknown_asker(config: &Config, inventory: &Inventory, askers: &Askers) -> bool {
    let judge = Judge::new(config, inventory, askers);
    let running = inventory.containers.values().filter(|container| container.running);
    running.filter(|one| judge.is_guest(one)).any(|guest| {
        let is_policed = guest.networks.iter().any(|(id, name)| judge.polices(id, name));
        is_policed && askers.is_unknown(guest)
    })
}

struct Judge<'a> {
    config: &'a Config,
    inventory: &'a Inventory,
    askers: &'a Askers,
    /// Ids of the guest networks.
    policed: BTreeSet<&'a str>,
}

impl<'a> Judge<'a> {
    fn new(config: &'a Config, inventory: &'a Inventory, askers: &'a Askers) -> Self {
        let is_ours = |name: &str, bridge: &str| {
            config.networks.get(name).is_some_and(|network| network.bridge == bridge)
        };
        let networks = inventory.networks.values();
        let policed = networks
            .filter(|network| is_ours(&network.name, &network.bridge))
            .map(|network| network.id.as_str())
            .collect();
        Self { config, inventory, askers, policed }
    }

    fn is_guest(&self, container: &Container) -> bool {
        let labels = &self.config.outside.guest_labels;
        let marked = || labels.iter().any(|label| label.is_among(&container.labels));
        let on_guest_network = container.networks.iter().any(|(id, name)| self.polices(id, name));
        !self.is_operators(container) && (on_guest_network || marked())
    }

    fn is_operators(&self, container: &Container) -> bool {
        let is_on = |called: &str| container.networks.values().any(|name| name == called);
        self.config.is_operators(&container.name, &container.provenance, is_on)
    }

    /// Until the engine has told which network has this id, its name counts: a slow engine must not
    /// make outsiders of guests.
    fn polices(&self, id: &str, name: &str) -> bool {
        let known = self.inventory.networks.contains_key(id)
            || self.inventory.other_networks.contains_key(id);
        self.policed.contains(id) || (!known && self.config.networks.contains_key(name))
    }

    fn ways_out(&self, container: &Container) -> Vec<Outside> {
        let way = |why, remedy| Outside {
            container: container.id.clone(),
            started: container.started.clone(),
            name: container.name.clone(),
            why,
            remedy,
        };
        if container.network_mode == "host" {
            return vec![way(Why::HostNetwork, Remedy::Kill)];
        }
        if let Some(of) = container.network_mode.strip_prefix("container:") {
            // Nothing tells yet which guests have the same owner: every namespace is a stranger's.
            return vec![way(Why::Namespace(self.whose(of)), Remedy::Kill)];
        }
        let (inside, outside): (Vec<_>, Vec<_>) = container
            .networks
            .iter()
            .filter(|(id, _)| !self.is_nothing(id))
            .partition(|(id, name)| self.polices(id, name));
        let network = |(id, name): (&String, &String)| {
            let driver = if self.inventory.networks.contains_key(id) {
                "bridge".to_owned()
            } else {
                self.inventory.other_networks.get(id).map_or_else(String::new, |n| n.driver.clone())
            };
            let why = Why::Network { name: name.clone(), driver };
            let remedy =
                if inside.is_empty() { Remedy::Kill } else { Remedy::Disconnect(id.clone()) };
            way(why, remedy)
        };
        // Only on a network has a container the engine's resolver; off guest networks it is outside
        // anyway.
        let asked = self.askers.unseen(container).filter(|_| !inside.is_empty());
        let asked =
            asked.map(|upstream| way(Why::EngineResolver(upstream.to_string()), Remedy::Kill));
        outside.into_iter().map(network).chain(asked).collect()
    }

    /// Docker's network `none` leads nowhere.
    fn is_nothing(&self, id: &str) -> bool {
        self.inventory.other_networks.get(id).is_some_and(|network| network.driver == "null")
    }

    /// A container by id or name, for people.
    fn whose(&self, of: &str) -> String {
        let containers = &self.inventory.containers;
        let found = containers.get(of).or_else(|| containers.values().find(|c| c.name == of));
        match found {
            Some(container) if self.is_operators(container) => format!("hub {}", container.name),
            Some(container) if self.is_guest(container) => format!("guest {}", container.name),
            Some(container) => container.name.clone(),
            None => of.get(..12).unwrap_or(of).to_owned(),
        }
    }
}
