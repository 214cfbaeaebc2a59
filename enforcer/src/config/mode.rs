//! `mode` of a policy: whether what its rules do not open is denied, or let through and recorded.

use toml::Spanned;

use super::{Place, PolicyRule, presets, problem::Problems};
use crate::policy::rule::{Action, Ports};

/// What becomes of what a policy's rules do not open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It is denied.
    #[default]
    Enforce,
    /// It is let through, and recorded as what would be denied; but never to this host, to guest networks or to
    /// the metadata services of clouds.
    Audit,
}

impl Mode {
    /// The word that the config has.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Audit => "audit",
        }
    }

    /// The rule that comes after all that are written.
    pub(super) fn last_rule(self) -> Option<PolicyRule> {
        let (to, except) = presets::audited();
        let rule = PolicyRule {
            action: Action::Audit,
            to: Place::Nets { to, except },
            ports: Ports::ALL.to_vec(),
            name: "audit mode".to_owned(),
        };
        (self == Self::Audit).then_some(rule)
    }
}

/// Reads it.
pub(super) fn mode(value: Option<&Spanned<String>>, problems: &mut Problems<'_>) -> Mode {
    let Some(value) = value else { return Mode::default() };
    match value.get_ref().as_str() {
        "enforce" => Mode::Enforce,
        "audit" => Mode::Audit,
        other => {
            let message = format!("mode is \"enforce\" or \"audit\", not \"{other}\"");
            problems.add(value.span(), message);
            Mode::Enforce
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn text(mode: &str) -> String {
        format!(
            "[policies.p]\n{mode}\n[[policies.p.deny]]\nto = \"any\"\nport = 25\n\
             [networks.a]\nbridge = \"br-a\"\npolicy = \"p\"\n"
        )
    }

    #[test]
    fn o2_a_policy_enforces_unless_it_says_audit_and_another_word_is_refused() {
        for (written, mode, last) in [
            ("", Mode::Enforce, Action::Deny),
            ("mode = \"enforce\"", Mode::Enforce, Action::Deny),
            ("mode = \"audit\"", Mode::Audit, Action::Audit),
        ] {
            let config = parse(&text(written), "f").expect("is good");
            let policy = &config.policies["p"];
            let last_rule = policy.rules.last().map(|rule| rule.action);
            assert_eq!((policy.mode, last_rule), (mode, Some(last)), "{written}");
        }
        for wrong in ["mode = \"Audit\"", "mode = \"off\"", "mode = \"\""] {
            let error = parse(&text(wrong), "f").expect_err(wrong);
            let [problem] = error.problems.as_slice() else { panic!("{wrong}: {error}") };
            let is_told = problem.message.starts_with("mode is \"enforce\" or \"audit\", not");
            assert!(problem.line == 2 && is_told, "{error}");
        }
    }
}
