//! The gate beside the daemon's other tasks: hubs' sockets are as the config has them, users' sockets go with their last
//! container, the kernel knows whose they are, and refusals are accounted for. Without a gate the daemon goes on: nobody
//! has a Docker socket then.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};

use super::doors;
use crate::{
    access::{grant::Socket, name::User},
    api::roles::Roles,
    audit::{denials, follow::Followers},
    causes::causes,
    config::Config,
    control::reconcile::State,
    docker::{Engine, EngineError},
    gate::{Around, Gate, GateRuntime, hub::sight::Sight},
    guest::{service::is_policed, sockets::Sockets},
    kernel::sockets::Gates,
    model::status::GateStatus,
};

/// How often it is looked at.
const PERIOD: Duration = Duration::from_secs(10);
/// How often it is looked whether users' sockets are needed any more, and how long one stays for a container that is
/// being made. An engine that takes longer for that fails.
const REST: Duration = Duration::from_mins(2);

/// The gate, as long as this is held.
pub(super) struct Keeping {
    /// The handle; `None`: there is none, and [`Self::problems`] says why.
    pub(super) gate: Option<Gate>,
    /// What is wrong, for status.
    pub(super) problems: watch::Receiver<Vec<String>>,
    /// The task.
    pub(super) task: JoinHandle<()>,
    /// Its threads.
    pub(super) runtime: Option<GateRuntime>,
}

/// Starts it, with the sockets that running containers have.
pub(super) fn start(around: Around, gates: Gates, state: watch::Receiver<Arc<State>>) -> Keeping {
    let (config, roles) = (around.config.clone(), around.roles.clone());
    let inventory = around.inventory.clone();
    let (problems, problems_out) = watch::channel(Vec::new());
    match Gate::start(around) {
        Ok((gate, runtime)) => {
            let closing = close_idle(gate.clone(), config.clone());
            let naming = doors::keep(gate.clone(), gates, state, inventory);
            let tending = tend(gate.clone(), (config, roles), problems);
            let all = async {
                let ((), (), ()) = tokio::join!(tending, closing, naming);
            };
            Keeping {
                gate: Some(gate),
                problems: problems_out,
                task: tokio::spawn(all),
                runtime: Some(runtime),
            }
        }
        Err(error) => {
            let why = format!("nobody has a Docker socket: {}", causes(&error));
            tracing::error!("{why}");
            problems.send_replace(vec![why]);
            // Kept by the task, or status would not see them.
            let task = tokio::spawn(async move { problems.closed().await });
            Keeping { gate: None, problems: problems_out, task, runtime: None }
        }
    }
}

/// What hubs are told of their spawns.
#[derive(Debug)]
pub(super) struct Seen {
    state: watch::Receiver<Arc<State>>,
    stream: Followers,
}

impl Seen {
    pub(super) const fn new(state: watch::Receiver<Arc<State>>, stream: Followers) -> Self {
        Self { state, stream }
    }
}

impl Sight for Seen {
    fn is_policed(&self, container: &str, network: &str) -> bool {
        is_policed(&self.state.borrow(), container, network)
    }

    fn denials(&self, after: u64, containers: &[&str], most: usize) -> (Vec<Value>, u64) {
        let past = self.stream.past(after);
        let next = past.last().map_or(after, |line| line.seq);
        (denials::of(past.iter().map(AsRef::as_ref), containers, most), next)
    }
}

/// Sockets of the users for whom the daemon itself starts guests.
#[derive(Debug)]
pub(super) struct GuestSockets(pub(super) Option<Gate>);

impl Sockets for GuestSockets {
    fn serves(&self) -> bool {
        self.0.is_some()
    }

    fn open_for<'a>(&'a self, user: &'a User, _socket: Socket) -> BoxFuture<'a, Option<PathBuf>> {
        Box::pin(async move {
            let opened = self.0.as_ref()?.open_for(user).await;
            let why = opened.as_ref().err().map(|error| causes(error));
            if let Some(why) = why {
                tracing::error!(%user, "no Docker socket: {why}");
            }
            opened.ok()
        })
    }

    fn close_for<'a>(&'a self, user: &'a User) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Some(gate) = &self.0 else { return };
            if let Err(error) = gate.close_for(user).await {
                tracing::error!(%user, "a socket stays: {}", causes(&error));
            }
        })
    }
}

/// What status tells of it.
pub(super) fn status(gate: Option<&Gate>) -> GateStatus {
    gate.map(Gate::status).unwrap_or_default()
}

async fn tend(
    gate: Gate,
    (mut config, mut roles): (watch::Receiver<Arc<Config>>, watch::Receiver<Roles>),
    problems: watch::Sender<Vec<String>>,
) {
    loop {
        let hubs: BTreeSet<_> = config.borrow_and_update().hubs.keys().cloned().collect();
        let now = roles.borrow_and_update().clone();
        let this = gate.clone();
        let keeping = spawn_blocking(move || this.keep_hubs(&hubs, &now)).await;
        let found = keeping.unwrap_or_else(|_panicked| vec!["gate: hubs' sockets".to_owned()]);
        problems.send_if_modified(|known| {
            let has_changed = *known != found;
            if has_changed {
                for problem in &found {
                    tracing::error!("{problem}");
                }
                *known = found;
            }
            has_changed
        });
        gate.settle();
        tokio::select! {
            changed = config.changed() => if changed.is_err() { return },
            changed = roles.changed() => if changed.is_err() { return },
            () = sleep(PERIOD) => {}
        }
    }
}

/// Removes sockets of users who have no container any more, whoever removed the last one.
async fn close_idle(gate: Gate, config: watch::Receiver<Arc<Config>>) {
    loop {
        sleep(REST).await;
        let socket = config.borrow().docker_socket.clone();
        let users = async { Engine::connect(&socket).await?.users().await };
        // Nothing is known to be idle while the engine does not say so.
        let Ok(users) = users.await.inspect_err(|error: &EngineError| {
            tracing::debug!(%error, "whose sockets are needed is not known");
        }) else {
            continue;
        };
        let gate = gate.clone();
        let closing = spawn_blocking(move || gate.close_others(&users, REST)).await;
        for problem in closing.unwrap_or_default() {
            tracing::error!("{problem}");
        }
    }
}
