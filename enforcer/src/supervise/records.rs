//! Puts the audit path together: ring, decode, enrich, queue; and the look at what was lost.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use enforcer_common::abi::counter::{Counter, CounterKey};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use super::{SuperviseError, now, start};
use crate::{
    audit::{
        decode,
        enrich::Names,
        loss::{self, Ledger, LossKey},
        record::{Body, Cause, Daemon, Subject},
        stdout::{self, Draft, Lost, Queue, Writer},
    },
    kernel::{
        KernelError, canary,
        maps::CounterMap,
        ring::{EventRing, Reader},
    },
    model::owner::Owners,
};

/// How often losses are told.
const PERIOD: Duration = Duration::from_secs(1);
/// Longest wait for a reader of the stream when the daemon stops.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The running audit path.
pub(super) struct Records {
    reader: Reader,
    writer: Arc<Writer>,
    ticker: JoinHandle<()>,
    journal: JoinHandle<()>,
    shared: Arc<Shared>,
    queue: Queue,
}

/// What the status report needs of it.
#[derive(Clone)]
pub(super) struct RecordsHandle {
    shared: Arc<Shared>,
    writer: Arc<Writer>,
    lost: Lost,
}

struct Shared {
    counters: Mutex<CounterMap>,
    names: Mutex<Names>,
    ledger: Mutex<Ledger>,
    owners: watch::Receiver<Arc<Owners>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Records {
    pub(super) fn start(
        ring: EventRing,
        counters: CounterMap,
        owners: watch::Receiver<Arc<Owners>>,
        journal: mpsc::UnboundedReceiver<Body>,
    ) -> Result<Self, SuperviseError> {
        let (queue, writer) = stdout::start(std::io::stdout()).map_err(start("the writer"))?;
        let ledger = Ledger::new(loss::told(&counters.told().unwrap_or_default()));
        let shared = Arc::new(Shared {
            counters: Mutex::new(counters),
            names: Mutex::default(),
            ledger: Mutex::new(ledger),
            owners,
        });
        // An empty queue holds it.
        let _ = queue.try_send(daemon("start"));
        let reader = {
            let (shared, queue) = (Arc::clone(&shared), queue.clone());
            ring.read(move |bytes| shared.take(bytes, &queue)).map_err(start("the reader"))?
        };
        let ticker = tokio::spawn(tick(Arc::clone(&shared), queue.clone()));
        let journal = tokio::spawn(write_down(journal, queue.clone()));
        Ok(Self { reader, writer: Arc::new(writer), ticker, journal, shared, queue })
    }

    pub(super) fn handle(&self) -> RecordsHandle {
        RecordsHandle {
            shared: Arc::clone(&self.shared),
            writer: Arc::clone(&self.writer),
            lost: self.queue.lost(),
        }
    }

    /// Reads and writes what is left. Gives up on a reader of the stream that does not read.
    pub(super) async fn stop(self) {
        let Self { reader, writer, ticker, journal, shared, queue } = self;
        ticker.abort();
        let _ = ticker.await;
        // Its senders are gone: it ends when it has taken what is left.
        let _ = timeout(LAST_WORDS, journal).await;
        let rest = tokio::task::spawn_blocking(move || {
            drop(reader);
            shared.tell_losses(&queue);
            let _ = queue.try_send(daemon("stop"));
            drop(queue);
            while !writer.is_finished() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        if timeout(LAST_WORDS, rest).await.is_err() {
            tracing::warn!("nobody reads the records: the last ones are lost");
        }
    }
}

impl RecordsHandle {
    /// Forgets what the self-probe counted.
    pub(super) fn forget_probe(&self) {
        if let Err(error) = canary::forget(&mut lock(&self.shared.counters)) {
            tracing::debug!(error = &error as &dyn std::error::Error, "the probe's counters stay");
        }
    }

    /// Whether records can be written.
    pub(super) fn are_written(&self) -> bool {
        !self.writer.is_finished()
    }

    /// Records that the daemon lost itself.
    pub(super) fn lost(&self) -> u64 {
        self.lost.count()
    }

    /// The kernel's counters, and whose each is.
    pub(super) fn counters(&self) -> Result<Vec<(Subject, CounterKey, Counter)>, KernelError> {
        // Names first: an owner that is forgotten in between would show up without its name.
        let names = lock(&self.shared.names);
        let counters = lock(&self.shared.counters).list()?;
        let subject = |key: &CounterKey| names.subject(key.owner);
        Ok(counters.into_iter().map(|(key, counter)| (subject(&key), key, counter)).collect())
    }
}

impl Shared {
    /// One event. Runs on the ring's thread: nothing here waits.
    fn take(&self, bytes: &[u8], queue: &Queue) {
        match decode::decode(bytes) {
            // The self-probe is no guest: nothing happened.
            Ok(decoded) if decoded.event.owner == canary::OWNER => {}
            Ok(decoded) => {
                let now = now();
                let mut names = lock(&self.names);
                names.update(&self.owners.borrow(), now.mono_ns);
                let event = &decoded.event;
                let draft = Draft {
                    time: now.rfc3339(event.time_ns),
                    mono_ns: event.time_ns,
                    body: names.enrich(&decoded),
                };
                let counter = CounterKey {
                    owner: event.owner,
                    reason: event.reason,
                    hook: event.hook,
                    reserved: 0,
                };
                queue.send(draft, LossKey { counter, cause: Cause::Queue });
            }
            Err(_not_understood) => {
                queue.count(LossKey { counter: CounterKey::default(), cause: Cause::Decode });
            }
        }
    }

    /// Has the kernel keep what was told, for the next daemon.
    fn remember(&self, key: CounterKey, ledger: &Ledger) {
        if let Err(error) = lock(&self.counters).tell(&key, &loss::to_keep(key, ledger)) {
            tracing::warn!(error = &error as &dyn std::error::Error, "losses may be told twice");
        }
    }

    /// Queues a record of each loss that was not told yet.
    fn tell_losses(&self, queue: &Queue) {
        let mut losses = queue.losses();
        let counters = lock(&self.counters);
        let mut owners = Vec::new();
        match counters.list() {
            Ok(counters) => {
                owners.extend(counters.iter().map(|(key, _)| key.owner));
                losses.extend(loss::of_kernel(&counters));
            }
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "no counters"),
        }
        if let Ok(count) = counters.uncounted() {
            let counter = CounterKey::default();
            losses.insert(LossKey { counter, cause: Cause::Uncounted }, count);
        }
        drop(counters);
        let now = now();
        let mut names = lock(&self.names);
        names.update(&self.owners.borrow(), now.mono_ns);
        names.notice(owners.into_iter().filter(|owner| *owner != 0), now.mono_ns);
        let mut ledger = lock(&self.ledger);
        for (key, count) in ledger.untold(&losses) {
            let body = Body::Loss(loss::record(&names, key, count));
            let time = now.rfc3339(now.mono_ns);
            if queue.try_send(Draft { time, mono_ns: now.mono_ns, body }) {
                ledger.tell(key, count);
                self.remember(key.counter, &ledger);
            }
        }
        for owner in names.forget(now.mono_ns) {
            let mut counters = lock(&self.counters);
            let keys = counters.list().unwrap_or_default();
            for (key, _) in keys.iter().filter(|(key, _)| key.owner == owner) {
                let _ = counters.remove(key);
            }
            queue.forget(owner);
            ledger.forget(owner);
        }
    }
}

async fn tick(shared: Arc<Shared>, queue: Queue) {
    let mut timer = tokio::time::interval(PERIOD);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let (shared, queue) = (Arc::clone(&shared), queue.clone());
        // Thousands of counters take a while to read.
        let _ = tokio::task::spawn_blocking(move || shared.tell_losses(&queue)).await;
    }
}

/// Records of what the daemon itself saw and did.
async fn write_down(mut journal: mpsc::UnboundedReceiver<Body>, queue: Queue) {
    while let Some(body) = journal.recv().await {
        let now = now();
        let draft = Draft { time: now.rfc3339(now.mono_ns), mono_ns: now.mono_ns, body };
        let counter = CounterKey::default();
        queue.send(draft, LossKey { counter, cause: Cause::Queue });
    }
}

fn daemon(event: &str) -> Draft {
    let now = now();
    let daemon = Daemon {
        event: event.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
    };
    Draft { time: now.rfc3339(now.mono_ns), mono_ns: now.mono_ns, body: Body::Daemon(daemon) }
}
