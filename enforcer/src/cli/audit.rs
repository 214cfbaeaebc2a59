//! `enforcer audit`: verifies the stored records, and finds some of them. Reads only.

use std::{
    collections::VecDeque,
    fs,
    io::{self, BufWriter, IsTerminal as _, Write as _},
    path::PathBuf,
};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};

use super::{Exit, parse_moment, table::table};
use crate::audit::store::{self, DEFAULT_DIR, Entry, Peer, PublicKey, Query, Report, parse_peer};

/// Rows of a table, unless somebody says otherwise.
const ROWS: usize = 1000;

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
    Verify(VerifyArgs),
    /// Find stored records: who reached what, who was denied, what was open at a moment.
    Query(Box<QueryArgs>),
}

/// Arguments of `audit verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer audit verify --key /root/audit.pub
  enforcer audit verify --dir /backup/audit --key 3b6a27...
  enforcer audit verify --json | jq '.problems[]'

audit.pub in the directory is the key of its first segment. Keep a copy where nobody who may write
to this host can change it, and give it as --key: without it, a store that somebody made anew vouches
for itself. What nothing here can show: lines that were never stored, and a directory that was put
back as a whole to what it once was.

A last line that is not finished is no tampering: a crash leaves one, and a daemon that is writing.

Exit codes:
  0  intact
  1  it cannot be read
  2  wrong usage
  6  not intact: the first problem of each file is listed, with its line")]
