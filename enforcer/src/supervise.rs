//! Starts and stops the daemon's tasks.

use std::path::Path;

use crate::config::Config;

/// Why the daemon ended.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// This build has no kernel part.
    #[error("this build cannot enforce")]
    Incomplete,
}

/// Polices the guest networks of `config` until it is told to stop.
#[expect(clippy::unused_async, reason = "the daemon's tasks are awaited here")]
pub async fn run(_config: Config, _config_path: &Path) -> Result<(), SuperviseError> {
    Err(SuperviseError::Incomplete)
}
