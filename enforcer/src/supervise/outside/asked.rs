//! Looks at whom the engine's resolver asks: again for each container that starts, and every few seconds
//! for the status report.

use std::{collections::BTreeSet, path::PathBuf, time::Instant};

use tokio::sync::watch;

use super::PERIOD;
use crate::{
    control::outside::{Askers, Outside, Why},
    docker::{ApiVersion, EngineState, UpstreamError, Upstreams},
    model::{inventory::Inventory, upstream::Upstream},
};

/// What is known of it.
pub(super) struct Asked {
    upstreams: Upstreams,
    engine: watch::Receiver<EngineState>,
    /// The API that the engine speaks, or spoke last.
    api: Option<ApiVersion>,
    looked: Option<Instant>,
    now: Option<Upstream>,
    /// Why nobody can tell, if so.
    unknown: Option<String>,
    /// The problem that the log has.
    logged: Option<String>,
    askers: Askers,
}

impl Asked {
    pub(super) fn new(socket: PathBuf, engine: watch::Receiver<EngineState>) -> Self {
        Self {
            upstreams: Upstreams::new(socket),
            engine,
            api: None,
            looked: None,
            now: None,
            unknown: None,
            logged: None,
            askers: Askers::default(),
        }
    }

    /// By whom each container of the inventory has its names resolved.
    pub(super) async fn of(&mut self, inventory: &Inventory, now: Instant) -> &Askers {
        let is_old = self.looked.is_none_or(|at| now.duration_since(at) >= PERIOD);
        if is_old || self.askers.has_new(inventory) {
            self.looked = Some(now);
            self.look().await;
        }
        self.askers.update(inventory, self.now.as_ref());
        &self.askers
    }

    async fn look(&mut self) {
        if let EngineState::Connected { api, .. } = &*self.engine.borrow() {
            self.api = ApiVersion::parse(api);
        }
        // Whoever has not told its version has told of no container either.
        let Some(api) = self.api else { return };
        let found = self.upstreams.read(api).await;
        self.unknown = match &found {
            // The latter is told elsewhere: nothing is known of containers either.
            Ok(_) | Err(UpstreamError::NoEngine) => None,
            Err(error) => Some(format!(
                "nobody can tell whether guests resolve names past their policy: {error}"
            )),
        };
        self.now = found.ok();
    }

    /// What is wrong with it, for people: with these outside, and perhaps a guest of whom nobody can tell.
    pub(super) fn problem(
        &mut self,
        found: &BTreeSet<Outside>,
        is_unknown: bool,
    ) -> Option<String> {
        let known = || self.now.as_ref().and_then(|upstream| concerns(upstream, found));
        let problem = self.unknown.clone().filter(|_| is_unknown).or_else(known);
        if let Some(problem) = problem.as_ref().filter(|new| self.logged.as_ref() != Some(*new)) {
            tracing::warn!("{problem}");
        }
        self.logged.clone_from(&problem);
        problem
    }
}

/// Where every guest has name servers of its own, nobody minds whom the engine asks.
fn concerns(upstream: &Upstream, found: &BTreeSet<Outside>) -> Option<String> {
    let is_affected = found.iter().any(|way| matches!(way.why, Why::EngineResolver(_)));
    (is_affected && !upstream.from_host.is_empty()).then(|| {
        format!(
            "the engine's resolver asks {upstream} from the host's network, past every policy: create \
             guests with --dns and the gateway of their network, where [dns] answers, or give the \
             engine \"dns\" in its config file and restart it"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::outside::Remedy;

    #[test]
    fn d10_whom_the_engine_asks_is_a_problem_only_where_it_asks_for_a_guest() {
        let upstream = |asked: &[&str]| Upstream {
            from_host: asked.iter().map(|one| one.parse().expect("an address")).collect(),
            file: "/etc/resolv.conf".to_owned(),
            written: 0,
        };
        let way = |why| Outside {
            container: "c".to_owned(),
            started: String::new(),
            name: "guest".to_owned(),
            why,
            remedy: Remedy::Kill,
        };
        let affected = BTreeSet::from([way(Why::EngineResolver("192.0.2.53".to_owned()))]);
        let other = BTreeSet::from([way(Why::HostNetwork)]);
        let told = concerns(&upstream(&["192.0.2.53"]), &affected).expect("a problem");
        assert!(told.contains("asks 192.0.2.53 (/etc/resolv.conf)"), "{told}");
        assert_eq!(concerns(&upstream(&["192.0.2.53"]), &other), None);
        assert_eq!(concerns(&upstream(&["192.0.2.53"]), &BTreeSet::new()), None);
        assert_eq!(concerns(&upstream(&[]), &affected), None, "since then it asks nobody");
    }
}
