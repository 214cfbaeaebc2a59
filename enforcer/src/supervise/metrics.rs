//! Serves metrics where the config wants them. That nobody can is a reason to be degraded, never one
//! not to police.

use std::time::Duration;

use tokio::{sync::watch, task::JoinHandle, time::sleep};

use crate::{
    config::MetricsAt,
    metrics::{Listener, Reports, serve},
};

/// An address or a path that is taken is tried again this often.
const AGAIN: Duration = Duration::from_secs(5);

/// A running task.
pub(super) struct Serving {
    /// What keeps it from serving; empty: nothing, or metrics are not wanted.
    pub(super) problems: watch::Receiver<Vec<String>>,
    /// The task.
    pub(super) task: JoinHandle<()>,
}

pub(super) fn start(at: Option<MetricsAt>, reports: Reports) -> Serving {
    let (publish, problems) = watch::channel(Vec::new());
    let task = tokio::spawn(async move {
        let Some(at) = at else { return };
        let listener = listen(&at, &publish).await;
        tracing::info!(%at, "metrics are served");
        serve(listener, reports).await;
    });
    Serving { problems, task }
}

async fn listen(at: &MetricsAt, publish: &watch::Sender<Vec<String>>) -> Listener {
    loop {
        let error = match Listener::bind(at).await {
            Ok(listener) => {
                publish.send_replace(Vec::new());
                return listener;
            }
            Err(error) => error,
        };
        let found = vec![format!("metrics are not served: {error}")];
        publish.send_if_modified(|known| {
            let changed = *known != found;
            if changed {
                tracing::error!("{}", found[0]);
                *known = found;
            }
            changed
        });
        sleep(AGAIN).await;
    }
}
