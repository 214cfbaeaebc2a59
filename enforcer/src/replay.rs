//! What another config would have decided about what guests did, or tried to: records are judged by the pure code
//! of the policy. Pure. What a record does not tell is not guessed, but counted.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    rc::Rc,
};

use enforcer_common::abi::policy::Direction;
use serde::Serialize;
use serde_json::Value;

use crate::{
    audit::{
        attempt::{Attempt, Outcome, Told, told},
        store::PREFIX,
    },
    config::{Config, GuestNetwork, Guests, HubPlace, HubRule, Place, PolicyRule},
    control::rules::{Here, hub_rule, policy_rules},
    policy::rule::{Net, Rule, decides, found},
};

/// Changes that are told apart.
const MOST: usize = 65_536;
/// Where a subnet that Docker chooses may be.
const PRIVATE: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"];

/// Records that are being judged.
#[derive(Debug)]
pub struct Replay<'a> {
    config: &'a Config,
    /// Addresses of this host, as far as they are known, and guest networks.
    own: Vec<Net>,
    knows_host: bool,
    rules: HashMap<Judge, Rc<Vec<Rule>>>,
    changes: BTreeMap<Key, Seen>,
    report: Report,
    not_judged: BTreeMap<&'static str, u64>,
}

/// Network, policy, and the gateway if that is where it leads.
type Judge = (String, Option<String>, Option<IpAddr>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    network: String,
    guest: String,
    user: Option<String>,
    to: IpAddr,
    protocol: u8,
    port: u16,
    was: Outcome,
    would_be: Outcome,
    rule: Option<String>,
    unless_host: bool,
}

#[derive(Debug)]
struct Seen {
    count: u64,
    first: String,
    last: String,
}

/// What would have been decided otherwise. Fields are added, never renamed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Attempts that would have been decided otherwise, those with most records first.
    pub changes: Vec<Change>,
    /// Records of changes beyond those that are told apart.
    pub others: u64,
    /// Records that would have been decided as they were.
    pub same: u64,
    /// Records of attempts that cannot be judged, by why.
    pub not_judged: BTreeMap<String, u64>,
    /// Records of attempts that were never written.
    pub lost: u64,
    /// Other records.
    pub unrelated: u64,
}

/// Attempts that would have been decided otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Guest network.
    pub network: String,
    /// The container's name.
    pub guest: String,
    /// The user that it was started for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where to.
    pub to: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port; 0 for an echo request.
    pub port: u16,
    /// `allow`, `audit` or `deny`.
    pub was: &'static str,
    /// The same with the other config.
    pub would_be: &'static str,
    /// The rule that decides then: where it is written, or its preset; none: no rule opens it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// It would be denied all the same if that is an address of this host, which records do not tell.
    pub unless_host: bool,
    /// Records.
    pub count: u64,
    /// Time of the first, RFC 3339.
    pub first: String,
    /// Time of the last.
    pub last: String,
}

/// What would be decided.
struct Verdict {
    outcome: Outcome,
    rule: Option<String>,
}

/// Where a destination is, seen from the guest.
enum Where {
    /// This host at the bridge.
    Gateway,
    Neighbour,
    Beyond,
}

impl<'a> Replay<'a> {
    /// Against a config; `own`: addresses of this host, where they are known.
    #[must_use]
    pub fn new(config: &'a Config, own: Option<&[IpAddr]>) -> Self {
        let hosts = own.into_iter().flatten().copied().map(Net::host);
        let subnets = config.networks.values().flat_map(|network| {
            let four = network.subnet4.and_then(|(address, bits)| Net::new(address.into(), bits));
            let six = network.subnet6.and_then(|(address, bits)| Net::new(address.into(), bits));
            [four, six].into_iter().flatten()
        });
        Self {
            config,
            own: hosts.chain(subnets).collect(),
            knows_host: own.is_some(),
            rules: HashMap::new(),
            changes: BTreeMap::new(),
            report: Report::default(),
            not_judged: BTreeMap::new(),
        }
    }

    /// Takes in a record.
    pub fn take(&mut self, record: &Value) {
        let attempt = match told(record) {
            Told::Attempt(attempt) => attempt,
            Told::Vague => return self.unjudged("the record tells too little"),
            Told::Lost(count) => {
                self.report.lost = self.report.lost.saturating_add(count);
                return;
            }
            Told::Name(..) | Told::Other => {
                self.report.unrelated += 1;
                return;
            }
        };
        match self.judge(&attempt) {
            Err(why) => self.unjudged(why),
            Ok(verdict) if verdict.outcome.name() == attempt.outcome.name() => {
                self.report.same += 1;
            }
            Ok(verdict) => self.change(*attempt, verdict),
        }
    }

