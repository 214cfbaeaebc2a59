//! What is open to single guests for a while, beyond their policies: who, where to, until when, by whom and why.
//! Pure; the next daemon reads it, so that a restart neither ends one nor makes it last longer.

use std::net::{IpAddr, Ipv6Addr};

use enforcer_common::packet::{ICMP, ICMPV6, TCP, UDP};
use serde::{Deserialize, Serialize};

use super::rule::{Action, Net, Ports, Rule};
use crate::{config::is_for_a_while, model::declined::Declined};

/// Most of them at once: each guest that has one has a policy of its own in the kernel.
pub const MOST: usize = 64;
/// How long one may last, s.
pub const LASTS: std::ops::RangeInclusive<u64> = 10..=7 * 86_400;
/// Longest reason, bytes.
const MAX_REASON: usize = 256;

/// Something that is open to one guest for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowance {
    /// Its number.
    pub id: u64,
    /// Docker's id of the container.
    pub container: String,
    /// Its name.
    pub name: String,
    /// Its network.
    pub network: String,
    /// Where to.
    pub to: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Port; 0: it has none.
    pub port: u16,
    /// Since when, s since 1970.
    pub since_s: u64,
    /// Until when, s since 1970.
    pub until_s: u64,
    /// Why.
    pub reason: String,
    /// Who wanted it.
    pub by: String,
}

impl Allowance {
    /// As a rule of a policy: never this host or a guest network (`own`), never a metadata service.
    #[must_use]
    pub fn rule(&self, own: &[Net]) -> Rule {
        let to = Net::host(self.to);
        let is_own = own.iter().any(|net| net.covers(&to));
        let to = if is_own || !is_for_a_while(self.to) { Vec::new() } else { vec![to] };
        let name = format!("allowed for a while: {}", self.id);
        Rule { action: Action::Allow, to, ports: vec![self.ports()], name, ..Rule::default() }
    }

    fn ports(&self) -> Ports {
        match self.protocol {
            TCP | UDP => Ports::one(self.protocol, self.port),
            other => Ports::echo(other),
        }
    }
}

/// Why one cannot be, whatever the guest's policy says.
pub fn refuse(
    to: IpAddr,
    protocol: u8,
    port: u16,
    for_s: u64,
    reason: &str,
) -> Result<(), Declined> {
    let conflict = |message: String| Err(Declined::conflict(message));
    let is_echo = match to {
        IpAddr::V4(_) => protocol == ICMP,
        IpAddr::V6(_) => protocol == ICMPV6,
    };
    if !is_for_a_while(to) {
        return conflict(format!(
            "{to} is no machine beyond this host that may be opened: metadata services, link-local, loopback and multicast \
             addresses stay closed"
        ));
    }
    if !matches!(protocol, TCP | UDP) && !is_echo {
        return conflict(format!("protocol {protocol} cannot be opened: TCP, UDP and echo can"));
    }
    if matches!(protocol, TCP | UDP) && port == 0 {
        return conflict("a port is 1 to 65535".to_owned());
    }
    if !LASTS.contains(&for_s) {
        return conflict(format!("{for_s} s: an allowance lasts for 10 s to 7 days"));
    }
    reasoned(reason)
}

/// Whether a reason is one line of some length.
pub fn reasoned(reason: &str) -> Result<(), Declined> {
    if reason.trim().is_empty() || reason.len() > MAX_REASON || reason.chars().any(char::is_control)
    {
        return Err(Declined::conflict(format!(
            "a reason is one line of 1 to {MAX_REASON} bytes: the record has it"
        )));
    }
    Ok(())
}

/// All of them, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowances {
    /// The number of the next one.
    next: u64,
    all: Vec<Allowance>,
}

