//! `enforcer close`: closes guest bridges before anything else runs.

use super::{CloseArgs, Exit};
use crate::{
    closure::{self, Ability, Table},
    config::file::load,
    model::closure::{By, OWN_BRIDGES},
    netlink,
};

/// Writes the table of a config file.
pub(super) async fn close(args: &CloseArgs) -> anyhow::Result<Exit> {
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Usage);
        }
    };
    let Some(closure) = config.closure() else {
        println!("nothing is closed: closed_by is \"nobody\" in {}", args.config.display());
        return Ok(Exit::Ok);
    };
    let closure = match closure::ability(&closure) {
        Ability::Bridge => closure,
        Ability::Ports => closure.by_ports(&netlink::links::list().await?),
        Ability::None(error) => {
            eprintln!("enforcer: {error}");
            return Ok(Exit::Preflight);
        }
    };
    if !args.dry.dry_run {
        Table::default().write(&closure)?;
    }
    let bridges: Vec<&str> = closure.bridges.iter().map(String::as_str).collect();
    let own = format!("{OWN_BRIDGES}*");
    let bridges = bridges.into_iter().chain([own.as_str()]).collect::<Vec<_>>();
    if args.dry.dry_run {
        println!(
            "would be closed until enforcer runs: {}; nothing has changed",
            bridges.join(", ")
        );
    } else {
        println!("closed until enforcer runs: {}", bridges.join(", "));
    }
    if matches!(closure.by, By::Ports { .. }) {
        println!(
            "between ports only: this kernel's nftables does not tell a frame's bridge \
             (CONFIG_NFT_BRIDGE_META)"
        );
    }
    Ok(Exit::Ok)
}
