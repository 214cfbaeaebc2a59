//! What a set of rules says of ports, and the entries that say so.

use std::collections::BTreeMap;

use enforcer_common::{
    abi::policy::{Decision, PortKey, Rule as Decided},
    longest::passed,
    packet::{TCP, UDP},
};

use crate::policy::rule::{Action, Ports, Rule, decision};

/// Bits of a port.
pub(super) const WIDTH: u8 = 16;

/// Ports that a rule is about, by protocol, apart from one another and in order: first, last, ABI value of
/// the decision.
pub(super) type Said = BTreeMap<u8, Vec<(u16, u16, u32)>>;

/// What these rules, by number and in order, say together.
pub(super) fn said<'a>(rules: impl Iterator<Item = (u32, &'a Rule)>) -> Said {
    let mut by_protocol: BTreeMap<u8, Vec<(Ports, u32, Action)>> = BTreeMap::new();
    for (id, rule) in rules {
        for ports in &rule.ports {
            by_protocol.entry(ports.protocol).or_default().push((*ports, id, rule.action));
        }
    }
    let said = by_protocol.into_iter().map(|(protocol, rules)| (protocol, intervals(&rules)));
    said.filter(|(_, ranges)| !ranges.is_empty()).collect()
}

/// Sweeps from each place where a range begins or has just ended to the next one.
fn intervals(rules: &[(Ports, u32, Action)]) -> Vec<(u16, u16, u32)> {
    let mut changes: BTreeMap<u32, Vec<(i32, u32, Action)>> = BTreeMap::new();
    for (ports, id, action) in rules {
        changes.entry(ports.first.into()).or_default().push((1, *id, *action));
        changes.entry(u32::from(ports.last) + 1).or_default().push((-1, *id, *action));
    }
    // Rules that are about the place, with how many of their ranges.
    let (mut allowing, mut denying, mut auditing) =
        (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let first = |about: &BTreeMap<u32, i32>| about.first_key_value().map(|(id, _)| *id);
    let mut said = Vec::new();
    let mut begun: Option<(u32, u32)> = None;
    for (at, changed) in changes {
        for (more, id, action) in changed {
            let about = match action {
                Action::Allow => &mut allowing,
                Action::Deny => &mut denying,
                Action::Audit => &mut auditing,
            };
            *about.entry(id).or_insert(0) += more;
            about.retain(|_, ranges| *ranges > 0);
        }
        let decision = decision(first(&allowing), first(&denying), !auditing.is_empty());
        let now = Some(decision.word()).filter(|_| decision != Decision::NONE);
        if let Some((since, word)) = begun.filter(|(_, word)| now != Some(*word)) {
            let range = (u16::try_from(since), u16::try_from(at - 1));
            if let (Ok(first), Ok(last)) = range {
                said.push((first, last, word));
            }
            begun = None;
        }
        begun = begun.or(now.map(|word| (at, word)));
    }
    said
}

/// The entries of a class.
pub(super) fn entries(class: u32, said: &Said) -> BTreeMap<PortKey, Decided> {
    let mut entries = BTreeMap::new();
    for (protocol, ranges) in said {
        let key =
            |port: u16, length: u8| PortKey { epoch: 0, class, port, length, protocol: *protocol };
        for (first, last, word) in ranges {
            if *protocol != TCP && *protocol != UDP {
                entries.insert(key(0, 0), Decided { decision: *word });
                continue;
            }
            for (port, length) in prefixes(*first, *last) {
                for at in passed(WIDTH, length) {
                    // Ranges lie apart: none covers a part of another.
                    entries.entry(key(first_bits(port, at), at)).or_insert(Decided { decision: 0 });
                }
                entries.insert(key(port, length), Decided { decision: *word });
            }
        }
    }
    entries
}

pub(super) fn first_bits(port: u16, length: u8) -> u16 {
    port & u16::MAX.checked_shl(u32::from(WIDTH - length)).unwrap_or(0)
}

/// The fewest prefixes that are a range together.
fn prefixes(first: u16, last: u16) -> Vec<(u16, u8)> {
    let (mut at, end) = (u32::from(first), u32::from(last) + 1);
    let mut found = Vec::new();
    while at < end {
        // The largest block that begins here and ends in time.
        let aligned = if at == 0 { 16 } else { at.trailing_zeros() };
        let fits = (end - at).ilog2();
        let size = aligned.min(fits);
        let length = u8::try_from(16 - size).unwrap_or(WIDTH);
        found.extend(u16::try_from(at).ok().map(|port| (port, length)));
        at += 1 << size;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_the_fewest_prefixes() {
        for (first, last, expected) in [
            (0, u16::MAX, vec![(0, 0)]),
            (443, 443, vec![(443, 16)]),
            (8000, 8003, vec![(8000, 14)]),
            (1, 3, vec![(1, 16), (2, 15)]),
            (65_535, 65_535, vec![(65_535, 16)]),
            (32_768, u16::MAX, vec![(32_768, 1)]),
        ] {
            assert_eq!(prefixes(first, last), expected, "{first} {last}");
        }
    }
}
