//! `enforcer group`: which groups there are, and who is in them.

use std::path::Path;

use clap::{Args, Subcommand};

use super::{DaemonAt, Dry, Exit, guest::restarts, parse_end, refused, table::table, told, would};
use crate::api::{
    ControlError, client,
    routes::groups::{Given, GroupOrder, GroupStatus, MemberOrder, MemberStatus, OfGroup, OfHub},
};

/// Arguments of `group`.
#[derive(Debug, Args)]
pub(super) struct GroupArgs {
    #[command(subcommand)]
    verb: GroupVerb,
}

#[derive(Debug, Subcommand)]
enum GroupVerb {
    /// Show groups, and what their members may have.
    List(ListArgs),
    /// Make a group, with no members and no grant.
    Create(OneArgs),
    /// Delete a group with its members and its grant. One that is built in stays.
    Delete(OneArgs),
    /// Put a user into a group.
    Add(AddArgs),
    /// Take a user out of a group.
    Remove(RemoveArgs),
    /// Show who is in a group, since when, until when, by whom and why.
    Members(MembersArgs),
}

/// Which groups, and which daemon knows them.
#[derive(Debug, Args)]
pub(super) struct Whose {
    /// Groups of this hub of the config [default: of users who belong to no hub].
    #[arg(long, value_name = "NAME")]
    pub(super) hub: Option<String>,
    #[command(flatten)]
    pub(super) at: DaemonAt,
}

/// Arguments of `group list`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer group list
  enforcer group list --hub lab --json | jq -r '.groups[] | select(.builtin) | .group'")]
