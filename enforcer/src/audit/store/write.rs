//! Writes: append, promise, rotate; and what happens when the disk does not do its part. A batch is
//! stored wholly or not at all, and nobody waits for compression.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;

use super::{
    Fsync, Gap, Line, Recovery, Settings, StoreError, chain,
    compress::Worker,
    disk::{Directory, Disk, replace},
    error::io,
    keys,
    lines::{self, Head, Position},
    live::{Live, abandonment},
    names::{self, HEAD},
    open, scan, time,
};

/// A store that is written. One process has it at a time.
#[derive(Debug)]
pub struct Store {
    pub(super) settings: Settings,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) live: Live,
    pub(super) worker: Worker,
    repair: Option<Repair>,
    missing: Option<Gap>,
    /// What is on the disk for certain, in the live segment.
    durable: Position,
    /// What the head says; none: there is no head of this writer yet.
    promised: Option<Position>,
    synced: Instant,
}

/// What has to be done before the store can go on.
#[derive(Clone, Copy, Debug)]
enum Repair {
    /// Bytes behind the last line have to go.
    Cut,
    /// The disk may have lost lines that were written: the segment counts up to here.
    Abandon(Position),
    /// The segment has ended, and the next has to begin.
    Begin,
}

impl Store {
    /// Opens a store, or makes it, and finishes what a crash left unfinished. `behind` gets each
    /// record of [`Recovery::recovered`], as it is stored.
    pub fn open(
        settings: Settings,
        now: SystemTime,
        behind: &mut dyn FnMut(&[u8]),
    ) -> Result<(Self, Recovery), StoreError> {
        let dir = settings.dir.display().to_string();
        let directory = Directory::lock(&settings.dir)
            .map_err(io("open", dir.clone()))?
            .ok_or(StoreError::InUse(dir))?;
        Self::open_on(Arc::new(directory), settings, now, behind)
    }

    pub(super) fn open_on(
        disk: Arc<dyn Disk>,
        settings: Settings,
        now: SystemTime,
        behind: &mut dyn FnMut(&[u8]),
    ) -> Result<(Self, Recovery), StoreError> {
        let (live, recovery) = open::open(disk.as_ref(), time::number(now), behind)?;
        let worker = Worker::start(Arc::clone(&disk)).map_err(io("start", "the compression"))?;
        let durable = live.at;
        let store = Self {
            settings,
            disk,
            live,
            worker,
            repair: None,
            missing: None,
            durable,
            promised: None,
            synced: Instant::now(),
        };
        Ok((store, recovery))
    }

