//! The config file: strict TOML in, a valid [`Config`] out.
//!
//! `text -> raw (serde shape) -> parse + check (meaning) -> Config`; every problem has a line.

mod audit;
mod check;
pub mod describe;
pub mod file;
mod metrics;
mod network;
mod otlp;
mod outside;
mod overrides;
mod parse;
mod policy;
mod presets;
mod problem;
mod raw;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use enforcer_common::abi::policy::{POLICY_SLOTS, Quotas};

use crate::{
    model::closure::{By, Closure, stamps},
    policy::rule::{Action, Net, Ports},
};

pub use self::{
    audit::Audit,
    metrics::MetricsAt,
    outside::{GuestLabel, Outside, OutsideAction},
    overrides::{Guests, PolicyOverride},
    parse::parse,
    problem::{ConfigError, Problem},
};

/// The engine's socket when the config names none.
pub const DEFAULT_DOCKER_SOCKET: &str = "/var/run/docker.sock";
/// The run directory when the config names none.
pub const DEFAULT_RUN_DIR: &str = "/run/enforcer";
/// The pin directory when the config names none.
pub const DEFAULT_PIN_DIR: &str = "/sys/fs/bpf/enforcer";
/// The stamp's bits when the config names none: out of the way of Docker, kube-proxy
/// (`0xc000`) and Tailscale (`0xff0000`).
pub const DEFAULT_MARK_MASK: u32 = 0x3000_0000;
/// Size of the flow table when the config names none: 44 MB at once, 50 MB more when full.
pub const DEFAULT_MAX_FLOWS: u32 = 1 << 18;
/// Most policies, of all networks together: slot 0 stays empty.
pub const MAX_POLICIES: usize = POLICY_SLOTS as usize - 1;
/// Most guest networks: each has a policy for guests and one for hubs.
pub const MAX_NETWORKS: usize = MAX_POLICIES / 2;

/// Limits for each guest where the config names none.
///
/// A visitor's browser holds tens of connections to a notebook server; a busy class behind one
/// proxy holds hundreds. A guest that opens more than 256 unanswered connections is scanning.
pub const DEFAULT_QUOTAS: Quotas = Quotas {
    inbound_half_open: 1024,
    inbound_established: 8192,
    outbound_half_open: 256,
    outbound_established: 2048,
    closing: 8192,
};

/// A valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// SHA-256 of the text that it was read from, hexadecimal.
    pub digest: String,
    /// The engine's unix socket.
    pub docker_socket: PathBuf,
    /// The daemon's run directory: control socket and lock.
    pub run_dir: PathBuf,
    /// Directory on a BPF file system where maps and links are pinned.
    pub pin_dir: PathBuf,
    /// Bits of `skb->mark` that carry the stamp; at least two.
    pub mark_mask: u32,
    /// Most flows that the kernel keeps.
    pub max_flows: u32,
    /// What keeps guest bridges closed where no program sits.
    pub closed_by: ClosedBy,
    /// Whether a guest's process is told at once that its packet would be denied.
    pub refuse_at_connect: bool,
    /// Where audit records go.
    pub audit: Audit,
    /// What becomes of guests that step outside their policy.
    pub outside: Outside,
    /// Where metrics are served; `None`: nowhere.
    pub metrics: Option<MetricsAt>,
    /// Policies by name.
    pub policies: BTreeMap<String, Policy>,
    /// Guest networks by Docker's network name.
    pub networks: BTreeMap<String, GuestNetwork>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            digest: String::new(),
            docker_socket: PathBuf::from(DEFAULT_DOCKER_SOCKET),
            run_dir: PathBuf::from(DEFAULT_RUN_DIR),
            pin_dir: PathBuf::from(DEFAULT_PIN_DIR),
            mark_mask: DEFAULT_MARK_MASK,
            max_flows: DEFAULT_MAX_FLOWS,
            closed_by: ClosedBy::Nft,
            refuse_at_connect: true,
            audit: Audit::default(),
            outside: Outside::default(),
            metrics: None,
            policies: BTreeMap::new(),
            networks: BTreeMap::new(),
        }
    }
}

impl Config {
    /// The closure that this config asks for, told by the bridge.
    #[must_use]
    pub fn closure(&self) -> Option<Closure> {
        let (from_guest, from_host) = stamps(self.mark_mask)?;
        match self.closed_by {
            ClosedBy::Nobody => None,
            ClosedBy::Nft => Some(Closure {
                bridges: self.networks.values().map(|network| network.bridge.clone()).collect(),
                mark_mask: self.mark_mask,
                from_guest,
                from_host,
                by: By::Bridge,
            }),
        }
    }
}

/// What keeps guest bridges closed where no program sits, and before any does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedBy {
    /// A table of nftables' bridge family.
    Nft,
    /// Nothing: ports that no program polices yet are open to one another.
    Nobody,
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
    /// Name of the policy of its guests; `None`: they reach nothing but hubs.
    pub policy: Option<String>,
    /// Guests with another one; the first that includes a guest counts.
    pub overrides: Vec<PolicyOverride>,
    /// Services that guests may reach.
    pub hubs: Vec<HubRule>,
    /// Limits for each guest.
    pub quotas: Quotas,
}

/// What guests may reach beside their hubs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// In the order in which they are numbered.
    pub rules: Vec<PolicyRule>,
}

/// A rule as the config has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRule {
    /// What it does.
    pub action: Action,
    /// To where.
    pub to: Place,
    /// To which ports.
    pub ports: Vec<Ports>,
    /// Where it is written, or its preset.
    pub name: String,
}

/// Where a rule leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Other machines: never this one, and no guest network.
    Nets {
        /// There.
        to: Vec<Net>,
        /// But not there.
        except: Vec<Net>,
    },
    /// This host, at the bridge's own addresses.
    Host,
}

/// A hub that guests may reach.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HubRule {
    /// Where it is.
    pub at: HubPlace,
    /// Port, 1 or more.
    pub port: u16,
    /// IP protocol number: 6 or 17.
    pub protocol: u8,
}

/// Where a hub is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HubPlace {
    /// The host itself, at the bridge's own addresses (gateways).
    Gateway,
    /// A fixed address.
    Address(IpAddr),
    /// A container on the guest network, by name; it gets the role `hub`.
    Container(String),
}
