//! Reads the ring buffer `EVENTS` on a thread of its own, so that nothing else delays it.

use std::{
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};

use super::{load::LoadError, maps::typed, sys};

/// The kernel does not wake us below a quarter full, so the ring is looked at this often anyway.
const POLL: Duration = Duration::from_millis(50);

/// The ring buffer, not yet read.
pub struct EventRing {
    ring: RingBuf<MapData>,
}

/// A running reader; dropping it stops it after a last look.
pub struct Reader {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl EventRing {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        typed(ebpf, "EVENTS").map(|ring| Self { ring })
    }

    /// Starts reading. `sink` gets each event's bytes and must not block.
    pub fn read(mut self, mut sink: impl FnMut(&[u8]) + Send + 'static) -> std::io::Result<Reader> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("events".to_owned()).spawn(move || {
            loop {
                let last = stopped.load(Ordering::Acquire);
                while let Some(item) = self.ring.next() {
                    sink(&item);
                    if stopped.load(Ordering::Relaxed) && !last {
                        break;
                    }
                }
                if last {
                    return;
                }
                sys::wait_readable(self.ring.as_fd(), POLL);
            }
        })?;
        Ok(Reader { stop, thread: Some(thread) })
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
