//! Control path 1: config, inventory and links become what the kernel should hold. Pure.
//!
//! Who a port belongs to is never taken from anything that a guest can change: a veth belongs to a
//! container when the kernel says that its peer is in that container's network namespace, or, until
//! Docker names the namespace, when its peer has the MAC address that Docker assigned.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use enforcer_common::{
    abi::{
        endpoint::{Hub, HubKey, Role},
        policy::{Limits, Quotas},
    },
    packet,
};

use super::{
    numbers::{Numbers, numbers},
    own::own,
    rules::{Here, Serving, hub_rule, name_policy, policy_rules},
};
use crate::{
    config::{Config, GuestNetwork, HubPlace, Policy, stricter},
    model::{
        closure::OWN_BRIDGES,
        desired::{Desired, DesiredEndpoint, DesiredNetwork, DesiredPolicy},
        inventory::{Attachment, DockerNetwork, Inventory, Subnet, link_local},
        link::{Link, LinkKind, Links},
        names::NamePolicy,
    },
    policy::rule::{Net, Rule},
};

/// A hub talks to every guest: it may have this many times a guest's flows.
const HUB_QUOTA_FACTOR: u32 = 16;

/// What is known beside config, inventory and links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Number of each container's network namespace, as this namespace sees it, by container id.
    pub namespaces: BTreeMap<String, i32>,
    /// How guest bridges can be closed on this host.
    pub closes: Closes,
    /// Guest bridges that were known under the name that the config has, by that name.
    pub bridges: BTreeMap<String, u32>,
    /// veths that have been without a bridge for so long that none is to be expected.
    pub settled: BTreeSet<u32>,
    /// Gateway addresses on which our resolver answers.
    pub resolvers: BTreeSet<IpAddr>,
}

/// How guest bridges can be closed on a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Closes {
    /// Not at all.
    Not,
    /// Frames are told by their bridge.
    #[default]
    ByBridge,
    /// Frames are told by their ports.
    ByPorts,
}

/// Computes what the kernel should hold.
#[must_use]
pub fn desired(config: &Config, inventory: &Inventory, links: &Links, facts: &Facts) -> Desired {
    let bridge_of = |network: &GuestNetwork| {
        links
            .values()
            .find(|link| link.kind == LinkKind::Bridge && link.name == network.bridge)
            .or_else(|| links.get(facts.bridges.get(&network.bridge)?))
    };
    let mut closure = config.closure().filter(|_| facts.closes != Closes::Not);
    if let Some(closure) = &mut closure {
        // Also under the name that it has now.
        let bridges = config.networks.values().filter_map(bridge_of);
        let renamed: Vec<String> = bridges.map(|bridge| bridge.name.clone()).collect();
        closure.bridges.extend(renamed.into_iter().filter(|name| !name.starts_with(OWN_BRIDGES)));
    }
    if facts.closes == Closes::ByPorts {
        closure = closure.map(|closure| closure.by_ports(links));
    }
    let mut desired = Desired { closure, ..Desired::default() };
    let own = own(config, inventory, links);
    desired.own.clone_from(&own);
    let numbers = numbers(config);
    for (name, guest_network) in &config.networks {
        let Some(numbers) = numbers.get(name) else { continue };
        let Some(bridge) = bridge_of(guest_network) else { continue };
        let docker = inventory
            .networks
            .values()
            .find(|network| network.bridge == guest_network.bridge && network.name == *name);
        let scope = Scope {
            name,
            config: guest_network,
            policies: &config.policies,
            numbers,
            slow: config.abuse.slow.in_force(),
            own: &own,
            bridge,
            docker,
            inventory,
            links,
            facts,
        };
        scope.fill(&mut desired);
    }
    desired.early = links
        .values()
        .filter(|link| link.kind == LinkKind::Veth && link.master.is_none())
        .map(|link| link.ifindex)
        .filter(|ifindex| !facts.settled.contains(ifindex))
        .collect();
    desired
}

