//! Why a guest may, or may not, begin a conversation: the decision of the packet path, and what each rule of
//! the policy has to do with it. Pure.

use enforcer_common::{
    abi::{
        endpoint::{Endpoint, Network},
        policy::Direction,
        verdict::DropReason,
    },
    decide::{self, Denied},
    guard,
    packet::{Packet, TCP, UDP},
};
use serde::{Deserialize, Serialize};

use super::rule::{Net, Rule, decides, found};

/// A conversation that somebody asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Where to.
    pub to: Net,
    /// The same as the packet path has it.
    pub address: [u8; 16],
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port; 0 for a protocol without ports.
    pub port: u16,
    /// Whether a service asks, which opens nothing by design.
    pub by_rule_only: bool,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Explanation {
    /// `allow` or `deny`.
    pub verdict: String,
    /// Why it is denied, as records have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Allowed by audit mode only: why it would be denied without, as records have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_deny: Option<String>,
    /// Number of the rule that decided: it opens the destination, or it beats one that does, or would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// What was decided, in a sentence.
    pub because: String,
    /// Every rule of the policy, in order.
    pub rules: Vec<Judged>,
}

/// A rule, and what it has to do with the question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Judged {
    /// Its number, as records have it.
    pub number: u32,
    /// Where it is written, or its preset.
    pub name: String,
    /// `allow`, `deny` or `audit`.
    pub action: String,
    /// Whether it is about this destination and port.
    pub applies: bool,
    /// Why, or why not.
    pub why: String,
}

/// Decides as the packet path does, and says why.
#[must_use]
pub fn explain(
    endpoint: &Endpoint,
    network: &Network,
    rules: &[Rule],
    question: &Question,
) -> Explanation {
    let Question { to, address, protocol, port, by_rule_only } = question;
    let judged: Vec<Judged> =
        (1..).zip(rules).map(|(number, rule)| judge(number, rule, question)).collect();
    let decision = decides(rules, Direction::Out, to, (*protocol, *port));
    let outcome = check(endpoint, network, question)
        .map_err(Denied::from)
        .and_then(|()| decide::outbound(endpoint, network, to.family(), address, decision))
        .and_then(|allowed| if *by_rule_only { decide::by_rule(allowed) } else { Ok(allowed) });
    let named = |number: u32| {
        let rule = judged.iter().find(|rule| rule.number == number);
        rule.map_or_else(
            || format!("rule {number}"),
            |rule| format!("rule {number} ({})", rule.name),
        )
    };
    let audited = outcome.is_ok_and(|allowed| found(allowed.rule).1);
    let (reason, rule, because) = match outcome {
        Ok(allowed) if audited => {
            let rule = found(allowed.rule).0;
            let would = rule.map_or_else(
                || "no rule opens it".to_owned(),
                |number| format!("{} denies it", named(number)),
            );
            (None, rule, format!("audit mode lets it through and records it: {would}"))
        }
        Ok(allowed) if allowed.rule != 0 => {
            (None, Some(allowed.rule), format!("{} opens it", named(allowed.rule)))
        }
        Ok(_) => (None, None, "a hub reaches every port of its guests".to_owned()),
        Err(Denied { reason, rule: rule @ 1.. }) => {
            (Some(reason), Some(rule), format!("{} beats every permission", named(rule)))
        }
        Err(Denied { reason, .. }) => (Some(reason), None, plainly(reason).to_owned()),
    };
    Explanation {
        verdict: if reason.is_some() { "deny" } else { "allow" }.to_owned(),
        reason: reason.map(|reason| reason.name().to_owned()),
        would_deny: audited.then(|| DropReason::Policy.name().to_owned()),
        rule,
        because,
        rules: judged,
    }
}

/// What is held against every frame before any policy is asked.
fn check(endpoint: &Endpoint, network: &Network, question: &Question) -> Result<(), DropReason> {
    let packet = Packet {
        source: decide::own_address(endpoint, question.to.family(), &question.address),
        destination: question.address,
        family: question.to.family(),
        protocol: question.protocol,
        ..Packet::default()
    };
    if !guard::has_family(endpoint, &packet) {
        return Err(DropReason::NoFamily);
    }
    guard::destination(network, &packet)
}

