//! `enforcer audit`: what can be done with the stored records.

mod query;
mod verify;

use clap::{Args, Subcommand};

use super::Exit;

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
}

/// Does what is asked.
pub(super) fn audit(args: AuditArgs) -> anyhow::Result<Exit> {
    match args.command {
        AuditCommand::Verify(args) => verify::verify(&args),
        AuditCommand::Query(args) => query::query(*args),
    }
}
