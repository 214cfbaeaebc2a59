//! Control path 1b: what is not known yet is not taken for gone. Pure.
//!
//! A daemon that takes over finds guests in the kernel before Docker has told it anything about
//! them. What the kernel holds for an interface that is still the same one stays until Docker has
//! spoken of its container; what the config no longer allows goes at once.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
};

use enforcer_common::abi::{
    endpoint::{Endpoint, Role},
    event::Hook,
    policy::{BY_RULE_ONLY, Direction},
};

use super::{
    desired::abi_ip,
    numbers::{Numbers, numbers},
};
use crate::{
    config::{Config, GuestNetwork, HubPlace, Service},
    model::{
        desired::{Desired, DesiredEndpoint, DesiredNetwork},
        inventory::{Inventory, PublishedPort},
        observed::Observed,
    },
    policy::{
        allowance::Allowances,
        compile::Tables,
        rule::{Action, Net, Rule},
    },
};

/// Puts what the kernel holds in the place of networks and hubs that nobody has told of yet.
pub fn networks(
    desired: &mut Desired,
    config: &Config,
    inventory: &Inventory,
    observed: &Observed,
) {
    let numbers = numbers(config);
    for (name, network) in &config.networks {
        let Some(bridge) = bridge_of(name, desired) else { continue };
        if is_silent(inventory, network) {
            hold_network(desired, network, bridge, observed);
            hold_hubs(desired, network, &numbers[name], bridge, observed);
        }
        let awaited = awaited(inventory, network, bridge, observed);
        hold_services(desired, &numbers[name], &awaited, observed);
    }
}

/// And in the place of endpoints. Which rules a guest had is told by its policy's tables, so that those of
/// `desired` must be there, and what was allowed to single guests beyond them (`allowed`: now, and when the kernel got
/// its tables).
pub fn endpoints(
    desired: &mut Desired,
    config: &Config,
    inventory: &Inventory,
    observed: &Observed,
    allowed: [&Allowances; 2],
) {
    let numbers = numbers(config);
    for (name, network) in &config.networks {
        let Some(bridge) = bridge_of(name, desired) else { continue };
        let (silent, numbers) = (is_silent(inventory, network), &numbers[name]);
        let has_hubs = network.hubs.iter().any(|hub| matches!(hub.at, HubPlace::Container(_)));
        let mut kept_ones = Vec::new();
        for (ifindex, endpoint) in &desired.endpoints {
            let held = observed.endpoints.get(ifindex).filter(|held| {
                (held.network, endpoint.network) == (bridge, bridge)
                    && observed.held.contains(&(*ifindex, Hook::FromGuest))
            });
            let Some(held) = held else { continue };
            let of_held = || {
                let container = container_id(&held.container);
                let provenance = inventory.containers.get(&container);
                let provenance = provenance.map(|container| &*container.provenance);
                match numbers.of_guest(network, provenance) {
                    0 => {
                        let rules = |all: &Allowances| -> Vec<Rule> {
                            all.of(&container).map(|one| one.rule(&desired.own)).collect()
                        };
                        let allowed = allowed.map(rules);
                        numbers.of_held(held.policy, desired, observed, &allowed)
                    }
                    number => number,
                }
            };
            let (role, policy) = match Role::from_value(held.role) {
                Role::Guest => (Role::Guest, of_held()),
                Role::Hub if network.owned.is_some() => (Role::Hub, numbers.hub),
                Role::Hub if is_service(held, observed) => match network.services[..] {
                    [] => continue,
                    _ => (Role::Hub, numbers.service),
                },
                Role::Hub if has_hubs => (Role::Hub, numbers.hub),
                Role::Hub | Role::Unknown | Role::Other => continue,
            };
            if silent || is_expected(inventory, &network.bridge, held, endpoint) {
                let mut kept = DesiredEndpoint { policy, role, ..kept(held, endpoint, observed) };
                if network.subnet6.is_none() {
                    kept.ipv6 = None;
                }
                kept_ones.push((*ifindex, kept));
            }
        }
        desired.endpoints.extend(kept_ones);
    }
}

fn bridge_of(name: &str, desired: &Desired) -> Option<u32> {
    desired.networks.iter().find(|(_, network)| network.name == name).map(|(ifindex, _)| *ifindex)
}

