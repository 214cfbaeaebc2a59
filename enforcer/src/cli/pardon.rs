//! `enforcer pardon`: lets a guest go that was slowed, cut off or paused for abuse.

use serde_json::json;

use super::{Exit, PardonArgs, declined, refused, would};
use crate::{
    api::{ControlError, client},
    model::status::RestraintStatus,
};

/// Asks the daemon.
pub(super) async fn pardon(args: PardonArgs) -> anyhow::Result<Exit> {
    let (run_dir, _) = match args.at.directories() {
        Ok(directories) => directories,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Usage);
        }
    };
    if args.dry.dry_run {
        let (who, json) = (args.guest, args.json);
        let what = format!("{who} would be let go");
        return would(&args.at, json, what, async |run_dir| {
            let held = client::status(run_dir).await?.restrained;
            let is_it = |one: &RestraintStatus| {
                one.container == who || who.len() >= 4 && one.container_id.starts_with(&who)
            };
            if held.iter().any(is_it) {
                return Ok(());
            }
            refused(format!("{who} is neither slowed, cut off nor paused"))
        })
        .await;
    }
    match client::pardon(&run_dir, args.guest).await {
        Ok(ended) if args.json => println!("{}", json!({ "ended": ended })),
        Ok(ended) => ended.iter().for_each(|one| println!("{one}")),
        Err(ControlError::Refused(why)) => return Ok(declined(&why)),
        Err(error) => return Err(error.into()),
    }
    Ok(Exit::Ok)
}
