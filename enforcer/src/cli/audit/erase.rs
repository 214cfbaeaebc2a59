//! `enforcer audit erase`: nobody can tell any more whose pseudonym it was.

use std::{
    fs,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use clap::Args;

use crate::{
    api::{Progress, client},
    audit::{
        record::shown,
        store::{self, Book, BookError, PREFIX, Query, Reveal, Settings, rfc3339},
    },
    cli::{DaemonAt, Dry, Exit},
    config::file,
};

/// Pseudonyms in one question to the daemon, which takes so many.
const AT_ONCE: usize = 2000;

/// Arguments of `audit erase`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer audit erase alice
  enforcer audit erase p-2f0c9a1b7e6d5c43 --yes --config /etc/enforcer/enforcer.toml

With `[audit] pseudonyms = true` records have pseudonyms in the place of names, and names.jsonl in the
directory says whose they are. This removes a user's name from there, with the names of their servers
and containers and their labels' values; or, where no user has that name, a container's. No line of the
records changes, and `enforcer audit verify` says the same as before. A record of kind `erased` tells of
it, by the pseudonym. Whoever comes again, or is still there, gets another pseudonym.

Where records have the name itself nothing can be erased: their lines are chained. Then this says how
many there are, and when retention deletes them. What a file system, a snapshot or a backup keeps of
names.jsonl is not erased either, and a collector has what it was sent.

Exit codes:
  0  erased
  1  failed, or there is nothing to erase
  2  wrong usage, or not agreed to")]
pub(super) struct EraseArgs {
    /// A user, a container or how its id begins, or a pseudonym.
    who: String,
    /// The directory of the store [default: the config's, or /var/lib/enforcer/audit].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    dry: Dry,
    #[command(flatten)]
    at: DaemonAt,
}

/// Erases a name.
pub(super) async fn erase(args: &EraseArgs) -> anyhow::Result<Exit> {
    let (run_dir, settings) = match settings(args) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Usage);
        }
    };
    let dir = &settings.dir;
    let dir = fs::canonicalize(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let reveal = Reveal::read(&dir)?;
    let meant = reveal.meant(&args.who);
    if meant.is_empty() {
        eprintln!(
            "enforcer: no pseudonym stands for \"{}\"; nothing has changed",
            shown(&args.who)
        );
        eprint!("{}", in_clear(&args.who, &dir, &settings)?);
        return Ok(Exit::Error);
    }
    for (root, names) in &meant {
        let names: Vec<_> = names.iter().map(|name| shown(name)).collect();
        eprintln!("{} stands for {}", root.pseudonym, names.join(", "));
    }
    if args.dry.dry_run {
        let names: usize = meant.values().map(std::collections::BTreeSet::len).sum();
        println!("would be erased: {names} names; nothing has changed");
        return Ok(Exit::Ok);
    }
    if !args.yes && !agreed()? {
        eprintln!("nothing has changed");
        return Ok(Exit::Usage);
    }
    let pseudonyms: Vec<String> = meant.keys().map(|row| row.pseudonym.clone()).collect();
    let count = match Book::lock(&dir) {
        Ok(mut book) => {
            let erased = book.erase(&pseudonyms, SystemTime::now())?;
            eprintln!("no daemon writes there: the record of it is made by the next one");
            erased.iter().map(|erasure| erasure.count).sum()
        }
        Err(BookError::InUse(_)) => ask(&run_dir, &dir, &pseudonyms).await?,
        Err(error) => return Err(error.into()),
    };
    println!("erased: {count} names, of {}", pseudonyms.join(", "));
    eprint!("{}", in_clear(&args.who, &dir, &settings)?);
    Ok(Exit::Ok)
}

/// Where the daemon and the records are.
fn settings(args: &EraseArgs) -> Result<(PathBuf, Settings), file::FileError> {
    let (run_dir, _) = args.at.directories()?;
    let config = args.at.config.as_ref().map(|config| file::load(config)).transpose()?;
    let settings = config.and_then(|config| config.audit.files);
    let mut settings = settings.unwrap_or_else(|| Settings::new(store::DEFAULT_DIR));
    if let Some(dir) = &args.dir {
        settings.dir.clone_from(dir);
    }
    Ok((run_dir, settings))
}

