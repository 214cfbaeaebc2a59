//! Compresses closed segments, on a thread of its own at whose speed nobody has to write. Step 6 of
//! [`super::open`]; one that a crash cut short is done again from the beginning, for the lines go last.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, BufReader, Read as _, Write as _},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use sha2::{Digest as _, Sha256};

use super::{
    disk::{Disk, draft, publish, replace, write_all},
    index::{self, Builder},
    lines::{self, Own},
    names::{self, TEMPORARY},
};

/// Bytes of lines in one gzip member, about: what a reader has to expand to see one line.
const BLOCK: usize = 256 << 10;
/// Bytes that are read for one block at most: there is room for the longest line.
const LONGEST: u64 = 2 << 20;

/// The thread.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: Option<Sender<u64>>,
    pending: Arc<Mutex<BTreeSet<u64>>>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is compressed.
    Packed,
    /// It has no end of its own: it stays as it is.
    Kept,
    /// The store was closed meanwhile.
    Stopped,
}

impl Worker {
    pub(super) fn start(disk: Arc<dyn Disk>) -> io::Result<Self> {
        let (jobs, queue) = channel();
        let pending = Arc::<Mutex<BTreeSet<u64>>>::default();
        let stop = Arc::<AtomicBool>::default();
        let thread = {
            let (pending, stop) = (Arc::clone(&pending), Arc::clone(&stop));
            thread::Builder::new()
                .name("compress".to_owned())
                .spawn(move || work(disk.as_ref(), &queue, &pending, &stop))?
        };
        Ok(Self { jobs: Some(jobs), pending, stop, thread: Some(thread) })
    }

    /// Has a segment compressed some time.
    pub(super) fn add(&self, segment: u64) {
        if lock(&self.pending).insert(segment)
            && let Some(jobs) = &self.jobs
        {
            // The thread ends with this value.
            let _ = jobs.send(segment);
        }
    }

    /// Whether the segment's files may change.
    pub(super) fn has(&self, segment: u64) -> bool {
        lock(&self.pending).contains(&segment)
    }

    #[cfg(test)]
    pub(super) fn wait(&self) {
        while !lock(&self.pending).is_empty() {
            thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of it was reported when it happened.
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn work(disk: &dyn Disk, queue: &Receiver<u64>, pending: &Mutex<BTreeSet<u64>>, stop: &AtomicBool) {
    while let Ok(segment) = queue.recv() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = compress(disk, segment, stop) {
            // It is tried again when the next segment ends.
            let file = names::plain(segment);
            tracing::warn!(error = &error as &dyn std::error::Error, file, "not compressed");
        }
        lock(pending).remove(&segment);
    }
}

/// Puts the compressed form of a closed segment, and its index, in its place.
pub(super) fn compress(disk: &dyn Disk, segment: u64, stop: &AtomicBool) -> io::Result<Outcome> {
    let mut reader = BufReader::with_capacity(BLOCK, disk.read(&names::plain(segment), 0)?);
    let name = names::packed(segment);
    let mut sink = draft(disk, &name)?;
    let (mut builder, mut digest, mut place, mut has_end) =
        (Builder::default(), Sha256::new(), 0, false);
    while let Some(block) = block(&mut reader)? {
        if stop.load(Ordering::Relaxed) {
            return Ok(Outcome::Stopped);
        }
        let last = block.split(|byte| *byte == b'\n').rev().nth(1).unwrap_or_default();
        has_end = matches!(lines::own(last), Some(Own::End(_)));
        digest.update(&block);
        builder.block(&block, place);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&block)?;
        let packed = encoder.finish()?;
        write_all(sink.as_mut(), &packed)?;
        place += u64::try_from(packed.len()).unwrap_or(u64::MAX);
    }
    if !has_end {
        drop(sink);
        disk.remove(&(name + TEMPORARY))?;
        return Ok(Outcome::Kept);
    }
    // The lines go only when they are known to be there twice.
    if expanded(disk, &(name.clone() + TEMPORARY))? != digest.finalize().as_slice() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it does not expand to what it was",
        ));
    }
    publish(disk, &name, sink)?;
    replace(disk, &names::index(segment), &index::encode(&builder.finish(), place))?;
    disk.remove(&names::plain(segment))?;
    disk.sync_names()?;
    Ok(Outcome::Packed)
}

/// Whole lines of about [`BLOCK`] bytes; none at the end. What no store writes, a line without an
/// end, is cut into pieces: it may be as long as the disk.
pub(super) fn block(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut block = Vec::with_capacity(BLOCK + 4096);
    let mut reader = reader.take(LONGEST);
    while block.len() < BLOCK && reader.read_until(b'\n', &mut block)? > 0 {}
    Ok(Some(block).filter(|block| !block.is_empty()))
}

/// SHA-256 of what a compressed file expands to.
fn expanded(disk: &dyn Disk, name: &str) -> io::Result<Vec<u8>> {
    let mut reader = MultiGzDecoder::new(disk.read(name, 0)?);
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; BLOCK]);
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(digest.finalize().to_vec()),
            count => digest.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}