struct ListArgs {
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// Arguments of `group create` and `group delete`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer group create course-5 --reason \"the course of spring\"
  enforcer group delete course-5 --hub lab")]
struct OneArgs {
    /// The group.
    group: String,
    /// Why: one line, which the record has.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    dry: Dry,
    #[command(flatten)]
    whose: Whose,
}

/// Arguments of `group add`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer group add docker-privileged alice --hub lab --until 30d --reason \"writes the Docker course\"
  enforcer group add docker-privileged bob --until 2026-12-31T18:00:00Z

A user who is in the group already is in it until then, for that reason. The gate knows it at once; a guest
that runs has its socket, or none, until it is started anew: restart it.")]
struct AddArgs {
    /// The group.
    group: String,
    /// The user's name in that hub.
    user: String,
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

/// Arguments of `group remove`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  enforcer group remove docker-privileged alice --hub lab --reason \"the course is over\"

The gate knows it at once; a guest that runs loses its socket when it is started anew: restart it.")]
struct RemoveArgs {
    /// The group.
    group: String,
    /// The user's name in that hub.
    user: String,
    /// Why: one line, which the record has.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    dry: Dry,
    #[command(flatten)]
    whose: Whose,
}

/// Arguments of `group members`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  enforcer group members docker-privileged --hub lab")]
struct MembersArgs {
    /// The group.
    group: String,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// Asks the daemon.
pub(super) async fn group(args: GroupArgs) -> anyhow::Result<Exit> {
    match args.verb {
        GroupVerb::List(ListArgs { json, whose }) => {
            told(&whose.at, json, listing, async |run_dir| {
                client::groups(&run_dir, &OfHub { hub: whose.hub.clone() }).await
            })
            .await
        }
        GroupVerb::Members(MembersArgs { group, json, whose }) => {
            let asked = OfGroup { hub: whose.hub.clone(), group };
            let text = |members: &_| membership(members);
            told(&whose.at, json, text, async |run_dir| {
                client::group_members(&run_dir, &asked).await
            })
            .await
        }
        verb if verb.is_dry() => would_change(verb).await,
        GroupVerb::Create(args) => {
            let done = format!("group {} is made\n", args.group);
            let (order, at) = args.order();
            told(
                &at,
                false,
                |_: &_| done,
                async |run_dir| client::create_group(&run_dir, &order).await,
            )
            .await
        }
        GroupVerb::Delete(args) => {
            let done = format!("group {} is deleted\n", args.group);
            let (order, at) = args.order();
            told(
                &at,
                false,
                |_: &_| done,
                async |run_dir| client::delete_group(&run_dir, &order).await,
            )
            .await
        }
        GroupVerb::Add(AddArgs { group, user, until, reason, whose, .. }) => {
            let done = format!("{user} is in group {group}; {RESTART}");
            let order = MemberOrder { hub: whose.hub.clone(), group, user, until, reason };
            told(
                &whose.at,
                false,
                |needing: &String| done + needing,
                async |run_dir| {
                    client::add_member(&run_dir, &order).await?;
                    Ok(restarts(&run_dir, order.hub.as_deref(), &order.user).await)
                },
            )
            .await
        }
        GroupVerb::Remove(RemoveArgs { group, user, reason, whose, .. }) => {
            let done = format!("{user} is no longer in group {group}; {RESTART}");
            let order = MemberOrder { hub: whose.hub.clone(), group, user, until: None, reason };
            told(
                &whose.at,
                false,
                |needing: &String| done + needing,
                async |run_dir| {
                    client::remove_member(&run_dir, &order).await?;
                    Ok(restarts(&run_dir, order.hub.as_deref(), &order.user).await)
                },
            )
            .await
        }
    }
}

/// Says what a change would be.
async fn would_change(verb: GroupVerb) -> anyhow::Result<Exit> {
    match verb {
        GroupVerb::Create(OneArgs { group, whose, .. }) => {
            let what = format!("group {group} would be made, with no members and no grant");
            would(&whose.at, false, what, async |run_dir| {
                match find(run_dir, whose.hub.clone(), &group).await? {
                    Some(_) => refused(format!("group {group} is there already")),
                    None => Ok(()),
                }
            })
            .await
        }
        GroupVerb::Delete(OneArgs { group, whose, .. }) => {
            let what = format!("group {group} would be deleted with its members and its grant");
            would(&whose.at, false, what, async |run_dir| {
                match find(run_dir, whose.hub.clone(), &group).await? {
                    Some(found) if found.builtin => {
                        refused(format!("group {group} is built in: it stays"))
                    }
                    Some(_) => Ok(()),
                    None => refused(format!("there is no group {group}")),
                }
            })
            .await
        }
        GroupVerb::Add(AddArgs { group, user, until, whose, .. }) => {
            let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
            let what = format!("{user} would be in group {group}{until}");
            would(&whose.at, false, what, async |run_dir| {
                match find(run_dir, whose.hub.clone(), &group).await? {
                    Some(_) => Ok(()),
                    None => refused(format!("there is no group {group}")),
                }
            })
            .await
        }
        GroupVerb::Remove(RemoveArgs { group, user, whose, .. }) => {
            let what = format!("{user} would no longer be in group {group}");
            would(&whose.at, false, what, async |run_dir| {
                let asked = OfGroup { hub: whose.hub.clone(), group: group.clone() };
                let members = client::group_members(run_dir, &asked).await?.members;
                if members.iter().any(|member| member.user == user) {
                    return Ok(());
                }
                refused(format!("{user} is not in group {group}"))
            })
            .await
        }
        // They change nothing.
        GroupVerb::List(_) | GroupVerb::Members(_) => Ok(Exit::Ok),
    }
}

impl GroupVerb {
    /// Whether it is only to be said.
    const fn is_dry(&self) -> bool {
        match self {
            Self::Create(args) | Self::Delete(args) => args.dry.dry_run,
            Self::Add(args) => args.dry.dry_run,
            Self::Remove(args) => args.dry.dry_run,
            Self::List(_) | Self::Members(_) => false,
        }
    }
}

/// The group of this name.
pub(super) async fn find(
    run_dir: &Path,
    hub: Option<String>,
    group: &str,
) -> Result<Option<GroupStatus>, ControlError> {
    let groups = client::groups(run_dir, &OfHub { hub }).await?.groups;
    Ok(groups.into_iter().find(|one| one.group == group))
}

/// What a change of a membership does not do by itself.
const RESTART: &str = "guests of theirs that run need a restart\n";

impl OneArgs {
    fn order(self) -> (GroupOrder, DaemonAt) {
        let Self { group, reason, whose: Whose { hub, at }, .. } = self;
        (GroupOrder { hub, group, reason }, at)
    }
}

fn listing(groups: &crate::api::routes::groups::Groups) -> String {
    let row = |one: &GroupStatus| {
        let members = one.members.map_or_else(|| "?".to_owned(), |count| count.to_string());
        let grant = one.grant.as_ref();
        let kind = grant.map_or("none", |grant| &grant.kind).to_owned();
        let until = grant.map_or_else(String::new, |grant| end(&grant.given));
        let builtin = if one.builtin { "yes" } else { "no" }.to_owned();
        [one.group.clone(), builtin, members, kind, until]
    };
    table(
        "Groups",
        ["group", "built in", "members", "grant", "until"],
        groups.groups.iter().map(row),
    )
}

fn membership(members: &crate::api::routes::groups::Members) -> String {
    let row = |one: &MemberStatus| match &one.given {
        Some(given) => {
            [one.user.clone(), given.since.clone(), end(given), by(given), given.reason.clone()]
        }
        None => [one.user.as_str(), "?", "", "the hub", ""].map(str::to_owned),
    };
    table("Members", ["user", "since", "until", "by", "reason"], members.members.iter().map(row))
}

/// When something is over, for people.
pub(super) fn end(given: &Given) -> String {
    given.until.clone().unwrap_or_else(|| "for good".to_owned())
}

/// By whom, for people.
pub(super) fn by(given: &Given) -> String {
    format!("{} ({})", given.by, given.via)
}
