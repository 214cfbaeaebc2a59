//! Turns: of what changes what a principal has, one request is on its way at a time. Otherwise two requests that are each
//! within the bounds would be beyond them together.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::principal::Principal;

/// Hubs have no such bounds; but what one asks for at a time is bounded, too.
const OF_A_HUB: usize = 32;

/// Who is on the way.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<BTreeMap<Principal, Arc<Semaphore>>>);

impl Turns {
    /// Waits for a turn. It ends with what this returns.
    pub(super) async fn take(&self, principal: &Principal) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever waits, or is on the way, has a copy.
            all.retain(|_, turns| Arc::strong_count(turns) > 1);
            let most = match principal {
                Principal::Hub(_) => OF_A_HUB,
                Principal::User(_) => 1,
            };
            let turns = all.entry(principal.clone());
            Arc::clone(turns.or_insert_with(|| Arc::new(Semaphore::new(most))))
        };
        // Nobody closes it.
        turns.acquire_owned().await.ok()
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
        let turns = Turns::default();
        let first = turns.take(&user("ada")).await.expect("a turn");
        let other = turns.take(&user("ben")).await.expect("a turn");
        let wait = Duration::from_millis(20);
        assert!(timeout(wait, turns.take(&user("ada"))).await.is_err());
        drop(first);
        assert!(timeout(wait, turns.take(&user("ada"))).await.is_ok_and(|turn| turn.is_some()));
        drop(other);
        let hub = Principal::Hub("lab".parse().expect("a hub"));
        let mut all = Vec::new();
        for _ in 0..OF_A_HUB {
            all.push(turns.take(&hub).await.expect("a turn"));
        }
        assert!(timeout(wait, turns.take(&hub)).await.is_err());
    }
}
