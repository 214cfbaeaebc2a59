//! The book of names: which name each pseudonym stands for. It is a file beside the segments and no part
//! of their chain, so that a name can be taken out of it and every line of the chain stays as it is.
//!
//! ```text
//! names.key     0600  the key of the pseudonyms
//! names.jsonl   0600  one line for each name, with a salt of its own; lines that add to earlier ones; and
//!                     of each erasure a line, until the record of it is kept
//! ```
//!
//! A pseudonym is on the disk with its name before any record has it. Without name and salt nobody can
//! tell whose it was, also with the key: a guess has nothing to be held against. Whoever comes again after
//! that gets another salt, and so another pseudonym.
//!
//! Whoever writes it holds the lock of the directory, as the store does.

mod reveal;
mod rows;

use std::{
    collections::HashMap,
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use hmac::Hmac;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use self::rows::{Line, parse};
pub use self::{
    reveal::Reveal,
    rows::{Erasure, Kind, Row, id},
};
use super::{
    disk::{Directory, Disk, read_whole, replace, write_all},
    hex, names, time,
};
use crate::causes::causes;

/// A use is written down when the last one that is was so long ago.
const USE: u64 = 24 * 3600 * time::SECOND;
/// How often a failed write is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How a pseudonym begins.
pub const PREFIX: &str = "p-";
/// Bytes of the digest that a pseudonym shows.
const SHOWN: usize = 8;

/// Why the book cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// A file failed.
    #[error("cannot {doing} {file}")]
    Io {
        /// What was done.
        doing: &'static str,
        /// With which file.
        file: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It has a line that is none of its own. Names may be in it, so nothing is dropped.
    #[error("{file}:{line} is not understood", file = names::BOOK)]
    Line {
        /// Which, from 1.
        line: usize,
    },
    /// The key is none.
    #[error("{} is no key of 64 hexadecimal digits", names::BOOK_KEY)]
    Key,
    /// A daemon, or another erasure, is at work there.
    #[error("{0} is in use")]
    InUse(String),
}

fn failed(doing: &'static str, file: &'static str) -> impl FnOnce(io::Error) -> BookError {
    move |source| BookError::Io { doing, file, source }
}

/// The book, open for writing.
#[derive(Debug)]
pub struct Book {
    /// None: nobody keeps the names.
    disk: Option<Arc<dyn Disk>>,
    key: Zeroizing<[u8; 32]>,
    rows: Vec<Row>,
    /// Places of rows, by what they are found by.
    places: HashMap<String, usize>,
    erasures: Vec<Erasure>,
    /// Lines that are not on the disk yet.
    pending: Vec<u8>,
    /// The file may have half a line at its end: it is written anew.
    is_torn: bool,
    tried: Option<Instant>,
    failing: Option<String>,
    room: String,
}

impl Book {
    /// Opens the book of a directory whose lock the caller holds, or makes it.
    pub fn open(dir: &Path) -> Result<Self, BookError> {
        let disk = Directory::open(dir).map_err(failed("open", names::BOOK))?;
        Self::open_on(Arc::new(disk))
    }

    /// Whether a directory has a book.
    #[must_use]
    pub fn is_in(dir: &Path) -> bool {
        dir.join(names::BOOK).exists()
    }

    /// Opens the book of a directory where nobody writes; it is locked as long as the book is open.
    pub fn lock(dir: &Path) -> Result<Self, BookError> {
        let disk = Directory::lock(dir).map_err(failed("open", names::BOOK))?;
        Self::open_on(Arc::new(disk.ok_or_else(|| BookError::InUse(dir.display().to_string()))?))
    }

    pub(super) fn open_on(disk: Arc<dyn Disk>) -> Result<Self, BookError> {
        let text = read_whole(disk.as_ref(), names::BOOK_KEY)
            .map_err(failed("read", names::BOOK_KEY))?
            .map(Zeroizing::new);
        let key = if let Some(text) = text {
            let digits = text.strip_suffix(b"\n").unwrap_or(&text);
            Zeroizing::new(hex::decode::<32>(digits).ok_or(BookError::Key)?)
        } else {
            let key = random().map_err(failed("make", names::BOOK_KEY))?;
            let text = Zeroizing::new(hex::encode(key.as_slice()) + "\n");
            replace(disk.as_ref(), names::BOOK_KEY, text.as_bytes())
                .map_err(failed("write", names::BOOK_KEY))?;
            key
        };
        let bytes = read_whole(disk.as_ref(), names::BOOK).map_err(failed("read", names::BOOK))?;
        let found = parse(&bytes.unwrap_or_default())?;
        let mut book = Self { disk: Some(disk), key, is_torn: found.is_torn, ..Self::unkept()? };
        (book.rows, book.erasures) = (found.rows, found.erasures);
        book.find_places();
        if book.is_torn {
            // Nobody has used what was being written.
            book.rewrite().map_err(failed("write", names::BOOK))?;
        }
        Ok(book)
    }

    /// A book of which nothing is kept: pseudonyms hold for as long as it is there, and nobody can tell
    /// afterwards whose they were.
    pub fn unkept() -> Result<Self, BookError> {
        Ok(Self {
            disk: None,
            key: random().map_err(failed("make", names::BOOK_KEY))?,
            rows: Vec::new(),
            places: HashMap::new(),
            erasures: Vec::new(),
            pending: Vec::new(),
            is_torn: false,
            tried: None,
            failing: None,
            room: String::new(),
        })
    }

    /// The pseudonym of a name. `scope` is what the name is unique within; `of` the pseudonym of the user
    /// with whom it goes. A new one is to be kept, by [`Book::settle`], before anybody sees it.
    pub fn pseudonym(
        &mut self,
        (kind, name): (Kind, &str),
        scope: &str,
        of: Option<&str>,
        now: SystemTime,
    ) -> &str {
        let now = time::number(now);
        self.room.clear();
        rows::write_place(&mut self.room, kind, name, scope);
        let place = if let Some(place) = self.places.get(self.room.as_str()) {
            *place
        } else {
            let row = Row::new(self.key.as_slice(), (kind, name), scope, of, now);
            self.put(&Line::Name(row.clone()));
            self.places.insert(self.room.clone(), self.rows.len());
            self.rows.push(row);
            self.rows.len() - 1
        };
        if let Some(row) = self.rows.get_mut(place) {
            let learned = row.of.is_none().then_some(of).flatten().map(str::to_owned);
            let is_long_ago = now.saturating_sub(row.used_at()) >= USE;
            if learned.is_some() || is_long_ago {
                row.of = row.of.take().or(learned);
                row.used = time::text(now);
                let line = Line::Used {
                    pseudonym: row.pseudonym.clone(),
                    used: row.used.clone(),
                    of: row.of.clone(),
                };
                self.put(&line);
            }
        }
        self.rows.get(place).map_or(PREFIX, |row| row.pseudonym.as_str())
    }

    /// Has everything on the disk. What could not be written is tried again from time to time, and those
    /// pseudonyms are used meanwhile: a record is worth more than its name.
    pub fn settle(&mut self) {
        let is_due = self.tried.is_none_or(|tried| tried.elapsed() >= AGAIN);
        if (self.pending.is_empty() && !self.is_torn) || self.disk.is_none() || !is_due {
            return;
        }
        let written = if self.is_torn { self.rewrite() } else { self.append() };
        let failing = written.err().map(|error| causes(&error));
        self.tried = failing.is_some().then(Instant::now);
        if self.failing != failing {
            if let Some(error) = &failing {
                tracing::error!(error, "names of pseudonyms are not kept");
            } else {
                tracing::info!("names of pseudonyms are kept again");
            }
            self.failing = failing;
        }
    }

    /// Why names are not kept.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        match &self.disk {
            None => Some("there is no file for them; mend that, then restart enforcer"),
            Some(_) => self.failing.as_deref(),
        }
    }

    /// Erases these pseudonyms' names, and those of what goes with them. On the disk when this returns,
    /// with a word of it that stays until [`Book::told`]. On an error nothing has changed.
    pub fn erase(
        &mut self,
        pseudonyms: &[String],
        now: SystemTime,
    ) -> Result<Vec<Erasure>, BookError> {
        let time = time::text(time::number(now));
        let erasures: Vec<Erasure> = pseudonyms
            .iter()
            .filter_map(|pseudonym| {
                let gone = self.rows.iter().filter(|row| row.goes_with(pseudonym));
                let count = u64::try_from(gone.count()).unwrap_or(u64::MAX);
                let pseudonym = pseudonym.clone();
                (count > 0).then(|| Erasure { pseudonym, count, time: time.clone() })
            })
            .collect();
        if erasures.is_empty() {
            return Ok(erasures);
        }
        let (rows, noted) = (self.rows.clone(), self.erasures.len());
        self.rows.retain(|row| !pseudonyms.iter().any(|pseudonym| row.goes_with(pseudonym)));
        self.erasures.extend(erasures.iter().cloned());
        if let Err(source) = self.rewrite() {
            self.rows = rows;
            self.erasures.truncate(noted);
            return Err(failed("rewrite", names::BOOK)(source));
        }
        self.find_places();
        Ok(erasures)
    }

    /// Erasures of which no record is known to be kept.
    #[must_use]
    pub fn erasures(&self) -> &[Erasure] {
        &self.erasures
    }

    /// The records of these erasures, by [`Erasure::id`], are kept.
    pub fn told(&mut self, ids: &[u64]) {
        let before = self.erasures.len();
        self.erasures.retain(|erasure| !ids.contains(&erasure.id()));
        if self.erasures.len() < before {
            self.write_anew();
        }
    }

    /// Forgets names that no record has any more: the oldest one that is kept was made at `begins`.
    pub fn forget_before(&mut self, begins: SystemTime) {
        let begins = time::number(begins);
        let before = self.rows.len();
        // A use is written down up to so much too late.
        self.rows.retain(|row| row.used_at().saturating_add(USE) >= begins);
        if self.rows.len() < before {
            self.find_places();
            self.write_anew();
        }
    }

    /// The names.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Writes everything; where that fails, it is tried again.
    fn write_anew(&mut self) {
        self.is_torn = true;
        self.settle();
    }

    fn put(&mut self, line: &Line) {
        // Strings and numbers: that cannot fail.
        let _ = serde_json::to_writer(&mut self.pending, line);
        self.pending.push(b'\n');
    }

    fn find_places(&mut self) {
        self.places = self
            .rows
            .iter()
            .enumerate()
            .map(|(place, row)| {
                let mut key = String::new();
                rows::write_place(&mut key, row.kind, &row.name, &row.scope);
                (key, place)
            })
            .collect();
    }

    fn append(&mut self) -> io::Result<()> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let mut sink = disk.append(names::BOOK)?;
        // Until it is there as a whole.
        self.is_torn = true;
        write_all(sink.as_mut(), &self.pending)?;
        sink.sync()?;
        disk.sync_names()?;
        self.is_torn = false;
        self.pending.clear();
        Ok(())
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let mut bytes = Vec::new();
        let rows = self.rows.iter().cloned().map(Line::Name);
        for line in rows.chain(self.erasures.iter().cloned().map(Line::Erased)) {
            serde_json::to_writer(&mut bytes, &line)?;
            bytes.push(b'\n');
        }
        replace(disk.as_ref(), names::BOOK, &bytes)?;
        self.is_torn = false;
        self.pending.clear();
        Ok(())
    }
}

fn random() -> io::Result<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(io::Error::other)?;
    Ok(bytes)
}
