//! Why a guest may, or may not, resolve a name, and what is open at the addresses that it leads to: the decision of
//! the resolver, and what each rule of the policy has to do with it. Pure.

use enforcer_common::abi::policy::Direction;
use hickory_proto::rr::RecordType;

use super::{
    address::Ranges,
    judge::{Ruling, judge},
};
use crate::{
    config::describe::ports,
    model::{
        names::{DomainName, NamePolicy, Outcome},
        status::{NameExplanation, Opening},
    },
    policy::{
        explain::Judged,
        rule::{Action, Rule},
    },
};

/// Decides as the resolver and the packet path do, and says why. `None` for `names`: nobody resolves.
#[must_use]
pub fn explain(
    name: &DomainName,
    (protocol, port): (u8, u16),
    rules: &[Rule],
    names: Option<&NamePolicy>,
) -> NameExplanation {
    let about = || (1..).zip(rules).filter(|(_, rule)| names_it(rule, name));
    let refuses = || (1..).zip(rules).find(|(_, rule)| refuses(rule, name));
    let ranges = Ranges::default();
    let told = |(number, rule): (u32, &Rule)| format!("rule {number} ({})", rule.name);
    let ruling = names.map(|names| judge(Some(name), RecordType::A, names, &ranges));
    let (outcome, because) = match ruling {
        None => (Outcome::RefusedName, "nobody resolves names: the config has no [dns]".to_owned()),
        Some(Ruling::Forward(_) | Ruling::Empty(_)) => {
            let by = about().next().map(|rule| format!("{} names it", told(rule)));
            let any = || "its policy has any name resolved, and no rule names this one".to_owned();
            (Outcome::Answered, by.unwrap_or_else(any))
        }
        Some(Ruling::NoSuchName) => {
            let why = "it means something within this site only, and no rule names it";
            (Outcome::NoSuchName, why.to_owned())
        }
        Some(Ruling::Refuse(outcome)) => {
            let by = refuses().map(|rule| format!("{} denies it", told(rule)));
            (outcome, by.unwrap_or_else(|| "no rule names it".to_owned()))
        }
    };
    let resolved = outcome == Outcome::Answered;
    let opening = about().filter(|_| resolved).map(|(number, rule)| Opening {
        number,
        name: rule.name.clone(),
        ports: ports(&rule.ports),
    });
    let opens: Vec<Opening> = opening.collect();
    let decides = about().find(|(_, rule)| rule.ports.iter().any(|of| of.has(protocol, port)));
    let (verdict, rule, so) = match decides {
        _ if !resolved => ("deny", None, "it is not resolved".to_owned()),
        Some(rule) => {
            // The packet path asks those first: what is said here holds for what none of them has.
            let denied: Vec<_> = (1..)
                .zip(rules)
                .filter(|(_, rule)| denies_addresses(rule, (protocol, port)))
                .map(told)
                .collect();
            let unless = match denied.as_slice() {
                [] => String::new(),
                all => format!(", unless {} denies the address", all.join(" or ")),
            };
            let so = format!("{} opens what it leads to at this port{unless}", told(rule));
            ("allow", Some(rule.0), so)
        }
        None => {
            let so = "no rule opens the name at this port: ask for an address that it leads to";
            ("by_address", None, so.to_owned())
        }
    };
    let judged =
        (1..).zip(rules).map(|(number, rule)| judged(number, rule, name, (protocol, port)));
    NameExplanation {
        verdict: verdict.to_owned(),
        rule,
        so,
        resolved,
        outcome: outcome.name().to_owned(),
        because,
        opens,
        rules: judged.collect(),
    }
}

fn names_it(rule: &Rule, name: &DomainName) -> bool {
    rule.action == Action::Allow && rule.names.iter().any(|pattern| pattern.matches(name))
}

/// Whether a rule denies addresses at this port, which no name opens then.
fn denies_addresses(rule: &Rule, (protocol, port): (u8, u16)) -> bool {
    let is_about_addresses = !rule.to.is_empty() && rule.direction == Direction::Out;
    rule.action == Action::Deny
        && is_about_addresses
        && rule.ports.iter().any(|of| of.has(protocol, port))
}

fn refuses(rule: &Rule, name: &DomainName) -> bool {
    rule.refused.iter().any(|pattern| pattern.matches(name))
}

fn judged(number: u32, rule: &Rule, name: &DomainName, (protocol, port): (u8, u16)) -> Judged {
    let pattern = |patterns: &[crate::model::names::Pattern]| {
        patterns.iter().find(|pattern| pattern.matches(name)).map(ToString::to_string)
    };
    let of_port = rule.ports.iter().any(|of| of.has(protocol, port));
    let (applies, why) = match (pattern(&rule.refused), pattern(&rule.names)) {
        (Some(pattern), _) => (true, format!("{pattern} is not resolved")),
        (None, Some(pattern)) if of_port => (true, format!("{pattern} and the port are in it")),
        (None, Some(_)) => (false, "another port".to_owned()),
        (None, None) if !rule.names.is_empty() || !rule.refused.is_empty() => {
            (false, "another name".to_owned())
        }
        (None, None) => (false, "it is not about names".to_owned()),
    };
    let action = rule.action.name().to_owned();
    Judged { number, name: rule.name.clone(), action, applies, why }
}

