//! `enforcer audit report`: everything that the kept records tell of one guest, server or user.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::PathBuf,
};

use clap::Args;
use serde_json::Value;

use super::{end, protocol, reveal};
use crate::{
    audit::{
        record::shown,
        store::{self, DEFAULT_DIR, Query, QueryError, Reveal, rfc3339},
        story::{Asked, Candidates, Place, Places, Scope, Story, Teller, Who, WhoError},
    },
    cli::{Exit, parse_moment, table::table},
};

/// More texts than this are not looked for one by one.
const TEXTS: usize = 64;

/// Arguments of `audit report`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer audit report alice
  enforcer audit report 10.80.0.7 --from 2026-11-22T08:00:00Z --to 2026-11-22T09:00:00Z
  enforcer audit report id:3f2a --since 2h --json | jq '.to.items[] | select(.port == 443)'

WHO is a user, a server's name (or USER/SERVER), a container's name, at least 4 digits of its id, or an
address that a guest had. A word that may be more than one of these, or more than one guest's, is
answered with a list; user:, server:, container:, id: or address: before it says which is meant.

Packets and bytes are told when a flow ends, so those of open flows are missing. Of each list the --top
with most are shown, and how many more there are; of 16384 destinations and of 4096 commands each is
told apart, what comes after them is summed up. Where records have pseudonyms, WHO may be a name or a
pseudonym, and names are told if you may read names.jsonl in the directory. The records are not verified: `enforcer audit verify`
does that.

Exit codes:
  0  told
  1  it cannot be read, or nobody is meant
  2  wrong usage, or more than one may be meant")]
pub(super) struct ReportArgs {
    /// A user, server, container, id of a container, or address.
    who: String,
    /// The directory of the store.
    #[arg(long, default_value = DEFAULT_DIR)]
    dir: PathBuf,
    /// Not before this time.
    #[arg(long, visible_alias = "from", value_name = "TIME", value_parser = parse_moment)]
    since: Option<u64>,
    /// Not after this time.
    #[arg(long, visible_alias = "to", value_name = "TIME", value_parser = parse_moment)]
    until: Option<u64>,
    /// So many rows of each list at most.
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Write JSON, for programs: one document.
    #[arg(long)]
    json: bool,
}

/// Tells a story.
pub(super) fn report(args: &ReportArgs) -> anyhow::Result<Exit> {
    let reveal = reveal(&args.dir);
    let who = Who::parse(reveal.meaning(&args.who).as_deref().unwrap_or(&args.who));
    let scope = match find(args, who, &reveal)? {
        Ok(scope) => scope,
        Err(error) => {
            eprintln!("enforcer: {error}");
            let is_ambiguous = matches!(error, WhoError::Ambiguous { .. });
            return Ok(if is_ambiguous { Exit::Usage } else { Exit::Error });
        }
    };
    let story = tell(args, scope, &reveal)?;
    let mut out = io::stdout().lock();
    let written = if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&story)?)
    } else {
        out.write_all(render(&story).as_bytes())
    };
    match written {
        // `head` has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Exit::Ok),
    }
}

/// Who is meant. An address is somebody's for a time only, so it is looked up; what is theirs is found
/// by the container's id.
fn find(
    args: &ReportArgs,
    who: Who,
    reveal: &Reveal,
) -> Result<Result<Scope, WhoError>, QueryError> {
    let mut query = Query { since: args.since, until: args.until, ..Query::default() };
    if let Some(address) = who.address() {
        query.either = Some(address);
    } else {
        // `ben/gpu` is no text of a record, and each of its parts is.
        let word = who.word.rsplit_once('/').map_or(who.word.as_str(), |(_, server)| server);
        query.mentions = reveal.with_pseudonyms(word);
    }
    let mut candidates = Candidates::new(who);
    store::query(&args.dir, &query, &mut |line, entry| {
        if let Ok(record) = serde_json::from_slice::<Value>(&reveal.line(line)) {
            candidates.take(&record, entry.at());
        }
        true
    })?;
    Ok(candidates.one())
}

