//! `enforcer audit query`: some of the stored records.

use std::{
    collections::VecDeque,
    io::{self, BufWriter, Write as _},
    path::PathBuf,
};

use clap::Args;

use super::{end, protocol, reveal};
use crate::{
    audit::store::{self, DEFAULT_DIR, Entry, Peer, Query, parse_peer},
    cli::{Exit, parse_moment, table::table},
};

/// Rows of a table, unless somebody says otherwise.
const ROWS: usize = 1000;

/// Arguments of `audit query`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer audit query --to 192.0.2.7:443 --since 2h
  enforcer audit query --guest jupyter-ada --verdict deny --since 2026-11-22T08:00:00Z
  enforcer audit query --user ada --hub course --since 2h
  enforcer audit query --at 2026-11-22T12:00:00Z --to 192.0.2.7
  enforcer audit query --reason policy --json | jq -r '.[\"container.name\"]' | sort | uniq -c

Everything that is given has to fit. A TIME is RFC 3339, or so long ago: 90s, 15m, 2h, 3d. --at finds
the flows that were open at that time, and the denials within a minute of it. --json writes the
lines as they are stored, with names where records have pseudonyms and you may read names.jsonl;
--as-stored leaves the pseudonyms. This does not verify them: `enforcer audit verify` does.")]
pub(super) struct QueryArgs {
    /// The directory of the store.
    #[arg(long, default_value = DEFAULT_DIR)]
    dir: PathBuf,
    /// Destination: 10.0.0.2 or 10.0.0.2:80; with a port, IPv6 goes in brackets.
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = parse_peer)]
    to: Option<Peer>,
    /// Source, in the same way.
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = parse_peer)]
    from: Option<Peer>,
    /// Name of the container, or the first 12 digits of its id.
    #[arg(long, value_name = "NAME")]
    guest: Option<String>,
    /// The user that the guest was started for.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The hub that the guest was started by: two hubs may have a user of one name.
    #[arg(long, value_name = "NAME")]
    hub: Option<String>,
    /// Allowed or denied.
    #[arg(long, value_parser = ["allow", "deny"])]
    verdict: Option<String>,
    /// Reason of a denial: policy, arp, unstamped, ...
    #[arg(long)]
    reason: Option<String>,
    /// What was open at this time.
    #[arg(long, value_name = "TIME", value_parser = parse_moment, conflicts_with_all = ["since", "until"])]
    at: Option<u64>,
    /// Not before this time.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<u64>,
    /// Not after this time.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    until: Option<u64>,
    /// The last so many; 0 for all [default: 1000, or all with --json].
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Write the records as they are stored, for programs.
    #[arg(long)]
    json: bool,
    /// Leave pseudonyms where records have them.
    #[arg(long)]
    as_stored: bool,
}

/// Finds records, and shows them.
pub(super) fn query(args: QueryArgs) -> anyhow::Result<Exit> {
    let QueryArgs {
        dir,
        to,
        from,
        guest,
        user,
        hub,
        verdict,
        reason,
        at,
        since,
        until,
        limit,
        json,
        as_stored,
    } = args;
    let reveal = reveal(&dir);
    let any =
        |name: Option<String>| name.map(|name| reveal.with_pseudonyms(&name)).unwrap_or_default();
    let (guest, user) = (any(guest), any(user));
    let shown = |line: &[u8]| {
        if as_stored { line.to_owned() } else { reveal.line(line).into_owned() }
    };
    let query =
        Query { to, from, guest, user, hub, verdict, reason, at, since, until, ..Query::default() };
    let limit = limit.unwrap_or(if json { 0 } else { ROWS });
    let mut out = BufWriter::new(io::stdout().lock());
    if json && limit == 0 {
        let effort = store::query(&dir, &query, &mut |line, _| writes(&mut out, &shown(line)))?;
        tracing::debug!(?effort, "searched");
        return Ok(Exit::Ok);
    }
    let (mut lines, mut count) = (VecDeque::new(), 0u64);
    store::query(&dir, &query, &mut |line, _| {
        count += 1;
        lines.push_back(shown(line));
        if limit > 0 && lines.len() > limit {
            lines.pop_front();
        }
        true
    })?;
    if count > u64::try_from(lines.len()).unwrap_or(u64::MAX) {
        eprintln!("the last {limit} of {count}; --limit 0 shows all");
    }
    if json {
        lines.iter().all(|line| writes(&mut out, line));
    } else {
        let rows = lines.iter().map(|line| row(&Entry::parse(line)));
        let head =
            ["time", "user", "guest", "from", "to", "proto", "verdict", "why", "packets", "bytes"];
        write!(out, "{}", table("Records (packets and bytes: forth/back)", head, rows))?;
    }
    Ok(Exit::Ok)
}

/// False when nobody reads any more: `head` has what it wants.
fn writes(out: &mut impl io::Write, line: &[u8]) -> bool {
    out.write_all(line).and_then(|()| out.write_all(b"\n")).is_ok()
}

/// A record for people.
fn row(entry: &Entry<'_>) -> [String; 10] {
    let verdict = if entry.verdict.is_empty() { &entry.kind } else { &entry.verdict };
    let rule = match (entry.rule, entry.would_deny.is_empty()) {
        (Some(rule), true) => Some(format!("rule {rule}")),
        (Some(rule), false) => Some(format!("audit mode, rule {rule} denies")),
        (None, false) => Some("audit mode, no rule opens".to_owned()),
        (None, true) => None,
    };
    let both = |out: Option<u64>, inward: Option<u64>| match (out, inward) {
        (None, None) => String::new(),
        (out, inward) => format!("{}/{}", out.unwrap_or(0), inward.unwrap_or(0)),
    };
    [
        entry.time.to_string(),
        entry.user.to_string(),
        entry.container.to_string(),
        end(&entry.source, entry.source_port),
        end(&entry.destination, entry.destination_port),
        entry.protocol.map(protocol).unwrap_or_default(),
        verdict.to_string(),
        rule.unwrap_or_else(|| entry.reason.to_string()),
        both(entry.source_packets, entry.destination_packets),
        both(entry.source_bytes, entry.destination_bytes),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_row_whatever_it_has() {
        let line = br#"{"event.action":"flow_closed","@timestamp":"t","user.name":"ada-l","container.name":"ada","source.ip":"fd00::2",
            "source.port":5,"destination.ip":"192.0.2.7","destination.port":443,"network.iana_number":6,
            "enforcer.verdict":"allow","rule.id":3,"source.packets":4,"destination.packets":2,"source.bytes":400,"destination.bytes":9}"#;
        let expected = [
            "t",
            "ada-l",
            "ada",
            "[fd00::2]:5",
            "192.0.2.7:443",
            "tcp",
            "allow",
            "rule 3",
            "4/2",
            "400/9",
        ];
        assert_eq!(row(&Entry::parse(line)), expected);
        let audited = row(&Entry::parse(
            br#"{"event.action":"flow_opened","enforcer.verdict":"allow","rule.id":4,"enforcer.would_deny":"policy"}"#,
        ));
        assert_eq!(audited[6..8], ["allow", "audit mode, rule 4 denies"]);
        let daemon = row(&Entry::parse(
            br#"{"event.action":"daemon","@timestamp":"t","enforcer.event":"start"}"#,
        ));
        assert_eq!(daemon, ["t", "", "", "", "", "", "daemon", "", "", ""]);
    }
}
