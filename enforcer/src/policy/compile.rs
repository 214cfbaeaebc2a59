//! Rules become the two tables that the packet path looks an address up in: prefixes with classes, and
//! what is said of the ports of each class. Pure.
//!
//! Addresses of which the same rules say the same are one class, and each name is one. Deny beats allow
//! here, once, and not at each packet.

mod ports;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use enforcer_common::{
    abi::policy::{
        Decision, Direction, LIMITS_SOURCES, OPENS_NAMES, POLICY_ENTRIES, PortKey, Prefix,
        PrefixKey, Rule as Decided,
    },
    longest::{longest, passed},
    packet::{TCP, UDP},
};

use self::ports::Said;
use crate::{
    model::names::Pattern,
    policy::rule::{Net, Rule, width},
};

/// Most entries of either table that one policy may have: the maps hold its next version beside it.
pub const MAX_ENTRIES: usize = POLICY_ENTRIES as usize / 4;

/// A compiled policy. Keys have epoch 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Map `PREFIXES`.
    pub prefixes: BTreeMap<PrefixKey, Prefix>,
    /// Map `PORTS`.
    pub ports: BTreeMap<PortKey, Decided>,
}

impl Tables {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.prefixes.len() + self.ports.len()
    }

    /// Whether they say nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What they say of an address at the other end: the search of the packet path.
    #[must_use]
    pub fn look_up(&self, direction: Direction, other: &Net, port: (u8, u16)) -> Decision {
        let class = longest(width(other.family()), |length| {
            self.prefixes.get(&key(direction, &other.first(length))).map(|prefix| prefix.class)
        });
        class.map_or(Decision::NONE, |class| self.of_class(class, port))
    }

    /// What they say of addresses that are leased under the name of this class.
    #[must_use]
    pub fn look_up_name(&self, class: u32, port: (u8, u16)) -> Decision {
        self.of_class(class, port)
    }

    fn of_class(&self, class: u32, (protocol, port): (u8, u16)) -> Decision {
        let entry = |length: u8| {
            let port = ports::first_bits(port, length);
            let key = PortKey { epoch: 0, class, port, length, protocol };
            self.ports.get(&key).map(|rule| rule.decision)
        };
        let has_ports = protocol == TCP || protocol == UDP;
        let word = if has_ports { longest(ports::WIDTH, entry) } else { entry(0) };
        Decision::from_word(word.unwrap_or(0))
    }
}

/// [`enforcer_common::abi::policy::Policy::traits`] of a policy with these rules.
#[must_use]
pub fn traits(rules: &[Rule]) -> u32 {
    let names = rules.iter().any(|rule| !rule.names.is_empty());
    let sources = rules.iter().any(|rule| rule.direction == Direction::In);
    let bit = |is: bool, bit: u32| if is { bit } else { 0 };
    bit(names, OPENS_NAMES) | bit(sources, LIMITS_SOURCES)
}

/// Why rules cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// There is no room for so many entries.
    #[error(
        "its rules make more than {MAX_ENTRIES} entries: put networks together, or fewer port ranges"
    )]
    TooLarge,
    /// The kernel knows names by a number.
    #[error(
        "the kernel cannot tell the names {0} and {1} apart; use a name with * for one of them"
    )]
    SameClass(Pattern, Pattern),
}

/// Compiles rules.
pub fn compile(rules: &[Rule]) -> Result<Tables, CompileError> {
    let mut compiler = Compiler { rules, classes: HashMap::new(), tables: Tables::default() };
    compiler.prefixes(Direction::Out)?;
    compiler.prefixes(Direction::In)?;
    compiler.names()?;
    Ok(compiler.tables)
}

struct Compiler<'a> {
    rules: &'a [Rule],
    classes: HashMap<Said, u32>,
    tables: Tables,
}

/// A network on the way down to the one that is looked at.
struct Above {
    net: Net,
    /// Rules that name it or one above it, and lists of exceptions that have it or one above it; in order.
    named: Vec<usize>,
    excepted: Vec<usize>,
    class: u32,
}