#[cfg(test)]
mod tests {
    use enforcer_common::packet::{TCP, UDP};

    use super::*;
    use crate::{
        config::parse,
        control::rules::{Here, name_policy, policy_rules},
    };

    const CONFIG: &str = r#"
        [dns]
        upstream = ["192.0.2.53"]
        [policies.course]
        presets = ["public-internet"]
        [[policies.course.allow]]
        name = "*.pythonhosted.org"
        port = [80, 443]
        [[policies.course.allow]]
        name = ["pypi.org", "printer.lan"]
        port = 443
        [[policies.course.deny]]
        name = "evil.pythonhosted.org"
        [networks.a]
        bridge = "br-a"
        policy = "course"
    "#;

    #[test]
    fn n1_an_explanation_of_a_name_says_who_resolves_it_and_what_it_opens() {
        for (any, name, port, resolved, verdict, rule, words, opens) in [
            (
                false,
                "pypi.org",
                443,
                true,
                "allow",
                Some(3),
                "rule 3 (allow at f:9) names it",
                "tcp 443",
            ),
            (
                false,
                "pypi.org",
                80,
                true,
                "by_address",
                None,
                "rule 3 (allow at f:9) names it",
                "tcp 443",
            ),
            (false, "files.pythonhosted.org", 80, true, "allow", Some(2), "rule 2", "tcp 80, 443"),
            (
                false,
                "evil.pythonhosted.org",
                443,
                false,
                "deny",
                None,
                "(deny at f:12) denies it",
                "",
            ),
            (false, "example.org", 443, false, "deny", None, "no rule names it", ""),
            (true, "example.org", 443, true, "by_address", None, "has any name resolved", ""),
            (
                true,
                "evil.pythonhosted.org",
                443,
                false,
                "deny",
                None,
                "(deny at f:12) denies it",
                "",
            ),
            (true, "nas.lan", 443, false, "deny", None, "within this site only", ""),
            (
                true,
                "printer.lan",
                443,
                true,
                "allow",
                Some(3),
                "(allow at f:9) names it",
                "tcp 443",
            ),
        ] {
            let text = if any {
                CONFIG.replace("internet\"]", "internet\", \"dns\"]")
            } else {
                CONFIG.to_owned()
            };
            let policy = &parse(&text, "f").expect("is good").policies["course"];
            let rules = policy_rules(policy, &Here::default());
            // The preset comes before the rules.
            let later = u32::from(any);
            let names = name_policy(policy, &[]);
            let domain: DomainName = name.parse().expect("a name");
            let told = explain(&domain, (TCP, port), &rules, Some(&names));
            let case = format!("{any} {name} {port}: {told:?}");
            assert_eq!((told.resolved, told.verdict.as_str()), (resolved, verdict), "{case}");
            assert_eq!(told.rule, rule.map(|rule| rule + later), "{case}");
            assert!(told.because.contains(words), "{case}");
            let ports: Vec<&str> = told.opens.iter().map(|one| one.ports.as_str()).collect();
            assert_eq!(ports.join("; "), opens, "{case}");
        }
    }

    #[test]
    fn n1_an_explanation_of_a_name_tells_of_rules_that_deny_addresses() {
        let denies = |port: &str| {
            let rule = format!("[[policies.course.deny]]\nto = [\"192.0.2.0/24\"]\n{port}\n");
            let text = CONFIG.replace("[networks.a]", &format!("{rule}[networks.a]"));
            let policy = &parse(&text, "f").expect("is good").policies["course"];
            let rules = policy_rules(policy, &Here::default());
            let names = name_policy(policy, &[]);
            let domain: DomainName = "pypi.org".parse().expect("a name");
            explain(&domain, (TCP, 443), &rules, Some(&names)).so
        };
        let told = denies("protocol = \"any\"");
        assert!(told.contains("this port, unless rule 5 (deny at f:"), "{told}");
        assert!(told.ends_with("denies the address"), "{told}");
        let told = denies("port = 25");
        assert!(told.ends_with("this port"), "{told}");
    }

    #[test]
    fn n1_without_a_resolver_no_name_is_resolved_and_udp_is_another_port() {
        let policy = &parse(CONFIG, "f").expect("is good").policies["course"];
        let rules = policy_rules(policy, &Here::default());
        let domain: DomainName = "pypi.org".parse().expect("a name");
        let told = explain(&domain, (TCP, 443), &rules, None);
        assert!(!told.resolved && told.because.contains("no [dns]") && told.verdict == "deny");
        let names = name_policy(policy, &[]);
        assert_eq!(explain(&domain, (UDP, 443), &rules, Some(&names)).verdict, "by_address");
    }
}
