//! The sink that lasts: the store's files. With each durable head it keeps what the lines account for,
//! so that the next daemon knows what is missing, however this one ended.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::Sink;
use crate::audit::{
    account::Accounts,
    queue::Account,
    record::{Body, Record, Stored},
    store::{self, Recovery, Settings, Store, StoreError},
    stream::Line,
};

/// How often it is asked whether segments have to go.
const RETAIN: Duration = Duration::from_secs(10);

/// What the store keeps for us beside its head.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// The life of the kernel whose counters these numbers are about.
    boot: String,
    accounts: Accounts,
}

/// The kernel's counters, as far as the store must know them.
#[derive(Debug)]
pub struct Counting {
    /// Id of this life of the kernel (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    /// They begin with this daemon.
    pub anew: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Files {
    store: Store,
    boot: String,
    accounts: Arc<Mutex<Accounts>>,
    /// What the head accounts for.
    promised: Accounts,
    /// Lines that were stored and are not promised yet: a disk may still lose them.
    unpromised: Vec<Arc<Line>>,
    /// Segments that have to go: a record of it is on its way through the stream.
    condemned: BTreeSet<u64>,
    /// Segments whose record is stored: they go when it is promised.
    recorded: Vec<u64>,
    retained: Instant,
    /// Weak: the daemon's end is that nobody has anything more to say.
    journal: mpsc::WeakUnboundedSender<Body>,
}

/// A store that is open, and what the stream has to go on from.
#[derive(Debug)]
pub struct Opened {
    /// The sink.
    pub files: Files,
    /// Number of the next record.
    pub next: u64,
    /// What is accounted for; shared with the sink.
    pub accounts: Arc<Mutex<Accounts>>,
    /// What there is to say about it.
    pub words: Vec<Body>,
}

impl Files {
    /// Opens the store.
    pub fn open(
        settings: Settings,
        Counting { boot, anew }: Counting,
        journal: &mpsc::UnboundedSender<Body>,
    ) -> Result<Opened, StoreError> {
        let mut behind = Vec::new();
        let dir = settings.dir.display().to_string();
        let (store, recovery) =
            Store::open(settings, SystemTime::now(), &mut |line| behind.push(account(line)))?;
        let kept = serde_json::from_value(recovery.counts.clone());
        let promised = match kept {
            Ok(Kept { boot: known, accounts }) if known == boot && !anew => accounts,
            _ => Accounts::default(),
        };
        let mut accounts = promised.clone();
        if !anew {
            for account in &behind {
                accounts.take(account);
            }
        }
        let accounts = Arc::new(Mutex::new(accounts));
        let mut files = Self {
            store,
            boot,
            accounts: Arc::clone(&accounts),
            promised,
            unpromised: Vec::new(),
            condemned: BTreeSet::new(),
            recorded: Vec::new(),
            retained: Instant::now(),
            journal: journal.downgrade(),
        };
        if anew {
            // The old numbers must not outlive this: those who are counted now have the same ids.
            let counts = files.counts(Accounts::default());
            files.store.promise_all(&counts)?;
        }
        let words = words(&dir, &recovery);
        Ok(Opened { files, next: recovery.last_seq + 1, accounts, words })
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self, accounts: Accounts) -> serde_json::Value {
        let kept = Kept { boot: self.boot.clone(), accounts };
        // Numbers and strings: that cannot fail.
        serde_json::to_value(kept).unwrap_or_default()
    }

    /// Goes on after a failure: what the disk lost is stored once more, from memory.
    fn go_on(&mut self) -> Result<(), StoreError> {
        let counts = self.counts(self.promised.clone());
        if let Some(lost) = self.store.retry(SystemTime::now(), &counts)? {
            let again: Vec<_> =
                self.unpromised.iter().filter(|line| line.seq >= lost.from_seq).cloned().collect();
            self.store.append(&again.iter().map(|line| of(line)).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    fn promise(&mut self) -> Result<(), StoreError> {
        if !self.store.is_well() {
            self.go_on()?;
        }
        let accounts = self.accounts().clone();
        let counts = self.counts(accounts.clone());
        if self.store.sync(&counts)? {
            self.promised = accounts;
            self.unpromised.clear();
            self.store.bury(&std::mem::take(&mut self.recorded))?;
        }
        let now = SystemTime::now();
        self.store.rotate_if_due(now, &counts)?;
        if self.retained.elapsed() >= RETAIN {
            self.retained = Instant::now();
            for retention in self.store.condemn(now)? {
                let Some(journal) = self.journal.upgrade() else { break };
                if self.condemned.insert(retention.segment) {
                    // Its record comes back as a line of the stream; then the files go.
                    let _ = journal.send(Body::Retention(retention));
                }
            }
        }
        Ok(())
    }
}

impl Sink for Files {
    fn name(&self) -> &'static str {
        "files"
    }

    fn take(&mut self, lines: &[Arc<Line>]) -> io::Result<()> {
        if !self.store.is_well() {
            self.go_on().map_err(told)?;
        }
        self.store.append(&lines.iter().map(|line| of(line)).collect::<Vec<_>>()).map_err(told)?;
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        for line in lines {
            accounts.take(&line.account);
            if let Account::Deletion(segment) = line.account {
                self.recorded.push(segment);
            }
        }
        drop(accounts);
        self.unpromised.extend(lines.iter().cloned());
        Ok(())
    }

    fn settle(&mut self) -> io::Result<()> {
        self.promise().map_err(told)
    }

    fn end(&mut self) -> io::Result<()> {
        let outcome = self.promise();
        let counts = self.counts(self.accounts().clone());
        outcome.and_then(|()| self.store.promise_all(&counts)).map_err(told)
    }
}

/// A line as the store takes it.
fn of(line: &Line) -> store::Line<'_> {
    store::Line {
        seq: line.seq,
        time: line.time.as_str().into(),
        json: line.text.as_bytes().into(),
    }
}

/// What a stored line accounts for.
fn account(stored: &[u8]) -> Account {
    let record: Option<Record> = serde_json::from_slice(stored).ok();
    record.map_or(Account::Nothing, |record| Account::of(&record.body))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn told(error: StoreError) -> io::Error {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    io::Error::other(text)
}

/// What there is to say about how the store was found.
fn words(dir: &str, recovery: &Recovery) -> Vec<Body> {
    let word =
        |event: &str| Stored { event: event.to_owned(), dir: dir.to_owned(), ..Stored::default() };
    let mut words = Vec::new();
    if let Some(key) = &recovery.new_key {
        words.push(Stored { key: Some(key.to_string()), ..word("made") });
    }
    if recovery.recovered > 0 {
        words.push(Stored { count: Some(recovery.recovered), ..word("recovered") });
    }
    if recovery.torn > 0 {
        words.push(Stored { count: Some(recovery.torn), ..word("torn") });
    }
    if let Some(tampered) = &recovery.tampered {
        let why = Some(format!("{}: {}", tampered.file, tampered.why));
        words.push(Stored { why, ..word("tampered") });
    }
    words.into_iter().map(Body::Stored).collect()
}
