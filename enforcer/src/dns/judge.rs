//! Resolver 2: what becomes of a question, by the policy of whoever asks. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::RecordType;

use super::address::Ranges;
use crate::{
    model::names::{DomainName, NamePolicy, NameRule, Outcome},
    policy::rule::Net,
};

/// Zones that are nobody's on the internet, or mean the machine itself (RFC 6761, 6762, 7686, 8375, 9476,
/// and the one that ICANN keeps for private use).
const LOCAL: [&str; 14] = [
    "alt",
    "corp",
    "home",
    "home.arpa",
    "internal",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "mail",
    "onion",
    "test",
    "intranet",
];

/// What becomes of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling<'a> {
    /// It is refused.
    Refuse(Outcome),
    /// The name may be asked for, and this type of it has nothing.
    Empty(Allowed<'a>),
    /// There is no such name, without anybody being asked.
    NoSuchName,
    /// An upstream is asked.
    Forward(Allowed<'a>),
}

/// What allows a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed<'a> {
    /// Rules that name it; empty: any name is allowed.
    pub rules: Vec<&'a NameRule>,
}

impl Allowed<'_> {
    /// Whether it counts as one of the names that nobody named.
    #[must_use]
    pub fn is_by_any(&self) -> bool {
        self.rules.is_empty()
    }

    /// What allows it, for people.
    #[must_use]
    pub fn told(&self) -> String {
        match self.rules.as_slice() {
            [] => "any".to_owned(),
            [first, ..] => first.pattern.to_string(),
        }
    }
}

/// Judges a question for this type of a name.
#[must_use]
pub fn judge<'a>(
    name: Option<&DomainName>,
    kind: RecordType,
    policy: &'a NamePolicy,
    ranges: &Ranges,
) -> Ruling<'a> {
    let Some(name) = name else { return Ruling::Refuse(Outcome::RefusedName) };
    if policy.deny.iter().any(|pattern| pattern.matches(name)) {
        return Ruling::Refuse(Outcome::RefusedName);
    }
    let rules: Vec<_> = policy.allow.iter().filter(|rule| rule.pattern.matches(name)).collect();
    if rules.is_empty() && !policy.any {
        return Ruling::Refuse(Outcome::RefusedName);
    }
    let is_by_rule = !rules.is_empty();
    let allowed = Allowed { rules };
    match use_of(kind) {
        Use::None => Ruling::Refuse(Outcome::RefusedType),
        _ if !is_by_rule && is_local(name, ranges) => Ruling::NoSuchName,
        Use::Address => Ruling::Forward(allowed),
        Use::Other if policy.any => Ruling::Forward(allowed),
        Use::Other | Use::Service => Ruling::Empty(allowed),
    }
}

/// Whether an answer may lead over these names: none that is denied, and no local one unless a rule names it or
/// its names may be private.
#[must_use]
pub fn permits_aliases(
    aliases: &[DomainName],
    policy: &NamePolicy,
    allowed: &Allowed<'_>,
    ranges: &Ranges,
) -> bool {
    let private = allowed.rules.iter().any(|rule| rule.private);
    let is_named = |name| policy.allow.iter().any(|rule| rule.pattern.matches(name));
    let is_denied = |name| policy.deny.iter().any(|pattern| pattern.matches(name));
    aliases
        .iter()
        .all(|name| !is_denied(name) && (private || is_named(name) || !is_local(name, ranges)))
}

/// What guests have of a type.
enum Use {
    /// The addresses of a name.
    Address,
    /// Something else about a name, which opens nothing.
    Other,
    /// Addresses and ports that no lease would be for: clients go on with [`Use::Address`].
    Service,
    /// A whole zone, a tunnel, or nothing.
    None,
}

const fn use_of(kind: RecordType) -> Use {
    match kind {
        RecordType::A | RecordType::AAAA | RecordType::CNAME => Use::Address,
        RecordType::MX
        | RecordType::TXT
        | RecordType::SRV
        | RecordType::NS
        | RecordType::SOA
        | RecordType::PTR
        | RecordType::CAA => Use::Other,
        RecordType::HTTPS | RecordType::SVCB => Use::Service,
        _ => Use::None,
    }
}

