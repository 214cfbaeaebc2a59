//! What the judge has to know, put together from what the daemon knows: the store of what sockets made, the inventory
//! and the config. Pure: the engine is not asked, so that nothing that is another's costs any time (S12).

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use super::{
    body::PROJECT,
    facts::{Facts, GuestNetwork, OwnContainer},
    identity::{HUB_LABEL, USER_LABEL},
    principal::Principal,
    rules::Rules,
    store::Store,
};
use crate::{
    access::name::User,
    config::{Config, Guests, HubPlace, Service},
    model::{
        inventory::{Container, Inventory},
        provenance::{GATE_LABEL, GROUPS_LABEL},
    },
};

/// Label of a user's group.
const GROUP_LABEL: &str = "enforcer.group";

/// All that is known for a request of this principal.
pub(super) fn facts(
    principal: &Principal,
    store: &Store,
    (inventory, config): (&Inventory, &Config),
) -> Facts {
    let mut facts = store.facts(principal);
    if let Principal::User(user) = principal {
        let own = notebooks(user, inventory).map(|container| OwnContainer {
            id: container.id.clone(),
            name: container.name.clone(),
            is_notebook: true,
        });
        facts.containers.extend(own);
        let keys = labels_of_policies(config);
        let keys = keys.iter().map(String::as_str).chain([GROUP_LABEL, GROUPS_LABEL]);
        let said = |key: &str| {
            let mut all = notebooks(user, inventory);
            let value = all.find_map(|container| container.provenance.labels.get(key))?;
            Some((key.to_owned(), value.clone()))
        };
        facts.inherited = keys.filter_map(said).collect();
        facts.operators_projects = operators_projects(inventory);
    }
    facts.guest_network = guest_network(principal, inventory, config);
    if let (Principal::User(user), Some(network)) = (principal, &facts.guest_network) {
        let overrides = config.networks.get(&network.name).map(|network| &network.overrides);
        facts.has_other_policy = overrides.into_iter().flatten().any(|one| {
            one.guests == Guests::User(user.name.as_str().to_owned())
                || notebooks(user, inventory)
                    .any(|notebook| one.guests.include(&notebook.provenance))
        });
    }
    facts
}

/// What a principal may do. A hub starts guests, as many as it likes and of whatever image unless the config has a
/// list, each as large as `[guests]` lets a guest be.
pub(super) fn rules(principal: &Principal, config: &Config) -> Rules {
    let of_users = config.gate.of(principal.hub());
    let reserved_names = reserved_names(config);
    match principal {
        Principal::User(_) => {
            Rules { reserved_labels: told_by(config), reserved_names, ..of_users.clone() }
        }
        Principal::Hub(_) => Rules {
            reserved_labels: config.labels_of_privilege().map(str::to_owned).collect(),
            reserved_names,
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
        // Before the engine has shown all of a container, its provenance alone is known.
        let mut all = [&container.labels, &said.labels].into_iter();
        let is_own = all.any(|labels| labels.get(GATE_LABEL).is_some_and(|by| by == "user"));
        // What its image may have said of itself does not count.
        said.is_told
            && label(USER_LABEL) == Some(user.name.as_str())
            && label(HUB_LABEL) == Some(user.hub.as_str())
            && !is_own
    })
}