impl Compiler<'_> {
    fn prefixes(&mut self, direction: Direction) -> Result<(), CompileError> {
        let mut nets: BTreeMap<Net, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        // A list is looked at once, however many rules have it.
        let mut lists: HashMap<*const [Net], usize> = HashMap::new();
        let mut list_of = vec![0; self.rules.len()];
        let numbered = self.rules.iter().zip(&mut list_of).enumerate();
        for (index, (rule, list)) in numbered.filter(|(_, (rule, _))| rule.direction == direction) {
            rule.to.iter().for_each(|net| nets.entry(*net).or_default().0.push(index));
            let next = lists.len();
            *list = *lists.entry(Arc::as_ptr(&rule.except)).or_insert(next);
            if *list == next {
                rule.except.iter().for_each(|net| nets.entry(*net).or_default().1.push(next));
            }
        }
        let is_excepted = |index: &usize, excepted: &[usize]| {
            list_of.get(*index).is_some_and(|list| excepted.binary_search(list).is_ok())
        };
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
            let about: Vec<usize> =
                named.iter().filter(|index| !is_excepted(index, &excepted)).copied().collect();
            let class = match memory.get(&about) {
                Some(class) => *class,
                None => self.class(&about)?,
            };
            memory.insert(about, class);
            if class != outer_class {
                self.insert(direction, net, class, &above);
            }
            above.push(Above { net, named, excepted, class });
            if self.tables.prefixes.len() > MAX_ENTRIES {
                return Err(CompileError::TooLarge);
            }
        }
        Ok(())
    }

    /// Each name is a class of its own, whatever else is.
    fn names(&mut self) -> Result<(), CompileError> {
        let mut known: BTreeMap<u32, (&Pattern, bool)> = BTreeMap::new();
        let named = self.rules.iter().flat_map(|rule| {
            rule.names.iter().map(|name| (name, rule.private)).collect::<Vec<_>>()
        });
        for (name, private) in named {
            let class = name.class(private);
            match known.insert(class, (name, private)) {
                Some(other) if other == (name, private) => continue,
                Some((other, _)) => {
                    return Err(CompileError::SameClass(other.clone(), name.clone()));
                }
                None => {}
            }
            let is = |rule: &(u32, &Rule)| rule.1.private == private && rule.1.names.contains(name);
            let said = ports::said((1..).zip(self.rules).filter(is));
            self.write(class, &said)?;
        }
        Ok(())
    }

    fn write(&mut self, class: u32, said: &Said) -> Result<(), CompileError> {
        self.tables.ports.extend(ports::entries(class, said));
        let fits = self.tables.ports.len() <= MAX_ENTRIES;
        if fits { Ok(()) } else { Err(CompileError::TooLarge) }
    }

    /// Writes a prefix, and what the search for it passes by.
    fn insert(&mut self, direction: Direction, net: Net, class: u32, above: &[Above]) {
        for at in passed(width(net.family()), net.length()) {
            let covering = above.iter().rev().find(|outer| outer.net.length() <= at);
            let class = covering.map_or(0, |outer| outer.class);
            self.tables.prefixes.entry(key(direction, &net.first(at))).or_insert(Prefix { class });
        }
        self.tables.prefixes.insert(key(direction, &net), Prefix { class });
    }

    /// The class of addresses that these rules are about.
    fn class(&mut self, about: &[usize]) -> Result<u32, CompileError> {
        let numbered = about
            .iter()
            .filter_map(|index| Some((u32::try_from(index + 1).ok()?, self.rules.get(*index)?)));
        let said = ports::said(numbered);
        if said.is_empty() {
            return Ok(0);
        }
        let next = u32::try_from(self.classes.len() + 1);
        let next = next.map_err(|_too_many| CompileError::TooLarge)?;
        let class = *self.classes.entry(said.clone()).or_insert(next);
        if class == next {
            self.write(class, &said)?;
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

fn key(direction: Direction, net: &Net) -> PrefixKey {
    PrefixKey {
        epoch: 0,
        family: net.family(),
        length: net.length(),
        direction: direction as u8,
        reserved: 0,
        bits: net.words(),
    }
}

#[cfg(test)]
mod tests;
