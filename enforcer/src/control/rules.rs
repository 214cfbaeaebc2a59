//! Control path 1a: what a policy of the config means on this host: its rules, with addresses for the places
//! that they name, and what the resolver answers. Pure.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use crate::{
    config::{HubRule, Place, Policy, PolicyRule, Service},
    model::{
        names::{NamePolicy, NameRule},
        provenance::Provenance,
    },
    policy::rule::{Action, Net, Ports, Rule},
};

/// What only a running host knows of the places that rules name.
#[derive(Clone, Debug, Default)]
pub struct Here<'a> {
    /// The bridge's own addresses.
    pub gateways: &'a [IpAddr],
    /// Those of them on which our resolver answers: nobody else's is meant by names in rules.
    pub resolvers: Vec<IpAddr>,
    /// Addresses of the network's hubs.
    pub hubs: Vec<Net>,
    /// Containers that rules may name.
    pub services: Vec<Serving<'a>>,
    /// Addresses of this host, and guest networks.
    pub own: &'a [Net],
}

/// A container on the network that is one of its services or hubs.
#[derive(Clone, Debug)]
pub struct Serving<'a> {
    /// Its name.
    pub name: &'a str,
    /// What its creator said of it.
    pub provenance: &'a Provenance,
    /// Its addresses.
    pub at: Vec<Net>,
}

impl Here<'_> {
    /// Addresses of those that a rule names. One that denies also means whom it may name.
    fn serving(&self, named: &[Service], action: Action) -> Vec<Net> {
        let is_named = |one: &&Serving<'_>| {
            named.iter().any(|service| {
                let is_it = service.includes(one.name, one.provenance);
                is_it || action == Action::Deny && service.may_include(one.name, one.provenance)
            })
        };
        self.services.iter().filter(is_named).flat_map(|one| one.at.iter().copied()).collect()
    }
}

/// The rules of a policy on such a host.
#[must_use]
pub fn policy_rules<'a>(policy: &'a Policy, here: &Here<'_>) -> Vec<Rule> {
    // By what a rule leaves out by itself: with this host's addresses.
    let mut lists = BTreeMap::<&[Net], Arc<[Net]>>::new();
    let rule = |rule: &'a PolicyRule| {
        let (to, except) = match &rule.to {
            Place::Resolver { .. } if rule.action == Action::Allow => {
                (here.resolvers.iter().copied().map(Net::host).collect(), Arc::default())
            }
            Place::Host | Place::Resolver { .. } => {
                (here.gateways.iter().copied().map(Net::host).collect(), Arc::default())
            }
            Place::Hubs => (here.hubs.clone(), Arc::default()),
            Place::Services(named) => (here.serving(named, rule.action), Arc::default()),
            // The resolver tells no address of this host or of another guest.
            Place::Names { .. } => (Vec::new(), Arc::default()),
            Place::From(from) => (from.clone(), Arc::default()),
            // A number never means this host or another guest, unless it is to be denied.
            Place::Nets { to, except } if rule.action != Action::Deny => {
                let list =
                    lists.entry(except).or_insert_with(|| [except, here.own].concat().into());
                (to.clone(), Arc::clone(list))
            }
            Place::Nets { to, except } => (to.clone(), except.as_slice().into()),
        };
        // A name that is denied is not resolved.
        let opens = rule.action == Action::Allow;
        let (names, refused) = match rule.to.names().to_vec() {
            names if opens => (names, Vec::new()),
            refused => (Vec::new(), refused),
        };
        let (action, direction) = (rule.action, rule.to.direction());
        let private = matches!(rule.to, Place::Names { private: true, .. });
        let services = match &rule.to {
            Place::Services(wanted) => wanted.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        };
        let (ports, name) = (rule.ports.clone(), rule.name.clone());
        Rule { action, direction, to, except, names, refused, private, services, ports, name }
    };
    policy.rules.iter().map(rule).collect()
}

/// What the resolver answers under a policy.
#[must_use]
pub fn name_policy(policy: &Policy, own: &[Net]) -> NamePolicy {
    let mut names = NamePolicy { own: own.to_vec(), ..NamePolicy::default() };
    for rule in &policy.rules {
        match (&rule.to, rule.action) {
            (Place::Resolver { any: true }, Action::Allow) => names.any = true,
            (Place::Names { names: patterns, private }, Action::Allow) => {
                names.allow.extend(patterns.iter().map(|pattern| NameRule {
                    pattern: pattern.clone(),
                    group: pattern.class(*private),
                    private: *private,
                }));
            }
            (Place::Names { names: patterns, .. }, Action::Deny) => {
                names.deny.extend(patterns.iter().cloned());
            }
            _ => {}
        }
    }
    names
}

/// The rule that opens a hub's port.
#[must_use]
pub fn hub_rule(hub: &HubRule, addresses: Vec<IpAddr>) -> Rule {
    Rule {
        action: Action::Allow,
        to: addresses.into_iter().map(Net::host).collect(),
        ports: vec![Ports::one(hub.protocol, hub.port)],
        name: "hub".to_owned(),
        ..Rule::default()
    }
}
