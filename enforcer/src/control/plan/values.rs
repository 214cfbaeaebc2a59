//! Desired values in the layout of the maps.

use enforcer_common::abi::{
    endpoint::{Endpoint, Network, Role},
    policy::PublishedKey,
};

use crate::model::{
    desired::{DesiredEndpoint, DesiredNetwork},
    inventory::link_local,
    link::PortSettings,
};

pub(super) fn network(network: &DesiredNetwork, id: u32) -> Network {
    let mut value = Network { id, mac: network.mac, ..Network::default() };
    if let Some((gateway, prefix)) = network.gateway4 {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
        value.gateway4 = gateway.octets();
        value.subnet4 = (gateway.to_bits() & mask).to_be_bytes();
        value.prefix4 = prefix;
    }
    if let Some((gateway, prefix)) = network.gateway6 {
        let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
        value.gateway6 = gateway.octets();
        value.subnet6 = (gateway.to_bits() & mask).to_be_bytes();
        value.prefix6 = prefix;
    }
    if let Some(address) = network.gateway_link_local {
        value.gateway_link_local = address.octets();
    }
    value
}

pub(super) fn endpoint(endpoint: &DesiredEndpoint, id: u32) -> Endpoint {
    Endpoint {
        id,
        network: endpoint.network,
        policy: endpoint.policy,
        ipv4: endpoint.ipv4.map(|address| address.octets()).unwrap_or_default(),
        ipv6: endpoint.ipv6.map(|address| address.octets()).unwrap_or_default(),
        link_local: endpoint.ipv6.map(|_| link_local(endpoint.mac).octets()).unwrap_or_default(),
        mac: endpoint.mac,
        role: endpoint.role as u8,
        container: container(endpoint),
        ..Endpoint::default()
    }
}

/// Docker's id as bytes; zero for one that is not 64 hexadecimal digits.
pub(in crate::control) fn container(endpoint: &DesiredEndpoint) -> [u8; 32] {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let id = endpoint.container.as_deref().unwrap_or_default();
    let bytes: Option<Vec<u8>> = id.as_bytes().chunks(2).map(pair).collect();
    bytes.and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()
}

/// Denied: on a guest bridge, without identity.
pub(super) fn unknown(endpoint: &DesiredEndpoint, id: u32) -> Endpoint {
    Endpoint { id, network: endpoint.network, role: Role::Unknown as u8, ..Endpoint::default() }
}

pub(super) fn published(
    endpoint: &DesiredEndpoint,
    id: u32,
) -> impl Iterator<Item = PublishedKey> + '_ {
    endpoint.published.iter().map(move |port| PublishedKey {
        endpoint: id,
        port: port.container_port,
        protocol: port.protocol,
        reserved: 0,
    })
}

/// Hubs must reach guests, so they are not isolated. A solicitation for an IPv6 neighbour is a
/// multicast: with IPv6 on, it has to arrive.
pub(super) const fn port_settings(role: Role, ipv6: bool) -> PortSettings {
    PortSettings {
        isolated: !matches!(role, Role::Hub),
        learning: false,
        unicast_flood: false,
        multicast_flood: ipv6 && matches!(role, Role::Guest | Role::Hub),
    }
}