impl Allowances {
    /// From what a daemon wrote down, also those whose time is over.
    pub fn read(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// To be written down.
    pub fn write(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Takes one in, with a number of its own, and says what it is and what it replaced: the same destination of the
    /// same container.
    pub fn put(&mut self, new: Allowance) -> Result<(Allowance, Option<Allowance>), Declined> {
        let key = |one: &Allowance| (one.container.clone(), one.to, one.protocol, one.port);
        let others = self.all.iter().filter(|one| key(one) != key(&new)).count();
        if others >= MOST {
            return Err(Declined::conflict(format!(
                "{MOST} allowances are as many as there may be: revoke one, or add a rule to the policy"
            )));
        }
        let replaced = self.take(|one| key(one) == key(&new)).pop();
        self.next += 1;
        let new = Allowance { id: self.next, ..new };
        self.all.push(new.clone());
        Ok((new, replaced))
    }

    /// Takes out those whose time is over. A clock that was set back makes none last longer than it was to.
    pub fn expire(&mut self, now_s: u64) -> Vec<Allowance> {
        for one in self.all.iter_mut().filter(|one| one.since_s > now_s) {
            let lasts = one.until_s.saturating_sub(one.since_s).min(*LASTS.end());
            (one.since_s, one.until_s) = (now_s, now_s.saturating_add(lasts));
        }
        self.take(|one| one.until_s <= now_s)
    }

    /// Takes one out.
    pub fn revoke(&mut self, id: u64) -> Result<Allowance, Declined> {
        let found = self.take(|one| one.id == id).pop();
        found.ok_or_else(|| {
            Declined::unknown(format!(
                "there is no allowance {id}; `enforcer allow list` shows all"
            ))
        })
    }

    /// Those of a container.
    pub fn of<'a>(&'a self, container: &'a str) -> impl Iterator<Item = &'a Allowance> {
        self.all.iter().filter(move |one| one.container == container)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Allowance> {
        self.all.iter()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn take(&mut self, is_it: impl Fn(&Allowance) -> bool) -> Vec<Allowance> {
        let (taken, left) = std::mem::take(&mut self.all).into_iter().partition(is_it);
        self.all = left;
        taken
    }
}

/// IPv4 in disguise counts as what it carries.
#[must_use]
pub fn plain(to: IpAddr) -> IpAddr {
    match to {
        IpAddr::V6(address) => {
            let mapped: Option<std::net::Ipv4Addr> = Ipv6Addr::to_ipv4_mapped(&address);
            mapped.map_or(to, IpAddr::V4)
        }
        IpAddr::V4(_) => to,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowance(container: &str, port: u16, until_s: u64) -> Allowance {
        Allowance {
            id: 0,
            container: container.to_owned(),
            name: container.to_owned(),
            network: "a".to_owned(),
            to: [192, 0, 2, 9].into(),
            protocol: TCP,
            port,
            since_s: 1000,
            until_s,
            reason: "a lesson".to_owned(),
            by: "root".to_owned(),
        }
    }

    #[test]
    fn n1_only_a_machine_beyond_this_host_can_be_opened_for_a_while() {
        let refused = |to: &str| refuse(to.parse().expect(to), TCP, 443, 60, "why").is_err();
        for closed in [
            "169.254.169.254",
            "169.254.1.1",
            "fd00:ec2::254",
            "168.63.129.16",
            "100.100.100.200",
            "127.0.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(refused(closed), "{closed}");
        }
        for open in ["192.0.2.9", "10.1.2.3", "2001:db8::9", "fd12::1"] {
            assert!(!refused(open), "{open}");
        }
        let to: IpAddr = [192, 0, 2, 9].into();
        for (protocol, port, for_s, reason) in [
            (TCP, 0, 60, "why"),
            (47, 0, 60, "why"),
            (ICMPV6, 0, 60, "why"),
            (TCP, 1, 9, "why"),
            (TCP, 1, 604_801, "why"),
            (TCP, 1, 60, " "),
            (TCP, 1, 60, "two\nlines"),
        ] {
            assert!(
                refuse(to, protocol, port, for_s, reason).is_err(),
                "{protocol} {port} {for_s} {reason}"
            );
        }
        assert!(refuse(to, ICMP, 0, 60, "why").is_ok());
    }

    #[test]
    fn n1_what_became_this_host_s_own_opens_nothing() {
        let one = allowance("ann", 443, 2000);
        assert_eq!(one.rule(&[]).to, [Net::host(one.to)]);
        assert_eq!(one.rule(&["192.0.2.0/24".parse().expect("a network")]).to, []);
        let spoilt = Allowance { to: [169, 254, 169, 254].into(), ..one };
        assert_eq!(spoilt.rule(&[]).to, [], "whatever the file says");
    }

    #[test]
    fn n7_allowances_outlive_a_restart_with_their_numbers_and_end_in_time() {
        let mut all = Allowances::default();
        assert_eq!(all.put(allowance("ann", 443, 2000)).expect("room").0.id, 1);
        let (second, replaced) = all.put(allowance("ann", 443, 3000)).expect("room");
        assert_eq!((second.id, replaced.map(|one| one.id)), (2, Some(1)), "it replaces the first");
        assert_eq!(all.put(allowance("ben", 443, 1500)).expect("room").0.id, 3);
        let text = all.write().expect("written");
        let mut read = Allowances::read(&text).expect("read");
        assert_eq!(read, all);
        assert_eq!(read.expire(1500).len(), 1, "that of ben");
        assert_eq!(read.of("ann").count(), 1);
        assert!(read.revoke(3).is_err());
        assert_eq!(read.revoke(2).expect("there").until_s, 3000);
        assert_eq!(
            read.put(allowance("ann", 1, 2000)).expect("room").0.id,
            4,
            "no number comes again"
        );
        // The clock was set back, twice: neither it nor the looks in between change how long they last.
        let mut set_back = Allowances::read(&text).expect("read");
        for now_s in [400, 300, 301, 302] {
            assert_eq!(set_back.expire(now_s), []);
        }
        let ends: Vec<u64> = set_back.iter().map(|one| one.until_s).collect();
        assert_eq!(ends, [2300, 800]);
        assert!(Allowances::read("{\"next\":1,\"all\":[{}]}").is_err());
    }

    #[test]
    fn no_more_are_taken_than_there_is_room_for() {
        let mut all = Allowances::default();
        for port in 1..=64 {
            all.put(allowance("ann", port, 2000)).expect("room");
        }
        assert!(all.put(allowance("ann", 65, 2000)).is_err());
        assert!(all.put(allowance("ann", 64, 2500)).is_ok(), "one that is there is prolonged");
    }
}
