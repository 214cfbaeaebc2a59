//! `enforcer run`.

use super::{Exit, RunArgs};
use crate::{
    config::file::load,
    supervise::{self, SuperviseError},
};

/// Polices until told to stop.
pub(super) async fn run(args: RunArgs) -> anyhow::Result<Exit> {
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Usage);
        }
    };
    match Box::pin(supervise::run(config, &args.config)).await {
        Ok(()) => Ok(Exit::Ok),
        Err(SuperviseError::Preflight(error)) => {
            eprintln!("enforcer: {error}");
            Ok(Exit::Preflight)
        }
        Err(error) => Err(error.into()),
    }
}
