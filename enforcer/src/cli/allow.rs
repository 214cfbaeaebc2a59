//! `enforcer allow`: opens a destination to one guest for a while, beyond its policy.

use anyhow::bail;
use clap::{Args, Subcommand};

use super::{
    DaemonAt, Dry, Exit,
    explain::{At, Destination, parse_destination},
    parse_span,
    table::table,
    told,
};
use crate::{
    api::client,
    audit::record::shown,
    model::allowance::{AllowOrder, AllowanceList, AllowanceStatus, RevokeOrder},
};

/// Arguments of `allow`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  enforcer allow jupyter-ann 192.0.2.7:443 --for 1h --reason \"the lecture needs it today\"
  enforcer allow 172.30.0.5 [2001:db8::1]:53/udp --for 30m --reason \"a test\" --dry-run
  enforcer allow list
  enforcer allow revoke 3

Only that guest, and only what its policy may open: this host, guest networks, metadata services and what a rule denies stay
closed. It is written down: a restart of the daemon neither ends it nor makes it last longer, and a record says who
opened it and why. While the daemon does not run nothing ends. A guest that is slowed or cut off has nothing of it meanwhile."
)]
pub(super) struct AllowArgs {
    #[command(subcommand)]
    verb: Option<AllowVerb>,
    #[command(flatten)]
    order: Option<OrderArgs>,
}

#[derive(Debug, Subcommand)]
enum AllowVerb {
    /// Show what is open to single guests for a while.
    List(ListArgs),
    /// Close it again.
    Revoke(RevokeArgs),
}

/// Arguments of `allow` itself.
#[derive(Debug, Args)]
struct OrderArgs {
    /// The guest: its container's name, the beginning of its id, or its address.
    guest: String,
    /// Where to: ADDRESS:PORT, with /udp for UDP; ADDRESS/icmp for an echo request.
    #[arg(value_parser = parse_destination)]
    destination: Destination,
    /// For how long: 10s to 7d.
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = parse_span)]
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

/// Arguments of `allow list`.
#[derive(Debug, Args)]
struct ListArgs {
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: DaemonAt,
}

/// Arguments of `allow revoke`.
#[derive(Debug, Args)]
struct RevokeArgs {
    /// Its number, as `enforcer allow list` shows it.
    id: u64,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    dry: Dry,
    #[command(flatten)]
    at: DaemonAt,
}

/// Asks the daemon.
pub(super) async fn allow(args: AllowArgs) -> anyhow::Result<Exit> {
    match (args.verb, args.order) {
        (Some(AllowVerb::List(ListArgs { json, at })), _) => {
            told(&at, json, listing, async |run_dir| client::allowances(&run_dir).await).await
        }
        (Some(AllowVerb::Revoke(RevokeArgs { id, json, dry: Dry { dry_run }, at })), _) => {
            let order = RevokeOrder { id, dry_run };
            let text = |gone: &AllowanceStatus| {
                let what = format!("{} to {}", shown(&gone.container), gone.to_text());
                if dry_run {
                    format!("would be closed: {what}; nothing has changed\n")
                } else {
                    format!("closed: {what}\n")
                }
            };
            told(&at, json, text, async |run_dir| client::revoke(&run_dir, &order).await).await
        }
        (None, Some(args)) => open(args).await,
        (None, None) => {
            bail!("say which guest, and where to; `enforcer allow --help` has examples")
        }
    }
}

async fn open(args: OrderArgs) -> anyhow::Result<Exit> {
    let OrderArgs { guest, destination, span, reason, json, dry: Dry { dry_run }, at } = args;
    let Destination { at: place, port, protocol } = destination;
    let At::Address(to) = place else {
        eprintln!(
            "only an address can be opened for a while: a name is opened by a rule of a policy"
        );
        return Ok(Exit::Usage);
    };
    let order = AllowOrder { guest, to, protocol, port, for_s: span, reason, dry_run };
    let text = |allowed: &AllowanceStatus| {
        let AllowanceStatus { id, container, until, .. } = allowed;
        let (container, to) = (shown(container), allowed.to_text());
        if dry_run {
            format!("{container} would reach {to} until {until}; nothing has changed\n")
        } else {
            format!(
                "{container} may reach {to} until {until}; to end it: enforcer allow revoke {id}\n"
            )
        }
    };
    told(&at, json, text, async |run_dir| client::allow(&run_dir, &order).await).await
}

fn listing(list: &AllowanceList) -> String {
    let rows = list.allowances.iter().map(|one| {
        let AllowanceStatus { id, container, network, until, by, reason, .. } = one.clone();
        [id.to_string(), container, network, one.to_text(), until, by, reason]
    });
    let head = ["number", "guest", "network", "to", "until", "by", "reason"];
    table("Open for a while", head, rows)
}
