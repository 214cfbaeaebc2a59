//! Which ports a set of rules opens, and the entries that say so.

use std::collections::BTreeMap;

use enforcer_common::{
    abi::policy::{PortKey, Rule as Opened},
    longest::passed,
    packet::{TCP, UDP},
};

use crate::policy::rule::{Action, Ports, Rule};

/// Bits of a port.
pub(super) const WIDTH: u8 = 16;

/// Open ports by protocol, apart from one another and in order: first, last, rule.
pub(super) type Open = BTreeMap<u8, Vec<(u16, u16, u32)>>;

/// What these rules, by number and in order, open together.
pub(super) fn open<'a>(rules: impl Iterator<Item = (u32, &'a Rule)>) -> Open {
    let mut by_protocol: BTreeMap<u8, Vec<(Ports, u32, Action)>> = BTreeMap::new();
    for (id, rule) in rules {
        for ports in &rule.ports {
            by_protocol.entry(ports.protocol).or_default().push((*ports, id, rule.action));
        }
    }
    let opened = by_protocol.into_iter().map(|(protocol, rules)| (protocol, intervals(&rules)));
    opened.filter(|(_, open)| !open.is_empty()).collect()
}

/// Sweeps from each place where a range begins or has just ended to the next one.
fn intervals(rules: &[(Ports, u32, Action)]) -> Vec<(u16, u16, u32)> {
    let mut changes: BTreeMap<u32, Vec<(i32, u32, Action)>> = BTreeMap::new();
    for (ports, id, action) in rules {
        changes.entry(ports.first.into()).or_default().push((1, *id, *action));
        changes.entry(u32::from(ports.last) + 1).or_default().push((-1, *id, *action));
    }
    // Rules that are about the place, with how many of their ranges.
    let (mut allowing, mut denying) = (BTreeMap::new(), BTreeMap::new());
    let mut open = Vec::new();
    let mut begun: Option<(u32, u32)> = None;
    for (at, changed) in changes {
        for (more, id, action) in changed {
            let about = if action == Action::Allow { &mut allowing } else { &mut denying };
            *about.entry(id).or_insert(0) += more;
            about.retain(|_, ranges| *ranges > 0);
        }
        let now = allowing.first_key_value().filter(|_| denying.is_empty()).map(|(id, _)| *id);
        if let Some((since, id)) = begun.filter(|(_, id)| now != Some(*id)) {
            let range = (u16::try_from(since), u16::try_from(at - 1));
            if let (Ok(first), Ok(last)) = range {
                open.push((first, last, id));
            }
            begun = None;
        }
        begun = begun.or(now.map(|id| (at, id)));
    }
    open
}

/// The entries of a class.
pub(super) fn entries(class: u32, open: &Open) -> BTreeMap<PortKey, Opened> {
    let mut entries = BTreeMap::new();
    for (protocol, ranges) in open {
        let key =
            |port: u16, length: u8| PortKey { epoch: 0, class, port, length, protocol: *protocol };
        for (first, last, id) in ranges {
            if *protocol != TCP && *protocol != UDP {
                entries.insert(key(0, 0), Opened { id: *id });
                continue;
            }
            for (port, length) in prefixes(*first, *last) {
                for at in passed(WIDTH, length) {
                    // Ranges lie apart: none covers a part of another.
                    entries.entry(key(first_bits(port, at), at)).or_insert(Opened { id: 0 });
                }
                entries.insert(key(port, length), Opened { id: *id });
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
