//! `enforcer grant`: which Docker socket members of groups may have.

use clap::{Args, Subcommand, ValueEnum};

use super::{
    DaemonAt, Dry, Exit,
    group::{Whose, by, end, find},
    parse_end, refused,
    table::table,
    told, would,
};
use crate::{
    access::grant::Kind,
    api::{
        client,
        routes::{
            access::{AccessReport, HolderStatus},
            grants::{GrantOrder, GrantStatus, Grants},
            groups::OfHub,
        },
    },
    audit::record::shown,
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
    /// Show who has a Docker socket and why, and every other way to an engine of this host.
    Report(ReportArgs),
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
    dry: Dry,
    #[command(flatten)]
    whose: Whose,
}

/// Arguments of `grant report`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer grant report
  enforcer grant report --json | jq -r '.ways[] | \"\\(.kind) \\(.at): \\(.warning)\"'

It shows users of all hubs; hubs that keep their own groups are asked. Every other way to an engine, past the gate, comes with
a warning: members of a unix group, sockets, running containers that have one mounted, TCP ports.")]
struct ReportArgs {
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: DaemonAt,
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
        GrantVerb::Report(ReportArgs { json, at }) => {
            told(&at, json, report, async |run_dir| client::access_report(&run_dir).await).await
        }
        GrantVerb::Set(SetArgs {
            group, kind, until, dry: Dry { dry_run: true }, whose, ..
        }) => {
            let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
            let kind = Kind::from(kind).name();
            let what = format!("members of {group} would have: {kind}{until}");
            would(&whose.at, false, what, async |run_dir| {
                match find(run_dir, whose.hub.clone(), &group).await? {
                    Some(_) => Ok(()),
                    None => refused(format!("there is no group {group}")),
                }
            })
            .await
        }
        GrantVerb::Set(SetArgs { group, kind, until, reason, whose, .. }) => {
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

fn report(report: &AccessReport) -> String {
    let AccessReport { enabled, holders, refused, ways, unknown } = report;
    let row = |one: &HolderStatus| {
        let HolderStatus { hub, user, socket, group, until, grant, member, containers } = one;
        // Whoever came last made it so: RFC 3339 in UTC sorts by time.
        let last = member.as_ref().filter(|member| member.since > grant.since).unwrap_or(grant);
        [
            hub.clone(),
            user.clone(),
            socket.clone(),
            group.clone(),
            last.since.clone(),
            until.clone().unwrap_or_else(|| "for good".to_owned()),
            by(last),
            last.reason.clone(),
            containers.join(", "),
        ]
    };
    let head =
        ["hub", "user", "socket", "by group", "since", "until", "by", "reason", "in containers"];
    let mut text = table("Docker sockets", head, holders.iter().map(row));
    if !enabled {
        text += "  nobody: [access] docker_socket is off\n";
    }
    if !refused.is_empty() {
        let rows =
            refused.iter().map(|one| [one.container.clone(), one.hub.clone(), one.user.clone()]);
        text += &table("Containers whose socket is refused", ["container", "hub", "user"], rows);
    }
    let rows = ways.iter().map(|way| {
        [way.kind.name().to_owned(), way.at.clone(), way.who.join(", "), way.warning.clone()]
    });
    text += &table("Ways past the gate", ["kind", "at", "who", "warning"], rows);
    for why in unknown {
        text += &["\nnot known: ", &shown(why), "\n"].concat();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::routes::{access::RefusedStatus, groups::Given},
        model::way::{Way, WayKind},
    };

    #[test]
    fn s20_a_report_tells_who_has_a_socket_and_who_needs_none() {
        let given = |since: &str, by: &str| Given {
            since: since.to_owned(),
            until: None,
            by: by.to_owned(),
            via: "control".to_owned(),
            reason: format!("{by}'s reason"),
        };
        let holder = HolderStatus {
            hub: "lab".to_owned(),
            user: "ann".to_owned(),
            socket: "raw".to_owned(),
            group: "staff".to_owned(),
            until: None,
            grant: given("2026-01-01T00:00:00.000000Z", "root"),
            member: Some(given("2026-02-01T00:00:00.000000Z", "eve")),
            containers: vec!["guest-ann".to_owned(), "guest-ann-2".to_owned()],
        };
        let refused = RefusedStatus {
            container: "guest-ben".to_owned(),
            hub: "lab".to_owned(),
            user: "ben".to_owned(),
        };
        let way = Way {
            kind: WayKind::Tcp,
            at: "0.0.0.0:2375".to_owned(),
            who: vec!["everybody".to_owned()],
            warning: "take it out".to_owned(),
        };
        let unknown = vec!["hub two\u{1b}[2J".to_owned()];
        let all = AccessReport {
            enabled: true,
            holders: vec![holder],
            refused: vec![refused],
            ways: vec![way],
            unknown,
        };
        let text = report(&all);
        for words in [
            "raw     staff     2026-02-01T00:00:00.000000Z  for good  eve (control)  eve's reason",
            "guest-ann, guest-ann-2",
            "guest-ben",
            "tcp   0.0.0.0:2375  everybody  take it out",
            "not known: hub two?[2J",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let none = report(&AccessReport::default());
        assert!(none.contains("Docker sockets: none\n  nobody: [access]"), "{none}");
        assert!(none.contains("Ways past the gate: none"), "{none}");
    }
}
