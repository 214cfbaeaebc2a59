//! Turns: how many requests of one kind a principal has on their way at a time. Of what changes what a user has it is one:
//! two that are each within the bounds would be beyond them together. Of what is kept whole, a body or an answer, it is
//! a few: so that neither memory nor the engine is one user's.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::principal::Principal;

/// How many turns there are at a time.
#[derive(Clone, Copy, Debug)]
struct Most {
    user: usize,
    hub: usize,
}

/// A hub's things have no bounds; but what one asks for at a time is bounded, too.
const CHANGES: Most = Most { user: 1, hub: 32 };
/// A body is at most 256 KiB, an answer 4 MiB.
const WHOLE: Most = Most { user: 4, hub: 32 };

/// Each event of the engine's is read for each of them.
const EVENTS: Most = Most { user: 4, hub: 32 };

/// A pull takes the line to the registry and the engine's disk for as long as it lasts.
const PULLS: Most = Most { user: 1, hub: 4 };
/// Pulls of all users at a time.
pub(super) const MOST_PULLS: usize = 4;

/// Who is on the way.
#[derive(Debug)]
pub(super) struct Turns {
    most: Most,
    taken: Mutex<BTreeMap<Principal, Arc<Semaphore>>>,
}

/// A turn, until dropped.
pub(super) type Turn = OwnedSemaphorePermit;

impl Turns {
    /// Of what changes what there is.
    pub(super) fn of_changes() -> Self {
        Self { most: CHANGES, taken: Mutex::default() }
    }

    /// Of what is kept whole.
    pub(super) fn of_whole() -> Self {
        Self { most: WHOLE, taken: Mutex::default() }
    }

    /// Of streams of events.
    pub(super) fn of_events() -> Self {
        Self { most: EVENTS, taken: Mutex::default() }
    }

    /// Of pulls.
    pub(super) fn of_pulls() -> Self {
        Self { most: PULLS, taken: Mutex::default() }
    }

    /// Waits for a turn. It ends with what this returns.
    pub(super) async fn take(&self, principal: &Principal) -> Option<Turn> {
        // Nobody closes it.
        self.turns(principal).acquire_owned().await.ok()
    }

    /// A turn, if there is one now.
    pub(super) fn try_take(&self, principal: &Principal) -> Option<Turn> {
        self.turns(principal).try_acquire_owned().ok()
    }

    fn turns(&self, principal: &Principal) -> Arc<Semaphore> {
        let mut all = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever waits, or is on the way, has a copy.
        all.retain(|_, turns| Arc::strong_count(turns) > 1);
        let most = match principal {
            Principal::Hub(_) => self.most.hub,
            Principal::User(_) => self.most.user,
        };
        let turns = all.entry(principal.clone());
        Arc::clone(turns.or_insert_with(|| Arc::new(Semaphore::new(most))))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::access::name::User;

    #[tokio::test]
    async fn s30_a_user_has_one_turn_at_a_time_and_keeps_nobody_else_from_theirs() {
        let user = |name: &str| {
            let hub = "lab".parse().expect("a hub");
            Principal::User(User { hub, name: name.parse().expect("a user") })
        };
        let turns = Turns::of_changes();
        let first = turns.take(&user("ada")).await.expect("a turn");
        let other = turns.take(&user("ben")).await.expect("a turn");
        let wait = Duration::from_millis(20);
        assert!(timeout(wait, turns.take(&user("ada"))).await.is_err());
        drop(first);
        assert!(timeout(wait, turns.take(&user("ada"))).await.is_ok_and(|turn| turn.is_some()));
        drop(other);
        let hub = Principal::Hub("lab".parse().expect("a hub"));
        let mut all = Vec::new();
        for _ in 0..CHANGES.hub {
            all.push(turns.take(&hub).await.expect("a turn"));
        }
        assert!(timeout(wait, turns.take(&hub)).await.is_err());
    }
}