/// One guest network and all that bears on it.
struct Scope<'a> {
    name: &'a str,
    config: &'a GuestNetwork,
    policies: &'a BTreeMap<String, Policy>,
    numbers: &'a Numbers,
    /// Limits of guests that are slowed.
    slow: Limits,
    own: &'a [Net],
    bridge: &'a Link,
    docker: Option<&'a DockerNetwork>,
    inventory: &'a Inventory,
    links: &'a Links,
    facts: &'a Facts,
}

impl Scope<'_> {
    fn fill(&self, desired: &mut Desired) {
        let network = self.network();
        let Numbers { guest, hub, service, others, cut, slow } = self.numbers;
        let (own, quotas) = (self.config.policy.as_deref(), self.config.quotas);
        let others = others.iter().map(|(policy, number)| {
            (*number, format!("guest/{policy}"), Some(policy.as_str()), quotas)
        });
        let (of_hub, hub_quotas) = match self.config.owned {
            Some(_) => ("owner", quotas),
            None => ("hub", hub_quotas(quotas)),
        };
        let policies = [
            (*guest, "guest".to_owned(), own, quotas),
            (*hub, of_hub.to_owned(), own, hub_quotas),
            // What guests may reach is nothing to a service.
            (*service, "service".to_owned(), None, hub_quotas),
        ];
        // All of an own network's containers are alike.
        let policies = policies.into_iter().skip(usize::from(self.config.owned.is_some()));
        let policies = policies.chain(others).map(|(number, who, policy, quotas)| {
            let policy = policy.and_then(|name| self.policies.get(name)).cloned();
            (number, who, policy, quotas)
        });
        let cut = cut.iter().map(|(left, number)| {
            let of = left.as_ref().map(|name| format!("/{name}")).unwrap_or_default();
            let policy = left.as_ref().and_then(|name| self.policies.get(name));
            (*number, format!("guest{of}/cut"), policy.map(Policy::when_cut), quotas)
        });
        for (number, who, policy, quotas) in policies.chain(cut) {
            if number != 0 {
                // Who may come in to a guest says nothing of a hub.
                let policy =
                    policy.map(|policy| if number == *hub { policy.of_hub() } else { policy });
                let policy = policy.as_ref();
                let by_rule_only = number == *service;
                let rules = if by_rule_only { Vec::new() } else { self.rules(&network, policy) };
                let name = format!("{}/{who}", self.name);
                let is_guest = number != *hub && !by_rule_only;
                let limits = if is_guest { self.limits(policy) } else { Limits::default() };
                let names =
                    policy.map_or_else(NamePolicy::default, |policy| name_policy(policy, self.own));
                let names = Arc::new(names);
                let tables = Arc::default();
                // What the owner's policy says of who may come in is not known here.
                let admits_by_rule_only = self.config.owned.is_some();
                let policy = DesiredPolicy {
                    name,
                    quotas,
                    limits,
                    rules,
                    names,
                    by_rule_only,
                    admits_by_rule_only,
                    tables,
                };
                desired.policies.insert(number, policy);
            }
        }
        for (own, slow) in slow.iter().filter(|(_, slow)| **slow != 0) {
            let Some(own) = desired.policies.get(own) else { continue };
            let limits = stricter(own.limits, self.slow);
            let policy =
                DesiredPolicy { name: format!("{}/slow", own.name), limits, ..own.clone() };
            desired.policies.insert(*slow, policy);
        }
        for (key, hub) in self.hubs() {
            desired.hubs.insert(key, hub);
        }
        for (ifindex, mut endpoint) in self.endpoints() {
            endpoint.policy = match endpoint.role {
                Role::Guest => {
                    let container = endpoint.container.as_ref();
                    let container = container.and_then(|id| self.inventory.containers.get(id));
                    let provenance = container.map(|container| &*container.provenance);
                    self.numbers.of_guest(self.config, provenance)
                }
                Role::Hub if self.config.owned.is_some() => *hub,
                Role::Hub
                    if endpoint.container.as_ref().is_some_and(|id| self.is_hub(id, None)) =>
                {
                    *hub
                }
                Role::Hub => *service,
                Role::Unknown | Role::Other => 0,
            };
            desired.endpoints.insert(ifindex, endpoint);
        }
        desired.networks.insert(self.bridge.ifindex, network);
    }

    /// Limits are of guests only: a hub talks to all of them.
    fn limits(&self, policy: Option<&Policy>) -> Limits {
        self.config.limits_of(policy).in_force()
    }

    fn has_ipv6(&self) -> bool {
        self.config.subnet6.is_some()
    }

    fn network(&self) -> DesiredNetwork {
        let mut gateways = self.docker_gateways();
        if let (Some(gateway), Some((_, prefix))) = (self.config.gateway4, self.config.subnet4) {
            gateways.push((IpAddr::V4(gateway), prefix));
        }
        let link_local = |address: &&std::net::Ipv6Addr| address.is_unicast_link_local();
        DesiredNetwork {
            name: self.name.to_owned(),
            bridge: self.bridge.name.clone(),
            gateway4: gateways.iter().find_map(|(address, prefix)| match address {
                IpAddr::V4(address) => Some((*address, *prefix)),
                IpAddr::V6(_) => None,
            }),
            gateway6: gateways.iter().filter(|_| self.has_ipv6()).find_map(|(address, prefix)| {
                match address {
                    IpAddr::V6(address) => Some((*address, *prefix)),
                    IpAddr::V4(_) => None,
                }
            }),
            gateway_link_local: self
                .bridge
                .ipv6
                .iter()
                .find(link_local)
                .filter(|_| self.has_ipv6())
                .copied(),
            mac: self.bridge.mac,
            owned: self.config.owned.is_some(),
        }
    }

    /// Docker's gateways; where Docker names none, the bridge's own address in the subnet.
    fn docker_gateways(&self) -> Vec<(IpAddr, u8)> {
        let Some(docker) = self.docker else { return Vec::new() };
        let own = || {
            let ipv4 = self.bridge.ipv4.iter().copied().map(IpAddr::V4);
            ipv4.chain(self.bridge.ipv6.iter().copied().map(IpAddr::V6))
        };
        docker
            .subnets
            .iter()
            .filter_map(|subnet| {
                let gateway =
                    subnet.gateway.or_else(|| own().find(|address| contains(subnet, *address)))?;
                Some((gateway, subnet.prefix))
            })
            .collect()
    }

    /// What guests and hubs of this network may reach under a policy: its hubs, and then what the policy says.
    fn rules(&self, network: &DesiredNetwork, policy: Option<&Policy>) -> Vec<Rule> {
        let mut rules = Vec::new();
        for hub in &self.config.hubs {
            let addresses: Vec<IpAddr> = match &hub.at {
                HubPlace::Gateway => gateways(network),
                HubPlace::Address(address) => vec![*address],
                HubPlace::Container(name) => self
                    .attachments()
                    .filter(|(id, _)| self.is_hub(id, Some(name)))
                    .flat_map(|(_, attachment)| self.addresses(attachment))
                    .collect(),
            };
            rules.push(hub_rule(hub, addresses));
        }
        if let Some(policy) = policy {
            let hubs = rules.iter().flat_map(|rule| rule.to.iter().copied()).collect();
            let gateways = gateways(network);
            let is_ours = |address: &&IpAddr| self.facts.resolvers.contains(*address);
            let resolvers = gateways.iter().filter(is_ours).copied().collect();
            let services = self.serving();
            let here = Here { gateways: &gateways, resolvers, hubs, services, own: self.own };
            rules.extend(policy_rules(policy, &here));
        }
        rules
    }

    fn hubs(&self) -> Vec<(HubKey, Hub)> {
        let hubs = self.attachments().filter(|(id, _)| self.may_be_reached(id));
        hubs.filter_map(|(_, attachment)| Some((attachment, attachment.mac?)))
            .flat_map(|(attachment, mac)| {
                // Neighbour discovery between a hub and its guests also uses the link-local one.
                let own = self.addresses(attachment);
                let ipv6 = own.iter().any(IpAddr::is_ipv6);
                let near = ipv6.then(|| IpAddr::V6(link_local(mac)));
                own.into_iter().chain(near).map(move |address| {
                    let (address, family) = abi_address(address);
                    let key =
                        HubKey { network: self.bridge.ifindex, address, family, reserved: [0; 3] };
                    (key, Hub { mac, reserved: [0; 2] })
                })
            })
            .collect()
    }

    fn endpoints(&self) -> BTreeMap<u32, DesiredEndpoint> {
        let ports = || self.links.values().filter(|l| l.master == Some(self.bridge.ifindex));
        let claims: BTreeMap<u32, Claim<'_>> = ports()
            .filter(|port| port.kind == LinkKind::Veth)
            .filter_map(|port| Some((port.ifindex, self.claim(port)?)))
            .collect();
        let endpoint = |port: &Link| {
            let mut endpoint = DesiredEndpoint {
                network: self.bridge.ifindex,
                policy: 0,
                role: if port.kind == LinkKind::Veth { Role::Unknown } else { Role::Other },
                container: None,
                name: String::new(),
                mac: [0; 6],
                ipv4: None,
                ipv6: None,
                published: Vec::new(),
            };
            if let Some(claim) = claims.get(&port.ifindex)
                && claim.holds_against(claims.values())
            {
                self.identify(&mut endpoint, claim);
            }
            endpoint
        };
        ports().map(|port| (port.ifindex, endpoint(port))).collect()
    }

    /// The container that a veth belongs to, if anything says so.
    fn claim(&self, port: &Link) -> Option<Claim<'_>> {
        let namespace = |id: &str| self.facts.namespaces.get(id).copied();
        let proven = self
            .attachments()
            .find(|(id, _)| port.peer_netns.is_some() && namespace(id) == port.peer_netns);
        if let Some((container, attachment)) = proven {
            return Some(Claim { container, attachment, proven: true });
        }
        let mac = port.peer_mac?;
        // A container whose namespace is known has its interface there, and nowhere else.
        let mut by_mac = self
            .attachments()
            .filter(|(id, attachment)| attachment.mac == Some(mac) && namespace(id).is_none());
        let (container, attachment) = by_mac.next()?;
        by_mac.next().is_none().then_some(Claim { container, attachment, proven: false })
    }

    fn identify(&self, endpoint: &mut DesiredEndpoint, claim: &Claim<'_>) {
        let Some(mac) = claim.attachment.mac else { return };
        let is_hub = self.may_be_reached(claim.container);
        if is_hub && !claim.proven {
            // Docker gives a gone container's MAC to the next one: only the namespace proves a hub.
            return;
        }
        endpoint.mac = mac;
        endpoint.role = match (is_hub, &self.config.owned) {
            (true, _) => Role::Hub,
            (false, None) => Role::Guest,
            (false, Some(_)) => Role::Other,
        };
        endpoint.container = Some(claim.container.to_owned());
        endpoint.ipv4 = claim.attachment.ipv4;
        endpoint.ipv6 = claim.attachment.ipv6.filter(|_| self.has_ipv6());
        if let Some(container) = self.inventory.containers.get(claim.container) {
            endpoint.name.clone_from(&container.name);
            endpoint.published.clone_from(&container.published);
        }
    }

    fn attachments(&self) -> impl Iterator<Item = (&str, &Attachment)> {
        let attachments = self.docker.map(|network| &network.attachments);
        attachments.into_iter().flatten().map(|(id, attachment)| (id.as_str(), attachment))
    }

    fn addresses(&self, attachment: &Attachment) -> Vec<IpAddr> {
        let ipv6 = attachment.ipv6.filter(|_| self.has_ipv6()).map(IpAddr::V6);
        attachment.ipv4.map(IpAddr::V4).into_iter().chain(ipv6).collect()
    }

    /// Whether a container is one of the network's hubs; with a name: that one.
    fn is_hub(&self, id: &str, named: Option<&String>) -> bool {
        self.inventory.containers.get(id).is_some_and(|container| {
            named.is_none_or(|name| *name == container.name)
                && self.config.is_hub(&container.name, &container.provenance)
        })
    }

    /// Whether a container is one of the network's hubs or services. On an own network each of the owner's is:
    /// they reach one another as a hub and its guests do.
    fn may_be_reached(&self, container: &str) -> bool {
        let container = self.inventory.containers.get(container);
        container.is_some_and(|container| {
            if let Some(owned) = &self.config.owned {
                return owned.admits(&container.provenance);
            }
            self.config.is_hub(&container.name, &container.provenance)
                || self.config.serves(&container.name, &container.provenance)
        })
    }

    /// Its hubs' containers and services, as rules name them.
    fn serving(&self) -> Vec<Serving<'_>> {
        let reached = self.attachments().filter(|(id, _)| self.may_be_reached(id));
        let serving = reached.filter_map(|(id, attachment)| {
            let container = self.inventory.containers.get(id)?;
            let at = self.addresses(attachment).into_iter().map(Net::host).collect();
            Some(Serving { name: &container.name, provenance: &container.provenance, at })
        });
        serving.collect()
    }
}

