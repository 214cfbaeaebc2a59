//! Deletes the oldest segments, in the open. A crash may come between any two of these steps, and
//! the next call goes on with the first that is missing:
//!
//! 1. a record of kind `retention` is in the stream, and promised
//! 2. the segment's signed end is put into `tombstones.jsonl`: the chain of keys stays whole
//! 3. the files go
//!
//! The settings alone decide what goes: a tombstone condemns nothing. One that no record speaks of is
//! somebody else's work, whether its segment is gone or not.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{
    Store, StoreError,
    chain::Chain,
    disk::{Disk, read_whole, write_all},
    error::io,
    lines::{self, Closing, Own},
    names::{self, Name, TOMBSTONES},
    scan, time,
};

/// A segment that is deleted: the fields of the record of kind `retention` about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Retention {
    /// Its number; those before it are deleted too.
    #[serde(rename = "enforcer.segment")]
    pub segment: u64,
    /// Number of its lines.
    #[serde(rename = "enforcer.lines")]
    pub lines: u64,
    /// Bytes of its lines.
    #[serde(rename = "enforcer.bytes")]
    pub bytes: u64,
    /// Sequence number of its first record.
    #[serde(rename = "enforcer.first_seq")]
    pub first_seq: u64,
    /// Sequence number of its last record.
    #[serde(rename = "enforcer.last_seq")]
    pub last_seq: u64,
    /// When it ended, RFC 3339.
    #[serde(rename = "enforcer.ended")]
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub ended: String,
    /// Value of the chain at its last line.
    #[serde(rename = "enforcer.head")]
    #[cfg_attr(test, schemars(extend("pattern" = "^[0-9a-f]{64}$")))]
    pub head: String,
    /// `age` or `size`.
    #[serde(rename = "enforcer.because")]
    #[cfg_attr(test, schemars(extend("enum" = ["age", "size"])))]
    pub because: String,
}

impl Store {
    /// Segments that are more or older than the settings keep, the oldest first. The caller puts a
    /// record of kind `retention` about each into the stream, and calls [`Store::bury`] once it is
    /// promised. Those that are not buried are returned again. Without a `now` that is to be trusted
    /// none is too old.
    pub fn condemn(&self, now: Option<SystemTime>) -> Result<Vec<Retention>, StoreError> {
        if !self.is_well() {
            return Err(StoreError::Failed);
        }
        self.condemned(now)
    }

    /// Steps 2 and 3 for a segment whose record is promised; whether it is gone. An older one that is
    /// still there has to go first.
    pub fn bury(&mut self, segment: u64) -> Result<bool, StoreError> {
        let disk = self.disk.as_ref();
        match sizes(disk)?.into_keys().next() {
            Some(first) if first < segment => return Ok(false),
            Some(first) if first == segment && segment < self.live.at.segment => {}
            _ => return Ok(true),
        }
        if !tombstoned(disk)?.contains(&segment) {
            let (mut tombstone, _) = closing_of(disk, segment)?;
            tombstone.push(b'\n');
            add_tombstones(disk, &tombstone)?;
        }
        remove(disk, segment)?;
        Ok(true)
    }

    /// All steps at once.
    #[cfg(test)]
    pub(super) fn retain(
        &mut self,
        now: SystemTime,
        counts: &serde_json::Value,
        record: &mut dyn FnMut(&Retention) -> super::Line<'static>,
    ) -> Result<usize, StoreError> {
        let condemned = self.condemn(Some(now))?;
        if condemned.is_empty() {
            return Ok(0);
        }
        let lines: Vec<_> = condemned.iter().map(record).collect();
        self.append(&lines)?;
        self.promise(counts)?;
        for one in &condemned {
            assert!(self.bury(one.segment)?, "an older one is still there");
        }
        Ok(condemned.len())
    }

