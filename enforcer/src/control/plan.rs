//! Control path 2: the steps from what the kernel holds to what it should hold. Pure; steps are
//! data. Protection goes on first and comes off last: an interface is denied before its programs
//! sit there, and gets its identity only after the kernel was seen to run them.

mod display;
mod identities;
mod values;

pub use identities::Identities;
pub(super) use values::container as container_bytes;

use std::{collections::BTreeSet, sync::Arc};

use enforcer_common::abi::{
    cgroup::CgroupOwner,
    endpoint::{Endpoint, Hub, HubKey, Network, Role},
    event::Hook,
    ledger::Ledger,
    policy::{Policy, PublishedKey},
};

use crate::model::{
    closure::Closure,
    desired::{Desired, DesiredEndpoint, DesiredPolicy},
    inventory::Mac,
    link::PortSettings,
    observed::Observed,
};
use crate::policy::compile::Tables;

/// Programs of a port.
const PORT_HOOKS: [Hook; 2] = [Hook::FromGuest, Hook::ToGuest];
/// Programs of a bridge.
const BRIDGE_HOOKS: [Hook; 2] = [Hook::FromBridge, Hook::ToBridge];

/// One step. Each is idempotent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Close guest bridges to frames that no program let through.
    Close(Closure),
    /// Take that off: the config wants none.
    Open,
    /// Put a program on an interface, before all others.
    Attach(u32, Hook),
    /// Take it off.
    Detach(u32, Hook),
    /// Write a guest bridge.
    PutNetwork(u32, Network),
    /// Forget a guest bridge.
    DropNetwork(u32),
    /// Write a port.
    PutEndpoint(u32, Endpoint),
    /// Forget a port.
    DropEndpoint(u32),
    /// Write whose a cgroup is.
    PutCgroup(u64, CgroupOwner),
    /// Forget it.
    DropCgroup(u64),
    /// Make the flow counters of an endpoint id.
    CreateUsage(u32),
    /// Remove them.
    DropUsage(u32),
    /// Open a published port.
    PutPublished(PublishedKey),
    /// Close it.
    DropPublished(PublishedKey),
    /// Write a hub's address.
    PutHub(HubKey, Hub),
    /// Forget it.
    DropHub(HubKey),
    /// Put a policy's tables in place, all under its epoch, and then change over to them: all, or
    /// nothing is changed.
    PutPolicy(u32, Policy, Arc<Tables>),
    /// Forget a policy: everything under it is denied.
    DropPolicy(u32),
    /// Forget the tables of a policy that is no more, by its epoch.
    DropRules(u32, Arc<Tables>),
    /// Write down which numbers were given out.
    PutLedger(Ledger),
    /// Pin what is not pinned.
    Pin,
    /// Set a bridge port.
    SetPort(u32, PortSettings),
    /// Pin a MAC address to a bridge port.
    SetMac(u32, Mac),
}

/// Computes the steps, safe to stop after any of them.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed, identities: &mut Identities) -> Vec<Action> {
    identities.assign(desired);
    let mut plan = Planner { desired, observed, identities, actions: Vec::new() };
    plan.close();
    plan.pins();
    plan.recall();
    plan.policies();
    plan.networks();
    plan.hubs();
    plan.endpoints();
    plan.cgroups();
    plan.early();
    plan.remove();
    plan.ledger();
    plan.actions
}

struct Planner<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    identities: &'a mut Identities,
    actions: Vec<Action>,
}

