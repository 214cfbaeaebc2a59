//! Whether wall time can be trusted with what cannot be undone. A clock that somebody sets a day ahead
//! makes everything a day older, and one day's records too old to be kept: so nothing is deleted by
//! age before the clock has run evenly for a while. Pure.

use std::time::{Duration, SystemTime};

/// How long it has to run evenly: so long somebody has to see that a clock is wrong.
const EVENLY: Duration = Duration::from_hours(1);
/// What wall time may gain or lose on the steady clock without having been set.
const TOLERANCE: Duration = Duration::from_mins(1);

/// Compares wall time with the clock that nobody sets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Steady {
    /// Both, at the first look since the clock was set.
    since: Option<(SystemTime, Duration)>,
}

/// What a look at both clocks says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The clock has run evenly for long enough: it says how old something is.
    Even,
    /// It has run evenly for as long as it was looked at, which is not long.
    Young,
    /// It was set since the last look, by so much and forward, or else back.
    Set(Duration, bool),
}

impl Steady {
    /// Looks at both clocks; `boot` is the time since the machine was started, sleep included.
    pub fn look(&mut self, wall: SystemTime, boot: Duration) -> Look {
        let Some((first, begun)) = self.since else {
            self.since = Some((wall, boot));
            return Look::Young;
        };
        let elapsed = boot.saturating_sub(begun);
        let expected = first.checked_add(elapsed).unwrap_or(first);
        let (off, forward) = match wall.duration_since(expected) {
            Ok(off) => (off, true),
            Err(error) => (error.duration(), false),
        };
        if off > TOLERANCE {
            self.since = Some((wall, boot));
            return Look::Set(off, forward);
        }
        if elapsed >= EVENLY { Look::Even } else { Look::Young }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f20_a_clock_that_is_set_is_not_trusted_for_an_hour() {
        const HOUR: u64 = 3600;
        const DAY: u64 = 24 * HOUR;
        let set = |seconds, forward| Look::Set(Duration::from_secs(seconds), forward);
        // Wall time and steady time at each look, s -> what it says.
        let looks = [
            (2 * DAY, 100, Look::Young),
            (2 * DAY + HOUR - 1, 100 + HOUR - 1, Look::Young),
            (2 * DAY + HOUR, 100 + HOUR, Look::Even),
            // Corrected by a little, as clocks are.
            (2 * DAY + 2 * HOUR + 50, 100 + 2 * HOUR, Look::Even),
            // A day ahead, and it stays there.
            (3 * DAY + 2 * HOUR + 10, 110 + 2 * HOUR, set(DAY, true)),
            (3 * DAY + 2 * HOUR + 20, 120 + 2 * HOUR, Look::Young),
            (3 * DAY + 3 * HOUR + 9, 109 + 3 * HOUR, Look::Young),
            (3 * DAY + 3 * HOUR + 10, 110 + 3 * HOUR, Look::Even),
            // Put back.
            (2 * DAY + 3 * HOUR + 20, 120 + 3 * HOUR, set(DAY, false)),
            (2 * DAY + 4 * HOUR + 20, 120 + 4 * HOUR, Look::Even),
        ];
        let mut steady = Steady::default();
        for (wall, boot, wanted) in looks {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(wall);
            assert_eq!(steady.look(at, Duration::from_secs(boot)), wanted, "{wall} {boot}");
        }
    }
}
