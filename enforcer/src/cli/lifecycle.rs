//! `enforcer reload`, `stop` and `uninstall`.

use std::io::{IsTerminal as _, Write as _};

use super::{DaemonArgs, Exit, UninstallArgs, declined};
use crate::{
    api::{ControlError, client},
    config::{Config, file::load},
    supervise::uninstall,
};

/// Has the daemon read its config again.
pub(super) async fn reload(args: &DaemonArgs) -> anyhow::Result<Exit> {
    // The same check as the daemon's, so that the answer has file and line even without one.
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}\nnothing has changed");
            return Ok(Exit::Usage);
        }
    };
    if args.dry.dry_run {
        client::status(&config.run_dir).await?;
        println!(
            "{} is valid and would be read; nothing has changed. `enforcer policy diff` says which rules come and go",
            args.config.display()
        );
        return Ok(Exit::Ok);
    }
    match client::reload(&config.run_dir).await {
        Ok(()) => {
            println!("reloaded: {}", args.config.display());
            Ok(Exit::Ok)
        }
        Err(ControlError::Refused(why)) => Ok(declined(&format!("not reloaded: {why}"))),
        Err(error) => Err(error.into()),
    }
}

/// Has the daemon end.
pub(super) async fn stop(args: &DaemonArgs) -> anyhow::Result<Exit> {
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Usage);
        }
    };
    if args.dry.dry_run {
        let report = client::status(&config.run_dir).await?;
        println!(
            "the daemon, process {}, would be stopped, and policy would stay; nothing has changed",
            report.pid
        );
        return Ok(Exit::Ok);
    }
    uninstall::stop(&config.run_dir).await?;
    println!(
        "stopped. Guests stay policed, and containers that start now have no network; \
         `enforcer uninstall` opens everything"
    );
    Ok(Exit::Ok)
}

/// Removes everything.
pub(super) async fn uninstall(args: &UninstallArgs) -> anyhow::Result<Exit> {
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Usage);
        }
    };
    if args.dry.dry_run {
        println!("{}", would_open(&config));
        return Ok(Exit::Ok);
    }
    if !args.yes && !agreed()? {
        eprintln!("nothing has changed");
        return Ok(Exit::Usage);
    }
    let removed = uninstall::uninstall(&config).await?;
    println!("{}", serde_json::to_string(&removed.record())?);
    eprintln!(
        "uninstalled: {} programs taken off, {} bridge ports as they were; guests are open now",
        removed.programs, removed.ports
    );
    Ok(Exit::Ok)
}

/// What an uninstallation would do.
fn would_open(config: &Config) -> String {
    let networks: Vec<&str> = config.networks.keys().map(String::as_str).collect();
    format!(
        "the daemon of {} would be stopped, the pins in {} and every program of them would be removed, and these guest networks \
         would be open: {}; nothing has changed",
        config.run_dir.display(),
        config.pin_dir.display(),
        networks.join(", ")
    )
}

fn agreed() -> std::io::Result<bool> {
    if !std::io::stdin().is_terminal() {
        eprintln!("enforcer: uninstall opens every guest network; say --yes");
        return Ok(false);
    }
    eprint!("This opens every guest network. Go on? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
