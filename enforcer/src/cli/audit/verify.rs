//! `enforcer audit verify`: whether the stored records are as they were written.

use std::{
    fs,
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{
    audit::store::{self, DEFAULT_DIR, PublicKey, Report},
    cli::Exit,
};

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
pub(super) struct VerifyArgs {
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

/// Verifies, and tells what was found.
pub(super) fn verify(args: &VerifyArgs) -> anyhow::Result<Exit> {
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
}
