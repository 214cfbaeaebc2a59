//! The sink that lasts: JSON lines in files of a directory, chained, signed, compressed, and deleted
//! in the open. It never decides what a record says, and no reader trusts it: see [`verify()`].
//!
//! ```text
//! audit/                        0700, files 0600
//!   0000000001.jsonl.gz         a closed segment: one gzip member for each 256 KiB of lines
//!   0000000001.idx              which of them has what; can be made again, trusted for nothing
//!   0000000002.jsonl            the live segment
//!   0000000002.key              signs its end; removed when the next segment has begun
//!   head.json                   how far the lines are promised, signed
//!   tombstones.jsonl            the signed ends of deleted segments
//!   names.jsonl, names.key      which names pseudonyms stand for, outside the chain: see [`book`]
//!   audit.pub                   the first public key: an operator keeps a copy elsewhere
//! ```
//!
//! ```text
//! segment_start   before, key 1 ──────────────┐
//! record          chain = hash(before, line)  │ signs
//! record          chain = hash(chain, line)   │
//! segment_end     head, sha256, key 2 ◄───────┘
//! segment_start   before, key 2 ...
//! ```
//!
//! What it does not show: lines that never got in, the end of a store whose head was put back
//! together with it, and what root on this host writes with the key of the live segment.

mod bloom;
mod book;
mod chain;
mod compress;
mod disk;
mod entry;
mod error;
pub(super) mod hex;
mod index;
mod keys;
mod lines;
mod live;
mod names;
mod open;
mod query;
mod retain;
mod scan;
mod sign;
mod steady;
pub(crate) mod time;
mod verify;
mod walk;
mod write;

#[cfg(test)]
mod tests;

use std::{borrow::Cow, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

pub use book::{Book, BookError, Erasure, Kind, PREFIX, Reveal, Row, id as pseudonym_id};
pub use entry::Entry;
pub(super) use entry::flow_hash;
pub use error::StoreError;
pub(super) use hex::digits;
pub use open::{Recovery, Tampered};
pub use query::{Effort, Peer, Query, QueryError, begins, end, moment, parse_peer, query};
pub use retain::Retention;
pub use sign::PublicKey;
pub use steady::{Look, Steady};
pub use time::text as rfc3339;
pub use verify::{Problem, Report, VerifyError, verify};
pub use write::Store;

/// Where the store is unless somebody says otherwise.
pub const DEFAULT_DIR: &str = "/var/lib/enforcer/audit";

/// How a store is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The directory.
    pub dir: PathBuf,
    /// When lines are promised.
    pub fsync: Fsync,
    /// A segment ends when it has so many bytes.
    pub segment_bytes: u64,
    /// A segment ends when it is that old.
    pub segment_age: Duration,
    /// Closed segments are deleted, the oldest first, while all together have more bytes.
    pub keep_bytes: Option<u64>,
    /// A segment is deleted when it ended that long ago.
    pub keep_for: Option<Duration>,
}

impl Settings {
    /// A store in `dir` that promises each batch and deletes nothing.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            fsync: Fsync::Batch,
            segment_bytes: 64 << 20,
            segment_age: Duration::from_hours(24),
            keep_bytes: None,
            keep_for: None,
        }
    }
}

/// When lines are put on the disk and promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// At each [`Store::sync`].
    Batch,
    /// At a [`Store::sync`] that comes so long after the last one that did.
    Interval(Duration),
    /// Only when a segment ends, and at [`Store::close`].
    Never,
}

/// A line to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its sequence number: more than that of the line before. The JSON has it as `seq`.
    pub seq: u64,
    /// When it happened, RFC 3339. The JSON has it as `time`.
    pub time: Cow<'a, str>,
    /// A JSON object without line breaks.
    pub json: Cow<'a, [u8]>,
}

/// Sequence numbers of records that were not stored: the fields of the record of kind `gap` that
/// takes their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The first.
    #[serde(rename = "enforcer.from_seq")]
    pub from_seq: u64,
    /// The last.
    #[serde(rename = "enforcer.to_seq")]
    pub to_seq: u64,
}