    /// What there is to tell, with the `top` most frequent changes.
    #[must_use]
    pub fn finish(self, top: usize) -> Report {
        let Self { changes, mut report, not_judged, .. } = self;
        let mut changes: Vec<Change> = changes.into_iter().map(change).collect();
        changes.sort_by_key(|change| std::cmp::Reverse(change.count));
        let left_out = changes.iter().skip(top).map(|change| change.count);
        report.others += left_out.sum::<u64>();
        changes.truncate(top);
        report.changes = changes;
        report.not_judged =
            not_judged.into_iter().map(|(why, count)| (why.to_owned(), count)).collect();
        report
    }

    fn unjudged(&mut self, why: &'static str) {
        *self.not_judged.entry(why).or_default() += 1;
    }

    fn change(&mut self, attempt: Attempt, verdict: Verdict) {
        let Attempt { network, guest, user, to, protocol, port, outcome: was, time, .. } = attempt;
        let is_opened = was.name() == "deny" && verdict.outcome.name() != "deny";
        let key = Key {
            unless_host: is_opened && !self.knows_host && !self.own.contains(&Net::host(to)),
            network,
            guest,
            user,
            to,
            protocol,
            port,
            was,
            would_be: verdict.outcome,
            rule: verdict.rule,
        };
        if self.changes.len() >= MOST && !self.changes.contains_key(&key) {
            self.report.others += 1;
            return;
        }
        let new = || Seen { count: 0, first: time.clone(), last: time.clone() };
        let seen = self.changes.entry(key).or_insert_with(new);
        seen.count += 1;
        // Times of one form and zone, of which the earlier is the lesser text.
        if time < seen.first {
            seen.first.clone_from(&time);
        }
        if time > seen.last {
            seen.last = time;
        }
    }

    fn judge(&mut self, attempt: &Attempt) -> Result<Verdict, &'static str> {
        let config = self.config;
        let network = config.networks.get(&attempt.network);
        let network = network.ok_or("the config has no such guest network")?;
        let policy = self.policy_of(network, attempt)?;
        let gateway = match place(network, attempt)? {
            Where::Neighbour => {
                let is_hub = |hub: &HubRule| {
                    matches!(hub.at, HubPlace::Container(_))
                        && (hub.protocol, hub.port) == (attempt.protocol, attempt.port)
                };
                if network.hubs.iter().any(is_hub) {
                    return Err("the destination may be a hub's container");
                }
                let rules = policy.and_then(|policy| config.policies.get(policy));
                let mut rules = rules.into_iter().flat_map(|policy| &policy.rules);
                let is_service = |rule: &PolicyRule| {
                    matches!(rule.to, Place::Services(_))
                        && rule.ports.iter().any(|of| of.has(attempt.protocol, attempt.port))
                };
                if rules.any(is_service) {
                    return Err("the destination may be a service's container");
                }
                return Ok(Verdict { outcome: Outcome::Neighbour, rule: None });
            }
            Where::Gateway => Some(attempt.to),
            Where::Beyond => None,
        };
        if attempt.to.is_ipv6() && network.subnet6.is_none() {
            return Ok(Verdict { outcome: Outcome::Deny, rule: None });
        }
        let rules = self.rules(&attempt.network, network, policy, gateway);
        let (to, protocol, port) = (Net::host(attempt.to), attempt.protocol, attempt.port);
        let name = |number: u32| {
            let index = usize::try_from(number).ok()?.checked_sub(1)?;
            rules.get(index).map(|rule| rule.name.clone())
        };
        let decision = decides(&rules, Direction::Out, &to, (protocol, port));
        if decision.is_left_to_names() && rules.iter().any(|rule| !rule.names.is_empty()) {
            return Err("a rule names DNS names, and a flow does not tell under which it began");
        }
        if let Some((rule, audited)) = decision.opened_by().map(found) {
            let outcome = if audited { Outcome::Audit } else { Outcome::Allow };
            return Ok(Verdict { outcome, rule: rule.and_then(name) });
        }
        Ok(Verdict { outcome: Outcome::Deny, rule: name(decision.denied_by()) })
    }

    /// Name of the guest's policy.
    fn policy_of<'n>(
        &self,
        network: &'n GuestNetwork,
        attempt: &Attempt,
    ) -> Result<Option<&'n str>, &'static str> {
        let is = |said: &Option<String>, wanted: &String| match said {
            Some(said) if said.starts_with(PREFIX) && said != wanted => {
                Err("an override looks for a name, and the record has a pseudonym")
            }
            said => Ok(said.as_ref() == Some(wanted)),
        };
        for one in &network.overrides {
            let includes = match &one.guests {
                Guests::User(name) => is(&attempt.user, name)?,
                Guests::Group(name) => is(&attempt.group, name)?,
                Guests::Label(label) => {
                    let is_recorded = attempt.labels.contains_key(&label.key)
                        || self.config.audit.labels.contains(&label.key);
                    if !is_recorded {
                        return Err(
                            "an override looks for a label that [audit] labels does not name",
                        );
                    }
                    label.is_among(&attempt.labels)
                }
            };
            if includes {
                return Ok(Some(&one.policy));
            }
        }
        Ok(network.policy.as_deref())
    }

    /// The rules, with the numbers that they have in the kernel.
    fn rules(
        &mut self,
        name: &str,
        network: &GuestNetwork,
        policy: Option<&str>,
        gateway: Option<IpAddr>,
    ) -> Rc<Vec<Rule>> {
        let key = (name.to_owned(), policy.map(str::to_owned), gateway);
        if let Some(rules) = self.rules.get(&key) {
            return Rc::clone(rules);
        }
        let gateways: Vec<IpAddr> = gateway.into_iter().collect();
        let hubs = network.hubs.iter().map(|hub| {
            let addresses = match &hub.at {
                HubPlace::Gateway => gateways.clone(),
                HubPlace::Address(address) => vec![*address],
                HubPlace::Container(_) => Vec::new(),
            };
            hub_rule(hub, addresses)
        });
        let mut rules: Vec<Rule> = hubs.collect();
        if let Some(policy) = policy.and_then(|policy| self.config.policies.get(policy)) {
            let hubs = rules.iter().flat_map(|rule| rule.to.iter().copied()).collect();
            let resolvers = gateways.clone();
            let services = Vec::new();
            let here = Here { gateways: &gateways, resolvers, hubs, services, own: &self.own };
            rules.extend(policy_rules(policy, &here));
        }
        let rules = Rc::new(rules);
        self.rules.insert(key, Rc::clone(&rules));
        rules
    }
}