    /// Stores a batch of lines, or nothing of it. After an error the store has failed, unless the
    /// error is [`StoreError::Refused`]: until [`Store::retry`] succeeds it takes nothing and
    /// remembers which sequence numbers it did not store.
    pub fn append(&mut self, lines: &[Line<'_>]) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return Ok(()) };
        if self.repair.is_some() {
            self.miss(first.seq, last.seq);
            return Err(StoreError::Failed);
        }
        check(lines, self.live.at.seq)?;
        self.live.append(lines).map_err(|source| {
            self.miss(first.seq, last.seq);
            self.repair = Some(Repair::Cut);
            // A reader is better off without half a line; when this fails, retry does it.
            let _ = self.live.cut();
            io("write", names::plain(self.live.at.segment))(source)
        })
    }

    /// Promises what was appended, when the policy has it due. `counts` are of everything that was
    /// appended. True: all of it is promised now. After an error that leaves [`Store::is_well`]
    /// nothing is lost, and the next call tries again; otherwise see [`Store::retry`].
    pub fn sync(&mut self, counts: &Value) -> Result<bool, StoreError> {
        if self.repair.is_some() {
            return Err(StoreError::Failed);
        }
        let is_due = match self.settings.fsync {
            Fsync::Batch => true,
            Fsync::Interval(interval) => self.synced.elapsed() >= interval,
            Fsync::Never => false,
        };
        // A crash before the head names this segment is one more thing to finish at the next start.
        let names_another = self.promised.is_none_or(|at| at.segment != self.live.at.segment);
        if is_due || names_another {
            self.promise(counts)?;
        }
        Ok(self.promised == Some(self.live.at))
    }

    /// Ends the live segment and begins the next when it is long or old enough; true if it did.
    /// `counts`, and errors, as for [`Store::sync`].
    pub fn rotate_if_due(&mut self, now: SystemTime, counts: &Value) -> Result<bool, StoreError> {
        if self.repair.is_some() {
            return Err(StoreError::Failed);
        }
        // A clock that was put back must not keep a segment open until it is there again.
        self.live.begun = self.live.begun.min(time::number(now));
        let age = Duration::from_micros(time::number(now).saturating_sub(self.live.begun));
        let has_records = self.live.first.is_some();
        let is_due =
            self.live.at.bytes >= self.settings.segment_bytes || age >= self.settings.segment_age;
        if !is_due || !has_records {
            return Ok(false);
        }
        self.rotate(now, counts)?;
        Ok(true)
    }

    /// Whether lines are taken.
    #[must_use]
    pub const fn is_well(&self) -> bool {
        self.repair.is_none()
    }

    /// Tries to go on after a failure. On success returns the sequence numbers that were not
    /// stored, also of lines that [`Store::append`] had taken and the disk then lost: a record of
    /// kind `gap` has to say so. `counts` are of what was appended and is not among them.
    pub fn retry(&mut self, now: SystemTime, counts: &Value) -> Result<Option<Gap>, StoreError> {
        match self.repair {
            None => return Ok(self.missing.take()),
            Some(Repair::Cut) => self.mend(now)?,
            Some(Repair::Abandon(at)) => self.begin(Some(at), now)?,
            Some(Repair::Begin) => self.begin(None, now)?,
        }
        // The new segment stays, whatever becomes of the head.
        self.repair = Some(Repair::Cut);
        if self.promised.is_none_or(|at| at.segment != self.live.at.segment) {
            self.write_head(counts)?;
        }
        self.repair = None;
        Ok(self.missing.take())
    }

    /// Promises everything now, whatever the policy.
    pub fn promise_all(&mut self, counts: &Value) -> Result<(), StoreError> {
        if self.repair.is_some() {
            return Err(StoreError::Failed);
        }
        self.promise(counts)
    }

    /// Promises everything and ends. Compression that is not finished goes on at the next start.
    pub fn close(mut self, counts: &Value) -> Result<(), StoreError> {
        self.promise_all(counts)
    }

    /// Waits until every closed segment is compressed.
    #[cfg(test)]
    pub(super) fn wait_for_compression(&self) {
        self.worker.wait();
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.settings.dir
    }

    /// When the oldest segment that is kept was begun; none if that is not known.
    pub fn begins(&self) -> Result<Option<SystemTime>, StoreError> {
        let failed = || io("read", "the oldest segment");
        let first = open::segments(self.disk.as_ref()).map_err(failed())?.into_iter().next();
        let Some(first) = first else { return Ok(None) };
        let begun = scan::begun(self.disk.as_ref(), first).map_err(failed())?;
        let micros = begun.as_deref().and_then(time::micros);
        Ok(micros.map(|micros| SystemTime::UNIX_EPOCH + Duration::from_micros(micros)))
    }

    /// Steps 2 to 5 of a rotation; see [`super::open`].
    pub(super) fn rotate(&mut self, now: SystemTime, counts: &Value) -> Result<(), StoreError> {
        // The head is never more than one segment behind.
        self.promise(counts)?;
        let segment = self.live.at.segment;
        let next = keys::prepare(self.disk.as_ref(), segment + 1)
            .map_err(io("write", names::key(segment + 1)))?;
        if let Err(source) = self.live.end(&next, time::number(now)) {
            self.repair = Some(Repair::Cut);
            let _ = self.live.cut();
            return Err(io("end", names::plain(segment))(source));
        }
        self.put_on_disk()?;
        self.repair = Some(Repair::Begin);
        self.begin(None, now)?;
        self.repair = None;
        self.write_head(counts)
    }

    /// Everything that was appended is on the disk, and the head says so.
    pub(super) fn promise(&mut self, counts: &Value) -> Result<(), StoreError> {
        if self.promised == Some(self.live.at) {
            return Ok(());
        }
        self.put_on_disk()?;
        self.write_head(counts)
    }

    fn put_on_disk(&mut self) -> Result<(), StoreError> {
        if let Err(source) = self.live.sink.sync() {
            // The kernel may have dropped what it could not write, and will not say so again:
            // what was not on the disk before is given up.
            self.repair = Some(Repair::Abandon(self.durable));
            if self.live.at.seq > self.durable.seq {
                self.miss(self.durable.seq + 1, self.live.at.seq);
            }
            return Err(io("sync", names::plain(self.live.at.segment))(source));
        }
        self.durable = self.live.at;
        Ok(())
    }

    /// Removes what a failed write left, or leaves the whole segment if that cannot be done.
    fn mend(&mut self, now: SystemTime) -> Result<(), StoreError> {
        if self.live.cut().is_err() {
            // On a disk that is read-only for a while this fails too, and nothing is given up: but
            // not once a segment is there that says where this one ends.
            let begun = self.begin(Some(self.durable), now);
            if begun.is_err() && self.has(self.live.at.segment + 1) {
                self.repair = Some(Repair::Abandon(self.durable));
            }
            return begun;
        }
        if self.put_on_disk().is_err() {
            return self.begin(Some(self.durable), now);
        }
        Ok(())
    }

    fn write_head(&mut self, counts: &Value) -> Result<(), StoreError> {
        let head = Head::new(self.durable, counts.clone());
        replace(self.disk.as_ref(), HEAD, &head.to_bytes(&self.live.secret))
            .map_err(io("replace", HEAD))?;
        self.synced = Instant::now();
        let segment = self.durable.segment;
        if self.promised.is_none_or(|at| at.segment != segment) {
            keys::wipe_before(self.disk.as_ref(), segment)
                .map_err(io("remove", names::key(segment.saturating_sub(1))))?;
            self.promised = Some(self.durable);
            self.compress_closed();
        }
        self.promised = Some(self.durable);
        Ok(())
    }

    /// Begins the next segment; `abandoned`: where the live one ends, if it has no end of its own.
    fn begin(&mut self, abandoned: Option<Position>, now: SystemTime) -> Result<(), StoreError> {
        let (disk, now) = (Arc::clone(&self.disk), time::number(now));
        let disk = disk.as_ref();
        let after = abandoned.unwrap_or(self.live.at);
        let next = names::plain(after.segment + 1);
        let statement = match abandoned {
            None => None,
            Some(at) => {
                let secret = keys::prepare(disk, at.segment + 1)
                    .map_err(io("write", names::key(at.segment + 1)))?;
                let why = ("the disk failed", false);
                Some(abandonment(&self.live.secret, &secret, &at, why, now))
            }
        };
        let live = Live::begin(disk, after.segment + 1, &after, statement.as_deref(), now)
            .map_err(io("begin", next))?;
        if after.seq < self.live.at.seq {
            self.miss(after.seq + 1, self.live.at.seq);
        }
        self.live = live;
        self.durable = self.live.at;
        Ok(())
    }

    /// Whether a segment is there, or nobody can tell.
    fn has(&self, segment: u64) -> bool {
        let name = names::plain(segment);
        self.disk.list().map_or(true, |files| files.iter().any(|(file, _)| *file == name))
    }

    /// Hands closed segments to the worker, once the head does not name them any more.
    fn compress_closed(&self) {
        let Some(promised) = self.promised else { return };
        let Ok(files) = self.disk.list() else { return };
        for (name, _) in files {
            match names::parse(&name) {
                names::Name::Plain(number) if number < promised.segment => self.worker.add(number),
                _ => {}
            }
        }
    }

    fn miss(&mut self, from_seq: u64, to_seq: u64) {
        self.missing = Some(match self.missing {
            None => Gap { from_seq, to_seq },
            Some(gap) => {
                Gap { from_seq: gap.from_seq.min(from_seq), to_seq: gap.to_seq.max(to_seq) }
            }
        });
    }
}

/// A batch as it may be stored.
fn check(lines: &[Line<'_>], mut before: u64) -> Result<(), StoreError> {
    for line in lines {
        let why = if line.seq <= before {
            Some("its number does not follow")
        } else if lines::is_own(&line.json) {
            Some("only the store writes lines of this kind")
        } else {
            chain::refuse(&line.json)
        };
        if let Some(why) = why {
            return Err(StoreError::Refused { seq: line.seq, why });
        }
        before = line.seq;
    }
    Ok(())
}
