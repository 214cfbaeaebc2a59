//! Which number stands for which endpoint and network. No number is given out twice.

use std::{collections::BTreeMap, sync::Arc};

use enforcer_common::abi::{
    endpoint::{Endpoint, Role},
    event::Hook,
    ledger::Ledger,
};

use super::values;
use crate::model::{
    desired::{Desired, DesiredEndpoint},
    inventory::{Container, Mac},
    observed::Observed,
    owner::{Owner, Owners},
};

/// The ids that were given out. They outlive a plan and, in map `LEDGER`, the daemon: no id is ever
/// used again.
#[derive(Debug, Default)]
pub struct Identities {
    pub(super) ledger: Ledger,
    pub(super) endpoints: BTreeMap<u32, Assigned>,
    pub(super) networks: BTreeMap<u32, u32>,
}

/// What an endpoint's id stands for; another id is due when any of it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assigned {
    pub(super) id: u32,
    network: u32,
    container: [u8; 32],
    mac: Mac,
    role: Role,
}

impl Identities {
    /// Goes on with the ids that an earlier daemon gave out. An interface that has no program of ours
    /// any more is another one with the same index: it gets a new id.
    #[must_use]
    pub fn adopt(observed: &Observed) -> Self {
        let same = |ifindex: &u32, hook| observed.held.contains(&(*ifindex, hook));
        let endpoints = observed.endpoints.iter().filter(|(i, _)| same(i, Hook::FromGuest));
        let networks = observed.networks.iter().filter(|(i, _)| same(i, Hook::FromBridge));
        Self {
            ledger: observed.ledger,
            endpoints: endpoints.map(|(i, value)| (*i, Assigned::adopt(value))).collect(),
            networks: networks.map(|(i, value)| (*i, value.id)).collect(),
        }
    }

    fn next_id(&mut self) -> u32 {
        // 4 billion endpoints: at one a second, 136 years.
        self.ledger.last_id = self.ledger.last_id.saturating_add(1);
        self.ledger.last_id
    }

    pub(super) fn next_epoch(&mut self) -> u32 {
        self.ledger.last_epoch = self.ledger.last_epoch.saturating_add(1);
        self.ledger.last_epoch
    }

    /// Gives every desired endpoint and network its id.
    pub(super) fn assign(&mut self, desired: &Desired) {
        self.endpoints.retain(|ifindex, _| desired.endpoints.contains_key(ifindex));
        self.networks.retain(|ifindex, _| desired.networks.contains_key(ifindex));
        for ifindex in desired.networks.keys() {
            if !self.networks.contains_key(ifindex) {
                let id = self.next_id();
                self.networks.insert(*ifindex, id);
            }
        }
        for (ifindex, endpoint) in &desired.endpoints {
            let known = self.endpoints.get(ifindex);
            let id = match known {
                Some(known) if known.stays(endpoint) => known.id,
                _ => self.next_id(),
            };
            self.endpoints.insert(*ifindex, Assigned::new(id, endpoint));
        }
    }

    /// Whom each id stands for now. Call after [`super::plan`].
    #[must_use]
    pub fn owners(
        &self,
        desired: &Desired,
        names: &BTreeMap<u32, String>,
        containers: &BTreeMap<String, Container>,
    ) -> Owners {
        let interface = |ifindex: &u32| names.get(ifindex).cloned().unwrap_or_default();
        let network = |ifindex: &u32| {
            desired.networks.get(ifindex).map(|network| network.name.clone()).unwrap_or_default()
        };
        let provenance = |id: Option<&String>| {
            let container = id.and_then(|id| containers.get(id));
            container.map(|container| Arc::clone(&container.provenance)).unwrap_or_default()
        };
        let endpoints = self.endpoints.iter().filter_map(|(ifindex, assigned)| {
            let endpoint = desired.endpoints.get(ifindex)?;
            let owner = Owner {
                network: network(&endpoint.network),
                ifindex: *ifindex,
                interface: interface(ifindex),
                role: Some(desired.role_shown(endpoint.network, endpoint.role)),
                container: endpoint.container.clone(),
                name: endpoint.name.clone(),
                provenance: provenance(endpoint.container.as_ref()),
            };
            Some((assigned.id, owner))
        });
        let networks = self.networks.iter().map(|(ifindex, id)| {
            let owner = Owner {
                network: network(ifindex),
                ifindex: *ifindex,
                interface: interface(ifindex),
                role: None,
                container: None,
                name: String::new(),
                provenance: Arc::default(),
            };
            (*id, owner)
        });
        endpoints.chain(networks).collect()
    }
}

impl Assigned {
    fn new(id: u32, endpoint: &DesiredEndpoint) -> Self {
        Self {
            id,
            network: endpoint.network,
            container: values::container(endpoint),
            mac: endpoint.mac,
            role: endpoint.role,
        }
    }

    fn adopt(value: &Endpoint) -> Self {
        let Endpoint { id, network, container, mac, role, .. } = *value;
        Self { id, network, container, mac, role: Role::from_value(role) }
    }

    /// A port that gets its first identity keeps its id: it had no flows, and what was denied until
    /// then was this container's.
    fn stays(&self, endpoint: &DesiredEndpoint) -> bool {
        let first = self.role == Role::Unknown && self.network == endpoint.network;
        first || *self == Self::new(self.id, endpoint)
    }
}
