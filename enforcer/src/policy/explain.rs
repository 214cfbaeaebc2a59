//! Why a guest may, or may not, begin a conversation: the decision of the packet path, and what each rule of
//! the policy has to do with it. Pure.

use enforcer_common::{
    abi::{
        endpoint::{Endpoint, Network},
        verdict::DropReason,
    },
    decide, guard,
    packet::{Packet, TCP, UDP},
};
use serde::{Deserialize, Serialize};

use super::rule::{Action, Net, Rule, opens};

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
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// `allow` or `deny`.
    pub verdict: String,
    /// Why it is denied, as records have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Number of the rule that decided: it opens the destination, or it beats one that does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// What was decided, in a sentence.
    pub because: String,
    /// Every rule of the policy, in order.
    pub rules: Vec<Judged>,
}

/// A rule, and what it has to do with the question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// Its number, as records have it.
    pub number: u32,
    /// Where it is written, or its preset.
    pub name: String,
    /// `allow` or `deny`.
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
    let Question { to, address, protocol, port } = question;
    let judged: Vec<Judged> =
        (1..).zip(rules).map(|(number, rule)| judge(number, rule, question)).collect();
    let opened = opens(rules, to, *protocol, *port);
    let denying = || judged.iter().find(|rule| rule.applies && rule.action == "deny");
    let outcome = check(endpoint, network, question)
        .and_then(|()| decide::outbound(endpoint, network, to.family(), address, opened));
    let named = |number: u32| {
        let rule = judged.iter().find(|rule| rule.number == number);
        rule.map_or_else(
            || format!("rule {number}"),
            |rule| format!("rule {number} ({})", rule.name),
        )
    };
    let (reason, rule, because) = match outcome {
        Ok(allowed) if allowed.rule != 0 => {
            (None, Some(allowed.rule), format!("{} opens it", named(allowed.rule)))
        }
        Ok(_) => (None, None, "a hub reaches every port of its guests".to_owned()),
        Err(reason @ (DropReason::Policy | DropReason::GuestToGuest)) => match denying() {
            Some(rule) => {
                let because = format!("{} beats every permission", named(rule.number));
                (Some(reason), Some(rule.number), because)
            }
            None if reason == DropReason::GuestToGuest => (
                Some(reason),
                None,
                "it is another guest's address, and no rule opens it".to_owned(),
            ),
            None => (Some(reason), None, "no rule opens it".to_owned()),
        },
        Err(reason) => (Some(reason), None, plainly(reason).to_owned()),
    };
    Explanation {
        verdict: if reason.is_some() { "deny" } else { "allow" }.to_owned(),
        reason: reason.map(|reason| reason.name().to_owned()),
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
        (None, _) if rule.to.is_empty() => (false, "it leads nowhere on this host now".to_owned()),
        (None, _) => (false, "another address".to_owned()),
        (Some(_), Some(except)) => (false, format!("it leaves out {except}")),
        (Some(_), None) if !of_protocol => (false, "another protocol".to_owned()),
        (Some(_), None) if !of_port => (false, "another port".to_owned()),
        (Some(net), None) if has_ports => (true, format!("{net} and the port are in it")),
        (Some(net), None) => (true, format!("{net} is in it")),
    };
    let action = if rule.action == Action::Allow { "allow" } else { "deny" }.to_owned();
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
    use crate::policy::rule::Ports;

    fn question(to: &str, protocol: u8, port: u16) -> Question {
        let to: IpAddr = to.parse().expect("an address");
        let address = match to {
            IpAddr::V4(to) => widen(to.octets()),
            IpAddr::V6(to) => to.octets(),
        };
        Question { to: Net::host(to), address, protocol, port }
    }

    fn rule(action: Action, to: &str, except: &[&str], ports: &[Ports], name: &str) -> Rule {
        let net = |text: &str| text.parse().expect("a network");
        let except = except.iter().map(|text| net(text)).collect();
        Rule { action, to: vec![net(to)], except, ports: ports.to_vec(), name: name.to_owned() }
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
}