/// Docker names all of its networks at once, but may be slow to tell about one of them.
fn is_silent(inventory: &Inventory, network: &GuestNetwork) -> bool {
    !inventory.networks.values().any(|told| told.bridge == network.bridge)
}

/// Docker names the container as one of this network, but has not told its network namespace yet.
fn is_expected(
    inventory: &Inventory,
    bridge: &str,
    held: &Endpoint,
    endpoint: &DesiredEndpoint,
) -> bool {
    let id = container_id(&held.container);
    let network = inventory.networks.values().find(|network| network.bridge == bridge);
    let attachment = network.and_then(|network| network.attachments.get(&id));
    let inspected = inventory.containers.get(&id).is_some_and(|c| c.sandbox.is_some());
    attachment.is_some_and(|a| a.mac == Some(held.mac))
        && !inspected
        && endpoint.container.as_ref().is_none_or(|other| *other == id)
}

fn kept(held: &Endpoint, endpoint: &DesiredEndpoint, observed: &Observed) -> DesiredEndpoint {
    let published = observed.published.iter().filter(|key| key.endpoint == held.id);
    DesiredEndpoint {
        container: Some(container_id(&held.container)),
        mac: held.mac,
        ipv4: (held.ipv4 != [0; 4]).then(|| Ipv4Addr::from(held.ipv4)),
        ipv6: (held.ipv6 != [0; 16]).then(|| Ipv6Addr::from(held.ipv6)),
        published: published
            .map(|key| PublishedPort { container_port: key.port, protocol: key.protocol })
            .collect(),
        ..endpoint.clone()
    }
}

fn container_id(bytes: &[u8; 32]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut id, byte| {
        // Writing to a string cannot fail.
        let _infallible = write!(id, "{byte:02x}");
        id
    })
}

/// Docker chose the subnet, where the config names none.
fn hold_network(desired: &mut Desired, config: &GuestNetwork, bridge: u32, observed: &Observed) {
    let (Some(network), Some(held)) =
        (desired.networks.get_mut(&bridge), observed.networks.get(&bridge))
    else {
        return;
    };
    let DesiredNetwork { gateway4, gateway6, .. } = network;
    if gateway4.is_none() && held.gateway4 != [0; 4] {
        *gateway4 = Some((held.gateway4.into(), held.prefix4));
    }
    if config.subnet6.is_some() && gateway6.is_none() && held.gateway6 != [0; 16] {
        *gateway6 = Some((held.gateway6.into(), held.prefix6));
    }
}

/// Addresses of hubs' containers, and the rules of the config that name such containers.
fn hold_hubs(
    desired: &mut Desired,
    config: &GuestNetwork,
    numbers: &Numbers,
    bridge: u32,
    observed: &Observed,
) {
    let held = || observed.hubs.iter().filter(|(key, _)| key.network == bridge);
    if config.owned.is_some() {
        desired.hubs.extend(held().map(|(key, hub)| (*key, *hub)));
    }
    for (index, hub) in config.hubs.iter().enumerate() {
        if !matches!(hub.at, HubPlace::Container(_)) {
            continue;
        }
        desired.hubs.extend(held().map(|(key, hub)| (*key, *hub)));
        let was_open = |to: &Net| {
            let epochs = observed.policies.values().map(|policy| policy.epoch);
            let mut tables = epochs.filter_map(|epoch| observed.tables.get(&epoch));
            tables.any(|tables| {
                let said = tables.look_up(Direction::Out, to, (hub.protocol, hub.port));
                said.opened_by().is_some()
            })
        };
        let addresses = held().map(|(key, _)| Net::host(abi_ip(key.address, key.family)));
        let kept: Vec<Net> = addresses.filter(was_open).collect();
        let others = numbers.others.values().chain(numbers.cut.values());
        let others = others.chain(numbers.slow.values());
        for number in [numbers.guest, numbers.hub].iter().chain(others) {
            // A policy begins with its hubs, in the order of the config.
            let rule = desired.policies.get_mut(number).and_then(|p| p.rules.get_mut(index));
            if let Some(rule) = rule {
                rule.to.extend(
                    kept.iter().filter(|to| !rule.to.contains(to)).copied().collect::<Vec<_>>(),
                );
            }
        }
    }
}

/// Whether the kernel holds an endpoint as a service.
fn is_service(held: &Endpoint, observed: &Observed) -> bool {
    let policy = observed.policies.get(&held.policy);
    policy.is_some_and(|policy| policy.traits & BY_RULE_ONLY != 0)
}

