//! What the kernel should hold: the outcome of config, inventory and links.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use enforcer_common::abi::{
    endpoint::{Hub, HubKey, Role},
    policy::{BY_RULE_ONLY, LIMITS_SOURCES, Limits, Quotas},
};

use super::closure::Closure;
use super::inventory::{Mac, PublishedPort};
use super::names::NamePolicy;
use crate::policy::{
    compile::{Tables, traits},
    rule::{Action, Net, Rule},
};

/// Everything that the packet path should hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// What keeps guest bridges closed where no program sits; `None`: nothing does.
    pub closure: Option<Closure>,
    /// Guest bridges by ifindex.
    pub networks: BTreeMap<u32, DesiredNetwork>,
    /// Ports of guest bridges by ifindex.
    pub endpoints: BTreeMap<u32, DesiredEndpoint>,
    /// Guests' cgroups by id.
    pub cgroups: BTreeMap<u64, DesiredCgroup>,
    /// Ports whose denied packets are answered, because nothing refuses the calls behind them.
    pub answered: BTreeSet<u32>,
    /// Addresses of hubs' containers.
    pub hubs: BTreeMap<HubKey, Hub>,
    /// Addresses of this host, and guest networks: no address of somebody else's.
    pub own: Vec<Net>,
    /// Policies by number (index in map `POLICIES`).
    pub policies: BTreeMap<u32, DesiredPolicy>,
    /// veths that belong to nobody yet: the programs sit there early and pass.
    pub early: BTreeSet<u32>,
}

/// The cgroup of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DesiredCgroup {
    /// Port whose endpoint has the records of its processes.
    pub ifindex: u32,
    /// Whether calls of its processes are judged as the packets of that port would be.
    pub judged: bool,
}

/// One guest bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredNetwork {
    /// Name in the config and in Docker.
    pub name: String,
    /// Name of the bridge.
    pub bridge: String,
    /// Map value but for its `id`, which the executor assigns.
    pub gateway4: Option<(std::net::Ipv4Addr, u8)>,
    /// Global IPv6 gateway and prefix length.
    pub gateway6: Option<(std::net::Ipv6Addr, u8)>,
    /// The bridge's link-local address.
    pub gateway_link_local: Option<std::net::Ipv6Addr>,
    /// MAC address of the bridge.
    pub mac: Mac,
    /// Whether it is somebody's own: its containers reach one another.
    pub owned: bool,
}

/// One port of a guest bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredEndpoint {
    /// ifindex of the bridge.
    pub network: u32,
    /// Number of its policy.
    pub policy: u32,
    /// What it is; [`Role::Unknown`] until the container is known.
    pub role: Role,
    /// Docker's container id; `None`: not identified.
    pub container: Option<String>,
    /// Container name, for people.
    pub name: String,
    /// MAC address of the container's interface.
    pub mac: Mac,
    /// IPv4 address.
    pub ipv4: Option<std::net::Ipv4Addr>,
    /// Global IPv6 address. The link-local one is EUI-64 of `mac`, and only set with this.
    pub ipv6: Option<std::net::Ipv6Addr>,
    /// Published container ports.
    pub published: Vec<PublishedPort>,
}

/// One policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredPolicy {
    /// Name for people: network and role.
    pub name: String,
    /// How many flows each endpoint may have.
    pub quotas: Quotas,
    /// How much each endpoint may send and be sent.
    pub limits: Limits,
    /// Its rules, in the order of their numbers (from 1).
    pub rules: Vec<Rule>,
    /// Names that the resolver answers for.
    pub names: Arc<NamePolicy>,
    /// Whether it is of services, which open nothing by design.
    pub by_rule_only: bool,
    /// Whether nobody from beyond comes in that no rule names, also where Docker publishes a port.
    pub admits_by_rule_only: bool,
    /// What they make together, once compiled.
    pub tables: Arc<Tables>,
}

impl Desired {
    /// What an interface with this role on the network of this ifindex is to people: whoever is on an own network
    /// is a guest.
    #[must_use]
    pub fn role_shown(&self, network: u32, role: Role) -> Role {
        let is_owned = self.networks.get(&network).is_some_and(|network| network.owned);
        if is_owned && role == Role::Hub { Role::Guest } else { role }
    }
}

impl DesiredPolicy {
    /// Whether it lets through what its other rules do not open.
    #[must_use]
    pub fn audits(&self) -> bool {
        self.rules.iter().any(|rule| rule.action == Action::Audit)
    }

    /// [`enforcer_common::abi::policy::Policy::traits`].
    #[must_use]
    pub fn traits(&self) -> u32 {
        let bit = |is: bool, bit: u32| if is { bit } else { 0 };
        traits(&self.rules)
            | bit(self.by_rule_only, BY_RULE_ONLY)
            | bit(self.admits_by_rule_only, LIMITS_SOURCES)
    }
}
