//! The sink: JSON lines on standard output, from a thread of its own behind a bounded queue. Nobody
//! waits for it; what does not fit is counted, and the count is published.

use std::{
    io::{self, BufWriter, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    thread,
};

use super::{
    loss::{LossKey, Losses},
    record::{Body, Record, VERSION},
};

/// Records that wait at most.
const QUEUE: usize = 16_384;

/// A record without its place in the stream.
#[derive(Debug)]
pub struct Draft {
    /// When, RFC 3339.
    pub time: String,
    /// When, monotonic ns.
    pub mono_ns: u64,
    /// What.
    pub body: Body,
}

/// The entrance to the queue.
#[derive(Clone, Debug)]
pub struct Queue {
    sender: SyncSender<Draft>,
    overflow: Arc<Mutex<Losses>>,
    lost: Lost,
}

/// How many records the daemon lost itself, of all owners that ever were.
#[derive(Clone, Debug, Default)]
pub struct Lost(Arc<AtomicU64>);

impl Lost {
    /// How many by now.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The thread that writes; join it after the last [`Queue`] is dropped.
#[derive(Debug)]
pub struct Writer {
    thread: thread::JoinHandle<()>,
}

/// Starts the thread.
pub fn start(output: impl Write + Send + 'static) -> io::Result<(Queue, Writer)> {
    let (sender, receiver) = sync_channel(QUEUE);
    let thread = thread::Builder::new()
        .name("records".to_owned())
        .spawn(move || write(&receiver, output))?;
    Ok((Queue { sender, overflow: Arc::default(), lost: Lost::default() }, Writer { thread }))
}

impl Queue {
    /// Queues a record, or counts it as lost under this key. Never waits.
    pub fn send(&self, draft: Draft, key: LossKey) {
        if !self.try_send(draft) {
            self.count(key);
        }
    }

    /// Queues a record unless the queue is full. Never waits.
    #[must_use]
    pub fn try_send(&self, draft: Draft) -> bool {
        match self.sender.try_send(draft) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    /// Counts a record that will never be written.
    pub fn count(&self, key: LossKey) {
        let mut overflow = self.overflow.lock().unwrap_or_else(PoisonError::into_inner);
        *overflow.entry(key).or_default() += 1;
        self.lost.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The sum of all that were ever counted, for whoever must not keep the queue open.
    #[must_use]
    pub fn lost(&self) -> Lost {
        self.lost.clone()
    }

    /// All that were counted, cumulative.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.overflow.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what was counted for an owner.
    pub fn forget(&self, owner: u32) {
        let mut overflow = self.overflow.lock().unwrap_or_else(PoisonError::into_inner);
        overflow.retain(|key, _| key.counter.owner != owner);
    }
}

impl Writer {
    /// Waits until everything that was queued is written.
    pub fn join(self) {
        // A panic of the writer was reported when it happened.
        let _ = self.thread.join();
    }

    /// Whether it has ended: its output is gone, or nobody has anything to write any more.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

fn write(receiver: &Receiver<Draft>, output: impl Write) {
    let mut output = BufWriter::with_capacity(64 << 10, output);
    let mut seq = 0;
    while let Some(draft) = next(receiver, &mut output) {
        seq += 1;
        let Draft { time, mono_ns, body } = draft;
        let record = Record { v: VERSION, seq, time, mono_ns, body };
        let line = serde_json::to_writer(&mut output, &record).map_err(io::Error::from);
        if let Err(error) = line.and_then(|()| output.write_all(b"\n")) {
            tracing::error!(%error, "records cannot be written any more");
            return;
        }
    }
}

/// The next record; what was written so far is flushed before waiting for it.
fn next(receiver: &Receiver<Draft>, output: &mut impl Write) -> Option<Draft> {
    match receiver.try_recv() {
        Ok(draft) => Some(draft),
        Err(TryRecvError::Empty) => {
            // An error shows again at the next write.
            let _ = output.flush();
            receiver.recv().ok()
        }
        Err(TryRecvError::Disconnected) => {
            let _ = output.flush();
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use enforcer_common::abi::counter::CounterKey;

    use super::*;
    use crate::audit::record::{Cause, Daemon};

    #[derive(Clone, Default)]
    struct Pipe(Arc<Mutex<Vec<u8>>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("lock").extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn draft() -> Draft {
        let daemon = Daemon { event: "start".to_owned(), version: "0".to_owned(), pid: 1 };
        Draft { time: "t".to_owned(), mono_ns: 1, body: Body::Daemon(daemon) }
    }

    #[test]
    fn lines_are_numbered_without_a_gap() {
        let pipe = Pipe::default();
        let (queue, writer) = start(pipe.clone()).expect("thread");
        for _ in 0..3 {
            assert!(queue.try_send(draft()));
        }
        drop(queue);
        writer.join();
        let text = String::from_utf8(pipe.0.lock().expect("lock").clone()).expect("text");
        let numbers: Vec<u64> = text
            .lines()
            .map(|line| serde_json::from_str::<Record>(line).expect("record").seq)
            .collect();
        assert_eq!(numbers, [1, 2, 3]);
    }

    #[test]
    fn a_stuck_output_makes_nobody_wait_and_is_counted() {
        struct Stuck(Arc<Mutex<()>>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                drop(self.0.lock().expect("lock"));
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let gate = Arc::new(Mutex::new(()));
        let (queue, writer) = start(Stuck(Arc::clone(&gate))).expect("thread");
        let key = LossKey { counter: CounterKey::default(), cause: Cause::Queue };
        let closed = gate.lock().expect("lock");
        for _ in 0..3 * QUEUE {
            queue.send(draft(), key);
        }
        let lost = queue.losses()[&key];
        assert!(lost > 0 && lost <= 2 * QUEUE as u64, "{lost}");
        // What an owner lost stays in the sum when the owner is forgotten.
        queue.forget(key.counter.owner);
        assert_eq!((queue.losses().len(), queue.lost().count()), (0, lost));
        drop(closed);
        drop(queue);
        writer.join();
    }
}
