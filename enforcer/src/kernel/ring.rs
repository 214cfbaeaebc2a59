//! Reads the ring buffer `EVENTS` on a thread of its own, so that nothing else delays it.

use std::{
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};

use super::{load::LoadError, maps::typed, sys};

/// The kernel does not wake us below a quarter full, so the ring is looked at this often anyway.
const POLL: Duration = Duration::from_millis(50);

/// Longest last look.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// The ring buffer, not yet read.
pub struct EventRing {
    ring: RingBuf<MapData>,
}

/// A running reader; dropping it stops it after a last look.
pub struct Reader {
    stop: Arc<AtomicBool>,
    emptied: Emptied,
    thread: Option<thread::JoinHandle<()>>,
}

/// Counts how often the ring was read until it was empty.
#[derive(Clone, Debug, Default)]
pub struct Emptied(Arc<AtomicU64>);

impl Emptied {
    /// Waits until all that is in the ring now has been read; false: not within a second.
    #[must_use]
    pub fn wait(&self) -> bool {
        // The look that is under way may have passed what came in meanwhile; the next one does not.
        let enough = self.0.load(Ordering::Acquire) + 2;
        let begun = Instant::now();
        while self.0.load(Ordering::Acquire) < enough {
            if begun.elapsed() > Duration::from_secs(1) {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }
}

impl EventRing {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        typed(ebpf, "EVENTS").map(|ring| Self { ring })
    }

    /// Starts reading once `begin` says so. `sink` gets each event's bytes and must not block.
    pub fn read(
        mut self,
        begin: impl Fn() -> bool + Send + 'static,
        mut sink: impl FnMut(&[u8]) + Send + 'static,
    ) -> std::io::Result<Reader> {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, emptied) = (Arc::clone(&stop), Emptied::default());
        let count = emptied.clone();
        let thread = thread::Builder::new().name("events".to_owned()).spawn(move || {
            while !begin() && !stopped.load(Ordering::Acquire) {
                thread::sleep(POLL);
            }
            loop {
                let last = stopped.load(Ordering::Acquire);
                let since = Instant::now();
                while let Some(item) = self.ring.next() {
                    sink(&item);
                    // What is left then is the next daemon's.
                    let enough = last && since.elapsed() > LAST_LOOK;
                    if enough || (stopped.load(Ordering::Relaxed) && !last) {
                        break;
                    }
                }
                count.0.fetch_add(1, Ordering::Release);
                if last {
                    return;
                }
                sys::wait_readable(self.ring.as_fd(), POLL);
            }
        })?;
        Ok(Reader { stop, emptied, thread: Some(thread) })
    }
}

impl Reader {
    /// How often the ring was empty.
    #[must_use]
    pub fn emptied(&self) -> Emptied {
        self.emptied.clone()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
