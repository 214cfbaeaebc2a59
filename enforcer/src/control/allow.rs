//! Control path 1e: guests to which something is open for a while have a policy of their own: what they have
//! otherwise, and that. Pure.

use std::collections::BTreeSet;

use enforcer_common::abi::{endpoint::Role, policy::POLICY_SLOTS};

use super::compiled::Compiled;
use crate::{
    abuse::Restraints,
    config::OWNED_SLOTS,
    model::{
        desired::{Desired, DesiredPolicy},
        observed::Observed,
    },
    policy::{
        allowance::Allowances,
        compile::MAX_ENTRIES,
        rule::{Net, Rule},
    },
};

/// Gives such guests their policies, in slots that the config leaves free: each the one that the kernel has it under,
/// else the last one that nobody has. Says who has none, for want of a slot or of room for its entries: it keeps what it
/// has otherwise. A guest that is held for abuse has nothing of it meanwhile, and a denial by a rule beats it.
///
/// `desired` has its tables, and what is kept of the kernel's endpoints.
pub(super) fn allow(
    desired: &mut Desired,
    allowances: &Allowances,
    held: &Restraints,
    observed: &Observed,
    compiled: &mut Compiled,
) -> Vec<String> {
    let mut last = std::mem::take(compiled);
    let mut slots = Slots::of(desired, observed);
    let mut left = MAX_ENTRIES;
    let own: Vec<Net> = desired.own.clone();
    let Desired { endpoints, policies, .. } = desired;
    let mut without = Vec::new();
    for (ifindex, endpoint) in
        endpoints.iter_mut().filter(|(_, one)| one.role == Role::Guest && one.policy != 0)
    {
        let Some(container) = endpoint.container.as_deref() else { continue };
        let mut allowed = allowances.of(container).peekable();
        if allowed.peek().is_none() || held.iter().any(|one| one.container == container) {
            continue;
        }
        let Some(base) = policies.get(&endpoint.policy) else { continue };
        let mut closed = |why: &str| {
            without
                .push(format!("what is allowed to {} for a while is closed: {why}", endpoint.name));
        };
        let rules: Vec<Rule> =
            base.rules.iter().cloned().chain(allowed.map(|one| one.rule(&own))).collect();
        let tables = match compiled.tables(&rules, &mut last) {
            Ok(tables) => tables,
            Err(error) => {
                closed(&error.to_string());
                continue;
            }
        };
        let entries = tables.prefixes.len().max(tables.ports.len());
        if entries > left {
            closed("the kernel has no room for so many copies of so long a policy");
            continue;
        }
        let Some(slot) = slots.take(*ifindex, observed) else {
            closed("the config leaves the kernel no room for another policy");
            continue;
        };
        left -= entries;
        let name = format!("{}/allowed", base.name);
        let policy = DesiredPolicy { name, rules, tables, ..base.clone() };
        policies.insert(slot, policy);
        endpoint.policy = slot;
    }
    without
}

/// Slots that no policy of the config has.
struct Slots {
    /// Those that the kernel has some endpoint under, and no other endpoint gets.
    seen: BTreeSet<u32>,
    free: BTreeSet<u32>,
}

impl Slots {
    fn of(desired: &Desired, observed: &Observed) -> Self {
        let free =
            (1..POLICY_SLOTS - OWNED_SLOTS).filter(|slot| !desired.policies.contains_key(slot));
        let taken: BTreeSet<u32> = observed.endpoints.values().map(|one| one.policy).collect();
        let (seen, free) = free.partition(|slot| taken.contains(slot));
        Self { seen, free }
    }

