//! Flows that user space hands to the program `import_flows`: those of another table, or of conntrack.

use super::{
    flow::{FlowKey, FlowRecord},
    pod,
};

/// One flow to import. A frame for the program is [`IMPORT_OFFSET`] zero bytes and then up to
/// [`IMPORT_BATCH`] of these.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Import {
    /// The flow.
    pub key: FlowKey,
    /// ifindex of the endpoint: key of map `ENDPOINTS`.
    pub ifindex: u32,
    /// What is known of it. Where the table knows the same flow already, the counters are added.
    pub record: FlowRecord,
}

/// Where the first [`Import`] of a frame starts: an Ethernet header that nothing reads.
pub const IMPORT_OFFSET: usize = 14;
/// Most entries of one frame: as many as four bits count.
pub const IMPORT_BATCH: usize = 15;

/// What became of one [`Import`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It is in the table now.
    Taken = 0,
    /// The table knew it; what it did not know yet was added.
    Merged = 1,
    /// The table has a newer flow under this key, which stays.
    Newer = 2,
    /// The flow is over.
    Over = 3,
    /// Its endpoint does not exist (any more), or has no policy.
    NoEndpoint = 4,
    /// The endpoint has as many flows as it may.
    Quota = 5,
    /// The flow table or the reaper's queue is full.
    Full = 6,
}

impl Outcome {
    /// Every outcome, in order of value.
    pub const ALL: [Self; 7] = [
        Self::Taken,
        Self::Merged,
        Self::Newer,
        Self::Over,
        Self::NoEndpoint,
        Self::Quota,
        Self::Full,
    ];

    const fn shift(self) -> u32 {
        4 * self as u32
    }
}

/// What became of the entries of one frame: four bits for each [`Outcome`]. The program returns it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes(u32);

impl Outcomes {
    /// From what the program returned.
    #[must_use]
    pub const fn from_word(word: u32) -> Self {
        Self(word)
    }

    /// What the program returns.
    #[must_use]
    #[inline(always)]
    pub const fn word(self) -> u32 {
        self.0
    }

    /// Counts one more entry.
    #[inline(always)]
    pub const fn add(&mut self, outcome: Outcome) {
        self.0 = self.0.wrapping_add(1 << outcome.shift());
    }

    /// How many entries ended so.
    #[must_use]
    pub const fn count(self, outcome: Outcome) -> u32 {
        self.0 >> outcome.shift() & 0xf
    }
}

const _: () = assert!(size_of::<Import>() == size_of::<FlowKey>() + 4 + size_of::<FlowRecord>());
const _: () = assert!(IMPORT_BATCH <= 0xf && Outcome::ALL.len() <= 8);
pod!(Import);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_apart() {
        let mut counts = Outcomes::default();
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            for _ in 0..IMPORT_BATCH - index {
                counts.add(outcome);
            }
        }
        let back = Outcomes::from_word(counts.word());
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(usize::try_from(back.count(outcome)), Ok(IMPORT_BATCH - index));
        }
    }
}