/// A hub's container or a service that Docker has not told all about.
struct Awaited<'a> {
    held: &'a Endpoint,
    /// Its name, if that is told; what its creator said of it is not.
    name: Option<&'a str>,
}

impl Awaited<'_> {
    /// Whether a rule may name it, as far as anybody can tell: that it has another name is told, also where its image
    /// is gone and nobody ever tells of its labels.
    fn may_be_named_by(&self, rule: &Rule) -> bool {
        let Some(name) = self.name else { return !rule.services.is_empty() };
        // Rules have them as people read them. A label may be anybody's.
        let own = Service::Container(name.to_owned()).to_string();
        let by_name = Service::Container(String::new()).to_string();
        rule.services.iter().any(|named| *named == own || !named.starts_with(&by_name))
    }
}

/// Hubs' containers and services that the kernel holds, and of which Docker has not told yet what they are.
fn awaited<'a>(
    inventory: &'a Inventory,
    config: &GuestNetwork,
    bridge: u32,
    observed: &'a Observed,
) -> Vec<Awaited<'a>> {
    let network = inventory.networks.values().find(|told| told.bridge == config.bridge);
    let is_awaited = |held: &Endpoint| {
        let Some(network) = network else { return true };
        let id = container_id(&held.container);
        let told = inventory.containers.get(&id).is_some_and(|one| one.provenance.is_told);
        network.attachments.get(&id).is_some_and(|one| one.mac == Some(held.mac)) && !told
    };
    let held = observed.endpoints.iter().filter(|(ifindex, held)| {
        held.network == bridge
            && Role::from_value(held.role) == Role::Hub
            && observed.held.contains(&(**ifindex, Hook::FromGuest))
    });
    let held = held.map(|(_, held)| held).filter(|held| is_awaited(held));
    held.map(|held| {
        let told = inventory.containers.get(&container_id(&held.container));
        Awaited { held, name: told.map(|told| told.name.as_str()).filter(|name| !name.is_empty()) }
    })
    .collect()
}

/// Keeps these in the rules that were about them: each policy's own, as their numbers in its tables tell.
fn hold_services(
    desired: &mut Desired,
    numbers: &Numbers,
    awaited: &[Awaited<'_>],
    observed: &Observed,
) {
    let all = [numbers.guest, numbers.hub].into_iter();
    let all = all.chain(numbers.others.values().copied()).chain(numbers.cut.values().copied());
    let all = all.chain(numbers.slow.values().copied());
    let all: Vec<u32> = all.collect();
    for one in awaited {
        let endpoint = one.held;
        let own = observed
            .hubs
            .iter()
            .filter(|(key, hub)| key.network == endpoint.network && hub.mac == endpoint.mac);
        for (key, hub) in own {
            desired.hubs.insert(*key, *hub);
            let to = Net::host(abi_ip(key.address, key.family));
            for number in &all {
                let held = observed.policies.get(number);
                let Some(tables) = held.and_then(|held| observed.tables.get(&held.epoch)) else {
                    continue;
                };
                let rules = desired.policies.get_mut(number).map(|policy| &mut policy.rules);
                let named = (1..).zip(rules.into_iter().flatten());
                for (id, rule) in named.filter(|(_, rule)| one.may_be_named_by(rule)) {
                    if was_about(tables, id, rule, &to) && !rule.to.contains(&to) {
                        rule.to.push(to);
                    }
                }
            }
        }
    }
}

/// Whether a rule decided about an address, as far as the ends of its ports tell: all of them for one that opens,
/// one of them for one that closes.
fn was_about(tables: &Tables, id: u32, rule: &Rule, to: &Net) -> bool {
    let said = |protocol, port| tables.look_up(Direction::Out, to, (protocol, port));
    let ends = rule.ports.iter().flat_map(|of| [(of.protocol, of.first), (of.protocol, of.last)]);
    let mut said = ends.map(|(protocol, port)| said(protocol, port));
    match rule.action {
        Action::Allow => said.all(|said| said.opened_by() == Some(id)),
        Action::Deny => said.any(|said| said.denied_by() != 0),
        Action::Audit => false,
    }
}

#[cfg(test)]
#[path = "hold/tests.rs"]
mod tests;