/// Whether a name means something within this site, of which no upstream is asked for any name's sake.
fn is_local(name: &DomainName, ranges: &Ranges) -> bool {
    let is_single = name.labels().nth(1).is_none();
    if is_single || LOCAL.iter().any(|zone| name.is_within(zone)) {
        return true;
    }
    is_reverse(name) && !reverse(name).is_some_and(|net| ranges.is_public(&net))
}

fn is_reverse(name: &DomainName) -> bool {
    name.is_within("in-addr.arpa") || name.is_within("ip6.arpa")
}

/// The network that a name below `in-addr.arpa` or `ip6.arpa` stands for (RFC 1035, 3.5; RFC 3596, 2.5).
fn reverse(name: &DomainName) -> Option<Net> {
    let mut labels = name.labels().rev().skip(1);
    if labels.next()? == "in-addr" {
        let mut octets = [0; 4];
        let mut length = 0;
        for label in labels {
            let slot = octets.get_mut(usize::from(length / 8))?;
            *slot = label.parse().ok().filter(|octet: &u8| octet.to_string() == label)?;
            length += 8;
        }
        return Net::new(IpAddr::V4(Ipv4Addr::from_octets(octets)), length);
    }
    let (mut bits, mut length) = (0u128, 0u8);
    for label in labels {
        let digit = u128::from_str_radix(label, 16).ok().filter(|_| label.len() == 1)?;
        length = length.checked_add(4).filter(|length| *length <= 128)?;
        bits |= digit << (128 - u32::from(length));
    }
    Net::new(IpAddr::V6(Ipv6Addr::from_bits(bits)), length)
}

#[cfg(test)]
mod tests {
    use RecordType as T;

    use super::*;

    fn rule(pattern: &str, group: u32) -> NameRule {
        NameRule { pattern: pattern.parse().expect("a pattern"), group, private: false }
    }

    fn policy(any: bool, allow: &[&str], deny: &[&str]) -> NamePolicy {
        NamePolicy {
            any,
            allow: allow.iter().zip(1..).map(|(pattern, group)| rule(pattern, group)).collect(),
            deny: deny.iter().map(|pattern| pattern.parse().expect("a pattern")).collect(),
            own: Vec::new(),
        }
    }

