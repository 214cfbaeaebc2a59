//! Which guests do too much of something now.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    sight::{Counted, Sight},
    signal::{Limits, Signal},
    window::Window,
};

/// A signal that is raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whose: an endpoint's id.
    pub owner: u32,
    /// Which.
    pub signal: Signal,
    /// How much there is of it.
    pub measured: u64,
    /// How much there may be.
    pub more_than: u64,
}

/// The windows of all guests.
#[derive(Debug, Default)]
pub struct Detector {
    windows: BTreeMap<u32, Window>,
    /// What was counted at the last look, of everybody; `None`: nobody has looked. A window begins with it.
    last: Option<BTreeMap<u32, Counted>>,
}

impl Detector {
    /// Takes in what a guest did.
    pub fn see(&mut self, sight: &Sight, limits: &Limits) {
        let last = self.last.as_ref().and_then(|last| last.get(&sight.owner));
        let before = last.copied().unwrap_or_default();
        let begin = || Window::new(before, sight.time_ns);
        let window = self.windows.entry(sight.owner).or_insert_with(begin);
        window.see(sight.what, sight.time_ns, limits);
    }

    /// Begins anew with a guest: what it did so far counts no more.
    pub fn forget(&mut self, owner: u32) {
        self.windows.remove(&owner);
    }

    /// Judges these guests by what they did within a window; others are forgotten.
    pub fn judge(
        &mut self,
        guests: &BTreeSet<u32>,
        counted: BTreeMap<u32, Counted>,
        (limits, window): (&Limits, Duration),
        now_ns: u64,
    ) -> Vec<Finding> {
        self.windows.retain(|owner, _| guests.contains(owner));
        if self.last.is_none() {
            // What was seen before counts; what was counted before may be of last week.
            for (owner, own) in &mut self.windows {
                own.begin(counted.get(owner).copied().unwrap_or_default());
            }
        }
        let last = self.last.as_ref().unwrap_or(&counted);
        for owner in guests {
            let of = |all: &BTreeMap<u32, Counted>| all.get(owner).copied().unwrap_or_default();
            let begin = || Window::new(of(last), now_ns);
            self.windows.entry(*owner).or_insert_with(begin).look(of(&counted), now_ns, window);
        }
        self.last = Some(counted);
        let findings = self.windows.iter().flat_map(|(owner, own)| {
            limits.iter().filter_map(move |(signal, limit)| {
                let measured = own.measure(*signal, limit, window)?;
                let finding = Finding {
                    owner: *owner,
                    signal: *signal,
                    measured,
                    more_than: limit.more_than,
                };
                (measured > limit.more_than && !limit.answers.is_empty()).then_some(finding)
            })
        });
        findings.collect()
    }
}
