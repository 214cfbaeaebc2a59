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
};

use super::desired::{abi_ip, policy_numbers};
use crate::{
    config::{Config, GuestNetwork, HubPlace},
    model::{
        desired::{Desired, DesiredEndpoint, DesiredNetwork},
        inventory::{Inventory, PublishedPort},
        observed::Observed,
    },
    policy::rule::Net,
};

/// Puts what the kernel holds in place of what nobody has told yet.
pub fn hold(desired: &mut Desired, config: &Config, inventory: &Inventory, observed: &Observed) {
    for (index, (name, network)) in (0u32..).zip(&config.networks) {
        let Some(bridge) = desired.networks.iter().find(|(_, n)| n.name == *name).map(|(i, _)| *i)
        else {
            continue;
        };
        // Docker names all of its networks at once, but may be slow to tell about one of them.
        let silent = !inventory.networks.values().any(|told| told.bridge == network.bridge);
        if silent {
            hold_network(desired, network, bridge, observed);
            hold_hubs(desired, network, (index, bridge), observed);
        }
        let has_hubs = network.hubs.iter().any(|hub| matches!(hub.at, HubPlace::Container(_)));
        let (guest_policy, hub_policy) = policy_numbers(index);
        for (ifindex, endpoint) in &mut desired.endpoints {
            let held = observed.endpoints.get(ifindex).filter(|held| {
                (held.network, endpoint.network) == (bridge, bridge)
                    && observed.held.contains(&(*ifindex, Hook::FromGuest))
            });
            let Some(held) = held else { continue };
            let (role, policy) = match Role::from_value(held.role) {
                Role::Guest => (Role::Guest, guest_policy),
                Role::Hub if has_hubs => (Role::Hub, hub_policy),
                Role::Hub | Role::Unknown | Role::Other => continue,
            };
            if silent || is_expected(inventory, &network.bridge, held, endpoint) {
                *endpoint = DesiredEndpoint { policy, role, ..kept(held, endpoint, observed) };
                if network.subnet6.is_none() {
                    endpoint.ipv6 = None;
                }
            }
        }
    }
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
    (index, bridge): (u32, u32),
    observed: &Observed,
) {
    let held = || observed.hubs.iter().filter(|(key, _)| key.network == bridge);
    let (guest_policy, hub_policy) = policy_numbers(index);
    for (index, hub) in config.hubs.iter().enumerate() {
        if !matches!(hub.at, HubPlace::Container(_)) {
            continue;
        }
        desired.hubs.extend(held().map(|(key, hub)| (*key, *hub)));
        let was_open = |to: &Net| {
            let epochs = observed.policies.values().map(|policy| policy.epoch);
            let mut tables = epochs.filter_map(|epoch| observed.tables.get(&epoch));
            tables.any(|tables| tables.look_up(to, (hub.protocol, hub.port)).is_some())
        };
        let addresses = held().map(|(key, _)| Net::host(abi_ip(key.address, key.family)));
        let kept: Vec<Net> = addresses.filter(was_open).collect();
        for number in [guest_policy, hub_policy] {
            // A policy begins with its hubs, in the order of the config.
            let rule = desired.policies.get_mut(&number).and_then(|p| p.rules.get_mut(index));
            if let Some(rule) = rule {
                rule.to.extend(
                    kept.iter().filter(|to| !rule.to.contains(to)).copied().collect::<Vec<_>>(),
                );
            }
        }
    }
}

#[cfg(test)]
#[path = "hold/tests.rs"]
mod tests;