    fn word(name: &str, kind: RecordType, policy: &NamePolicy) -> &'static str {
        let name = name.parse().ok();
        match judge(name.as_ref(), kind, policy, &Ranges::default()) {
            Ruling::Refuse(outcome) => outcome.name(),
            Ruling::Empty(_) => "empty",
            Ruling::NoSuchName => "no_such_name",
            Ruling::Forward(_) => "forward",
        }
    }

    #[test]
    fn n6_a_policy_that_says_nothing_refuses_every_name() {
        for name in ["pypi.org", "localhost", "a", "1.0.0.127.in-addr.arpa"] {
            for kind in [RecordType::A, RecordType::TXT, RecordType::HTTPS, RecordType::ANY] {
                assert_eq!(word(name, kind, &NamePolicy::default()), "refused_name");
            }
        }
    }

    #[test]
    fn rules_allow_names_and_denials_beat_them() {
        let rules = policy(false, &["pypi.org", "*.example.org"], &["bad.example.org"]);
        let any = policy(true, &["pypi.org"], &["*.evil.net"]);
        // Policy, name, type -> what becomes of it.
        let table = [
            (&rules, "pypi.org", T::A, "forward"),
            (&rules, "pypi.org", T::AAAA, "forward"),
            (&rules, "pypi.org", T::CNAME, "forward"),
            (&rules, "pypi.org", T::TXT, "empty"),
            (&rules, "pypi.org", T::HTTPS, "empty"),
            (&rules, "pypi.org", T::ANY, "refused_type"),
            (&rules, "pypi.org", T::AXFR, "refused_type"),
            (&rules, "pypi.org", T::NULL, "refused_type"),
            (&rules, "pypi.org", T::Unknown(65_280), "refused_type"),
            (&rules, "www.pypi.org", T::A, "refused_name"),
            (&rules, "a.example.org", T::A, "forward"),
            (&rules, "example.org", T::A, "refused_name"),
            (&rules, "bad.example.org", T::A, "refused_name"),
            (&rules, "a b.example.org", T::A, "refused_name"),
            (&any, "anything.net", T::A, "forward"),
            (&any, "anything.net", T::TXT, "forward"),
            (&any, "anything.net", T::SVCB, "empty"),
            (&any, "anything.net", T::ANY, "refused_type"),
            (&any, "anything.net", T::IXFR, "refused_type"),
            (&any, "pypi.org", T::MX, "forward"),
            (&any, "a.evil.net", T::A, "refused_name"),
            (&any, "a b.net", T::A, "refused_name"),
        ];
        for (policy, name, kind, expected) in table {
            assert_eq!(word(name, kind, policy), expected, "{name} {kind}");
        }
    }

    #[test]
    fn p31_names_of_this_site_are_not_asked_for_unless_a_rule_names_them() {
        let any = policy(true, &["git.lan", "*.internal"], &[]);
        for (name, kind, expected) in [
            ("localhost", T::A, "no_such_name"),
            ("a.localhost", T::A, "no_such_name"),
            ("printer", T::A, "no_such_name"),
            ("printer.local", T::SRV, "no_such_name"),
            ("router.home.arpa", T::A, "no_such_name"),
            ("nas.lan", T::AAAA, "no_such_name"),
            ("nas.lan", T::HTTPS, "no_such_name"),
            ("git.lan", T::A, "forward"),
            ("db.internal", T::A, "forward"),
            ("local.example.org", T::A, "forward"),
            ("223.0.101.151.in-addr.arpa", T::PTR, "forward"),
            ("101.151.in-addr.arpa", T::NS, "forward"),
            ("1.0.0.10.in-addr.arpa", T::PTR, "no_such_name"),
            ("10.in-addr.arpa", T::SOA, "no_such_name"),
            ("168.192.in-addr.arpa", T::PTR, "no_such_name"),
            ("192.in-addr.arpa", T::PTR, "no_such_name"),
            ("in-addr.arpa", T::PTR, "no_such_name"),
            ("1.0.0.127.in-addr.arpa", T::PTR, "no_such_name"),
            ("254.169.254.169.in-addr.arpa", T::PTR, "no_such_name"),
            ("01.0.0.8.in-addr.arpa", T::PTR, "no_such_name"),
            ("1.1.1.1.1.in-addr.arpa", T::PTR, "no_such_name"),
            ("secret.8.8.8.in-addr.arpa", T::PTR, "no_such_name"),
            ("0.6.2.ip6.arpa", T::PTR, "forward"),
            ("d.f.ip6.arpa", T::PTR, "no_such_name"),
            ("8.e.f.ip6.arpa", T::PTR, "no_such_name"),
            ("ip6.arpa", T::PTR, "no_such_name"),
            ("00.6.2.ip6.arpa", T::PTR, "no_such_name"),
        ] {
            assert_eq!(word(name, kind, &any), expected, "{name} {kind}");
        }
    }

    #[test]
    fn every_rule_that_names_a_name_counts() {
        let rules = policy(false, &["*.example.org", "a.example.org", "b.example.org"], &[]);
        let name = "a.example.org".parse().expect("a name");
        let ruling = judge(Some(&name), RecordType::A, &rules, &Ranges::default());
        let Ruling::Forward(allowed) = ruling else { panic!("{ruling:?}") };
        let groups: Vec<u32> = allowed.rules.iter().map(|rule| rule.group).collect();
        assert_eq!((groups, allowed.told()), (vec![1, 2], "*.example.org".to_owned()));
    }
}