    /// The oldest segments, as many as have to go, while they are neither live nor being compressed.
    fn condemned(&self, now: Option<SystemTime>) -> Result<Vec<Retention>, StoreError> {
        let sizes = sizes(self.disk.as_ref())?;
        let mut total: u64 = sizes.values().sum();
        let mut condemned = Vec::new();
        for (segment, size) in sizes {
            if segment >= self.live.at.segment || self.worker.has(segment) {
                break;
            }
            let by_size = self.settings.keep_bytes.is_some_and(|keep| total > keep);
            let keep_for = self.settings.keep_for.zip(now);
            if !by_size && keep_for.is_none() {
                break;
            }
            let (_, closing) = closing_of(self.disk.as_ref(), segment)?;
            let by_age = keep_for.is_some_and(|(keep, now)| age(&closing, now) > keep);
            if !by_size && !by_age {
                break;
            }
            condemned.push(retention(closing, if by_age { "age" } else { "size" }));
            total -= size;
        }
        Ok(condemned)
    }
}

/// A closed segment's end, as it is stored and as it is read.
fn closing_of(disk: &dyn Disk, segment: u64) -> Result<(Vec<u8>, Closing), StoreError> {
    let file = names::plain(segment);
    let closing = scan::closing_of(disk, segment).map_err(io("read", file.clone()))?;
    closing.ok_or(StoreError::Unclosed(file))
}

fn age(closing: &Closing, now: SystemTime) -> Duration {
    // Without a time it is never too old.
    let ended = time::micros(&closing.time).unwrap_or(u64::MAX);
    Duration::from_micros(time::number(now).saturating_sub(ended))
}

fn retention(closing: Closing, because: &str) -> Retention {
    Retention {
        segment: closing.segment,
        lines: closing.lines,
        bytes: closing.bytes,
        first_seq: closing.first_seq,
        last_seq: closing.last_seq,
        ended: closing.time,
        head: Chain::into(closing.head),
        because: because.to_owned(),
    }
}

/// Bytes of each segment in all its forms, with its index.
fn sizes(disk: &dyn Disk) -> Result<BTreeMap<u64, u64>, StoreError> {
    let mut sizes = BTreeMap::new();
    for (name, size) in disk.list().map_err(io("list", "the store"))? {
        if let Name::Plain(segment) | Name::Packed(segment) | Name::Index(segment) =
            names::parse(&name)
        {
            *sizes.entry(segment).or_default() += size;
        }
    }
    Ok(sizes)
}

/// Segments that have a tombstone.
fn tombstoned(disk: &dyn Disk) -> Result<BTreeSet<u64>, StoreError> {
    let bytes = read_whole(disk, TOMBSTONES).map_err(io("read", TOMBSTONES))?.unwrap_or_default();
    let lines = bytes.split(|byte| *byte == b'\n').filter_map(lines::own);
    Ok(lines
        .filter_map(|line| match line {
            Own::End(closing) | Own::Abandoned(closing) => Some(closing.segment),
            Own::Start(_) => None,
        })
        .collect())
}

/// Adds tombstones, all or none.
fn add_tombstones(disk: &dyn Disk, lines: &[u8]) -> Result<(), StoreError> {
    if lines.is_empty() {
        return Ok(());
    }
    let before = read_whole(disk, TOMBSTONES).map_err(io("read", TOMBSTONES))?.unwrap_or_default();
    let before = u64::try_from(before.len()).unwrap_or(u64::MAX);
    let mut sink = disk.append(TOMBSTONES).map_err(io("open", TOMBSTONES))?;
    let written = write_all(sink.as_mut(), lines).and_then(|()| sink.sync());
    if let Err(source) = written {
        // When this fails too, the next start cuts it.
        let _ = sink.set_len(before);
        return Err(io("write", TOMBSTONES)(source));
    }
    disk.sync_names().map_err(io("sync", TOMBSTONES))
}

/// Removes all files of a segment.
fn remove(disk: &dyn Disk, segment: u64) -> Result<(), StoreError> {
    for name in [names::index(segment), names::plain(segment), names::packed(segment)] {
        match disk.remove(&name) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(io("remove", name)(source));
            }
            _ => {}
        }
    }
    disk.sync_names().map_err(io("sync", "the store"))
}
