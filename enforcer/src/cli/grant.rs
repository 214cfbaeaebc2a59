//! `enforcer grant`: which Docker socket members of groups may have.

use clap::{Args, Subcommand, ValueEnum};

use super::{
    Exit,
    group::{Whose, by, end},
    parse_end,
    table::table,
    told,
};
use crate::{
    access::grant::Kind,
    api::{
        client,
        routes::{
            grants::{GrantOrder, GrantStatus, Grants},
            groups::OfHub,
        },
    },
};

/// Arguments of `grant`.
#[derive(Debug, Args)]
pub(super) struct GrantArgs {
    #[command(subcommand)]
    verb: GrantVerb,
}

#[derive(Debug, Subcommand)]
enum GrantVerb {
    /// Show which groups have a grant.
    List(ListArgs),
    /// Say which Docker socket the members of a group may have.
    Set(SetArgs),
}

/// Arguments of `grant list`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  enforcer grant list --hub lab")]
struct ListArgs {
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// Arguments of `grant set`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer grant set docker-privileged filtered --hub lab
  enforcer grant set operators raw --until 12h --reason \"the engine is to be looked at\"
  enforcer grant set docker-privileged none

Members of a group with `raw` are root on this host. One that has expired counts as none.")]
struct SetArgs {
    /// The group.
    group: String,
    /// What its members may have.
    kind: Word,
    /// Until when, as 2026-12-31T18:00:00Z, or for how long: 12h, 30d [default: for good].
    #[arg(long, value_name = "TIME", value_parser = parse_end)]
    until: Option<String>,
    /// Why: one line, which the record has.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    whose: Whose,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Word {
    /// No socket.
    None,
    /// One that sees and touches what its user made.
    Filtered,
    /// The engine itself, recorded.
    Raw,
}

impl From<Word> for Kind {
    fn from(word: Word) -> Self {
        match word {
            Word::None => Self::None,
            Word::Filtered => Self::Filtered,
            Word::Raw => Self::Raw,
        }
    }
}

/// Asks the daemon.
pub(super) async fn grant(args: GrantArgs) -> anyhow::Result<Exit> {
    match args.verb {
        GrantVerb::List(ListArgs { json, whose }) => {
            told(&whose.at, json, listing, async |run_dir| {
                client::grants(&run_dir, &OfHub { hub: whose.hub.clone() }).await
            })
            .await
        }
        GrantVerb::Set(SetArgs { group, kind, until, reason, whose }) => {
            let kind = Kind::from(kind).name().to_owned();
            let done = format!("members of {group} have: {kind}\n");
            let order = GrantOrder { hub: whose.hub.clone(), group, kind, until, reason };
            told(
                &whose.at,
                false,
                |_: &_| done,
                async |run_dir| client::set_grant(&run_dir, &order).await,
            )
            .await
        }
    }
}

fn listing(grants: &Grants) -> String {
    let row = |one: &GrantStatus| {
        let GrantStatus { group, kind, given } = one;
        let until = end(given);
        [group.clone(), kind.clone(), given.since.clone(), until, by(given), given.reason.clone()]
    };
    let head = ["group", "grant", "since", "until", "by", "reason"];
    table("Grants", head, grants.grants.iter().map(row))
}