    fn take(&mut self, ifindex: u32, observed: &Observed) -> Option<u32> {
        let is = observed.endpoints.get(&ifindex).map(|one| one.policy);
        is.filter(|slot| self.seen.remove(slot)).or_else(|| self.free.pop_last())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use enforcer_common::{abi::endpoint::Endpoint, packet::TCP};

    use super::*;
    use crate::{
        abuse::{Answer, Restraint},
        model::desired::DesiredEndpoint,
        policy::{
            allowance::Allowance,
            rule::{Action, Ports, opens},
        },
    };

    fn endpoint(container: &str, role: Role, policy: u32) -> DesiredEndpoint {
        DesiredEndpoint {
            network: 4,
            policy,
            role,
            container: Some(container.to_owned()),
            name: container.to_owned(),
            mac: [0; 6],
            ipv4: None,
            ipv6: None,
            published: Vec::new(),
        }
    }

    fn policy(rules: Vec<Rule>) -> DesiredPolicy {
        DesiredPolicy {
            name: "a/guest".to_owned(),
            quotas: crate::config::DEFAULT_QUOTAS,
            limits: enforcer_common::abi::policy::Limits::default(),
            rules,
            names: Arc::default(),
            by_rule_only: false,
            admits_by_rule_only: false,
            tables: Arc::default(),
        }
    }

    fn allowances(container: &str) -> Allowances {
        let mut all = Allowances::default();
        let one = Allowance {
            id: 0,
            container: container.to_owned(),
            name: container.to_owned(),
            network: "a".to_owned(),
            to: [192, 0, 2, 9].into(),
            protocol: TCP,
            port: 443,
            since_s: 0,
            until_s: 100,
            reason: "why".to_owned(),
            by: "root".to_owned(),
        };
        all.put(one).expect("room");
        all
    }

    fn desired() -> Desired {
        let endpoints = [
            (20, endpoint("ann", Role::Guest, 1)),
            (21, endpoint("ben", Role::Guest, 1)),
            (22, endpoint("hub", Role::Hub, 2)),
        ];
        Desired {
            endpoints: endpoints.into(),
            policies: [(1, policy(Vec::new())), (2, policy(Vec::new()))].into(),
            ..Desired::default()
        }
    }

    /// While the kernel holds nothing.
    fn allow(desired: &mut Desired, all: &Allowances, held: &Restraints) -> Vec<String> {
        super::allow(desired, all, held, &Observed::default(), &mut Compiled::default())
    }

    fn is_open(desired: &Desired, port: u32) -> bool {
        let policy = &desired.policies[&desired.endpoints[&port].policy];
        opens(&policy.rules, &Net::host([192, 0, 2, 9].into()), TCP, 443).is_some()
    }

    #[test]
    fn n1_an_allowance_is_of_one_guest_and_of_nobody_else() {
        let mut desired = desired();
        assert_eq!(allow(&mut desired, &allowances("ann"), &Restraints::default()), [""; 0]);
        assert_eq!([20, 21, 22].map(|port| is_open(&desired, port)), [true, false, false]);
        assert_eq!(desired.endpoints[&20].policy, POLICY_SLOTS - OWNED_SLOTS - 1);
        assert_eq!(desired.policies[&desired.endpoints[&20].policy].name, "a/guest/allowed");
        let mut of_hub = self::desired();
        allow(&mut of_hub, &allowances("hub"), &Restraints::default());
        assert_eq!(of_hub, self::desired(), "a hub has none");
    }

    #[test]
    fn n1_neither_a_denial_nor_a_cut_nor_this_host_is_opened() {
        let deny = Rule {
            to: vec![Net::host([192, 0, 2, 9].into())],
            ports: Ports::ALL.to_vec(),
            ..Rule::default()
        };
        let mut denied = desired();
        denied.policies.insert(1, policy(vec![deny]));
        allow(&mut denied, &allowances("ann"), &Restraints::default());
        assert!(!is_open(&denied, 20), "a denial beats it");
        let mut held = Restraints::default();
        held.put(Restraint {
            container: "ann".to_owned(),
            name: "ann".to_owned(),
            network: "a".to_owned(),
            endpoint: 1,
            answer: Answer::Cut,
            signal: None,
            until_ns: None,
        });
        let mut cut = desired();
        allow(&mut cut, &allowances("ann"), &held);
        assert_eq!(cut, desired());
        let mut own =
            Desired { own: vec!["192.0.2.0/24".parse().expect("a network")], ..desired() };
        allow(&mut own, &allowances("ann"), &Restraints::default());
        assert!(!is_open(&own, 20));
    }

    #[test]
    fn n6_without_a_slot_it_stays_closed_and_that_is_told() {
        let full = (1..POLICY_SLOTS - OWNED_SLOTS).map(|slot| (slot, policy(Vec::new())));
        let mut desired = Desired { policies: full.collect(), ..desired() };
        let told = allow(&mut desired, &allowances("ann"), &Restraints::default());
        assert!(told.len() == 1 && told[0].contains("ann"), "{told:?}");
        assert!(!is_open(&desired, 20));
    }

    #[test]
    fn n7_each_guest_keeps_its_slot_whatever_becomes_of_the_others() {
        let both = || {
            let mut all = allowances("ann");
            let of_ben = allowances("ben").iter().next().expect("one").clone();
            all.put(of_ben).expect("room");
            all
        };
        let under = |desired: &Desired| {
            let held = |policy| Endpoint { policy, ..Endpoint::default() };
            let endpoints = desired.endpoints.iter().map(|(port, one)| (*port, held(one.policy)));
            Observed { endpoints: endpoints.collect(), ..Observed::default() }
        };
        let next = |all: &Allowances, observed: &Observed| {
            let mut next = desired();
            let none = Restraints::default();
            let told = super::allow(&mut next, all, &none, observed, &mut Compiled::default());
            assert_eq!(told, [""; 0]);
            next
        };
        let first = next(&both(), &Observed::default());
        let slot = first.endpoints[&21].policy;
        assert_ne!(first.endpoints[&20].policy, slot);
        let ben = next(&allowances("ben"), &under(&first));
        assert_eq!(ben.endpoints[&21].policy, slot, "another one's was revoked");
        assert_eq!(next(&both(), &under(&ben)).endpoints[&21].policy, slot, "and allowed again");
        // What another one is seen to have it does not get before that one has left it.
        let ann = next(&allowances("ann"), &under(&ben));
        assert_ne!(ann.endpoints[&20].policy, slot);
    }

    #[test]
    fn n7_what_does_not_fit_leaves_a_guest_what_it_has_otherwise() {
        let rules = |count: u32| -> Vec<Rule> {
            let rule = |number: u32| {
                let address = std::net::Ipv4Addr::from_bits(number << 8);
                Rule {
                    action: Action::Allow,
                    to: vec![Net::new(address.into(), 24).expect("is short")],
                    ports: vec![Ports { protocol: TCP, first: 1, last: 65_534 }],
                    ..Rule::default()
                }
            };
            (0..count).map(rule).collect()
        };
        // Together two copies are too many; one is.
        for (count, expected) in [(5_000, 1), (10_000, 2)] {
            let mut desired = desired();
            desired.policies.insert(1, policy(rules(count)));
            let mut all = allowances("ann");
            let of_ben = allowances("ben").iter().next().expect("one").clone();
            all.put(of_ben).expect("room");
            let told = allow(&mut desired, &all, &Restraints::default());
            assert_eq!(told.len(), expected, "{told:?}");
            assert_eq!(desired.endpoints[&21].policy, 1);
        }
    }
}