impl Planner<'_> {
    /// Before anything else: it holds also where every later step fails.
    fn close(&mut self) {
        if let Some(closure) = &self.desired.closure
            && self.observed.closure.as_ref() != Some(closure)
        {
            self.actions.push(Action::Close(closure.clone()));
        }
    }

    fn pins(&mut self) {
        if !self.observed.pinned {
            self.actions.push(Action::Pin);
        }
    }

    /// A policy number is about to stand for other rules: whoever has it and is to have another one,
    /// or none, is denied until its own entry says so.
    fn recall(&mut self) {
        for (ifindex, held) in self.observed.endpoints.iter().filter(|(_, held)| held.policy != 0) {
            let wanted = self.desired.endpoints.get(ifindex).map(|endpoint| endpoint.policy);
            if wanted != Some(held.policy) && self.changes(held.policy) {
                self.actions.push(Action::PutEndpoint(*ifindex, Endpoint { policy: 0, ..*held }));
            }
        }
    }

    /// A policy that changed gets a new epoch, and its rules with it; the old ones go when nothing
    /// refers to them any more.
    fn policies(&mut self) {
        for number in self.observed.policies.keys() {
            if !self.desired.policies.contains_key(number) {
                self.actions.push(Action::DropPolicy(*number));
            }
        }
        for (number, policy) in &self.desired.policies {
            if self.changes(*number) {
                let epoch = self.identities.next_epoch();
                let value = Policy {
                    epoch,
                    traits: policy.traits(),
                    quotas: policy.quotas,
                    reserved: 0,
                    limits: policy.limits,
                };
                self.actions.push(Action::PutPolicy(*number, value, Arc::clone(&policy.tables)));
            }
        }
    }

    /// Whether a policy number is to stand for something else.
    fn changes(&self, number: u32) -> bool {
        let is = self.observed.policies.get(&number);
        match (self.desired.policies.get(&number), is) {
            (Some(policy), Some(is)) => {
                (is.quotas, is.limits) != (policy.quotas, policy.limits)
                    || is.traits != policy.traits()
                    || self.rules_differ(is.epoch, policy)
            }
            (wanted, is) => wanted.is_some() || is.is_some(),
        }
    }

    fn rules_differ(&self, epoch: u32, policy: &DesiredPolicy) -> bool {
        match self.observed.tables.get(&epoch) {
            Some(tables) => *tables != policy.tables,
            None => !policy.tables.is_empty(),
        }
    }

    /// Written before anything is used that it tells of.
    fn ledger(&mut self) {
        if self.identities.ledger != self.observed.ledger {
            let uses = |action: &Action| !matches!(action, Action::Close(_) | Action::Pin);
            let at = self.actions.iter().position(uses).unwrap_or(self.actions.len());
            self.actions.insert(at, Action::PutLedger(self.identities.ledger));
        }
    }

    fn networks(&mut self) {
        for (ifindex, network) in &self.desired.networks {
            let value = values::network(network, self.identities.networks[ifindex]);
            if self.observed.networks.get(ifindex) != Some(&value) {
                self.actions.push(Action::PutNetwork(*ifindex, value));
            }
            self.attach(*ifindex, BRIDGE_HOOKS);
        }
    }

    fn hubs(&mut self) {
        for (key, hub) in &self.desired.hubs {
            if self.observed.hubs.get(key) != Some(hub) {
                self.actions.push(Action::PutHub(*key, *hub));
            }
        }
    }

    fn endpoints(&mut self) {
        for (ifindex, endpoint) in &self.desired.endpoints {
            let id = self.identities.endpoints[ifindex].id;
            let value = if self.is_policed(*ifindex, endpoint) {
                let answered = u8::from(self.desired.answered.contains(ifindex));
                Endpoint { answered, ..values::endpoint(endpoint, id) }
            } else {
                values::unknown(endpoint, id)
            };
            if !self.observed.usage.contains(&id) {
                self.actions.push(Action::CreateUsage(id));
            }
            for key in values::published(endpoint, id) {
                if !self.observed.published.contains(&key) {
                    self.actions.push(Action::PutPublished(key));
                }
            }
            if self.observed.endpoints.get(ifindex) != Some(&value) {
                self.actions.push(Action::PutEndpoint(*ifindex, value));
            }
            self.attach(*ifindex, PORT_HOOKS);
            self.port(*ifindex, endpoint);
        }
    }

    /// After the endpoints that they name.
    fn cgroups(&mut self) {
        for (cgroup, wanted) in &self.desired.cgroups {
            let Some(endpoint) = self.identities.endpoints.get(&wanted.ifindex) else { continue };
            let ifindex = if wanted.judged { wanted.ifindex } else { 0 };
            let value = CgroupOwner { owner: endpoint.id, ifindex };
            if self.observed.cgroups.get(cgroup) != Some(&value) {
                self.actions.push(Action::PutCgroup(*cgroup, value));
            }
        }
    }

    /// Whether the kernel was seen to run all programs that stand between this port and the rest.
    fn is_policed(&self, ifindex: u32, endpoint: &DesiredEndpoint) -> bool {
        let runs = |ifindex: u32, hooks: [Hook; 2]| {
            hooks.iter().all(|hook| self.observed.first.contains(&(ifindex, *hook)))
        };
        runs(ifindex, PORT_HOOKS)
            && runs(endpoint.network, BRIDGE_HOOKS)
            && self.observed.networks.contains_key(&endpoint.network)
    }

    fn port(&mut self, ifindex: u32, endpoint: &DesiredEndpoint) {
        let ipv6 =
            self.desired.networks.get(&endpoint.network).is_some_and(|n| n.gateway6.is_some());
        let settings = values::port_settings(endpoint.role, ipv6);
        if self.observed.ports.get(&ifindex).is_some_and(|is| *is != settings) {
            self.actions.push(Action::SetPort(ifindex, settings));
        }
        let known = matches!(endpoint.role, Role::Guest | Role::Hub);
        if known && self.observed.fdb.get(&ifindex) != Some(&endpoint.mac) {
            self.actions.push(Action::SetMac(ifindex, endpoint.mac));
        }
    }

    fn early(&mut self) {
        // The host's end of a pair is created last: its index is the higher one.
        for ifindex in self.desired.early.iter().rev() {
            self.attach(*ifindex, PORT_HOOKS);
        }
    }

    fn attach(&mut self, ifindex: u32, hooks: [Hook; 2]) {
        for hook in hooks {
            if !self.observed.first.contains(&(ifindex, hook)) {
                self.actions.push(Action::Attach(ifindex, hook));
            }
        }
    }

    fn remove(&mut self) {
        let (desired, observed) = (self.desired, self.observed);
        let push = &mut self.actions;
        let gone = |cgroup: &&u64| !desired.cgroups.contains_key(cgroup);
        push.extend(observed.cgroups.keys().filter(gone).copied().map(Action::DropCgroup));
        let gone = |ifindex: &&u32| !desired.endpoints.contains_key(ifindex);
        for ifindex in observed.endpoints.keys().filter(gone) {
            push.push(Action::DropEndpoint(*ifindex));
            // Its bridge is somebody else's now.
            if observed.ports.get(ifindex).is_some_and(|is| !is.learning) {
                push.push(Action::SetPort(*ifindex, PortSettings::KERNELS));
            }
        }
        for (ifindex, hook) in &observed.held {
            if !wants(desired, *ifindex, *hook) {
                push.push(Action::Detach(*ifindex, *hook));
            }
        }
        let gone = |key: &&HubKey| !desired.hubs.contains_key(key);
        push.extend(observed.hubs.keys().filter(gone).copied().map(Action::DropHub));
        let gone = |ifindex: &&u32| !desired.networks.contains_key(ifindex);
        push.extend(observed.networks.keys().filter(gone).copied().map(Action::DropNetwork));

        // What a new policy replaced is seen, and removed, in the next round.
        let live: BTreeSet<u32> = observed.policies.values().map(|policy| policy.epoch).collect();
        let gone = observed.tables.iter().filter(|(epoch, _)| !live.contains(epoch));
        push.extend(gone.map(|(epoch, tables)| Action::DropRules(*epoch, Arc::clone(tables))));

        let mut ids = BTreeSet::new();
        let mut published = BTreeSet::new();
        for (ifindex, endpoint) in &desired.endpoints {
            let id = self.identities.endpoints[ifindex].id;
            ids.insert(id);
            published.extend(values::published(endpoint, id));
        }
        let gone = |key: &&PublishedKey| !published.contains(key);
        push.extend(observed.published.iter().filter(gone).copied().map(Action::DropPublished));
        let gone = |id: &&u32| !ids.contains(id);
        push.extend(observed.usage.iter().filter(gone).copied().map(Action::DropUsage));
        if desired.closure.is_none() && observed.closure.is_some() {
            push.push(Action::Open);
        }
    }
}

fn wants(desired: &Desired, ifindex: u32, hook: Hook) -> bool {
    match hook {
        Hook::FromBridge | Hook::ToBridge => desired.networks.contains_key(&ifindex),
        Hook::FromGuest | Hook::ToGuest => {
            desired.endpoints.contains_key(&ifindex) || desired.early.contains(&ifindex)
        }
    }
}

#[cfg(test)]
#[path = "plan/tests.rs"]
mod tests;
