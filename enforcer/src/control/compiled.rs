//! Control path 1c: what each policy says becomes the tables that the kernel is to hold. Pure.

use std::{collections::HashMap, sync::Arc};

use crate::{
    model::desired::Desired,
    policy::{
        compile::{CompileError, Tables, compile},
        rule::Rule,
    },
};

/// Tables of the rules that were wanted last: most wake-ups change none of them.
#[derive(Debug, Default)]
pub struct Compiled(HashMap<Vec<Rule>, Result<Arc<Tables>, CompileError>>);

impl Compiled {
    /// Gives every policy its tables. One that is too large opens nothing, which the answer says for people;
    /// the config refuses one that is so without its hubs.
    pub fn fill(&mut self, desired: &mut Desired) -> Vec<String> {
        let mut last = std::mem::take(self);
        let mut problems = Vec::new();
        for policy in desired.policies.values_mut() {
            let tables = self.tables(&policy.rules, &mut last);
            policy.tables = tables.unwrap_or_else(|error| {
                problems.push(format!("policy {} allows nothing: {error}", policy.name));
                Arc::default()
            });
        }
        problems
    }

    /// The tables of rules, which are taken over from `last` where they are known there.
    pub fn tables(&mut self, rules: &[Rule], last: &mut Self) -> Result<Arc<Tables>, CompileError> {
        let known = self.0.get(rules).cloned();
        let known = known.or_else(|| last.0.remove(rules));
        let tables = known.unwrap_or_else(|| compile(rules).map(Arc::new));
        self.0.insert(rules.to_vec(), tables.clone());
        tables
    }
}

#[cfg(test)]
mod tests {
    use enforcer_common::packet::TCP;

    use super::*;
    use crate::{
        model::desired::DesiredPolicy,
        policy::rule::{Action, Net, Ports},
    };

    fn rule(number: u32, ports: Ports) -> Rule {
        let address = std::net::Ipv4Addr::from_bits(number << 8);
        Rule {
            action: Action::Allow,
            to: vec![Net::new(address.into(), 24).expect("is short")],
            ports: vec![ports],
            ..Rule::default()
        }
    }

    fn wanted(rules: &[Rule]) -> Desired {
        let policy = |name: &str| DesiredPolicy {
            name: name.to_owned(),
            rules: rules.to_vec(),
            ..DesiredPolicy::default()
        };
        let policies = [(1, policy("guests/guest")), (2, policy("guests/hub"))].into();
        Desired { policies, ..Desired::default() }
    }

    #[test]
    fn the_same_rules_are_compiled_once() {
        let mut compiled = Compiled::default();
        let mut first = wanted(&[rule(1, Ports::one(TCP, 80))]);
        assert!(compiled.fill(&mut first).is_empty());
        assert!(Arc::ptr_eq(&first.policies[&1].tables, &first.policies[&2].tables));
        let mut again = wanted(&[rule(1, Ports::one(TCP, 80))]);
        compiled.fill(&mut again);
        assert!(Arc::ptr_eq(&first.policies[&1].tables, &again.policies[&1].tables));
        let mut other = wanted(&[rule(1, Ports::one(TCP, 81))]);
        compiled.fill(&mut other);
        assert_ne!(other.policies[&1].tables, first.policies[&1].tables);
        assert_eq!(compiled.0.len(), 1, "what nobody wants any more is forgotten");
    }

    #[test]
    fn f08_a_policy_that_is_too_large_opens_nothing_and_is_told() {
        let range = Ports { protocol: TCP, first: 1, last: 65_534 };
        let many: Vec<Rule> = (0..10_000).map(|number| rule(number, range)).collect();
        let mut desired = wanted(&many);
        let mut compiled = Compiled::default();
        let problems = compiled.fill(&mut desired);
        assert!(problems[0].starts_with("policy guests/guest allows nothing: "), "{problems:?}");
        assert_eq!((problems.len(), compiled.fill(&mut desired)), (2, problems), "again each time");
        assert!(desired.policies.values().all(|policy| *policy.tables == Tables::default()));
    }
}
