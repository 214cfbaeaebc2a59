//! Which answer is due: each signal of a guest is answered once in a window, and one step harsher if it is
//! raised again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::signal::{Answer, Signal};

/// Windows without the signal after which the first answer comes first again.
const FORGIVEN: u32 = 10;

/// What was answered, by container and signal.
#[derive(Debug, Default)]
pub struct Cases(BTreeMap<(String, Signal), Case>);

#[derive(Clone, Copy, Debug)]
struct Case {
    step: usize,
    answered_ns: u64,
}

impl Cases {
    /// The answer to a signal that is raised now, if one is due.
    pub fn answer(
        &mut self,
        (container, signal): (&str, Signal),
        answers: &[Answer],
        window: Duration,
        now_ns: u64,
    ) -> Option<Answer> {
        let key = (container.to_owned(), signal);
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let step = match self.0.get(&key) {
            None => 0,
            Some(case) => {
                let since = now_ns.saturating_sub(case.answered_ns);
                match () {
                    () if since < nanos(window) => return None,
                    () if since > nanos(window * FORGIVEN) => 0,
                    () => case.step + 1,
                }
            }
        };
        let step = step.min(answers.len().checked_sub(1)?);
        self.0.insert(key, Case { step, answered_ns: now_ns });
        answers.get(step).copied()
    }

    /// Begins anew with a container.
    pub fn forget(&mut self, container: &str) {
        self.0.retain(|(of, _), _| of != container);
    }

    /// Forgets containers that are gone.
    pub fn keep(&mut self, containers: &BTreeSet<&str>) {
        self.0.retain(|(of, _), _| containers.contains(of.as_str()));
    }
}
