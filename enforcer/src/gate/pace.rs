//! How fast requests are served. Each is a record, and a journal of one user's alone would tell of nobody else (A1); so
//! whoever asks faster waits, and none of it is refused.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::principal::Principal;

/// Requests of one principal.
#[derive(Clone, Copy, Debug)]
struct Rate {
    /// Time for one more.
    each: Duration,
    /// So many may come at once.
    burst: u32,
}

/// What clients and their libraries ask for in an hour's work is less than the burst; a flood of longest records is 400 KB in a
/// second.
const USER: Rate = Rate { each: Duration::from_millis(10), burst: 2000 };
/// A hub asks for all its users.
const HUB: Rate = Rate { each: Duration::from_millis(1), burst: 10_000 };

impl Rate {
    /// When a request that comes now is served. `full` is when all of the burst is there again.
    fn serve(self, full: &mut Instant, now: Instant) -> Instant {
        *full = (*full).max(now) + self.each;
        full.checked_sub(self.each * self.burst).map_or(now, |turn| turn.max(now))
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    user: Rate,
    hub: Rate,
    /// Of whoever asked lately: when all of their burst is there again.
    full: Mutex<BTreeMap<Principal, Instant>>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { user: USER, hub: HUB, full: Mutex::default() }
    }
}

impl Pace {
    /// One and the same for everybody.
    #[cfg(test)]
    pub(super) fn of(each: Duration, burst: u32) -> Self {
        let rate = Rate { each, burst };
        Self { user: rate, hub: rate, full: Mutex::default() }
    }

    /// Waits until a request is to be served.
    pub(super) async fn wait(&self, principal: &Principal) {
        let now = Instant::now();
        let turn = self.turn(principal, now);
        if turn > now {
            sleep_until(turn).await;
        }
    }

    fn turn(&self, principal: &Principal, now: Instant) -> Instant {
        let mut all = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, full| *full > now);
        let full = all.entry(principal.clone()).or_insert(now);
        let rate = match principal {
            Principal::User(_) => self.user,
            Principal::Hub(_) => self.hub,
        };
        rate.serve(full, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::name::User;

    fn user(name: &str) -> Principal {
        let hub = "lab".parse().expect("a hub");
        Principal::User(User { hub, name: name.parse().expect("a user") })
    }

    /// How many of so many requests that come now are served within a time.
    fn served(pace: &Pace, who: &Principal, now: Instant, asked: u32, within: Duration) -> usize {
        (0..asked).filter(|_| pace.turn(who, now) <= now + within).count()
    }

    #[test]
    fn a1_a_user_s_flood_of_allowed_requests_is_served_at_a_pace_and_nobody_else_waits() {
        let (pace, now) = (Pace::default(), Instant::now());
        let (ada, ben) = (user("ada"), user("ben"));
        let second = Duration::from_secs(1);
        assert_eq!(served(&pace, &ada, now, 5000, second), 2100, "a burst, and a second's");
        assert_eq!(served(&pace, &ben, now, 2000, Duration::ZERO), 2000);
        let hub = Principal::Hub("lab".parse().expect("a hub"));
        assert_eq!(served(&pace, &hub, now, 20_000, second), 11_000);
        // After a rest all of it is there again; who rested is forgotten.
        let later = now + 60 * second;
        assert_eq!(served(&pace, &ada, later, 5000, Duration::ZERO), 2000);
        assert_eq!(pace.full.lock().expect("not poisoned").len(), 1);
    }

    #[test]
    fn a1_who_asks_at_the_pace_never_waits() {
        let (pace, start, ada) = (Pace::default(), Instant::now(), user("ada"));
        for number in 0..5000 {
            let now = start + USER.each * number;
            assert_eq!(pace.turn(&ada, now), now, "{number}");
        }
    }
}
