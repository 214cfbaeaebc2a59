//! Reads the config file again. A file that is refused changes nothing; one that is accepted is
//! taken as a whole, and the answer comes when the kernel holds it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{
    audit::record::{Body, ConfigChange},
    config::{Config, file},
    control::reconcile::State,
    model::{caller::Caller, declined::Declined},
};

/// Longest wait for the control loop to have done what the new config asks.
const PATIENCE: Duration = Duration::from_secs(8);

/// Changes the config of the running daemon.
pub(super) struct Reloader {
    file: PathBuf,
    config: watch::Sender<Arc<Config>>,
    state: watch::Receiver<Arc<State>>,
    journal: mpsc::UnboundedSender<Body>,
}

impl Reloader {
    /// Records what the daemon starts with.
    pub(super) fn new(
        file: &Path,
        config: watch::Sender<Arc<Config>>,
        state: watch::Receiver<Arc<State>>,
        journal: mpsc::UnboundedSender<Body>,
    ) -> Self {
        // Nobody listens any more: the daemon is stopping.
        let _ = journal.send(loaded(file, &config.borrow().digest));
        Self { file: file.to_owned(), config, state, journal }
    }

    /// Reads, checks and takes the config; the error is for people, and then nothing has changed.
    pub(super) async fn reload(&mut self, by: Caller) -> Result<(), Declined> {
        let outcome = self.read();
        let refused = outcome.as_ref().err().cloned();
        match &refused {
            None => {
                let (uid, user) = (by.uid, by.user.as_deref());
                tracing::info!(file = %self.file.display(), uid, user, "reloaded");
            }
            Some(why) => tracing::error!("not reloaded, the old config stays: {why}"),
        }
        // Nobody listens any more: the daemon is stopping.
        let _ = self.journal.send(Body::Config(ConfigChange {
            event: if refused.is_some() { "refused" } else { "reloaded" }.to_owned(),
            file: self.file.display().to_string(),
            digest: outcome.as_ref().ok().map(|config| config.digest.clone()),
            why: refused,
            by,
        }));
        let new = outcome.map_err(Declined::conflict)?;
        self.config.send_modify(|config| *config = Arc::new(new.with_owned(&config.owned())));
        let config = Arc::clone(&self.config.borrow());
        let taken = self.state.wait_for(|state| {
            state.config.as_ref().is_some_and(|taken| Arc::ptr_eq(taken, &config))
        });
        match timeout(PATIENCE, taken).await {
            Ok(Ok(state)) if state.failures.is_empty() => Ok(()),
            Ok(Ok(state)) => {
                let failures = &state.failures;
                Err(Declined::failed(format!("taken, but not all of it worked: {failures:?}")))
            }
            Ok(Err(_)) | Err(_) => {
                Err(Declined::not_yet("taken, but the control loop has not done it yet"))
            }
        }
    }

    /// What the control loop last saw.
    pub(super) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.borrow())
    }

    fn read(&self) -> Result<Config, String> {
        let new = file::load(&self.file).map_err(|error| error.to_string())?;
        let keys = fixed(&self.config.borrow(), &new);
        match &keys[..] {
            [] => Ok(new),
            keys => Err(format!(
                "{}: {} cannot change while the daemon runs: restart it",
                self.file.display(),
                keys.join(", ")
            )),
        }
    }
}

/// The record of the config that the daemon started with.
fn loaded(file: &Path, digest: &str) -> Body {
    Body::Config(ConfigChange {
        event: "loaded".to_owned(),
        file: file.display().to_string(),
        digest: Some(digest.to_owned()),
        why: None,
        by: Caller::default(),
    })
}

/// Keys that differ and that a running daemon cannot take.
fn fixed(old: &Config, new: &Config) -> Vec<&'static str> {
    let keys = [
        ("[docker] socket", old.docker_socket != new.docker_socket),
        ("[daemon] run_dir", old.run_dir != new.run_dir),
        ("[daemon] pin_dir", old.pin_dir != new.pin_dir),
        ("[daemon] state_dir", old.state_dir != new.state_dir),
        ("[daemon] closed_by", old.closed_by != new.closed_by),
        ("[daemon] mark_mask", old.mark_mask != new.mark_mask),
        ("[daemon] max_flows", old.max_flows != new.max_flows),
        ("[access] kernel_proof", old.access.kernel_proof != new.access.kernel_proof),
        ("[audit]", old.audit != new.audit),
        ("[metrics]", old.metrics != new.metrics),
    ];
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MetricsAt;

    #[test]
    fn what_needs_a_restart_is_named() {
        let old = Config::default();
        assert_eq!(fixed(&old, &old), Vec::<&str>::new());
        let new = Config { pin_dir: "/elsewhere".into(), max_flows: 7, ..Config::default() };
        assert_eq!(fixed(&old, &new), ["[daemon] pin_dir", "[daemon] max_flows"]);
        let metrics = Some(MetricsAt::Socket("/run/enforcer/metrics.sock".into()));
        let new = Config { metrics, ..Config::default() };
        assert_eq!(fixed(&old, &new), ["[metrics]"]);
        assert_eq!(fixed(&new, &old), ["[metrics]"]);
    }
}
