//! `enforcer close`: closes guest bridges before anything else runs.

use super::{CloseArgs, Exit};
use crate::{closure::Table, config::file::load};

/// Writes the table of a config file.
pub(super) fn close(args: &CloseArgs) -> anyhow::Result<Exit> {
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Usage);
        }
    };
    let closure = config.closure();
    match Table::default().set(closure.as_ref()) {
        Ok(()) => {}
        Err(error) if error.is_lasting() => {
            eprintln!("enforcer: {error}");
            return Ok(Exit::Preflight);
        }
        Err(error) => return Err(error.into()),
    }
    match closure {
        Some(closure) => {
            let bridges: Vec<&str> = closure.bridges.iter().map(String::as_str).collect();
            println!("closed until enforcer runs: {}", bridges.join(", "));
        }
        None => println!("nothing is closed: closed_by is \"nobody\" in {}", args.config.display()),
    }
    Ok(Exit::Ok)
}
