//! What guests did as a policy for a person to review: one rule for each destination that several guests had.
//! Pure. Of bounded size: what there is no room for is counted.

mod text;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use serde::Serialize;
use serde_json::Value;

use crate::{
    audit::attempt::{Attempt, Outcome, Told, told},
    config::{Reach, is_public, reach},
    policy::rule::Net,
};

/// Destinations of all guests together that are told apart.
const MOST: usize = 1 << 20;
/// Addresses whose names are kept.
const MOST_NAMES: usize = 1 << 16;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Name of the policy.
    pub policy: &'a str,
    /// Only guests of this image.
    pub image: Option<&'a str>,
    /// Only guests on this network.
    pub network: Option<&'a str>,
    /// A destination that fewer guests had is left out.
    pub min_guests: usize,
    /// A guest with more destinations is left out: it scans.
    pub scan: usize,
    /// Whether addresses of one /24 (IPv6: /64) with the same ports become one network.
    pub merge: bool,
}

/// What was learnt. Fields are added, never renamed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Learnt {
    /// For the config file, once somebody has read it.
    pub toml: String,
    /// Rules, and what is left out for people to decide.
    pub rules: Vec<LearntRule>,
    /// Guests that are in it.
    pub guests: usize,
    /// Their images.
    pub images: BTreeSet<String>,
    /// Guests that are left out for their many destinations.
    pub scans: Vec<String>,
    /// Records of attempts.
    pub attempts: u64,
    /// Attempts towards this host at the bridge, hubs or other guests: no rule by address opens those.
    pub neighbours: u64,
    /// Attempts beyond those that are told apart.
    pub others: u64,
    /// Records of attempts that were never written.
    pub lost: u64,
}

/// A destination, as a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LearntRule {
    /// An address or a network.
    pub to: String,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: &'static str,
    /// Ranges of ports.
    pub ports: Vec<(u16, u16)>,
    /// Guests that had it.
    pub guests: usize,
    /// Attempts.
    pub attempts: u64,
    /// Of these, which no rule opened.
    pub unopened: u64,
    /// Time of the first, RFC 3339.
    pub first: String,
    /// Time of the last.
    pub last: String,
    /// Names for which guests were told these addresses.
    pub names: BTreeSet<String>,
    /// Addresses that became this network; 1: it is one address.
    pub addresses: usize,
    /// Why it is left out; `None`: it is in the policy.
    pub left_out: Option<String>,
}

/// Records that are being learnt from.
#[derive(Debug)]
pub struct Learning<'a> {
    wish: Wish<'a>,
    guests: HashMap<String, Guest>,
    entries: usize,
    names: HashMap<IpAddr, BTreeSet<String>>,
    learnt: Learnt,
}

#[derive(Debug)]
struct Guest {
    name: String,
    scans: bool,
    had: BTreeMap<Destination, Seen>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Destination {
    to: IpAddr,
    protocol: u8,
    port: u16,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    guests: BTreeSet<String>,
    attempts: u64,
    unopened: u64,
    first: String,
    last: String,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.guests.extend(other.guests.iter().cloned());
        self.attempts += other.attempts;
        self.unopened += other.unopened;
        // Times of one form and zone, of which the earlier is the lesser text.
        if self.first.is_empty() || other.first < self.first {
            self.first.clone_from(&other.first);
        }
        if other.last > self.last {
            self.last.clone_from(&other.last);
        }
    }
}

impl<'a> Learning<'a> {
    /// Nothing so far.
    #[must_use]
    pub fn new(wish: Wish<'a>) -> Self {
        let (guests, names) = (HashMap::new(), HashMap::new());
        Self { wish, guests, entries: 0, names, learnt: Learnt::default() }
    }

    /// Takes in a record.
    pub fn take(&mut self, record: &Value) {
        match told(record) {
            Told::Attempt(attempt) => self.attempt(*attempt),
            Told::Name(name, addresses) => {
                for address in addresses {
                    if self.names.len() < MOST_NAMES || self.names.contains_key(&address) {
                        self.names.entry(address).or_default().insert(name.clone());
                    }
                }
            }
            Told::Lost(count) => self.learnt.lost = self.learnt.lost.saturating_add(count),
            Told::Vague => self.learnt.others += 1,
            Told::Other => {}
        }
    }

    fn attempt(&mut self, attempt: Attempt) {
        let Attempt { guest, id, image, network, to, protocol, port, outcome, time, .. } = attempt;
        let is_wanted = self.wish.image.is_none_or(|wanted| image.as_deref() == Some(wanted))
            && self.wish.network.is_none_or(|wanted| network == wanted);
        if !is_wanted {
            return;
        }
        self.learnt.attempts += 1;
        self.learnt.images.extend(image);
        if outcome == Outcome::Neighbour {
            self.learnt.neighbours += 1;
            return;
        }
        let new = || Guest { name: guest, scans: false, had: BTreeMap::new() };
        let guest = self.guests.entry(id.clone()).or_insert_with(new);
        let destination = Destination { to, protocol, port };
        let is_new = !guest.had.contains_key(&destination);
        if guest.scans || is_new && self.entries >= MOST {
            self.learnt.others += u64::from(!guest.scans);
            return;
        }
        self.entries += usize::from(is_new);
        let seen = Seen {
            guests: BTreeSet::from([id]),
            attempts: 1,
            unopened: u64::from(outcome != Outcome::Allow),
            first: time.clone(),
            last: time,
        };
        guest.had.entry(destination).or_default().add(&seen);
        if guest.had.len() > self.wish.scan {
            self.entries -= guest.had.len();
            guest.scans = true;
            guest.had = BTreeMap::new();
        }
    }