fn plainly(reason: DropReason) -> &'static str {
    match reason {
        DropReason::Policy => "no rule opens it",
        DropReason::GuestToGuest => "it is another guest's address, and no rule opens it",
        DropReason::UnknownInterface => "nobody knows yet whose interface it is",
        DropReason::RoleOther => "the interface is no guest's and no hub's",
        DropReason::NoFamily => "the guest has no address of this family",
        DropReason::Multicast => "it is a multicast or broadcast address",
        DropReason::BogusAddress => "it is an address that no other machine can have",
        _ => "every frame like it is denied",
    }
}

fn judge(number: u32, rule: &Rule, question: &Question) -> Judged {
    let Question { to, protocol, port, .. } = question;
    let covering = rule.to.iter().find(|net| net.covers(to));
    let except = rule.except.iter().find(|net| net.covers(to));
    let of_protocol = rule.ports.iter().any(|ports| ports.protocol == *protocol);
    let of_port = rule.ports.iter().any(|ports| ports.has(*protocol, *port));
    let has_ports = *protocol == TCP || *protocol == UDP;
    let (applies, why) = match (covering, except) {
        _ if rule.direction == Direction::In => (false, "it is about who may come in".to_owned()),
        _ if !rule.refused.is_empty() => (false, "these names are not resolved".to_owned()),
        _ if !rule.names.is_empty() => (false, "it opens what these names lead to".to_owned()),
        (None, _) if rule.to.is_empty() && !rule.services.is_empty() => {
            (false, format!("no service on the network is {}", rule.services.join(", ")))
        }
        (None, _) if rule.to.is_empty() => (false, "it leads nowhere on this host now".to_owned()),
        (None, _) => (false, "another address".to_owned()),
        (Some(_), Some(except)) => (false, format!("it leaves out {except}")),
        (Some(_), None) if !of_protocol => (false, "another protocol".to_owned()),
        (Some(_), None) if !of_port => (false, "another port".to_owned()),
        (Some(_), None) if !rule.services.is_empty() => {
            (true, format!("it is the address of a service: {}", rule.services.join(", ")))
        }
        (Some(net), None) if has_ports => (true, format!("{net} and the port are in it")),
        (Some(net), None) => (true, format!("{net} is in it")),
    };
    let action = rule.action.name().to_owned();
    Judged { number, name: rule.name.clone(), action, applies, why }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use enforcer_common::{
        abi::endpoint::Role,
        packet::{ICMP, widen},
    };

    use super::*;
    use crate::policy::rule::{Action, Ports};

    fn question(to: &str, protocol: u8, port: u16) -> Question {
        let to: IpAddr = to.parse().expect("an address");
        let address = match to {
            IpAddr::V4(to) => widen(to.octets()),
            IpAddr::V6(to) => to.octets(),
        };
        Question { to: Net::host(to), address, protocol, port, by_rule_only: false }
    }

    fn rule(action: Action, to: &str, except: &[&str], ports: &[Ports], name: &str) -> Rule {
        let net = |text: &str| text.parse().expect("a network");
        let except = except.iter().map(|text| net(text)).collect();
        let (to, ports, name) = (vec![net(to)], ports.to_vec(), name.to_owned());
        Rule { action, to, except, ports, name, ..Rule::default() }
    }

    #[test]
    fn n1_an_explanation_says_which_rule_decides_and_why_the_others_do_not() {
        let endpoint =
            Endpoint { ipv4: [10, 7, 0, 10], role: Role::Guest as u8, ..Endpoint::default() };
        let network = Network {
            gateway4: [10, 7, 0, 1],
            subnet4: [10, 7, 0, 0],
            prefix4: 24,
            ..Network::default()
        };
        let rules = [
            rule(
                Action::Allow,
                "0.0.0.0/0",
                &["10.0.0.0/8"],
                &Ports::ALL,
                "preset public-internet",
            ),
            rule(Action::Allow, "10.50.0.0/16", &[], &[Ports::one(TCP, 443)], "allow at f:9"),
            rule(Action::Deny, "10.50.7.0/24", &[], &Ports::ALL, "deny at f:12"),
        ];
        for (to, protocol, port, reason, decides, whys) in [
            (
                "192.0.2.1",
                TCP,
                22,
                None,
                Some(1),
                ["0.0.0.0/0 and the port are in it", "another address", "another address"],
            ),
            (
                "10.50.0.1",
                TCP,
                443,
                None,
                Some(2),
                [
                    "it leaves out 10.0.0.0/8",
                    "10.50.0.0/16 and the port are in it",
                    "another address",
                ],
            ),
            (
                "10.50.0.1",
                TCP,
                80,
                Some("policy"),
                None,
                ["it leaves out 10.0.0.0/8", "another port", "another address"],
            ),
            (
                "10.50.0.1",
                ICMP,
                0,
                Some("policy"),
                None,
                ["it leaves out 10.0.0.0/8", "another protocol", "another address"],
            ),
            (
                "10.50.7.1",
                TCP,
                443,
                Some("policy"),
                Some(3),
                [
                    "it leaves out 10.0.0.0/8",
                    "10.50.0.0/16 and the port are in it",
                    "10.50.7.0/24 and the port are in it",
                ],
            ),
            (
                "10.7.0.11",
                TCP,
                80,
                Some("guest_to_guest"),
                None,
                ["it leaves out 10.0.0.0/8", "another address", "another address"],
            ),
            (
                "224.0.0.1",
                UDP,
                80,
                Some("multicast"),
                None,
                ["0.0.0.0/0 and the port are in it", "another address", "another address"],
            ),
            ("2001:db8::1", TCP, 80, Some("no_family"), None, ["another address"; 3]),
        ] {
            let told = explain(&endpoint, &network, &rules, &question(to, protocol, port));
            assert_eq!((told.reason.as_deref(), told.rule), (reason, decides), "{to}: {told:?}");
            assert_eq!(told.verdict, if reason.is_some() { "deny" } else { "allow" });
            let found: Vec<_> = told.rules.iter().map(|rule| rule.why.as_str()).collect();
            assert_eq!(found, whys, "{to}");
        }
    }

    #[test]
    fn n1_an_explanation_of_audit_mode_says_what_would_deny() {
        let endpoint =
            Endpoint { ipv4: [10, 7, 0, 10], role: Role::Guest as u8, ..Endpoint::default() };
        let network = Network {
            gateway4: [10, 7, 0, 1],
            subnet4: [10, 7, 0, 0],
            prefix4: 24,
            ..Network::default()
        };
        let rules = [
            rule(Action::Allow, "192.0.2.0/24", &[], &Ports::ALL, "allow at f:9"),
            rule(Action::Deny, "192.0.2.9", &[], &Ports::ALL, "deny at f:12"),
            rule(Action::Audit, "0.0.0.0/0", &["10.7.0.0/24"], &Ports::ALL, "audit mode"),
        ];
        for (to, verdict, would_deny, decides, words) in [
            ("192.0.2.1", "allow", None, Some(1), "rule 1 (allow at f:9) opens it"),
            ("192.0.2.9", "allow", Some("policy"), Some(2), "rule 2 (deny at f:12) denies it"),
            ("198.51.100.1", "allow", Some("policy"), None, "records it: no rule opens it"),
            ("10.7.0.11", "deny", None, None, "another guest's address"),
        ] {
            let told = explain(&endpoint, &network, &rules, &question(to, TCP, 80));
            assert_eq!((told.verdict.as_str(), told.rule), (verdict, decides), "{to}: {told:?}");
            assert_eq!(told.would_deny.as_deref(), would_deny, "{to}");
            assert!(told.because.contains(words), "{to}: {}", told.because);
        }
    }
}