fn tell(args: &ReportArgs, scope: Scope, reveal: &Reveal) -> Result<Story, QueryError> {
    let texts = scope.texts();
    let mut mentions: Vec<String> =
        texts.iter().flat_map(|text| reveal.with_pseudonyms(text)).collect();
    if mentions.len() > TEXTS {
        mentions.clear();
    } else {
        // They name nobody, and belong to the story if they are of its time.
        mentions.extend(["\"gap\"", "\"loss\""].map(str::to_owned));
    }
    let query = Query { since: args.since, until: args.until, mentions, ..Query::default() };
    let asked = Asked {
        word: args.who.clone(),
        means: scope.candidate.to_string(),
        since: args.since.map(rfc3339),
        until: args.until.map(rfc3339),
    };
    let mut teller = Teller::new(asked, scope);
    store::query(&args.dir, &query, &mut |line, entry| {
        if let Ok(record) = serde_json::from_slice::<Value>(&reveal.line(line)) {
            teller.take(&record, entry.at());
        }
        true
    })?;
    let mut story = teller.finish(args.top);
    story.kept_since = store::begins(&args.dir)?;
    Ok(story)
}

/// The story for people.
fn render(story: &Story) -> String {
    let mut text = format!("{}\n", shown(&story.asked.means));
    let mut line = |what: &str, value: String| {
        if !value.is_empty() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {what:<10} {}", shown(&value));
        }
    };
    let names = |names: &std::collections::BTreeSet<String>| {
        names.iter().cloned().collect::<Vec<_>>().join(", ")
    };
    line("user", names(&story.users));
    line("group", names(&story.groups));
    line("server", names(&story.servers));
    line("network", names(&story.networks));
    line("first", story.first.clone());
    line("last", story.last.clone());
    line("records", story.records.to_string());
    text.push_str(&containers(story));
    text.push_str(&life(story));
    text.push_str(&totals(story));
    text.push_str(&places("Where to (packets and bytes: sent/got)", &story.to));
    text.push_str(&places("Who came (packets and bytes: sent/got)", &story.from));
    text.push_str(&denied(story));
    for (title, list) in [("Programs run", &story.commands), ("Other records", &story.other)] {
        if !list.items.is_empty() {
            let rows = list.items.iter().map(|item| {
                let count = item.count.to_string();
                [&item.what, &item.detail, &count, &item.first, &item.last].map(Clone::clone)
            });
            text.push_str(&table(title, ["what", "detail", "count", "first", "last"], rows));
            text.push_str(&more(list.others, list.at_least, ""));
        }
    }
    text.push_str(&missing(story));
    text
}

fn containers(story: &Story) -> String {
    let rows = story.containers.items.iter().map(|container| {
        let labels = container.labels.iter().map(|(key, value)| format!("{key}={value}"));
        let addresses: Vec<_> = container.addresses.iter().cloned().collect();
        [
            container.name.clone(),
            container.id.get(..12).unwrap_or(&container.id).to_owned(),
            container.image.clone(),
            addresses.join(" "),
            container.first.clone(),
            container.last.clone(),
            labels.collect::<Vec<_>>().join(" "),
        ]
    });
    let head = ["name", "id", "image", "addresses", "first", "last", "labels"];
    let list = &story.containers;
    table("Containers", head, rows) + &more(list.others, list.at_least, "")
}

fn life(story: &Story) -> String {
    if story.life.items.is_empty() {
        return String::new();
    }
    let rows = story
        .life
        .items
        .iter()
        .map(|moment| [moment.time.clone(), moment.container.clone(), moment.what.clone()]);
    table("Comings and goings", ["time", "container", "what"], rows)
        + &more(story.life.others, story.life.at_least, " later")
}

fn totals(story: &Story) -> String {
    let totals = &story.totals;
    let audited = match totals.audited {
        0 => String::new(),
        count => format!("; {count} of them only audit mode let through"),
    };
    format!(
        "\nIn all\n  {} flows opened by it, {} by others; {} of them are not known to have ended{audited}\n  \
         {} packets and {} bytes sent, {} packets and {} bytes got\n",
        totals.flows_out,
        totals.flows_in,
        totals.open,
        totals.packets_out,
        totals.bytes_out,
        totals.packets_in,
        totals.bytes_in
    )
}

