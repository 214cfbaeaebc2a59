//! What the judge has to know, put together from what the daemon knows: the store of what sockets made, the inventory
//! and the config. Pure: the engine is not asked, so that nothing that is another's costs any time (S12).

use std::net::{IpAddr, Ipv4Addr};

use super::{
    facts::{Facts, GuestNetwork, OwnContainer},
    identity::{HUB_LABEL, USER_LABEL},
    principal::Principal,
    rules::Rules,
    store::Store,
};
use crate::{
    access::name::User,
    config::{Config, Guests},
    model::inventory::{Container, Inventory},
};

/// Label by which the gate says through which socket something was made.
const GATE_LABEL: &str = "enforcer.gate";

/// All that is known for a request of this principal.
pub(super) fn facts(
    principal: &Principal,
    store: &Store,
    (inventory, config): (&Inventory, &Config),
) -> Facts {
    let mut facts = store.facts(principal);
    if let Principal::User(user) = principal {
        let notebooks = notebooks(user, inventory).map(|container| OwnContainer {
            id: container.id.clone(),
            name: container.name.clone(),
            is_notebook: true,
        });
        facts.containers.extend(notebooks);
    }
    facts.guest_network = guest_network(principal, inventory, config);
    facts
}

/// What a principal may do. A hub starts guests, as many as it likes and of whatever image unless the config has a
/// list, each as large as `[guests]` lets a guest be.
pub(super) fn rules(principal: &Principal, config: &Config) -> Rules {
    let of_users = config.gate.of(principal.hub());
    match principal {
        Principal::User(_) => {
            Rules { reserved_labels: labels_of_policies(config), ..of_users.clone() }
        }
        Principal::Hub(_) => Rules {
            images: images(config),
            max_containers: u32::MAX,
            max_volumes: u32::MAX,
            max_networks: 0,
            memory: config.guests.memory,
            nano_cpus: config.guests.cpu_millis.saturating_mul(1_000_000),
            pids: u32::try_from(config.guests.pids).unwrap_or(u32::MAX),
            disk: config.guests.disk,
            host_ports: None,
            ..of_users.clone()
        },
    }
}

/// Images that guests may be started from; none: any.
fn images(config: &Config) -> Vec<String> {
    let patterns: Vec<String> = config.guests.images.iter().map(ToString::to_string).collect();
    match patterns.as_slice() {
        // No image is called so.
        [] => vec!["-".to_owned()],
        patterns if patterns.iter().any(|pattern| pattern == "*") => Vec::new(),
        _ => patterns,
    }
}

/// Containers that somebody else than the user's own socket started for the user.
fn notebooks<'a>(user: &'a User, inventory: &'a Inventory) -> impl Iterator<Item = &'a Container> {
    inventory.containers.values().filter(move |container| {
        let said = &container.provenance;
        let label = |key: &str| said.labels.get(key).map(String::as_str);
        // What its image may have said of itself does not count.
        said.is_told
            && label(USER_LABEL) == Some(user.name.as_str())
            && label(HUB_LABEL) == Some(user.hub.as_str())
            && container.labels.get(GATE_LABEL).map(String::as_str) != Some("user")
    })
}

/// Where a principal's containers go: a user's to the network of the notebook, else the first of the hub's.
fn guest_network(
    principal: &Principal,
    inventory: &Inventory,
    config: &Config,
) -> Option<GuestNetwork> {
    let is_guests =
        |name: &&String| config.networks.get(*name).is_some_and(|network| network.owned.is_none());
    let of_notebook = match principal {
        Principal::User(user) => {
            let mut networks =
                notebooks(user, inventory).flat_map(|container| container.networks.values());
            networks.find(is_guests)
        }
        Principal::Hub(_) => None,
    };
    let hub = principal.hub();
    let of_hub = || config.hubs.get(hub)?.networks.iter().find(is_guests);
    let of_host = || config.networks.keys().filter(|_| hub.is_local()).find(is_guests);
    let name = of_notebook.or_else(of_hub).or_else(of_host)?;
    let network = inventory.networks.values().find(|network| network.name == *name)?;
    let gateway = network.subnets.iter().find_map(|subnet| ipv4(subnet.gateway?))?;
    Some(GuestNetwork { name: name.clone(), gateway, resolves: config.dns.is_some() })
}

const fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// Labels by which policies tell guests apart.
fn labels_of_policies(config: &Config) -> Vec<String> {
    let overrides = config.networks.values().flat_map(|network| &network.overrides);
    let keys = overrides.filter_map(|one| match &one.guests {
        Guests::Label(label) => Some(label.key.clone()),
        Guests::User(_) | Guests::Group(_) => None,
    });
    keys.collect()
}
