//! Looks at whom the engine's resolver asks: again for each container that starts, and every few seconds
//! for the status report.

use std::{path::PathBuf, time::Instant};

use tokio::sync::watch;

use super::PERIOD;
use crate::{
    control::outside::Askers,
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
    problem: Option<String>,
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
            problem: None,
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
        let problem = match &found {
            Ok(upstream) if upstream.from_host.is_empty() => None,
            Ok(upstream) => Some(format!(
                "the engine's resolver asks {upstream} from the host's network, past every policy: create \
                 guests with --dns and the gateway of their network, where [dns] answers, or give the \
                 engine \"dns\" in its config file and restart it"
            )),
            // Told elsewhere: nothing is known of containers either.
            Err(UpstreamError::NoEngine) => None,
            Err(error) => Some(format!(
                "nobody can tell whether guests resolve names past their policy: {error}"
            )),
        };
        if let Some(problem) = problem.as_ref().filter(|new| self.problem.as_ref() != Some(*new)) {
            tracing::warn!("{problem}");
        }
        self.problem = problem;
        self.now = found.ok();
    }

    /// What is wrong with it, for people.
    pub(super) fn problem(&self) -> Option<String> {
        self.problem.clone()
    }
}
