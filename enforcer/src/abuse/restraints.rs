//! Who is slowed, cut off or paused, and until when. The next daemon reads it: a restart frees nobody.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::signal::{Answer, Signal};
use crate::model::declined::Declined;

/// Least digits of a container's id that stand for it.
const LEAST_DIGITS: usize = 4;
/// The word for what no signal raised, but an admin wanted.
pub const ASKED: &str = "asked";

/// A guest that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restraint {
    /// Docker's id of its container.
    pub container: String,
    /// Its name.
    pub name: String,
    /// Its network.
    pub network: String,
    /// Endpoint by which it was judged; an id that is never used again.
    pub endpoint: u32,
    /// [`Answer::Slow`], [`Answer::Cut`] or [`Answer::Pause`].
    pub answer: Answer,
    /// What for; `None`: an admin wanted it.
    pub signal: Option<Signal>,
    /// Until when, monotonic ns; `None`: until somebody pardons it.
    pub until_ns: Option<u64>,
}

impl Restraint {
    /// What for, in a word.
    #[must_use]
    pub fn cause(&self) -> &'static str {
        self.signal.map_or(ASKED, Signal::name)
    }
}

/// All of them; one of each kind for a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restraints(Vec<Restraint>);

impl Restraints {
    /// From what a daemon wrote down. A boot begins the clock anew: none lasts for longer than `most_ns` says
    /// of its answer, from now.
    pub fn read(
        text: &str,
        now_ns: u64,
        most_ns: impl Fn(&Restraint) -> u64,
    ) -> Result<Self, serde_json::Error> {
        let mut read: Self = serde_json::from_str(text)?;
        for one in &mut read.0 {
            let most_ns = now_ns.saturating_add(most_ns(one));
            one.until_ns = one.until_ns.map(|until| until.min(most_ns));
        }
        Ok(read)
    }

    /// To be written down.
    pub fn write(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Holds a guest, and says how it is held now: one that is held in this way already until the later end, for what
    /// that end is for. So no guest makes an admin's cut one of its own, which would last for no longer than signals'.
    pub fn put(&mut self, new: Restraint) -> Restraint {
        let is_same =
            |one: &&mut Restraint| (&one.container, one.answer) == (&new.container, new.answer);
        let Some(known) = self.0.iter_mut().find(is_same) else {
            self.0.push(new.clone());
            return new;
        };
        // An admin's is the later one of two that end together, and so is one without end.
        let end = |one: &Restraint| (one.until_ns.unwrap_or(u64::MAX), one.signal.is_none());
        let (signal, until_ns) = if end(known) > end(&new) {
            (known.signal, known.until_ns)
        } else {
            (new.signal, new.until_ns)
        };
        *known = Restraint { signal, until_ns, ..new };
        known.clone()
    }

    /// Takes out those whose time is over.
    pub fn expire(&mut self, now_ns: u64) -> Vec<Restraint> {
        self.take(|one| one.until_ns.is_some_and(|until| until <= now_ns))
    }

    /// Takes out those of a container, by its name or the beginning of its id. An error is for people.
    pub fn pardon(&mut self, who: &str) -> Result<Vec<Restraint>, Declined> {
        let is_it = |one: &Restraint| {
            one.name == who || who.len() >= LEAST_DIGITS && one.container.starts_with(who)
        };
        let found: BTreeSet<&str> =
            self.0.iter().filter(|one| is_it(one)).map(|one| one.container.as_str()).collect();
        match found.len() {
            0 => {
                let names: BTreeSet<&str> = self.0.iter().map(|one| one.name.as_str()).collect();
                let names = names.into_iter().take(10).collect::<Vec<_>>().join(", ");
                let names = if names.is_empty() { "nobody" } else { &names };
                let message =
                    format!("{who} is neither slowed, cut off nor paused; held are: {names}");
                Err(Declined::unknown(message))
            }
            1 => Ok(self.take(is_it)),
            _ => {
                let found = Vec::from_iter(found).join(", ");
                Err(Declined::conflict(format!("{who} may be any of {found}")))
            }
        }
    }

    /// Takes out paused guests whose containers are gone. Of those that are slowed or cut off nobody can say that:
    /// a container that ends may come back.
    pub fn leave(&mut self, is_gone: impl Fn(&str) -> bool) -> Vec<Restraint> {
        self.take(|one| one.until_ns.is_none() && is_gone(&one.container))
    }

    /// Containers that are held in this way.
    #[must_use]
    pub fn held(&self, answer: Answer) -> BTreeSet<&str> {
        let held = self.0.iter().filter(|one| one.answer == answer);
        held.map(|one| one.container.as_str()).collect()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Restraint> {
        self.0.iter()
    }

    fn take(&mut self, is_it: impl Fn(&Restraint) -> bool) -> Vec<Restraint> {
        let (taken, left) = std::mem::take(&mut self.0).into_iter().partition(is_it);
        self.0 = left;
        taken
    }
}
