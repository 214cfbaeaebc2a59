//! What a policy says, as one short value: two that are equal allow the same; and which have changed. Pure.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use enforcer_common::abi::policy::Policy;

use crate::{
    audit::record::PolicyChange,
    digest::of_text,
    model::desired::DesiredPolicy,
    policy::rule::{Net, Rule},
};

/// Policies that the stream knows of, by number: their epochs. It is told of what the kernel holds, whatever
/// else worked or failed at the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told(BTreeMap<u32, u32>);

impl Told {
    /// What an earlier daemon put there is known.
    #[must_use]
    pub fn adopt(held: &BTreeMap<u32, Policy>) -> Self {
        Self(held.iter().map(|(number, policy)| (*number, policy.epoch)).collect())
    }

    /// What has changed since the last look; it is known from then on.
    pub fn changes(
        &mut self,
        held: &BTreeMap<u32, Policy>,
        desired: &BTreeMap<u32, DesiredPolicy>,
    ) -> Vec<PolicyChange> {
        let now = Self::adopt(held);
        let changed = now.0.iter().filter(|(number, epoch)| self.0.get(number) != Some(epoch));
        let changed = changed.map(|(number, _)| change(*number, "changed", desired.get(number)));
        let dropped = self.0.keys().filter(|number| !now.0.contains_key(number));
        let dropped = dropped.map(|number| change(*number, "dropped", desired.get(number)));
        let all = changed.chain(dropped).collect();
        *self = now;
        all
    }
}

fn change(number: u32, event: &str, policy: Option<&DesiredPolicy>) -> PolicyChange {
    let rules = policy.map_or(0, |policy| policy.rules.len());
    PolicyChange {
        event: event.to_owned(),
        policy: policy.map_or_else(|| number.to_string(), |policy| policy.name.clone()),
        rules: u64::try_from(rules).unwrap_or(u64::MAX),
        audits: policy.is_some_and(DesiredPolicy::audits),
        digest: policy.map(of_policy),
    }
}

/// SHA-256 over the quotas, the limits and over the rules in their order, one a line; hexadecimal.
#[must_use]
pub fn of_policy(policy: &DesiredPolicy) -> String {
    let mut text = format!("{:?} {:?} {}\n", policy.quotas, policy.limits, policy.by_rule_only);
    if policy.admits_by_rule_only {
        text += "from beyond by rule only\n";
    }
    let mut before: Option<&Arc<[Net]>> = None;
    for rule in &policy.rules {
        // Its name says where it is written, not what it says. Writing to a string cannot fail.
        let Rule {
            action,
            direction,
            to,
            except,
            names,
            refused,
            private,
            services,
            ports,
            name: _,
        } = rule;
        let _ = write!(text, "{action:?} {direction:?} {to:?} ");
        // Thousands of rules may leave out the same hundreds of addresses.
        let _ = match before.replace(except) {
            Some(before) if before == except => write!(text, "="),
            _ => write!(text, "{except:?}"),
        };
        let _ = writeln!(text, " {names:?} {refused:?} {private} {services:?} {ports:?}");
    }
    of_text(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rule::{Action, Net, Ports};

    #[test]
    fn a3_each_policy_that_the_kernel_holds_anew_is_told_once() {
        let held = |policies: &[(u32, u32)]| -> BTreeMap<u32, Policy> {
            let policy = |(number, epoch): &(u32, u32)| {
                (*number, Policy { epoch: *epoch, ..Policy::default() })
            };
            policies.iter().map(policy).collect()
        };
        let named =
            |name: &str| DesiredPolicy { name: name.to_owned(), ..DesiredPolicy::default() };
        let desired = BTreeMap::from([(1, named("guests")), (2, named("hubs"))]);
        let mut told = Told::adopt(&held(&[(1, 5)]));
        for (now, expected) in [
            (held(&[(1, 5)]), vec![]),
            (held(&[(1, 6), (2, 7)]), vec![("changed", "guests"), ("changed", "hubs")]),
            (held(&[(1, 6), (2, 7)]), vec![]),
            (held(&[(2, 8)]), vec![("changed", "hubs"), ("dropped", "guests")]),
            (held(&[]), vec![("dropped", "hubs")]),
            (held(&[(9, 9)]), vec![("changed", "9")]),
        ] {
            let changes = told.changes(&now, &desired);
            let found: Vec<_> =
                changes.iter().map(|c| (c.event.as_str(), c.policy.as_str())).collect();
            assert_eq!(found, expected, "{now:?}");
        }
    }

    #[test]
    fn a_policy_s_digest_is_of_what_it_says_and_of_nothing_else() {
        let rule = |port, name: &str| Rule {
            action: Action::Allow,
            to: vec![Net::host([192, 0, 2, 1].into())],
            ports: vec![Ports::one(6, port)],
            name: name.to_owned(),
            ..Rule::default()
        };
        let policy =
            |rules: &[Rule]| DesiredPolicy { rules: rules.to_vec(), ..DesiredPolicy::default() };
        let one = of_policy(&policy(&[rule(80, "a")]));
        assert_eq!(one, of_policy(&DesiredPolicy { name: "x".into(), ..policy(&[rule(80, "b")]) }));
        assert_eq!(one.len(), 64);
        let mut limited = policy(&[rule(80, "a")]);
        limited.quotas.closing += 1;
        let mut slower = policy(&[rule(80, "a")]);
        slower.limits.bits_out.per_second = 1;
        let twice = [rule(80, "a"), rule(80, "a")];
        for other in [policy(&[rule(81, "a")]), policy(&[]), policy(&twice), limited, slower] {
            assert_ne!(one, of_policy(&other));
        }
    }
}
