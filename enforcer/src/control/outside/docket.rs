//! What was tried against each thing that is outside, what came of it, and when to try again. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// First and longest wait after a failure.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Wait after a success: what is known of the container lags behind.
const VERIFY: Duration = Duration::from_secs(1);

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What was done: a word of the records.
    pub action: &'static str,
    /// `Ok`: the word for the outcome. `Err`: why it failed.
    pub outcome: Result<&'static str, String>,
}

/// The open cases.
#[derive(Debug)]
pub struct Docket<K> {
    cases: BTreeMap<K, Case>,
}

#[derive(Debug)]
struct Case {
    /// `None`: an attempt is under way.
    due: Option<Instant>,
    wait: Duration,
    /// The last action and whether it succeeded, as it was told.
    told: Option<(&'static str, bool)>,
}

impl<K> Default for Docket<K> {
    fn default() -> Self {
        Self { cases: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Docket<K> {
    /// Closes cases that are over, opens new ones, and gives those to be tried now; each counts as
    /// under way from then on.
    pub fn take_due(&mut self, outside: &BTreeSet<K>, now: Instant) -> Vec<K> {
        self.cases.retain(|key, _| outside.contains(key));
        let fresh = || Case { due: Some(now), wait: RETRY.0, told: None };
        let mut taken = Vec::new();
        for key in outside {
            let case = self.cases.entry(key.clone()).or_insert_with(fresh);
            if case.due.is_some_and(|due| due <= now) {
                case.due = None;
                taken.push(key.clone());
            }
        }
        taken
    }

    /// Notes what came of an attempt; `true`: it is news, to be told.
    pub fn note(&mut self, key: &K, attempt: &Attempt, now: Instant) -> bool {
        // The case may have been closed meanwhile, most often by the attempt itself.
        let Some(case) = self.cases.get_mut(key) else { return true };
        let succeeded = attempt.outcome.is_ok();
        if succeeded {
            case.due = Some(now + VERIFY);
            case.wait = RETRY.0;
        } else {
            case.due = Some(now + case.wait);
            case.wait = (case.wait * 2).min(RETRY.1);
        }
        let told = Some((attempt.action, succeeded));
        let news = case.told != told;
        case.told = told;
        news
    }

    /// When the next attempt is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.cases.values().filter_map(|case| case.due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Attempt {
        Attempt { action: "kill", outcome: Err("busy".to_owned()) }
    }

    fn done() -> Attempt {
        Attempt { action: "kill", outcome: Ok("done") }
    }

    #[test]
    fn a_case_is_tried_until_it_is_over_and_told_when_something_changes() {
        let (start, mut docket) = (Instant::now(), Docket::default());
        let at = |ms| start + Duration::from_millis(ms);
        let outside: BTreeSet<u8> = [7].into();
        assert_eq!(docket.take_due(&outside, at(0)), [7]);
        // Under way: not again.
        assert!(docket.take_due(&outside, at(50)).is_empty() && docket.next_due().is_none());
        assert!(docket.note(&7, &failed(), at(60)));
        assert_eq!(docket.next_due(), Some(at(160)));
        assert_eq!(docket.take_due(&outside, at(160)), [7]);
        assert!(!docket.note(&7, &failed(), at(170)), "the same again is no news");
        assert_eq!(docket.next_due(), Some(at(370)));
        assert_eq!(docket.take_due(&outside, at(400)), [7]);
        assert!(docket.note(&7, &done(), at(400)));
        // Still outside a second later: the engine said yes and nothing happened.
        assert!(docket.take_due(&outside, at(1399)).is_empty());
        assert_eq!(docket.take_due(&outside, at(1400)), [7]);
        assert!(!docket.note(&7, &done(), at(1400)));
        // Over, then outside anew: that is news.
        assert!(docket.take_due(&BTreeSet::new(), at(1500)).is_empty());
        assert_eq!(docket.take_due(&outside, at(1600)), [7]);
        assert!(docket.note(&7, &done(), at(1600)));
    }

    #[test]
    fn waits_grow_to_a_limit() {
        let (mut now, mut docket) = (Instant::now(), Docket::default());
        let outside: BTreeSet<u8> = [1].into();
        for _ in 0..20 {
            assert_eq!(docket.take_due(&outside, now), [1]);
            docket.note(&1, &failed(), now);
            let due = docket.next_due().expect("due");
            assert!(due - now <= RETRY.1);
            now = due;
        }
        docket.take_due(&outside, now);
        docket.note(&1, &failed(), now);
        assert_eq!(docket.next_due(), Some(now + RETRY.1));
    }

    #[test]
    fn an_attempt_that_closed_its_own_case_is_told() {
        let mut docket = Docket::default();
        docket.take_due(&[1].into(), Instant::now());
        docket.take_due(&BTreeSet::new(), Instant::now());
        assert!(docket.note(&1, &done(), Instant::now()));
    }
}
