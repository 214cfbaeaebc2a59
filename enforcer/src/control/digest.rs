//! What a policy says, as one short value: two that are equal allow the same. Pure.

use std::fmt::Write as _;

use crate::{digest::of_text, model::desired::DesiredPolicy, policy::rule::Rule};

/// SHA-256 over the limits and over the rules in their order, one a line; hexadecimal.
#[must_use]
pub fn of_policy(policy: &DesiredPolicy) -> String {
    let mut text = format!("{:?}\n", policy.quotas);
    for rule in &policy.rules {
        // Its name says where it is written, not what it says. Writing to a string cannot fail.
        let Rule { action, to, except, ports, name: _ } = rule;
        let _ = writeln!(text, "{action:?} {to:?} {except:?} {ports:?}");
    }
    of_text(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rule::{Action, Net, Ports};

    #[test]
    fn a_policy_s_digest_is_of_what_it_says_and_of_nothing_else() {
        let rule = |port, name: &str| Rule {
            action: Action::Allow,
            to: vec![Net::host([192, 0, 2, 1].into())],
            except: Vec::new(),
            ports: vec![Ports::one(6, port)],
            name: name.to_owned(),
        };
        let policy =
            |rules: &[Rule]| DesiredPolicy { rules: rules.to_vec(), ..DesiredPolicy::default() };
        let one = of_policy(&policy(&[rule(80, "a")]));
        assert_eq!(one, of_policy(&DesiredPolicy { name: "x".into(), ..policy(&[rule(80, "b")]) }));
        assert_eq!(one.len(), 64);
        let mut limited = policy(&[rule(80, "a")]);
        limited.quotas.closing += 1;
        let twice = [rule(80, "a"), rule(80, "a")];
        for other in [policy(&[rule(81, "a")]), policy(&[]), policy(&twice), limited] {
            assert_ne!(one, of_policy(&other));
        }
    }
}