/// Where a destination is, as far as config and record say.
fn place(network: &GuestNetwork, attempt: &Attempt) -> Result<Where, &'static str> {
    let to = Net::host(attempt.to);
    let subnet = match attempt.to {
        IpAddr::V4(_) => network.subnet4.and_then(|(address, bits)| Net::new(address.into(), bits)),
        IpAddr::V6(_) => network.subnet6.and_then(|(address, bits)| Net::new(address.into(), bits)),
    };
    let is_link_local =
        matches!(attempt.to, IpAddr::V6(address) if address.is_unicast_link_local());
    let is_private =
        || PRIVATE.iter().filter_map(|net| net.parse::<Net>().ok()).any(|n| n.covers(&to));
    match (attempt.outcome, subnet) {
        (Outcome::Neighbour, _) => Ok(Where::Neighbour),
        _ if is_link_local => Err("link-local addresses are not in the config"),
        _ if network.gateway4.is_some_and(|gateway| attempt.to == gateway) => Ok(Where::Gateway),
        // A neighbour would have been denied as one.
        (Outcome::Deny, Some(subnet)) if subnet.covers(&to) => Ok(Where::Gateway),
        (_, Some(subnet)) if subnet.covers(&to) => {
            if attempt.to.is_ipv4() && network.gateway4.is_some() {
                Ok(Where::Neighbour)
            } else {
                Err("the destination is this host at the bridge, or a hub's container")
            }
        }
        (_, None) if attempt.to.is_ipv4() && is_private() => {
            Err("the config does not name the network's subnet, and the destination may be in it")
        }
        _ => Ok(Where::Beyond),
    }
}

fn change((key, seen): (Key, Seen)) -> Change {
    let Key { network, guest, user, to, protocol, port, was, would_be, rule, unless_host } = key;
    let Seen { count, first, last } = seen;
    let (was, would_be) = (was.name(), would_be.name());
    Change {
        network,
        guest,
        user,
        to,
        protocol,
        port,
        was,
        would_be,
        rule,
        unless_host,
        count,
        first,
        last,
    }
}

#[cfg(test)]
mod tests;
