//! `enforcer pardon`: lets a guest go that was slowed, cut off or paused for abuse.

use serde_json::json;

use super::{Exit, PardonArgs};
use crate::api::{ControlError, client};

/// Asks the daemon.
pub(super) async fn pardon(args: PardonArgs) -> anyhow::Result<Exit> {
    let (run_dir, _) = match args.at.directories() {
        Ok(directories) => directories,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Usage);
        }
    };
    match client::pardon(&run_dir, args.guest).await {
        Ok(ended) if args.json => println!("{}", json!({ "ended": ended })),
        Ok(ended) => ended.iter().for_each(|one| println!("{one}")),
        Err(ControlError::Refused(why)) => {
            eprintln!("{why}");
            return Ok(Exit::Usage);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Exit::Ok)
}
