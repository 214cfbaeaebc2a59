//! `enforcer audit`: what can be done with the stored records.

mod erase;
mod query;
mod report;
mod verify;

use std::path::Path;

use clap::{Args, Subcommand};

use super::Exit;
use crate::audit::store::Reveal;

/// Arguments of `audit`.
#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    /// What to do.
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Say whether any stored record was changed, removed, added or moved.
    Verify(verify::VerifyArgs),
    /// Find stored records: who reached what, who was denied, what was open at a moment.
    Query(Box<query::QueryArgs>),
    /// Tell everything that is kept of one user, server or guest.
    Report(report::ReportArgs),
    /// Erase a person's name: whose pseudonym it was nobody can tell any more.
    Erase(erase::EraseArgs),
}

/// Does what is asked.
pub(super) async fn audit(args: AuditArgs) -> anyhow::Result<Exit> {
    match args.command {
        AuditCommand::Verify(args) => verify::verify(&args),
        AuditCommand::Query(args) => query::query(*args),
        AuditCommand::Report(args) => report::report(&args),
        AuditCommand::Erase(args) => erase::erase(&args).await,
    }
}

/// The names of pseudonyms in a directory, as far as the caller may read them.
fn reveal(dir: &Path) -> Reveal {
    let (reveal, why) = Reveal::try_read(dir);
    if let Some(why) = why {
        eprintln!("enforcer: {why}");
    }
    reveal
}

/// An address and a port as people write them.
fn end(address: &str, port: Option<u64>) -> String {
    match port {
        Some(port) if address.contains(':') => format!("[{address}]:{port}"),
        Some(port) => format!("{address}:{port}"),
        None => address.to_owned(),
    }
}

fn protocol(number: u64) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        other => other.to_string(),
    }
}
