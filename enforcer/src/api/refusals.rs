//! Calls that were refused for want of a role: all are counted, few are logged.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Longest silence about refusals: one line each so often.
const EVERY: Duration = Duration::from_secs(10);

/// The count, which the status report reads.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    all: AtomicU64,
    told: Mutex<Told>,
}

/// What the log knows.
#[derive(Debug, Default)]
struct Told {
    at: Option<Instant>,
    count: u64,
}

impl Refusals {
    /// Refusals since the daemon started.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.all.load(Ordering::Relaxed)
    }

    /// Counts one; whether it is to be logged, and then how many there were since the last that was.
    pub fn note(&self, now: Instant) -> Option<u64> {
        let all = self.0.all.fetch_add(1, Ordering::Relaxed) + 1;
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.at.is_some_and(|at| now.saturating_duration_since(at) < EVERY) {
            return None;
        }
        let since = all.saturating_sub(told.count);
        *told = Told { at: Some(now), count: all };
        Some(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_refusals_are_counted_and_few_are_logged() {
        let refusals = Refusals::default();
        let begin = Instant::now();
        let logged: Vec<u64> = (0..1000u64)
            .filter_map(|tick| refusals.note(begin + Duration::from_millis(tick * 15)))
            .collect();
        // 15 s of them.
        assert_eq!(logged, [1, 667]);
        assert_eq!(refusals.count(), 1000);
    }
}
