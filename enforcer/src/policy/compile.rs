//! Rules become the two tables that the packet path looks a destination up in: prefixes with classes,
//! and the ports that are open to each class. Pure.
//!
//! Destinations to which the same ports are open by the same rules are one class. Deny beats allow here,
//! once, and not at each packet: the tables hold what is open and nothing else.

mod ports;

use std::collections::{BTreeMap, HashMap};

use enforcer_common::{
    abi::policy::{POLICY_ENTRIES, PortKey, Prefix, PrefixKey, Rule as Opened},
    longest::{longest, passed},
    packet::{TCP, UDP},
};

use self::ports::Open;
use crate::policy::rule::{Net, Rule, width};

/// Most entries of either table that one policy may have: the maps hold its next version beside it.
pub const MAX_ENTRIES: usize = POLICY_ENTRIES as usize / 4;

/// A compiled policy. Keys have epoch 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Map `PREFIXES`.
    pub prefixes: BTreeMap<PrefixKey, Prefix>,
    /// Map `PORTS`.
    pub open: BTreeMap<PortKey, Opened>,
}

impl Tables {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.prefixes.len() + self.open.len()
    }

    /// Whether they open nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rule under which they open a destination: the search of the packet path.
    #[must_use]
    pub fn look_up(&self, to: &Net, (protocol, port): (u8, u16)) -> Option<u32> {
        let class = longest(width(to.family()), |length| {
            self.prefixes.get(&key(&to.first(length))).map(|prefix| prefix.class)
        })?;
        let entry = |length: u8| {
            let port = ports::first_bits(port, length);
            self.open.get(&PortKey { epoch: 0, class, port, length, protocol }).map(|rule| rule.id)
        };
        let has_ports = protocol == TCP || protocol == UDP;
        let rule = if has_ports { longest(ports::WIDTH, entry) } else { entry(0) };
        rule.filter(|id| *id != 0)
    }
}

/// A policy that is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "its rules make more than {MAX_ENTRIES} entries: put networks together, or fewer port ranges"
)]
pub struct TooLarge;

/// Compiles rules.
pub fn compile(rules: &[Rule]) -> Result<Tables, TooLarge> {
    let mut compiler = Compiler { rules, classes: HashMap::new(), tables: Tables::default() };
    compiler.prefixes()?;
    Ok(compiler.tables)
}

struct Compiler<'a> {
    rules: &'a [Rule],
    classes: HashMap<Open, u32>,
    tables: Tables,
}

/// A network on the way down to the one that is looked at.
struct Above {
    net: Net,
    /// Rules that name it or one above it, and those that except it; each list in order.
    named: Vec<usize>,
    excepted: Vec<usize>,
    class: u32,
}

impl Compiler<'_> {
    fn prefixes(&mut self) -> Result<(), TooLarge> {
        let mut nets: BTreeMap<Net, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        for (index, rule) in self.rules.iter().enumerate() {
            rule.to.iter().for_each(|net| nets.entry(*net).or_default().0.push(index));
            rule.except.iter().for_each(|net| nets.entry(*net).or_default().1.push(index));
        }
        let mut memory: HashMap<Vec<usize>, u32> = HashMap::new();
        let mut above: Vec<Above> = Vec::new();
        for (net, (named, excepted)) in nets {
            while above.last().is_some_and(|outer| !outer.net.covers(&net)) {
                above.pop();
            }
            let outer = above.last();
            let named = join(outer.map(|outer| &outer.named), named);
            let excepted = join(outer.map(|outer| &outer.excepted), excepted);
            let outer_class = outer.map_or(0, |outer| outer.class);
            let about: Vec<usize> = named
                .iter()
                .filter(|index| excepted.binary_search(index).is_err())
                .copied()
                .collect();
            let class = match memory.get(&about) {
                Some(class) => *class,
                None => self.class(&about)?,
            };
            memory.insert(about, class);
            if class != outer_class {
                self.insert(net, class, &above);
            }
            above.push(Above { net, named, excepted, class });
            if self.tables.prefixes.len() > MAX_ENTRIES {
                return Err(TooLarge);
            }
        }
        Ok(())
    }

    /// Writes a prefix, and what the search for it passes by.
    fn insert(&mut self, net: Net, class: u32, above: &[Above]) {
        for at in passed(width(net.family()), net.length()) {
            let covering = above.iter().rev().find(|outer| outer.net.length() <= at);
            let class = covering.map_or(0, |outer| outer.class);
            self.tables.prefixes.entry(key(&net.first(at))).or_insert(Prefix { class });
        }
        self.tables.prefixes.insert(key(&net), Prefix { class });
    }

    /// The class of destinations that these rules are about.
    fn class(&mut self, about: &[usize]) -> Result<u32, TooLarge> {
        let numbered = about
            .iter()
            .filter_map(|index| Some((u32::try_from(index + 1).ok()?, self.rules.get(*index)?)));
        let open = ports::open(numbered);
        if open.is_empty() {
            return Ok(0);
        }
        let next = u32::try_from(self.classes.len() + 1).map_err(|_too_many| TooLarge)?;
        let class = *self.classes.entry(open.clone()).or_insert(next);
        if class == next {
            self.tables.open.extend(ports::entries(class, &open));
            if self.tables.open.len() > MAX_ENTRIES {
                return Err(TooLarge);
            }
        }
        Ok(class)
    }
}

/// Both lists in one, in order.
fn join(outer: Option<&Vec<usize>>, own: Vec<usize>) -> Vec<usize> {
    let mut all = own;
    all.extend(outer.into_iter().flatten());
    all.sort_unstable();
    all.dedup();
    all
}

fn key(net: &Net) -> PrefixKey {
    PrefixKey {
        epoch: 0,
        family: net.family(),
        length: net.length(),
        reserved: [0; 2],
        bits: net.words(),
    }
}

#[cfg(test)]
mod tests;
