//! `enforcer cut`: cuts a guest off because an admin wants it.

use clap::Args;

use super::{DaemonAt, Dry, Exit, parse_span, told};
use crate::{
    api::client,
    audit::record::shown,
    model::restraint::{CutDone, CutOrder},
};

/// Arguments of `cut`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer cut jupyter-ann --reason \"a complaint of example.org\"
  enforcer cut 4f9d3b --for 2h --reason \"to be looked at\" --dry-run

The guest opens nothing any more but to its hubs; connections that it has opened end, and visitors still come in. It ends by
itself, or with `enforcer pardon GUEST`; a restart of the daemon does not end it. Networks of its owner's own stay as they are:
containers there reach one another, and nothing else.")]
pub(super) struct CutArgs {
    /// The guest: its container's name, or the beginning of its id.
    guest: String,
    /// For how long: 10s to 7d.
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = parse_span)]
    span: u64,
    /// Why: one line, which the record has.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    dry: Dry,
    #[command(flatten)]
    at: DaemonAt,
}

/// Asks the daemon.
pub(super) async fn cut(args: CutArgs) -> anyhow::Result<Exit> {
    let CutArgs { guest, span, reason, json, dry, at } = args;
    let order = CutOrder { guest, for_s: span, reason, dry_run: dry.dry_run };
    told(&at, json, text, async |run_dir| client::cut(&run_dir, &order).await).await
}

fn text(cut: &CutDone) -> String {
    let name = shown(&cut.container);
    if cut.done {
        format!("{name} is cut off until {}\n", cut.until)
    } else {
        format!("{name} would be cut off until {}; nothing has changed\n", cut.until)
    }
}
