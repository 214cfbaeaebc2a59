//! What a config lets guests reach, in words, in the order in which the rules are numbered. Pure.

use std::collections::BTreeMap;

use enforcer_common::packet::{ICMP, ICMPV6, TCP, UDP};
use serde::Serialize;

use super::{Config, Guests, HubPlace, HubRule, Mode, Place, Policy, PolicyRule};
use crate::{
    model::limits::LimitsInForce,
    policy::rule::{Net, Ports},
};

/// Some of a network's guests, and the rules for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Described {
    /// Docker's name of the network.
    pub network: String,
    /// `all guests` or, of an override, `user NAME`, `group NAME` or `label KEY=VALUE`.
    pub guests: String,
    /// Name of their policy, if they have one.
    pub policy: Option<String>,
    /// What becomes of what its rules do not open: `enforce` or `audit`.
    pub mode: &'static str,
    /// What each of them may send and be sent.
    pub limits: LimitsInForce,
    /// Rules: hubs first.
    pub rules: Vec<DescribedRule>,
}

/// A rule in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DescribedRule {
    /// As records have it, from 1.
    pub number: u32,
    /// `allow` or `deny`; `audit` for what audit mode lets through.
    pub action: &'static str,
    /// To which ports.
    pub ports: String,
    /// To where.
    pub to: Vec<String>,
    /// And to what of that not, beside this host and guest networks.
    pub except: Vec<String>,
    /// Where it is written, or its preset.
    pub name: String,
}

/// A rule that came or went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Docker's name of the network.
    pub network: String,
    /// As in [`Described::guests`].
    pub guests: String,
    /// Whether it came.
    pub is_new: bool,
    /// The rule.
    pub rule: DescribedRule,
}

/// Guests whose limits are others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LimitsChange {
    /// Docker's name of the network.
    pub network: String,
    /// As in [`Described::guests`].
    pub guests: String,
    /// As they are.
    pub limits_before: LimitsInForce,
    /// As they are to be.
    pub limits_after: LimitsInForce,
}

/// All of it, in the order of the file within a network.
#[must_use]
pub fn describe(config: &Config) -> Vec<Described> {
    let network = |(name, network): (&String, &super::GuestNetwork)| {
        let all = ("all guests".to_owned(), network.policy.clone());
        let others = network.overrides.iter();
        let others = others.map(|one| (guests(&one.guests), Some(one.policy.clone())));
        let described = |(guests, policy): (String, Option<String>)| {
            let of = policy.as_ref().and_then(|name| config.policies.get(name));
            Described {
                network: name.clone(),
                guests,
                mode: of.map_or(Mode::Enforce, |policy| policy.mode).name(),
                limits: (&network.limits_of(of).in_force()).into(),
                rules: rules(&network.hubs, of),
                policy,
            }
        };
        [all].into_iter().chain(others).map(described).collect::<Vec<_>>()
    };
    config.networks.iter().flat_map(network).collect()
}

