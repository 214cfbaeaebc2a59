//! The config file: strict TOML in, a valid [`Config`] out.
//!
//! `text -> raw (serde shape) -> parse + check (meaning) -> Config`; every problem has a line.

mod abuse;
mod access;
mod admins;
mod audit;
mod check;
pub mod describe;
mod dns;
pub mod effective;
pub mod file;
mod gate;
mod guests;
mod limits;
mod metrics;
pub mod minimal;
mod mode;
mod network;
mod otlp;
mod outside;
mod overrides;
mod owned;
mod parse;
mod policy;
pub(crate) mod presets;
mod problem;
mod raw;
pub mod reference;
mod services;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use enforcer_common::abi::policy::{Direction, POLICY_SLOTS, Quotas};

use crate::{
    access::name::HubName,
    model::closure::{By, Closure, OWN_BRIDGES, stamps},
    model::names::Pattern,
    policy::rule::{Action, Net, Ports},
};

pub use self::{
    abuse::Abuse,
    access::{Access, GroupsFrom, Hub, KernelProof},
    admins::Admin,
    audit::Audit,
    dns::Dns,
    gate::Gate,
    guests::{Culled, GuestLife, ImagePattern},
    limits::{Limits, stricter},
    metrics::MetricsAt,
    mode::Mode,
    outside::{GuestLabel, Outside, OutsideAction},
    overrides::{Guests, PolicyOverride},
    owned::{OWNED_PREFIX, OWNED_SLOTS, Owned},
    parse::parse,
    presets::{Reach, is_for_a_while, is_public, reach},
    problem::{ConfigError, Problem},
    services::Service,
};

/// The engine's socket when the config names none.
pub const DEFAULT_DOCKER_SOCKET: &str = "/var/run/docker.sock";
/// The run directory when the config names none.
pub const DEFAULT_RUN_DIR: &str = "/run/enforcer";
/// The pin directory when the config names none.
pub const DEFAULT_PIN_DIR: &str = "/sys/fs/bpf/enforcer";
/// The state directory when the config names none.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/enforcer";
/// The stamp's bits when the config names none: out of the way of Docker, kube-proxy
/// (`0xc000`) and Tailscale (`0xff0000`).
pub const DEFAULT_MARK_MASK: u32 = 0x3000_0000;
/// Size of the flow table when the config names none: 44 MB at once, 50 MB more when full.
pub const DEFAULT_MAX_FLOWS: u32 = 1 << 18;
/// Most policies, of all networks of a file together: slot 0 stays empty, and own networks have the last ones.
pub const MAX_POLICIES: usize = (POLICY_SLOTS - OWNED_SLOTS) as usize - 1;
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
    /// Directory of what must outlive a reboot: the store of groups and grants.
    pub state_dir: PathBuf,
    /// Bits of `skb->mark` that carry the stamp; at least two.
    pub mark_mask: u32,
    /// Most flows that the kernel keeps.
    pub max_flows: u32,
    /// What keeps guest bridges closed where no program sits.
    pub closed_by: ClosedBy,
    /// Whether a guest's process is told at once that its packet would be denied.
    pub refuse_at_connect: bool,
    /// Who may use the control API beside root.
    pub admins: BTreeSet<Admin>,
    /// Where audit records go.
    pub audit: Audit,
    /// What becomes of guests that step outside their policy.
    pub outside: Outside,
    /// What is taken for abuse, and what becomes of it.
    pub abuse: Abuse,
    /// Where metrics are served; `None`: nowhere.
    pub metrics: Option<MetricsAt>,
    /// How guests' DNS is answered; `None`: it is not.
    pub dns: Option<Dns>,
    /// Who may have a Docker socket.
    pub access: Access,
    /// Guests that enforcer starts and ends itself.
    pub guests: GuestLife,
    /// What a filtered Docker socket lets its user do.
    pub gate: Gate,
    /// Hubs by name.
    pub hubs: BTreeMap<HubName, Hub>,
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
            state_dir: PathBuf::from(DEFAULT_STATE_DIR),
            mark_mask: DEFAULT_MARK_MASK,
            max_flows: DEFAULT_MAX_FLOWS,
            closed_by: ClosedBy::Nft,
            refuse_at_connect: true,
            admins: BTreeSet::new(),
            audit: Audit::default(),
            outside: Outside::default(),
            abuse: Abuse::default(),
            metrics: None,
            dns: None,
            access: Access::default(),
            guests: GuestLife::default(),
            gate: Gate::default(),
            hubs: BTreeMap::new(),
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
                bridges: self
                    .networks
                    .values()
                    .map(|network| network.bridge.clone())
                    .filter(|bridge| !bridge.starts_with(OWN_BRIDGES))
                    .collect(),
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
    /// Containers on it that rules may open: hubs that open nothing themselves.
    pub services: Vec<Service>,
    /// How many flows each guest may have.
    pub quotas: Quotas,
    /// How much each guest may send and be sent, where its policy says nothing.
    pub limits: Limits,
    /// Whose own network it is; `None`: it is one of the file's.
    pub owned: Option<Owned>,
}

impl GuestNetwork {
    /// Limits of its guests with this policy, or without one.
    #[must_use]
    pub fn limits_of(&self, policy: Option<&Policy>) -> Limits {
        policy.map_or(self.limits, |policy| policy.limits.over(self.limits))
    }
}

/// What guests may reach beside their hubs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What becomes of what the rules do not open.
    pub mode: Mode,
    /// In the order in which they are numbered; audit mode is the last of them.
    pub rules: Vec<PolicyRule>,
    /// How much each guest with it may send and be sent.
    pub limits: Limits,
}

impl Policy {
    /// Whether it lets guests reach something beside their hubs.
    #[must_use]
    pub fn opens_something(&self) -> bool {
        self.rules.iter().any(PolicyRule::opens)
    }

    /// Whether something is left of it without that.
    #[must_use]
    pub fn does_more_than_open(&self) -> bool {
        self.rules.iter().any(|rule| !rule.opens())
    }

    /// The same for the network's hubs: its sources are those of guests.
    #[must_use]
    pub fn of_hub(mut self) -> Self {
        self.rules.retain(|rule| rule.to.direction() == Direction::Out);
        self
    }

    /// What is left of it for a guest that is cut off: what it denies, and who may come in.
    #[must_use]
    pub fn when_cut(&self) -> Self {
        let rules = self.rules.iter().filter(|rule| !rule.opens()).cloned().collect();
        Self { mode: Mode::Enforce, rules, limits: self.limits }
    }
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

impl PolicyRule {
    /// Whether it lets guests reach something.
    fn opens(&self) -> bool {
        self.action != Action::Deny && self.to.direction() == Direction::Out
    }
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
    /// Every hub of the network.
    Hubs,
    /// The resolver of this host, at the bridge's own addresses.
    Resolver {
        /// Whether it answers for any name, not only for those that rules name.
        any: bool,
    },
    /// Where DNS names lead to, as long as the resolver told the guest so.
    Names {
        /// The names.
        names: Vec<Pattern>,
        /// Whether they may lead to private addresses.
        private: bool,
    },
    /// Services of the network, and containers of its hubs.
    Services(Vec<Service>),
    /// To the guest itself, from beyond the bridge.
    From(Vec<Net>),
}

impl Place {
    /// Which end of a flow it is about.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        if matches!(self, Self::From(_)) { Direction::In } else { Direction::Out }
    }

    /// Its names, if that is what it is.
    #[must_use]
    pub fn names(&self) -> &[Pattern] {
        if let Self::Names { names, .. } = self { names } else { &[] }
    }
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