fn places(title: &str, places: &Places) -> String {
    let head = ["address", "proto", "flows", "denied", "packets", "bytes", "first", "last"];
    let both = |one: u64, other: u64| format!("{one}/{other}");
    let row = |place: &Place| {
        [
            end(&place.address, place.port),
            place.protocol.map(protocol).unwrap_or_default(),
            place.flows.to_string(),
            place.denied.to_string(),
            both(place.packets_out, place.packets_in),
            both(place.bytes_out, place.bytes_in),
            place.first.clone(),
            place.last.clone(),
        ]
    };
    let rest = &places.rest;
    let sums = format!(
        ": {} flows, {} denied, {} bytes sent, {} got",
        rest.flows, rest.denied, rest.bytes_out, rest.bytes_in
    );
    table(title, head, places.items.iter().map(row)) + &more(places.others, places.at_least, &sums)
}

fn denied(story: &Story) -> String {
    let causes = |lost: &std::collections::BTreeMap<String, u64>| {
        let words = lost.iter().map(|(cause, count)| format!("{count} {cause}"));
        words.collect::<Vec<_>>().join(", ")
    };
    let rows = story.denied.iter().map(|denied| {
        [
            denied.reason.clone(),
            denied.count().to_string(),
            denied.records.to_string(),
            denied.refused.to_string(),
            causes(&denied.lost),
        ]
    });
    table("Denied", ["reason", "in all", "recorded", "refused calls", "records lost"], rows)
}

fn missing(story: &Story) -> String {
    let mut lines = Vec::new();
    for lost in &story.lost {
        let (what, cause) = (&lost.what, &lost.cause);
        lines.push(format!("{} records of it ({what}) were lost: {cause}", lost.count));
    }
    if story.gaps > 0 {
        lines.push(format!("{} records of this time, of anybody, were lost", story.gaps));
    }
    if story.lost_of_nobody > 0 {
        let count = story.lost_of_nobody;
        lines.push(format!("{count} records of this time were lost, and nobody knows whose"));
    }
    if let Some(since) = &story.kept_since {
        lines.push(format!("records before {since} were deleted, as the config has it"));
    }
    if lines.is_empty() {
        return "\nMissing: nothing that is known\n".to_owned();
    }
    lines.iter().fold("\nMissing\n".to_owned(), |text, line| text + "  " + &shown(line) + "\n")
}

/// What a list does not show.
fn more(others: u64, at_least: bool, what: &str) -> String {
    match (others, at_least) {
        (0, _) => String::new(),
        (others, false) => format!("  and {others} others{what}\n"),
        (others, true) => format!("  and {others} others or more{what}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::story::{Container, Denied, Listed, Lost, Totals};

    #[test]
    fn a2_a_story_is_told_in_sections_and_says_what_is_missing() {
        let place = Place {
            address: "fd00::7".to_owned(),
            port: Some(443),
            protocol: Some(6),
            flows: 2,
            bytes_out: 10,
            ..Place::default()
        };
        let story = Story {
            asked: Asked { word: "alice".into(), means: "user:alice".into(), ..Asked::default() },
            users: ["alice\u{1b}".to_owned()].into(),
            containers: Listed {
                items: vec![Container { name: "jupyter-alice".into(), ..Container::default() }],
                ..Listed::default()
            },
            totals: Totals { flows_out: 7, open: 1, ..Totals::default() },
            to: Places {
                items: vec![place.clone()],
                others: 5,
                rest: Place { flows: 5, ..Place::default() },
                ..Places::default()
            },
            denied: vec![Denied {
                reason: "policy".into(),
                records: 3,
                lost: [("rate_limit".to_owned(), 40)].into(),
                ..Denied::default()
            }],
            lost: vec![Lost { what: "flow_opened".into(), cause: "queue".into(), count: 2 }],
            gaps: 9,
            ..Story::default()
        };
        let text = render(&story);
        for words in [
            "user:alice\n  user       alice?\n",
            "jupyter-alice",
            "7 flows opened by it, 0 by others; 1 of them",
            "[fd00::7]:443  tcp    2      0",
            "and 5 others: 5 flows, 0 denied",
            "policy  43      3         0              40 rate_limit",
            "Who came (packets and bytes: sent/got): none",
            "2 records of it (flow_opened) were lost: queue\n  9 records of this time, of anybody,",
        ] {
            assert!(text.contains(words), "{words:?} is missing in:\n{text}");
        }
        let calm = render(&Story::default());
        assert!(calm.ends_with("Missing: nothing that is known\n"), "{calm}");
    }
}
