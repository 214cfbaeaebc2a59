//! Looks after groups and grants while the daemon runs: built-in groups are there, what is over goes.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::{access::service::Access, audit::record::Body, config::Config};

/// How often it is looked at: nobody who is judged waits for it.
const PERIOD: Duration = Duration::from_secs(15);

/// A running task.
pub(super) struct Tending {
    /// Groups and grants.
    pub(super) access: Access,
    /// What is wrong, for status.
    pub(super) problems: watch::Receiver<Vec<String>>,
    /// The task.
    pub(super) task: JoinHandle<()>,
}

pub(super) fn start(
    config: watch::Receiver<Arc<Config>>,
    journal: mpsc::UnboundedSender<Body>,
) -> Tending {
    let access = Access::new(config.clone(), journal);
    let task = tokio::spawn(tend(access.clone(), config));
    Tending { problems: access.problems(), access, task }
}

async fn tend(access: Access, mut config: watch::Receiver<Arc<Config>>) {
    loop {
        config.mark_unchanged();
        access.tend().await;
        tokio::select! {
            changed = config.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}
