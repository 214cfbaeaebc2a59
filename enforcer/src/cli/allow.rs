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
    subcommand_negates_reqs = true,
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
    order: OrderArgs,
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
    // A verb below has none of the three: clap sees to it that there are all, or a verb.
    #[arg(required = true)]
    guest: Option<String>,
    /// Where to: ADDRESS:PORT, with /udp for UDP; ADDRESS/icmp for an echo request.
    #[arg(required = true, value_parser = parse_destination)]
    destination: Option<Destination>,
    /// For how long: 10s to 7d.
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = parse_span)]
    span: u64,
    /// Why: one line, which the record has.
    #[arg(long, value_name = "TEXT", required = true)]
    reason: Option<String>,
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
    match args.verb {
        Some(AllowVerb::List(ListArgs { json, at })) => {
            told(&at, json, listing, async |run_dir| client::allowances(&run_dir).await).await
        }
        Some(AllowVerb::Revoke(RevokeArgs { id, json, dry: Dry { dry_run }, at })) => {
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
        None => open(args.order).await,
    }
}

async fn open(args: OrderArgs) -> anyhow::Result<Exit> {
    let OrderArgs { guest, destination, span, reason, json, dry: Dry { dry_run }, at } = args;
    let (Some(guest), Some(destination), Some(reason)) = (guest, destination, reason) else {
        bail!("say which guest, where to, and why; `enforcer allow --help` has examples")
    };
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::Cli;

    #[test]
    fn an_order_has_all_that_it_needs_and_a_verb_below_needs_nothing_of_it() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        for good in [
            "enforcer allow ann 192.0.2.7:443 --reason why",
            "enforcer allow ann 192.0.2.7:443 --for 2h --reason why --dry-run --config f",
            "enforcer allow list",
            "enforcer allow revoke 3 --dry-run",
        ] {
            let parsed = parse(good).map(|cli| format!("{cli:?}"));
            let parsed = parsed.unwrap_or_else(|error| panic!("{good}: {error}"));
            assert_eq!(parsed.contains("Some(\"ann\")"), good.contains("ann"), "{parsed}");
        }
        for bad in [
            "enforcer allow",
            "enforcer allow ann",
            "enforcer allow ann 192.0.2.7:443",
            "enforcer allow ann nowhere --reason why",
            "enforcer allow revoke",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
