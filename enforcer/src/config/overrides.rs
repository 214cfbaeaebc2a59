//! `[[networks.NAME.override]]`: guests of a network that have another policy than the rest.

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;

use super::{
    GuestNetwork, Policy, outside::GuestLabel, policy, problem::Problems, raw::RawOverride,
};
use crate::model::provenance::Provenance;

/// Guests that have a policy of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyOverride {
    /// Which guests.
    pub guests: Guests,
    /// Name of their policy.
    pub policy: String,
}

/// Guests, as whoever started them told them apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guests {
    /// Those of a user.
    User(String),
    /// Those of a group.
    Group(String),
    /// Those with a label.
    Label(GuestLabel),
}

impl GuestNetwork {
    /// Policies that overrides name beside the network's own.
    #[must_use]
    pub fn other_policies(&self) -> BTreeSet<&str> {
        let named = self.overrides.iter().map(|one| one.policy.as_str());
        named.filter(|name| self.policy.as_deref() != Some(*name)).collect()
    }

    /// What is left of its policies for guests that are cut off: `None` for hubs alone, else the name of a policy of
    /// which more is left. A policy that opens nothing stays as it is.
    #[must_use]
    pub fn left_when_cut(&self, policies: &BTreeMap<String, Policy>) -> BTreeSet<Option<&str>> {
        let all = self.other_policies().into_iter().chain(self.policy.as_deref());
        let known = all.filter_map(|name| Some((name, policies.get(name)?)));
        let opening = known.filter(|(_, policy)| policy.opens_something());
        opening.map(|(name, policy)| policy.does_more_than_open().then_some(name)).collect()
    }
}

impl Guests {
    /// Whether a container is one of them.
    #[must_use]
    pub fn include(&self, provenance: &Provenance) -> bool {
        match self {
            Self::User(name) => provenance.user.as_ref() == Some(name),
            Self::Group(name) => provenance.group.as_ref() == Some(name),
            Self::Label(label) => label.is_among(&provenance.labels),
        }
    }
}

/// Checks a network's overrides.
pub(super) fn overrides(
    raw: Vec<Spanned<RawOverride>>,
    policies: &BTreeMap<String, Policy>,
    problems: &mut Problems<'_>,
) -> Vec<PolicyOverride> {
    let mut known = Vec::<PolicyOverride>::new();
    for raw in raw {
        let span = raw.span();
        let Some(one) = one(raw, policies, problems) else { continue };
        if known.iter().any(|other| other.guests == one.guests) {
            problems
                .add(span, "these guests have an override already, which comes first; remove one");
        } else {
            known.push(one);
        }
    }
    known
}

fn one(
    raw: Spanned<RawOverride>,
    policies: &BTreeMap<String, Policy>,
    problems: &mut Problems<'_>,
) -> Option<PolicyOverride> {
    let span = raw.span();
    let raw = raw.into_inner();
    let policy = policy::known(raw.policy.as_ref(), policies, problems);
    if policy.is_none() {
        problems.add(span.clone(), "this override has no `policy`; name one from [policies]");
    }
    let mut name = |name: &Spanned<String>| {
        if name.get_ref().is_empty() {
            problems.add(name.span(), "the name is empty");
        }
        name.get_ref().clone()
    };
    let guests = match (&raw.user, &raw.group, &raw.label) {
        (Some(user), None, None) => Some(Guests::User(name(user))),
        (None, Some(group), None) => Some(Guests::Group(name(group))),
        (None, None, Some(label)) => Some(Guests::Label(GuestLabel::parse(label, problems))),
        _ => {
            problems.add(span, "an override has exactly one of `user`, `group` and `label`");
            None
        }
    };
    Some(PolicyOverride { guests: guests?, policy: policy? })
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    #[test]
    fn o2_a_bad_override_is_refused_with_its_line() {
        let text = |one: &str| {
            format!(
                "[policies.exam]\n[networks.a]\nbridge = \"br-a\"\n\
                 [[networks.a.override]]\ngroup = \"g\"\npolicy = \"exam\"\n[[networks.a.override]]\n{one}"
            )
        };
        assert!(parse(&text("user = \"g\"\npolicy = \"exam\""), "f").is_ok());
        for (one, line, words) in [
            ("policy = \"exam\"", 7, "exactly one of"),
            ("user = \"a\"\ngroup = \"b\"\npolicy = \"exam\"", 7, "exactly one of"),
            ("user = \"a\"", 7, "has no `policy`"),
            ("user = \"a\"\npolicy = \"exams\"", 9, "there is no policy \"exams\""),
            ("user = \"\"\npolicy = \"exam\"", 8, "the name is empty"),
            ("label = \"=x\"\npolicy = \"exam\"", 8, "no key of a label"),
            ("label = \"enforcer.groups=staff\"\npolicy = \"exam\"", 8, "for records alone"),
            ("label = \"enforcer.client\"\npolicy = \"exam\"", 8, "for records alone"),
            ("group = \"g\"\npolicy = \"exam\"", 7, "have an override already"),
            ("grup = \"g\"\npolicy = \"exam\"", 8, "did you mean `group`"),
        ] {
            let error = parse(&text(one), "f").expect_err(one);
            let [problem] = error.problems.as_slice() else { panic!("{one}: {error}") };
            assert!(problem.line == line && problem.message.contains(words), "{one}: {error}");
        }
    }

    #[test]
    fn policies_that_the_kernel_has_no_room_for_are_refused() {
        let names = (0..382).map(|n| format!("[policies.p{n}]\n"));
        let policies = names.collect::<Vec<_>>().concat();
        let text = |count: u32| {
            let others = (0..count)
                .map(|n| format!("[[networks.a.override]]\nuser = \"u{n}\"\npolicy = \"p{n}\"\n"));
            format!(
                "{policies}[networks.a]\nbridge = \"br-a\"\n{}",
                others.collect::<Vec<_>>().concat()
            )
        };
        assert!(parse(&text(381), "f").is_ok());
        let error = parse(&text(382), "f").expect_err("too many").to_string();
        assert!(error.contains("384 policies"), "{error}");
    }
}
