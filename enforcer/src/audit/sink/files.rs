//! The sink that lasts: the store's files. With each durable head it keeps what the lines account for,
//! so that the next daemon knows what is missing, however this one ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::Sink;
use crate::{
    audit::{
        account::Accounts,
        queue::Account,
        record::{Body, Record, Stored},
        store::{self, Book, Look, Recovery, Settings, Steady, Store, StoreError},
        stream::Line,
    },
    causes::causes,
    kernel::since_boot,
};

/// The sink's name.
pub const NAME: &str = "files";
/// How often it is asked whether segments have to go.
const RETAIN: Duration = Duration::from_secs(10);

/// How long the record of a deletion may take through the stream.
const AGAIN: Duration = Duration::from_mins(1);
/// Most lines in memory that a disk may still lose.
const MOST_UNPROMISED: usize = 65_536;

/// What the store keeps for us beside its head.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// The kernel's counters that these numbers are about.
    counters: Counters,
    accounts: Accounts,
}

/// Which counters of which kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Id of this life of the kernel (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    /// Id of their map.
    pub map: Option<u32>,
}

impl Counters {
    /// Whether they go on from those; `carried`: from another map.
    fn continues(&self, from: &Self, carried: bool) -> bool {
        let known = self.map.is_some() && self.map == from.map;
        self.boot == from.boot && !self.boot.is_empty() && (known || carried)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Files {
    store: Store,
    counters: Counters,
    accounts: Arc<Mutex<Accounts>>,
    /// What the head accounts for.
    promised: Accounts,
    /// Lines that were stored and are not promised yet: a disk may still lose them.
    unpromised: Vec<Arc<Line>>,
    /// Segments that have to go: a record of it is on its way through the stream.
    condemned: BTreeMap<u64, Instant>,
    /// Segments whose record is stored: they go when it is promised.
    recorded: BTreeSet<u64>,
    /// Which names pseudonyms stand for, if there is such a book.
    book: Option<Arc<Mutex<Book>>>,
    /// Erasures whose record is stored: the book is told when it is promised.
    erased: Vec<u64>,
    retained: Instant,
    /// Whether anything is too old is asked of a clock that runs evenly.
    steady: Steady,
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
    /// Opens the store. `carried`: the counters were carried over from another map.
    pub fn open(
        settings: Settings,
        counters: Counters,
        carried: bool,
        journal: &mpsc::UnboundedSender<Body>,
    ) -> Result<Opened, StoreError> {
        let mut behind = Vec::new();
        let dir = settings.dir.display().to_string();
        let (store, recovery) =
            Store::open(settings, SystemTime::now(), &mut |line| behind.push(account(line)))?;
        let kept: Option<Kept> = serde_json::from_value(recovery.counts.clone()).ok();
        let kept = kept.filter(|kept| counters.continues(&kept.counters, carried));
        let same = kept.as_ref().is_some_and(|kept| kept.counters == counters);
        let anew = kept.is_none();
        let promised = kept.map(|kept| kept.accounts).unwrap_or_default();
        let mut accounts = promised.clone();
        if !anew {
            for account in &behind {
                accounts.take(account);
            }
        }
        let accounts = Arc::new(Mutex::new(accounts));
        let mut files = Self {
            store,
            counters,
            accounts: Arc::clone(&accounts),
            promised,
            unpromised: Vec::new(),
            condemned: BTreeMap::new(),
            recorded: BTreeSet::new(),
            book: None,
            erased: Vec::new(),
            retained: Instant::now(),
            steady: Steady::default(),
            journal: journal.downgrade(),
        };
        if !same {
            // The old numbers must not outlive this: others may be counted under the same ids now.
            let now = files.accounts().clone();
            let counts = files.counts(now.clone());
            files.store.promise_all(&counts)?;
            files.promised = now;
        }
        let words = words(&dir, &recovery);
        Ok(Opened { files, next: recovery.last_seq + 1, accounts, words })
    }

    /// Keeps the book no longer than the records that have pseudonyms.
    #[must_use]
    pub fn with_book(mut self, book: Option<Arc<Mutex<Book>>>) -> Self {
        self.book = book;
        self.forget_names();
        self
    }

    /// Names that no record has any more go from the book.
    fn forget_names(&self) {
        let Some(book) = &self.book else { return };
        match self.store.begins() {
            Ok(Some(begins)) => {
                book.lock().unwrap_or_else(PoisonError::into_inner).forget_before(begins);
            }
            Ok(None) => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "names of pseudonyms are kept longer than their records");
            }
        }
    }

    /// Everything is promised, and with it the records of these erasures.
    fn tell_book(&mut self) {
        let erased = std::mem::take(&mut self.erased);
        if let Some(book) = self.book.as_ref().filter(|_| !erased.is_empty()) {
            book.lock().unwrap_or_else(PoisonError::into_inner).told(&erased);
        }
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self, accounts: Accounts) -> serde_json::Value {
        let kept = Kept { counters: self.counters.clone(), accounts };
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

    /// The time, unless somebody set the clock a while ago.
    fn trusted(&mut self, now: SystemTime) -> Option<SystemTime> {
        match self.steady.look(now, since_boot()) {
            Look::Even => Some(now),
            Look::Young => None,
            Look::Set(by, forward) => {
                let (seconds, way) = (by.as_secs(), if forward { "ahead" } else { "back" });
                tracing::warn!(seconds, way, "the clock was set: for an hour no record is too old");
                None
            }
        }
    }

    fn promise(&mut self) -> Result<(), StoreError> {
        if !self.store.is_well() {
            self.go_on()?;
        }
        let now = SystemTime::now();
        if !self.unpromised.is_empty() {
            let accounts = self.accounts().clone();
            let counts = self.counts(accounts.clone());
            // Never so many that a disk may lose more than memory holds.
            let many = self.unpromised.len() > MOST_UNPROMISED;
            let promised = if many {
                self.store.promise_all(&counts).map(|()| true)?
            } else {
                self.store.sync(&counts)?
            };
            if self.store.rotate_if_due(now, &counts)? || promised {
                self.promised = accounts;
                self.unpromised.clear();
            }
        }
        let mut has_buried = false;
        while let Some(segment) = self.recorded.first().copied()
            && self.unpromised.is_empty()
            && self.store.bury(segment)?
        {
            self.recorded.pop_first();
            self.condemned.remove(&segment);
            has_buried = true;
        }
        if has_buried {
            self.forget_names();
        }
        if self.unpromised.is_empty() {
            self.tell_book();
        }
        if self.retained.elapsed() >= RETAIN {
            self.retained = Instant::now();
            let trusted = self.trusted(now);
            for retention in self.store.condemn(trusted)? {
                let Some(journal) = self.journal.upgrade() else { break };
                // A record that got lost on its way is made again.
                let asked = self.condemned.get(&retention.segment);
                if asked.is_none_or(|asked| asked.elapsed() > AGAIN) {
                    self.condemned.insert(retention.segment, Instant::now());
                    // It comes back as a line of the stream; then the files go.
                    let _ = journal.send(Body::Retention(retention));
                }
            }
        }
        Ok(())
    }
}

impl Sink for Files {
    fn name(&self) -> &'static str {
        NAME
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
                self.recorded.insert(segment);
            }
            if let Account::Erasure(erased) = line.account {
                self.erased.push(erased);
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
        self.promise().map_err(told)?;
        let counts = self.counts(self.accounts().clone());
        self.store.promise_all(&counts).map_err(told)?;
        self.tell_book();
        Ok(())
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
    io::Error::other(causes(&error))
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

#[cfg(test)]
mod tests;
