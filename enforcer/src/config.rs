//! The config file: strict TOML in, a valid [`Config`] out.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use enforcer_common::abi::policy::Quotas;

/// A valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The engine's unix socket.
    pub docker_socket: PathBuf,
    /// The daemon's run directory: control socket and lock.
    pub run_dir: PathBuf,
    /// Bits of `skb->mark` that carry the stamp; at least two.
    pub mark_mask: u32,
    /// Most flows that the kernel keeps.
    pub max_flows: u32,
    /// Guest networks by Docker's network name.
    pub networks: BTreeMap<String, GuestNetwork>,
}

/// One guest network.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestNetwork {
    /// Name of the bridge, at most 15 bytes.
    pub bridge: String,
    /// Create the network in Docker when it is missing.
    pub create: bool,
    /// IPv4 subnet and prefix length; `None`: Docker chooses.
    pub subnet4: Option<(Ipv4Addr, u8)>,
    /// IPv4 gateway.
    pub gateway4: Option<Ipv4Addr>,
    /// IPv6 subnet and prefix length; `None`: no IPv6.
    pub subnet6: Option<(Ipv6Addr, u8)>,
    /// Services that guests may reach.
    pub hubs: Vec<HubRule>,
    /// Limits for each guest.
    pub quotas: Quotas,
}

/// A hub that guests may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubRule {
    /// Where it is.
    pub at: HubPlace,
    /// Port, 1 or more.
    pub port: u16,
    /// IP protocol number: 6 or 17.
    pub protocol: u8,
}

/// Where a hub is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubPlace {
    /// The host itself, at the bridge's own addresses (gateways).
    Gateway,
    /// A fixed address.
    Address(IpAddr),
    /// A container on the guest network, by name; it gets the role `hub`.
    Container(String),
}