/// Compose projects of which containers are a part that no user's socket made.
fn operators_projects(inventory: &Inventory) -> BTreeSet<String> {
    let others = inventory.containers.values().filter(|container| {
        let by_a_user = container.labels.get(GATE_LABEL).is_some_and(|by| by == "user");
        !by_a_user && !container.provenance.is_of_a_user_s_socket()
    });
    others.filter_map(|container| container.labels.get(PROJECT).cloned()).collect()
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

/// All labels by which the config tells containers apart.
fn told_by(config: &Config) -> Vec<String> {
    let guests = config.outside.guest_labels.iter().map(|label| label.key.clone());
    let of_privilege = config.labels_of_privilege().map(str::to_owned);
    guests.chain(labels_of_policies(config)).chain(of_privilege).collect()
}

/// Names of hubs and services. Whoever took one while it is free would be the hub.
fn reserved_names(config: &Config) -> Vec<String> {
    let networks = config.networks.values();
    let hubs = networks.clone().flat_map(|network| &network.hubs).filter_map(|hub| match &hub.at {
        HubPlace::Container(name) => Some(name),
        HubPlace::Gateway | HubPlace::Address(_) => None,
    });
    let services =
        networks.flat_map(|network| &network.services).filter_map(|service| match service {
            Service::Container(name) => Some(name),
            Service::Label(_) => None,
        });
    hubs.chain(services).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
    };

    use super::*;
    use crate::{
        config::parse,
        model::{
            inventory::{DockerNetwork, Subnet},
            provenance::Provenance,
        },
    };

    const CONFIG: &str = "[networks.lab]\nbridge = \"br-lab\"\n[policies.closed]\npresets = []\n\
        [[networks.lab.override]]\ngroup = \"students\"\npolicy = \"closed\"\n";

    fn inventory(labels: &[(&str, &str)], is_told: bool) -> Inventory {
        let labels: BTreeMap<String, String> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let provenance = Provenance {
            is_told,
            user: labels.get("enforcer.user").cloned(),
            group: labels.get("enforcer.group").cloned(),
            labels: labels.clone(),
            ..Provenance::default()
        };
        let container = Container {
            id: "c".repeat(64),
            name: "jupyter-ada".to_owned(),
            networks: [("n".to_owned(), "lab".to_owned())].into(),
            provenance: Arc::new(provenance),
            labels,
            ..Container::default()
        };
        let subnet = Subnet {
            address: [192, 0, 2, 0].into(),
            prefix: 24,
            gateway: Some([192, 0, 2, 1].into()),
        };
        let network = DockerNetwork {
            id: "n".to_owned(),
            name: "lab".to_owned(),
            bridge: "br-lab".to_owned(),
            subnets: vec![subnet],
            attachments: BTreeMap::new(),
        };
        Inventory {
            networks: [(network.id.clone(), network)].into(),
            containers: [(container.id.clone(), container)].into(),
            ..Inventory::default()
        }
    }

    fn found(labels: &[(&str, &str)], is_told: bool) -> Facts {
        found_in(&inventory(labels, is_told))
    }

    fn found_in(inventory: &Inventory) -> Facts {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("enforcer-found-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let store = Store::open(&dir).expect("opens");
        let config = parse(CONFIG, "f").expect("valid");
        let ada = User { hub: "local".parse().expect("a hub"), name: "ada".parse().expect("ada") };
        let facts = facts(&Principal::User(ada), &store, (inventory, &config));
        drop(store);
        std::fs::remove_dir_all(dir).expect("removed");
        facts
    }

    #[test]
    fn s3_a_notebook_is_what_somebody_else_started_for_the_user() {
        let of_ada = [("enforcer.user", "ada"), ("enforcer.hub", "local")];
        let facts = found(&of_ada, true);
        assert!(facts.containers.iter().any(|own| own.is_notebook && own.name == "jupyter-ada"));
        let network = facts.guest_network.expect("a network");
        assert_eq!((&*network.name, network.gateway.octets()), ("lab", [192, 0, 2, 1]));
        assert!(!facts.has_other_policy && facts.inherited.is_empty());
        // What an image says, another user's, and what the user's own socket made.
        assert!(found(&of_ada, false).containers.is_empty());
        let of_ben = [("enforcer.user", "ben"), ("enforcer.hub", "local")];
        assert!(found(&of_ben, true).containers.is_empty());
        let other_hub = [("enforcer.user", "ada"), ("enforcer.hub", "lab")];
        assert!(found(&other_hub, true).containers.is_empty());
        let own = [of_ada.as_slice(), &[("enforcer.gate", "user")]].concat();
        assert!(found(&own, true).containers.is_empty());
        // One that has just started, of which the engine has not shown all.
        let mut early = inventory(&own, true);
        early.containers.values_mut().for_each(|container| container.labels.clear());
        assert!(found_in(&early).containers.is_empty());
    }

    #[test]
    fn s22_what_gives_a_container_more_is_reserved_for_hubs_and_users() {
        let text = "[abuse]\nexcept_labels = [\"staff\"]\n\
            [networks.lab]\nbridge = \"br-lab\"\n[policies.closed]\npresets = []\n\
            [[networks.lab.hub]]\ncontainer = \"hub\"\nport = 1\n\
            [[networks.lab.service]]\ncontainer = \"files\"\n\
            [[networks.lab.service]]\nlabel = \"course.service=db\"\n\
            [[networks.lab.override]]\nlabel = \"course=7\"\npolicy = \"closed\"\n";
        let config = parse(text, "f").expect("valid");
        let hub = Principal::Hub("local".parse().expect("a hub"));
        let ada = User { hub: "local".parse().expect("a hub"), name: "ada".parse().expect("ada") };
        let (of_hub, of_user) = (rules(&hub, &config), rules(&Principal::User(ada), &config));
        assert_eq!(of_hub.reserved_labels, ["course.service", "staff"]);
        let of_users = ["enforcer.guest", "course", "course.service", "staff"];
        assert_eq!(of_user.reserved_labels, of_users);
        assert_eq!(of_hub.reserved_names, ["hub", "files"]);
        assert_eq!(of_user.reserved_names, of_hub.reserved_names);
    }

    #[test]
    fn s3_whose_policy_is_another_starts_nothing_that_has_the_network_s() {
        let labels =
            [("enforcer.user", "ada"), ("enforcer.hub", "local"), ("enforcer.group", "students")];
        let facts = found(&labels, true);
        assert!(facts.has_other_policy, "what a build runs has no network");
        let group = facts.inherited.get("enforcer.group").map(String::as_str);
        assert_eq!(group, Some("students"), "what the user starts is in the group");
    }
}
