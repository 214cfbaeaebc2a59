//! Sees to it that the guest networks exist in Docker, as often as an engine appears.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinHandle};

use crate::{
    config::Config,
    docker::{client::Engine, inventory::EngineState, networks},
};

/// Networks are looked at again this often: somebody may have removed one.
const PERIOD: Duration = Duration::from_secs(30);

/// A running task.
pub(super) struct Ensuring {
    /// What is wrong with the networks; empty: nothing, or not known yet.
    pub(super) problems: watch::Receiver<Vec<String>>,
    /// The task.
    pub(super) task: JoinHandle<()>,
}

pub(super) fn ensure(
    config: watch::Receiver<Arc<Config>>,
    engine: watch::Receiver<EngineState>,
) -> Ensuring {
    let (publish, problems) = watch::channel(Vec::new());
    Ensuring { problems, task: tokio::spawn(run(config, engine, publish)) }
}

async fn run(
    mut config: watch::Receiver<Arc<Config>>,
    mut engine: watch::Receiver<EngineState>,
    publish: watch::Sender<Vec<String>>,
) {
    let connected = |state: &EngineState| matches!(state, EngineState::Connected { .. });
    while engine.wait_for(connected).await.is_ok() {
        let now = Arc::clone(&config.borrow_and_update());
        let found = look(&now).await;
        publish.send_if_modified(|known| {
            let changed = *known != found;
            if changed {
                for problem in &found {
                    tracing::error!("{problem}");
                }
                *known = found;
            }
            changed
        });
        // A change is a reason to look early; so is nothing for a while.
        tokio::select! {
            _ = engine.changed() => {}
            _ = config.changed() => {}
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

async fn look(config: &Config) -> Vec<String> {
    let engine = match Engine::connect(&config.docker_socket).await {
        Ok(engine) => engine,
        Err(error) => return vec![error.to_string()],
    };
    // An own network is made when its owner asks.
    let of_file = config.with_owned(&BTreeMap::new());
    match networks::ensure(&engine, &of_file.networks).await {
        Ok(created) => {
            for network in created {
                tracing::info!(network, "created");
            }
            Vec::new()
        }
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}
