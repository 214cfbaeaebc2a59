//! Control path 1e: guests to which something is open for a while have a policy of their own: what they have
//! otherwise, and that. Pure.

use std::sync::Arc;

use enforcer_common::abi::{endpoint::Role, policy::POLICY_SLOTS};

use crate::{
    abuse::Restraints,
    config::OWNED_SLOTS,
    model::desired::{Desired, DesiredPolicy},
    policy::{allowance::Allowances, rule::Net},
};

/// Gives such guests their policies, in slots that the config leaves free, from the last one down. Says who has none
/// for want of a slot. A guest that is held for abuse has nothing of it meanwhile, and a denial by a rule beats it.
pub(super) fn allow(
    desired: &mut Desired,
    allowances: &Allowances,
    held: &Restraints,
) -> Vec<String> {
    let own: Vec<Net> = desired.own.clone();
    let Desired { endpoints, policies, .. } = desired;
    let mut free: Vec<u32> =
        (1..POLICY_SLOTS - OWNED_SLOTS).filter(|slot| !policies.contains_key(slot)).collect();
    let mut without = Vec::new();
    for endpoint in endpoints.values_mut().filter(|one| one.role == Role::Guest && one.policy != 0)
    {
        let Some(container) = endpoint.container.as_deref() else { continue };
        let mut allowed = allowances.of(container).peekable();
        if allowed.peek().is_none() || held.iter().any(|one| one.container == container) {
            continue;
        }
        let Some(base) = policies.get(&endpoint.policy) else { continue };
        let Some(slot) = free.pop() else {
            without.push(format!(
                "what is allowed to {} for a while is closed: the config leaves the kernel no room for another policy",
                endpoint.name
            ));
            continue;
        };
        let rules = base.rules.iter().cloned().chain(allowed.map(|one| one.rule(&own))).collect();
        let name = format!("{}/allowed", base.name);
        let policy = DesiredPolicy { name, rules, tables: Arc::default(), ..base.clone() };
        policies.insert(slot, policy);
        endpoint.policy = slot;
    }
    without
}

#[cfg(test)]
mod tests {
    use enforcer_common::packet::TCP;

    use super::*;
    use crate::{
        abuse::{Answer, Restraint},
        model::desired::DesiredEndpoint,
        policy::{
            allowance::Allowance,
            rule::{Ports, Rule, opens},
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
}