/// Has the daemon do it: it has the names in memory, too.
async fn ask(run_dir: &Path, dir: &Path, pseudonyms: &[String]) -> anyhow::Result<u64> {
    let shows = io::stderr().is_terminal();
    let (mut count, mut before) = (0, 0);
    for some in pseudonyms.chunks(AT_ONCE) {
        let heard = |Progress { done, .. }: Progress| {
            if shows {
                eprint!("\rerasing: {} of {} …", before + done, pseudonyms.len());
            }
        };
        let asked = client::erase(run_dir, dir.to_owned(), some.to_vec(), heard).await;
        if shows {
            // The line of progress goes.
            eprint!("\r\x1b[K");
        }
        before += u64::try_from(some.len()).unwrap_or(u64::MAX);
        count += asked.with_context(|| {
            format!("a daemon writes to {}, and only it can erase; say --config", dir.display())
        })?;
    }
    Ok(count)
}

/// What there is to say of records that have the name itself.
fn in_clear(who: &str, dir: &Path, settings: &Settings) -> anyhow::Result<String> {
    if who.starts_with(PREFIX) {
        return Ok(String::new());
    }
    let (mut count, mut last) = (0u64, 0);
    let query = Query { mentions: vec![who.to_owned()], ..Query::default() };
    store::query(dir, &query, &mut |_, entry| {
        if entry.user == who || entry.container == who {
            count += 1;
            last = entry.at();
        }
        true
    })?;
    Ok(if count == 0 { String::new() } else { words(who, (count, last), settings) })
}

fn words(who: &str, (count, last): (u64, u64), settings: &Settings) -> String {
    let ends = match (settings.keep_for, settings.keep_bytes) {
        (Some(keep), _) => {
            let age = keep.saturating_add(settings.segment_age);
            let at = Duration::from_micros(last).saturating_add(age);
            let micros = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
            format!("retention deletes the last of them by {}", rfc3339(micros))
        }
        (None, Some(bytes)) => {
            format!(
                "retention deletes them, the oldest first, when all are more than {bytes} bytes"
            )
        }
        (None, None) => "no retention is known that deletes them: set [audit] keep_days, or name \
             the config file with --config"
            .to_owned(),
    };
    format!(
        "{count} records name \"{}\" in clear, the last of {}. They are lines of a chain, and no line \
         can be changed; {ends}\n",
        shown(who),
        rfc3339(last)
    )
}

fn agreed() -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        eprintln!("enforcer: an erasure cannot be undone; say --yes");
        return Ok(false);
    }
    eprint!("Nobody will be able to tell any more whose they were. Go on? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_erased_is_told_with_what_becomes_of_it() {
        let mut settings = Settings::new("/nowhere");
        let say = |settings: &Settings| words("alice", (7, 1_700_000_000_000_000), settings);
        let text = say(&settings);
        assert!(
            text.contains("7 records name \"alice\" in clear, the last of 2023-11-14T22:13:20")
        );
        assert!(text.contains("no line can be changed; no retention is known"), "{text}");
        settings.keep_bytes = Some(4096);
        assert!(say(&settings).contains("when all are more than 4096 bytes"));
        settings.keep_for = Some(Duration::from_hours(24));
        assert!(say(&settings).contains("deletes the last of them by 2023-11-16T22:13:20"));
    }

    #[tokio::test]
    async fn a_name_is_erased_where_no_daemon_writes_and_what_has_none_is_told() {
        let dir = std::env::temp_dir().join(format!("enforcer-cli-erase-{}", std::process::id()));
        let (store, _) =
            store::Store::open(Settings::new(&dir), SystemTime::now(), &mut |_| {}).expect("opens");
        let mut book = Book::open(&dir).expect("opens");
        let name = (store::Kind::User, "alice");
        let pseudonym = book.pseudonym(name, "", None, SystemTime::now()).to_owned();
        book.settle();
        let run_dir = Some(dir.join("run"));
        let args = |who: &str| EraseArgs {
            who: who.to_owned(),
            dir: Some(dir.clone()),
            yes: true,
            dry: Dry { dry_run: false },
            at: DaemonAt { config: None, run_dir: run_dir.clone() },
        };
        let busy = erase(&args("alice")).await.expect_err("nobody answers for the one who writes");
        assert!(format!("{busy:#}").contains("only it can erase"), "{busy:#}");
        drop((store, book));
        let erased = erase(&args("alice")).await;
        let again = erase(&args("alice")).await;
        let file = fs::read_to_string(dir.join("names.jsonl")).expect("reads");
        fs::remove_dir_all(&dir).expect("there");
        assert_eq!((erased.expect("erases"), again.expect("says so")), (Exit::Ok, Exit::Error));
        assert!(!file.contains("alice") && file.contains(&pseudonym), "{file}");
    }
}
