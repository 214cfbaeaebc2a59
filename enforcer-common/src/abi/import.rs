//! What user space hands to the programs `import_flows` and `import_counters`: flows of another table or
//! of conntrack, counts of another table.

use super::{
    counter::{Counter, CounterKey},
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

/// Counts to add: an element of the frames for the program `import_counters`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportCounter {
    /// The counter.
    pub key: CounterKey,
    /// What is added. Times and tokens are not.
    pub counter: Counter,
}

/// Where the first element of a frame starts: an Ethernet header that nothing reads.
pub const IMPORT_OFFSET: usize = 14;
/// Most elements of one frame: as many outcomes as one return code tells.
pub const IMPORT_BATCH: usize = 10;

/// What became of one [`Import`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It is in the table now.
    Taken = 1,
    /// The table knew it; what it did not know yet was added.
    Merged = 2,
    /// The table has a newer flow under this key, which stays.
    Newer = 3,
    /// The flow is over.
    Over = 4,
    /// Its endpoint does not exist (any more), or has no policy.
    NoEndpoint = 5,
    /// The endpoint has as many flows as it may.
    Quota = 6,
    /// The flow table or the reaper's queue is full.
    Full = 7,
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
}

const OUTCOME_BITS: usize = 3;

/// What became of each element of a frame, in its order: the return code of the program.
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

    /// Notes what became of an element.
    #[inline(always)]
    pub const fn set(&mut self, index: u32, outcome: Outcome) {
        self.0 |= (outcome as u32) << (OUTCOME_BITS as u32 * index & 31);
    }

    /// What became of an element; `None`: the program did not come to it.
    #[must_use]
    pub fn get(self, index: usize) -> Option<Outcome> {
        let value =
            u32::try_from(OUTCOME_BITS * index).ok().and_then(|by| self.0.checked_shr(by))? & 7;
        Outcome::ALL.into_iter().find(|outcome| *outcome as u32 == value)
    }
}

const _: () = assert!(size_of::<Import>() == size_of::<FlowKey>() + 4 + size_of::<FlowRecord>());
const _: () = assert!(IMPORT_BATCH * OUTCOME_BITS <= 32);
const _: () = assert!(size_of::<ImportCounter>() == 72);
pod!(Import, ImportCounter);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_is_told_in_its_place() {
        let told: Vec<Outcome> = Outcome::ALL.into_iter().cycle().take(IMPORT_BATCH).collect();
        let mut outcomes = Outcomes::default();
        for (index, outcome) in (0..).zip(&told) {
            outcomes.set(index, *outcome);
        }
        let back = Outcomes::from_word(outcomes.word());
        for (index, outcome) in told.iter().enumerate() {
            assert_eq!(back.get(index), Some(*outcome));
        }
        assert_eq!((back.get(IMPORT_BATCH), back.get(usize::MAX / 4)), (None, None));
    }
}