    /// The policy.
    #[must_use]
    pub fn finish(self) -> Learnt {
        let Self { wish, guests, names, mut learnt, .. } = self;
        let mut all: BTreeMap<Destination, Seen> = BTreeMap::new();
        for guest in guests.into_values() {
            if guest.scans {
                learnt.scans.push(guest.name);
                continue;
            }
            learnt.guests += 1;
            for (destination, seen) in &guest.had {
                all.entry(*destination).or_default().add(seen);
            }
        }
        learnt.scans.sort();
        let by_address = together(&wish, all, &names);
        learnt.rules = if wish.merge { merged(by_address) } else { plain(by_address) };
        learnt.rules.sort_by(|one, other| {
            let rank = |rule: &LearntRule| (rule.left_out.is_none(), rule.guests, rule.attempts);
            rank(other).cmp(&rank(one)).then_with(|| one.to.cmp(&other.to))
        });
        learnt.toml = text::write(&wish, &learnt);
        learnt
    }
}

/// Ports of one address, protocol and fate, together.
struct Group {
    to: Net,
    protocol: u8,
    ports: Vec<(u16, u16)>,
    seen: Seen,
    names: BTreeSet<String>,
    left_out: Option<String>,
}

fn together(
    wish: &Wish<'_>,
    all: BTreeMap<Destination, Seen>,
    names: &HashMap<IpAddr, BTreeSet<String>>,
) -> Vec<Group> {
    let mut groups: BTreeMap<(IpAddr, u8, bool), (Vec<u16>, Seen)> = BTreeMap::new();
    for (Destination { to, protocol, port }, seen) in all {
        let is_rare = seen.guests.len() < wish.min_guests;
        let (ports, sum) = groups.entry((to, protocol, is_rare)).or_default();
        ports.push(port);
        sum.add(&seen);
    }
    let group =
        |((to, protocol, is_rare), (ports, seen)): ((IpAddr, u8, bool), (Vec<u16>, Seen))| {
            let left_out = match reach(to) {
                Reach::Metadata => Some(
                    "a cloud's metadata service: it hands out this machine's own credentials"
                        .to_owned(),
                ),
                Reach::Private => Some("not an address of the public internet".to_owned()),
                Reach::Public if is_rare => {
                    Some(format!("seen from fewer than {} guests", wish.min_guests))
                }
                Reach::Public => None,
            };
            let names = names.get(&to).cloned().unwrap_or_default();
            Group { to: Net::host(to), protocol, ports: ranges(&ports), seen, names, left_out }
        };
    groups.into_iter().map(group).collect()
}

fn plain(groups: Vec<Group>) -> Vec<LearntRule> {
    groups.into_iter().map(|group| rule(group, 1)).collect()
}

/// What the addresses of a network have in common: itself, protocol, ports.
type Alike = (Net, u8, Vec<(u16, u16)>);

/// Addresses of one /24, or /64, with the same ports. A network with a private corner is none.
fn merged(groups: Vec<Group>) -> Vec<LearntRule> {
    let (kept, left_out): (Vec<Group>, Vec<Group>) =
        groups.into_iter().partition(|group| group.left_out.is_none());
    let mut by_net: BTreeMap<Alike, Vec<Group>> = BTreeMap::new();
    for group in kept {
        let length = if group.to.address().is_ipv4() { 24 } else { 64 };
        let net = group.to.first(length);
        let net = if is_public(&net) { net } else { group.to };
        by_net.entry((net, group.protocol, group.ports.clone())).or_default().push(group);
    }
    let one = |((net, protocol, ports), groups): (Alike, Vec<Group>)| {
        let count = groups.len();
        let to = groups.first().filter(|_| count == 1).map_or(net, |only| only.to);
        let (mut seen, mut names) = (Seen::default(), BTreeSet::new());
        for group in groups {
            seen.add(&group.seen);
            names.extend(group.names);
        }
        rule(Group { to, protocol, ports, seen, names, left_out: None }, count)
    };
    by_net.into_iter().map(one).chain(left_out.into_iter().map(|group| rule(group, 1))).collect()
}

fn rule(group: Group, addresses: usize) -> LearntRule {
    let Group { to, protocol, ports, seen, names, left_out } = group;
    LearntRule {
        to: to.to_string(),
        protocol: text::protocol(protocol),
        ports: if text::has_ports(protocol) { ports } else { Vec::new() },
        guests: seen.guests.len(),
        attempts: seen.attempts,
        unopened: seen.unopened,
        first: seen.first,
        last: seen.last,
        names,
        addresses,
        left_out,
    }
}

/// Ports in order as the fewest ranges.
fn ranges(ports: &[u16]) -> Vec<(u16, u16)> {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for port in ports {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*port) => *last = *port,
            _ => ranges.push((*port, *port)),
        }
    }
    ranges
}
