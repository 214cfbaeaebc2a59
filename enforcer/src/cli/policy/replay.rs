//! `enforcer policy replay`: what another config would have decided about stored records.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    net::IpAddr,
    path::PathBuf,
};

use clap::Args;

use super::config;
use crate::{
    cli::{
        Exit,
        explain::destination,
        stored::{self, Counted},
        table::table,
    },
    replay::{Change, Replay, Report},
};

/// Arguments of `policy replay`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer policy replay --config new.toml /var/lib/enforcer/audit
  enforcer policy replay --config new.toml records.jsonl.gz --own 192.0.2.10 --own 2001:db8::10
  enforcer events --json | enforcer policy replay --config new.toml - --json | jq '.changes[]'

Reads flows that guests opened and attempts that a policy denied, from directories of the store, from files
(compressed or not), or from standard input, and judges each by the config file. The daemon is not asked. User, group,
network and labels are those of the record; a label that is not in it counts as none if [audit] labels names it.
Records are rate-limited: an attempt that has none is not told here, and `lost` has their number.

A record does not tell which addresses this host had; name them with --own, or see which changes hold only
where the destination is none of them. Nor does it tell hubs in containers. What cannot be judged is counted.

The exit code is 0 when all would have been decided as it was, 1 when something would not, 2 when the config is
refused. --json writes everything; the table has the --top most frequent changes.")]
pub(super) struct ReplayArgs {
    /// Directories of the store, files of records, or - for standard input.
    #[arg(required = true)]
    records: Vec<PathBuf>,
    /// The config file to judge by.
    #[arg(long, short, default_value = "/etc/enforcer/enforcer.toml")]
    config: PathBuf,
    /// An address of this host.
    #[arg(long, value_name = "ADDRESS")]
    own: Vec<IpAddr>,
    /// So many changes at most [default: 50, or all with --json].
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    /// Write JSON, for programs: one document.
    #[arg(long)]
    json: bool,
}

/// Replays.
pub(super) fn run(args: &ReplayArgs) -> anyhow::Result<Exit> {
    let Some(config) = config(&args.config) else { return Ok(Exit::Usage) };
    let own = (!args.own.is_empty()).then_some(args.own.as_slice());
    let mut replay = Replay::new(&config, own);
    let read = stored::each(&args.records, &mut |record| replay.take(record))?;
    let report = replay.finish(args.top.unwrap_or(if args.json { usize::MAX } else { 50 }));
    let mut out = io::stdout().lock();
    let written = if args.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)
    } else {
        out.write_all(text(&report, read).as_bytes())
    };
    match written {
        // `head` has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    let is_same = report.changes.is_empty() && report.others == 0;
    Ok(if is_same { Exit::Ok } else { Exit::Error })
}

fn text(report: &Report, read: Counted) -> String {
    let rows = report.changes.iter().map(row);
    let head = ["guest", "user", "to", "was", "would be", "rule", "records", "first", "last"];
    let mut text = table("What would have been decided otherwise", head, rows);
    let mut line = |count: u64, words: &str| {
        if count > 0 {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {count} {words}");
        }
    };
    line(report.others, "more records would have been decided otherwise");
    let unless = report.changes.iter().filter(|change| change.unless_host);
    let unless = unless.map(|change| change.count).sum();
    line(
        unless,
        "of these (*) only where the destination is no address of this host: name those with --own",
    );
    line(report.same, "would have been decided as they were");
    for (why, count) in &report.not_judged {
        line(*count, &format!("cannot be judged: {why}"));
    }
    line(report.lost, "records were lost or are missing: what they would tell is not in here");
    line(read.not_records, "lines are no records");
    text
}

fn row(change: &Change) -> [String; 9] {
    let star = if change.unless_host { "*" } else { "" };
    let none = if change.would_be == "allow" { "" } else { "none opens it" };
    [
        change.guest.clone(),
        change.user.clone().unwrap_or_default(),
        destination(change.to, change.protocol, change.port),
        change.was.to_owned(),
        format!("{}{star}", change.would_be),
        change.rule.clone().unwrap_or_else(|| none.to_owned()),
        change.count.to_string(),
        change.first.clone(),
        change.last.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o2_the_table_says_what_changes_and_what_it_cannot_know() {
        let change = Change {
            network: "lab".to_owned(),
            guest: "ada".to_owned(),
            user: None,
            to: "2001:db8::7".parse().expect("an address"),
            protocol: 17,
            port: 53,
            was: "deny",
            would_be: "allow",
            rule: Some("allow at f:9".to_owned()),
            unless_host: true,
            count: 4,
            first: "a".to_owned(),
            last: "b".to_owned(),
        };
        let report = Report {
            changes: vec![change],
            others: 2,
            same: 3,
            not_judged: [("the subnet".to_owned(), 5)].into(),
            lost: 6,
            unrelated: 7,
        };
        let told = text(&report, Counted { records: 9, not_records: 8 });
        for words in [
            "ada    -     [2001:db8::7]:53/udp  deny  allow*    allow at f:9  4        a      b\n",
            "2 more records",
            "4 of these (*)",
            "3 would have been decided as they were",
            "5 cannot be judged: the subnet",
            "6 records were lost",
            "8 lines are no records",
        ] {
            assert!(told.contains(words), "{words:?} is missing in:\n{told}");
        }
    }
}
