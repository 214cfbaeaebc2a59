//! What a policy says, as one short value: two that are equal allow the same. Pure.

use std::fmt::Write as _;

use crate::{digest::of_text, model::desired::DesiredPolicy};

/// SHA-256 over the limits and over the rules in their order, one a line; hexadecimal.
#[must_use]
pub fn of_policy(policy: &DesiredPolicy) -> String {
    let mut text = format!("{:?}\n", policy.quotas);
    for rule in &policy.rules {
        // The epoch says when, not what. Writing to a string cannot fail.
        let _ =
            writeln!(text, "{:?} {} {} {}", rule.address, rule.family, rule.protocol, rule.port);
    }
    of_text(&text)
}

#[cfg(test)]
mod tests {
    use enforcer_common::abi::policy::RuleKey;

    use super::*;

    #[test]
    fn a_policy_s_digest_is_of_what_it_says_and_of_nothing_else() {
        let rule =
            |port, epoch| RuleKey { port, epoch, family: 4, protocol: 6, ..RuleKey::default() };
        let policy =
            |rules: &[RuleKey]| DesiredPolicy { rules: rules.to_vec(), ..DesiredPolicy::default() };
        let one = of_policy(&policy(&[rule(80, 1)]));
        assert_eq!(one, of_policy(&DesiredPolicy { name: "x".into(), ..policy(&[rule(80, 2)]) }));
        assert_eq!(one.len(), 64);
        let mut limited = policy(&[rule(80, 1)]);
        limited.quotas.closing += 1;
        for other in [policy(&[rule(81, 1)]), policy(&[]), policy(&[rule(80, 1); 2]), limited] {
            assert_ne!(one, of_policy(&other));
        }
    }
}
