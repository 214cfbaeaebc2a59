//! `enforcer run`.

use super::{Exit, RunArgs, load::load};
use crate::supervise;

/// Polices until told to stop.
pub(super) async fn run(args: RunArgs) -> anyhow::Result<Exit> {
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Usage);
        }
    };
    supervise::run(config, &args.config).await?;
    Ok(Exit::Ok)
}