fn gateways(network: &DesiredNetwork) -> Vec<IpAddr> {
    let ipv4 = network.gateway4.map(|(address, _)| IpAddr::V4(address));
    let ipv6 = network.gateway6.map(|(address, _)| IpAddr::V6(address));
    ipv4.into_iter().chain(ipv6).collect()
}

/// A port is said to be a container's.
struct Claim<'a> {
    container: &'a str,
    attachment: &'a Attachment,
    /// By its namespace; otherwise by its MAC address.
    proven: bool,
}

impl Claim<'_> {
    /// Of two ports that claim one container only a proven one gets it: none, if both are or
    /// neither is.
    fn holds_against<'a>(&self, claims: impl Iterator<Item = &'a Claim<'a>>) -> bool {
        let rivals = claims.filter(|other| other.container == self.container);
        rivals.filter(|other| other.proven || !self.proven).count() == 1
    }
}

fn hub_quotas(guest: Quotas) -> Quotas {
    let times = |quota: u32| quota.saturating_mul(HUB_QUOTA_FACTOR);
    Quotas {
        inbound_half_open: times(guest.inbound_half_open),
        inbound_established: times(guest.inbound_established),
        outbound_half_open: times(guest.outbound_half_open),
        outbound_established: times(guest.outbound_established),
        closing: times(guest.closing),
    }
}

fn contains(subnet: &Subnet, address: IpAddr) -> bool {
    match (subnet.address, address) {
        (IpAddr::V4(net), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(subnet.prefix.min(32))).unwrap_or(0);
            net.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(net), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(subnet.prefix.min(128))).unwrap_or(0);
            net.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}

/// An address as the maps have it, and its family.
#[must_use]
pub fn abi_address(address: IpAddr) -> ([u8; 16], packet::Family) {
    match address {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            let (head, _) = bytes.split_at_mut(4);
            head.copy_from_slice(&address.octets());
            (bytes, packet::IPV4)
        }
        IpAddr::V6(address) => (address.octets(), packet::IPV6),
    }
}

/// An address that a map has.
pub(super) fn abi_ip(address: [u8; 16], family: packet::Family) -> IpAddr {
    let [a, b, c, d, ..] = address;
    if family == packet::IPV4 { IpAddr::from([a, b, c, d]) } else { IpAddr::from(address) }
}

#[cfg(test)]
#[path = "desired/tests.rs"]
mod tests;