struct VerifyArgs {
    /// The directory of the store.
    #[arg(long, default_value = DEFAULT_DIR)]
    dir: PathBuf,
    /// The first public key: 64 hexadecimal digits, or a file that has them.
    #[arg(long, value_name = "HEX|FILE")]
    key: Option<String>,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Arguments of `audit query`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer audit query --to 192.0.2.7:443 --since 2h
  enforcer audit query --guest jupyter-ada --verdict deny --since 2026-11-22T08:00:00Z
  enforcer audit query --at 2026-11-22T12:00:00Z --to 192.0.2.7
  enforcer audit query --reason policy --json | jq -r '.[\"container.name\"]' | sort | uniq -c

Everything that is given has to fit. A TIME is RFC 3339, or so long ago: 90s, 15m, 2h, 3d. --at finds
the flows that were open at that time, and the denials within a minute of it. --json writes the
lines as they are stored. This does not verify them: `enforcer audit verify` does.")]
struct QueryArgs {
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
}

/// Does what is asked.
pub(super) fn audit(args: AuditArgs) -> anyhow::Result<Exit> {
    match args.command {
        AuditCommand::Verify(args) => verify(&args),
        AuditCommand::Query(args) => query(*args),
    }
}

fn verify(args: &VerifyArgs) -> anyhow::Result<Exit> {
    let key = args.key.as_deref().map(key).transpose()?;
    let shows = io::stderr().is_terminal() && !args.json;
    let report = store::verify(&args.dir, key, &mut |done, total| {
        if shows {
            eprint!("\rverified {} %", (done * 100).checked_div(total).unwrap_or(100));
        }
    })?;
    if shows {
        eprint!("\r              \r");
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", render(&report));
    }
    Ok(if report.intact { Exit::Ok } else { Exit::NotIntact })
}

/// A key as it is given: itself, or the file that has it.
fn key(text: &str) -> anyhow::Result<PublicKey> {
    if let Some(key) = PublicKey::parse(text) {
        return Ok(key);
    }
    let content = fs::read_to_string(text).with_context(|| {
        format!("--key {text} is neither 64 lower-case hexadecimal digits nor a file to read")
    })?;
    match PublicKey::parse(content.trim()) {
        Some(key) => Ok(key),
        None => bail!("{text} has no public key: 64 lower-case hexadecimal digits are expected"),
    }
}

fn render(report: &Report) -> String {
    let mut text = vec![if report.intact { "intact" } else { "NOT INTACT" }.to_owned()];
    for problem in &report.problems {
        text.push(format!("  {}:{}: {}", problem.file, problem.line, problem.what));
    }
    text.push(format!(
        "{} records in {} segments, the last has number {}",
        report.records, report.segments, report.last_seq
    ));
    if report.deleted > 0 {
        text.push(format!("{} segments before them were deleted by retention", report.deleted));
    }
    if report.gaps > 0 {
        text.push(format!("{} records are recorded as not stored", report.gaps));
    }
    if let Some(torn) = &report.torn {
        let what = "a crash, or a daemon that is writing";
        text.push(format!("{}:{}: {}: {what}", torn.file, torn.line, torn.what));
    }
    let whose = if report.key_given { "as given" } else { "the store's own: see --key" };
    text.push(format!("key {} ({whose})", report.key));
    text.join("\n") + "\n"
}

fn query(args: QueryArgs) -> anyhow::Result<Exit> {
    let QueryArgs { dir, to, from, guest, user, verdict, reason, at, since, until, limit, json } =
        args;
    let query = Query { to, from, guest, user, verdict, reason, at, since, until };
    let limit = limit.unwrap_or(if json { 0 } else { ROWS });
    let mut out = BufWriter::new(io::stdout().lock());
    if json && limit == 0 {
        let effort = store::query(&dir, &query, &mut |line, _| writes(&mut out, line))?;
        tracing::debug!(?effort, "searched");
        return Ok(Exit::Ok);
    }
    let (mut lines, mut count) = (VecDeque::new(), 0u64);
    store::query(&dir, &query, &mut |line, _| {
        count += 1;
        lines.push_back(line.to_owned());
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
    let rule = entry.rule.map(|rule| format!("rule {rule}"));
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

fn end(address: &str, port: Option<u64>) -> String {
    match port {
        Some(port) if address.contains(':') => format!("[{address}]:{port}"),
        Some(port) => format!("{address}:{port}"),
        None => address.to_owned(),
    }
}

fn protocol(number: u64) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::audit::store::Problem;

    #[test]
    fn a3_a_report_names_each_place_and_the_key_that_it_rests_on() {
        let mut report = Report {
            key: "ab".to_owned(),
            segments: 2,
            records: 7,
            last_seq: 9,
            gaps: 2,
            problems: vec![Problem {
                file: "0000000001.jsonl".to_owned(),
                line: 4,
                what: "the line does not fit the chain".to_owned(),
            }],
            ..Report::default()
        };
        let text = render(&report);
        for words in [
            "NOT INTACT\n  0000000001.jsonl:4: the line does not fit the chain\n",
            "7 records in 2 segments, the last has number 9\n2 records are recorded as not stored\n",
            "key ab (the store's own: see --key)\n",
        ] {
            assert!(text.contains(words), "{words:?} is missing in:\n{text}");
        }
        (report.intact, report.key_given) = (true, true);
        report.problems.clear();
        let text = render(&report);
        assert!(text.starts_with("intact\n7 ") && text.contains("(as given)"), "{text}");
    }

    #[test]
    fn a3_the_exit_code_says_whether_the_store_is_intact() {
        let dir = std::env::temp_dir().join(format!("enforcer-cli-audit-{}", std::process::id()));
        let line = store::Line {
            seq: 1,
            time: "2026-11-22T12:00:00Z".into(),
            json: br#"{"enforcer.v":1,"event.sequence":1,"@timestamp":"2026-11-22T12:00:00Z","event.action":"daemon"}"#.into(),
        };
        let settings = store::Settings::new(&dir);
        let (mut store, _) =
            store::Store::open(settings, SystemTime::now(), &mut |_| {}).expect("opens");
        store.append(&[line]).expect("appends");
        store.close(&serde_json::Value::Null).expect("closes");
        let key = Some(dir.join("audit.pub").display().to_string());
        let args = VerifyArgs { dir: dir.clone(), key, json: true };
        let intact = verify(&args).expect("can be read");
        let segment = dir.join("0000000001.jsonl");
        let text = fs::read_to_string(&segment).expect("reads").replace("daemon", "demon");
        fs::write(&segment, text).expect("writes");
        let edited = verify(&args).expect("can be read");
        fs::remove_dir_all(&dir).expect("there");
        let error = verify(&VerifyArgs { key: None, ..args }).expect_err("nothing is there");
        assert_eq!((intact, edited), (Exit::Ok, Exit::NotIntact));
        assert!(format!("{error:#}").contains("cannot read"), "{error:#}");
    }

    #[test]
    fn a_key_that_is_none_is_told_with_what_to_do() {
        let error = key("/nowhere/audit.pub").expect_err("no file");
        assert!(format!("{error:#}").contains("neither 64 lower-case hexadecimal digits nor"));
        let error = key("/dev/null").expect_err("no key");
        assert!(format!("{error:#}").contains("/dev/null has no public key"), "{error:#}");
    }

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
        let daemon = row(&Entry::parse(
            br#"{"event.action":"daemon","@timestamp":"t","enforcer.event":"start"}"#,
        ));
        assert_eq!(daemon, ["t", "", "", "", "", "", "daemon", "", "", ""]);
    }
}