/// Rules that came or went between two configs: what they say counts, not their number or place. Guests
/// whose override is new are compared with all guests before it.
#[must_use]
pub fn diff(before: &Config, after: &Config) -> Vec<Change> {
    let (before, after) = (by_guests(before), by_guests(after));
    let none = Vec::new();
    let of = |all: &BTreeMap<(String, String), Vec<DescribedRule>>, key: &(String, String)| {
        let whole = (key.0.clone(), "all guests".to_owned());
        all.get(key).or_else(|| all.get(&whole)).unwrap_or(&none).clone()
    };
    let mut keys: Vec<&(String, String)> = before.keys().chain(after.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let changes = keys.into_iter().flat_map(|key| {
        let (was, is) = (of(&before, key), of(&after, key));
        let change = |is_new, rule: &DescribedRule| Change {
            network: key.0.clone(),
            guests: key.1.clone(),
            is_new,
            rule: rule.clone(),
        };
        let gone = was.iter().filter(|rule| !is.iter().any(|other| says_the_same(rule, other)));
        let come = is.iter().filter(|rule| !was.iter().any(|other| says_the_same(rule, other)));
        let gone = gone.map(|rule| change(false, rule));
        gone.chain(come.map(|rule| change(true, rule))).collect::<Vec<_>>()
    });
    changes.collect()
}

/// Limits that differ between two configs. Guests whose override is new are compared with all guests before it.
#[must_use]
pub fn diff_limits(before: &Config, after: &Config) -> Vec<LimitsChange> {
    let limits = |config: &Config| -> BTreeMap<(String, String), LimitsInForce> {
        let described = describe(config).into_iter();
        described.map(|one| ((one.network, one.guests), one.limits)).collect()
    };
    let (before, after) = (limits(before), limits(after));
    let of = |all: &BTreeMap<(String, String), LimitsInForce>, key: &(String, String)| {
        let whole = (key.0.clone(), "all guests".to_owned());
        all.get(key).or_else(|| all.get(&whole)).copied().unwrap_or_default()
    };
    let mut keys: Vec<&(String, String)> = before.keys().chain(after.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let changes = keys.into_iter().map(|key| LimitsChange {
        network: key.0.clone(),
        guests: key.1.clone(),
        limits_before: of(&before, key),
        limits_after: of(&after, key),
    });
    changes.filter(|change| change.limits_before != change.limits_after).collect()
}

fn by_guests(config: &Config) -> BTreeMap<(String, String), Vec<DescribedRule>> {
    let described = describe(config).into_iter();
    described.map(|one| ((one.network, one.guests), one.rules)).collect()
}

fn says_the_same(one: &DescribedRule, other: &DescribedRule) -> bool {
    let said = |rule: &DescribedRule| {
        (rule.action, rule.ports.clone(), rule.to.clone(), rule.except.clone())
    };
    said(one) == said(other)
}

fn guests(guests: &Guests) -> String {
    match guests {
        Guests::User(name) => format!("user {name}"),
        Guests::Group(name) => format!("group {name}"),
        Guests::Label(label) => format!("label {label}"),
    }
}

fn rules(hubs: &[HubRule], policy: Option<&Policy>) -> Vec<DescribedRule> {
    let hubs = hubs.iter().map(hub);
    let policy = policy.into_iter().flat_map(|policy| policy.rules.iter().map(rule));
    let numbered = (1..).zip(hubs.chain(policy));
    numbered.map(|(number, rule)| DescribedRule { number, ..rule }).collect()
}

fn hub(hub: &HubRule) -> DescribedRule {
    let to = match &hub.at {
        HubPlace::Gateway => "this host".to_owned(),
        HubPlace::Address(address) => address.to_string(),
        HubPlace::Container(name) => format!("container {name}"),
    };
    DescribedRule {
        number: 0,
        action: "allow",
        ports: ports(&[Ports::one(hub.protocol, hub.port)]),
        to: vec![to],
        except: Vec::new(),
        name: "hub".to_owned(),
    }
}

fn texts(nets: &[Net]) -> Vec<String> {
    nets.iter().map(ToString::to_string).collect()
}

fn rule(rule: &PolicyRule) -> DescribedRule {
    let (to, except) = match &rule.to {
        Place::Host => (vec!["this host".to_owned()], Vec::new()),
        Place::Hubs => (vec!["the network's hubs".to_owned()], Vec::new()),
        Place::Resolver { any: true } => {
            (vec!["the resolver, for any name".to_owned()], Vec::new())
        }
        Place::Resolver { any: false } => (vec!["the resolver".to_owned()], Vec::new()),
        Place::Names { names, private } => {
            let private = if *private { " (private addresses, too)" } else { "" };
            (names.iter().map(|name| format!("{name}{private}")).collect(), Vec::new())
        }
        Place::Services(named) => {
            (named.iter().map(|service| format!("service {service}")).collect(), Vec::new())
        }
        Place::From(from) => (from.iter().map(|net| format!("from {net}")).collect(), Vec::new()),
        Place::Nets { to, except } => (texts(to), texts(except)),
    };
    DescribedRule {
        number: 0,
        action: rule.action.name(),
        ports: ports(&rule.ports),
        to,
        except,
        name: rule.name.clone(),
    }
}

/// `tcp 80, 8000-8099; udp 53`, or `everything`.
#[must_use]
pub fn ports(all: &[Ports]) -> String {
    if all == Ports::ALL {
        return "everything".to_owned();
    }
    let mut by_protocol: BTreeMap<u8, Vec<String>> = BTreeMap::new();
    for ports in all {
        let range = match (ports.first, ports.last) {
            (0, u16::MAX) => "all".to_owned(),
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        };
        by_protocol.entry(ports.protocol).or_default().push(range);
    }
    let one = |(protocol, ranges): (u8, Vec<String>)| match protocol {
        TCP => format!("tcp {}", ranges.join(", ")),
        UDP => format!("udp {}", ranges.join(", ")),
        ICMP => "icmp echo".to_owned(),
        ICMPV6 => "icmpv6 echo".to_owned(),
        other => format!("protocol {other}"),
    };
    by_protocol.into_iter().map(one).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const CONFIG: &str = r#"
        [policies.web]
        [[policies.web.allow]]
        to = ["192.0.2.0/24", "2001:db8::1"]
        port = [443, "8000-8099"]
        [[policies.web.deny]]
        to = "any"
        protocol = "icmp"
        [[policies.web.deny]]
        host = true
        [networks.a]
        bridge = "br-a"
        [[networks.a.hub]]
        container = "hub"
        port = 8081
        [[networks.a.override]]
        label = "course=7"
        policy = "web"
    "#;

    #[test]
    fn o2_rules_are_described_in_their_order_for_each_kind_of_guest() {
        let described = describe(&parse(CONFIG, "f").expect("is good"));
        let texts: Vec<_> = described
            .iter()
            .map(|one| {
                let rules = one.rules.iter();
                let rules =
                    rules.map(|r| format!("{} {} {} {:?}", r.number, r.action, r.ports, r.to));
                (one.guests.as_str(), one.policy.as_deref(), rules.collect::<Vec<_>>())
            })
            .collect();
        let hub = r#"1 allow tcp 8081 ["container hub"]"#.to_owned();
        let web = vec![
            hub.clone(),
            r#"2 allow tcp 443, 8000-8099 ["192.0.2.0/24", "2001:db8::1"]"#.to_owned(),
            r#"3 deny icmp echo; icmpv6 echo ["0.0.0.0/0", "::/0"]"#.to_owned(),
            r#"4 deny everything ["this host"]"#.to_owned(),
        ];
        let expected = [("all guests", None, vec![hub]), ("label course=7", Some("web"), web)];
        assert_eq!(texts, expected);
    }

    #[test]
    fn o2_a_diff_says_what_each_kind_of_guest_gains_and_loses() {
        let before = parse(CONFIG, "f").expect("is good");
        // Other lines, the same rules: no difference.
        let moved = parse(&format!("\n\n{CONFIG}"), "f").expect("is good");
        assert_eq!(diff(&before, &moved), []);
        let after = CONFIG.replace("443, ", "").replace("label = \"course=7\"", "user = \"ada\"");
        let after = parse(&after, "f").expect("is good");
        let changes = diff(&before, &after);
        let texts: Vec<_> = changes
            .iter()
            .map(|c| (c.guests.as_str(), c.is_new, c.rule.action, c.rule.ports.as_str()))
            .collect();
        let expected = [
            ("label course=7", false, "allow", "tcp 443, 8000-8099"),
            ("label course=7", false, "deny", "icmp echo; icmpv6 echo"),
            ("label course=7", false, "deny", "everything"),
            ("user ada", true, "allow", "tcp 8000-8099"),
            ("user ada", true, "deny", "icmp echo; icmpv6 echo"),
            ("user ada", true, "deny", "everything"),
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn o2_a_diff_says_whose_limits_change() {
        let limited = "[policies.web.limits]\nbits_per_second_out = \"10 Mbit\"\n";
        let network = "[networks.a.limits]\nnew_flows_per_second = 20\n";
        let [before, after] = ["", &format!("{limited}{network}")]
            .map(|more| parse(&format!("{CONFIG}\n{more}"), "f").expect("is good"));
        assert_eq!(diff_limits(&before, &before), []);
        assert_eq!(diff(&before, &after), []);
        let changes = diff_limits(&before, &after);
        let texts: Vec<_> = changes
            .iter()
            .map(|c| format!("{}: {} -> {}", c.guests, c.limits_before, c.limits_after))
            .collect();
        let expected = [
            "all guests: none -> 20 new flows/s",
            "label course=7: none -> 20 new flows/s; out 10 Mbit/s (burst 262144 bytes)",
        ];
        assert_eq!(texts, expected);
        let back = diff_limits(&after, &before);
        assert!(back.len() == 2 && back.iter().all(|change| change.limits_after.is_empty()));
    }

    #[test]
    fn o2_audit_mode_is_shown_and_a_change_of_it_is_a_difference() {
        let enforced = parse(CONFIG, "f").expect("is good");
        let audited = CONFIG.replace("[policies.web]", "[policies.web]\nmode = \"audit\"");
        let audited = parse(&audited, "f").expect("is good");
        let modes: Vec<_> = describe(&audited).iter().map(|one| one.mode).collect();
        assert_eq!(modes, ["enforce", "audit"]);
        let changes = diff(&enforced, &audited);
        let [change] = changes.as_slice() else { panic!("{changes:?}") };
        let Change { is_new, rule, .. } = change;
        assert_eq!((*is_new, rule.number, rule.action), (true, 5, "audit"));
        assert!(rule.except.contains(&"169.254.169.254".to_owned()), "{rule:?}");
    }
}
