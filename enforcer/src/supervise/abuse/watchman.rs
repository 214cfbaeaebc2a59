//! Stands at the ring, and at the look at the counters, and tells who judges. Never waits.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use enforcer_common::abi::counter::{Counter, CounterKey};
use tokio::sync::{mpsc, watch};

use crate::{
    abuse::{Counted, Sight, counted, sight},
    audit::decode::Decoded,
};

/// Sights that wait; beyond, they are counted as missed.
const SIGHTS: usize = 8192;

/// What was counted of each endpoint; `None`: nobody has counted yet.
type AllCounted = Option<BTreeMap<u32, Counted>>;

/// Who stands at the ring and tells. Never waits.
pub(in super::super) struct Watchman {
    sights: mpsc::Sender<Sight>,
    missed: Arc<AtomicU64>,
    counted: watch::Sender<AllCounted>,
}

/// What the watchman tells.
pub(in super::super) struct Told {
    pub(super) sights: mpsc::Receiver<Sight>,
    pub(super) counted: watch::Receiver<AllCounted>,
    /// Sights for which there was no room.
    pub(in super::super) missed: Arc<AtomicU64>,
}

impl Watchman {
    pub(in super::super) fn new() -> (Self, Told) {
        let (sights, told) = mpsc::channel(SIGHTS);
        let (counted, all) = watch::channel(None);
        let missed = Arc::<AtomicU64>::default();
        let told = Told { sights: told, counted: all, missed: Arc::clone(&missed) };
        (Self { sights, missed, counted }, told)
    }

    /// An event, from the ring's thread.
    pub(in super::super) fn see(&self, decoded: &Decoded) {
        if let Some(sight) = sight(decoded)
            && self.sights.try_send(sight).is_err()
        {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The kernel's counters, as they are now.
    pub(in super::super) fn count(&self, counters: &[(CounterKey, Counter)]) {
        self.counted.send_replace(Some(counted(counters)));
    }
}

#[cfg(test)]
mod tests {
    use enforcer_common::{
        abi::event::{Event, Hook},
        packet::IPV4,
    };

    use super::*;
    use crate::audit::decode::Judged;

    #[test]
    fn abuse_a_watchman_without_room_counts_and_does_not_wait() {
        let (watchman, told) = Watchman::new();
        let event = Event { owner: 7, family: IPV4, ..Event::default() };
        let hook = Hook::FromGuest;
        let decoded = Decoded::Judged(Judged { hook, reason: None, event });
        for _ in 0..SIGHTS + 3 {
            watchman.see(&decoded);
        }
        assert_eq!(told.missed.load(Ordering::Relaxed), 3);
    }
}
