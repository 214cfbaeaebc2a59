//! Puts the audit path together: ring, decode, enrich, queue, stream, sinks; and the look at what was
//! lost.

mod queries;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use enforcer_common::abi::counter::{Counter, CounterKey};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use super::{SuperviseError, abuse::Watchman, now, outputs::Outputs, start};
use crate::{
    audit::{
        account::{Accounts, Missing},
        awaited::Awaited,
        decode::{self, Decoded},
        enrich::Names,
        loss::{self, Ledger, LossKey},
        queue::{Account, Draft, Lost, Queue},
        record::{Body, Cause, Clock, Daemon, Subject},
        sink::{Progress, files},
        store::Book,
        stream::{Sinks, Stream},
    },
    kernel::{
        KernelError, canary,
        maps::CounterMap,
        ring::{Emptied, EventRing, Reader},
    },
    model::{caller::Caller, owner::Owners, status::SinkStatus},
};

pub(super) use queries::Queries;

/// How often losses are told.
const PERIOD: Duration = Duration::from_secs(1);
/// Longest wait for the names of those who are here already, when the daemon starts. What they did
/// waits in the kernel meanwhile.
const INTRODUCTION: Duration = Duration::from_secs(3);
/// Longest wait for the sinks when the daemon stops.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The running audit path.
pub(super) struct Records {
    reader: Reader,
    stream: Stream,
    ticker: JoinHandle<()>,
    /// Who introduces those whose names come late.
    host: JoinHandle<()>,
    journal: JoinHandle<()>,
    shared: Arc<Shared>,
    queue: Queue,
}

/// What the status report needs of it.
#[derive(Clone)]
pub(super) struct RecordsHandle {
    shared: Arc<Shared>,
    sinks: Sinks,
    lost: Lost,
}

struct Shared {
    counters: Mutex<CounterMap>,
    names: Mutex<Names>,
    /// Locked after `names`.
    awaited: Mutex<Awaited<Decoded>>,
    ledger: Mutex<Ledger>,
    /// Who looks for abuse.
    watchman: Watchman,
    owners: watch::Receiver<Arc<Owners>>,
    begun: Instant,
    missing: Mutex<Missing>,
    sinks: Sinks,
    /// Kept by the sink that outlives the daemon, if there is one.
    accounts: Option<Arc<Mutex<Accounts>>>,
    /// Which names pseudonyms stand for, if there are any.
    book: Option<Arc<Mutex<Book>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Records {
    pub(super) fn start(
        outputs: Outputs,
        (ring, counters): (EventRing, CounterMap),
        owners: watch::Receiver<Arc<Owners>>,
        journal: mpsc::UnboundedReceiver<Body>,
        watchman: Watchman,
    ) -> Result<Self, SuperviseError> {
        let Outputs { sinks, first, accounts, words, labels, book, conceal } = outputs;
        let (queue, stream) = Stream::start(sinks, first, conceal).map_err(start("the stream"))?;
        // Without a sink that remembers, the kernel does; then nobody knows what was written.
        let (told, missing) = if let Some(accounts) = &accounts {
            let accounts = lock(accounts);
            let counted = counters.list().unwrap_or_default().into_iter().map(|(key, _)| key);
            // The self-probe is no guest.
            let counted = counted.filter(|key| key.owner != canary::OWNER);
            let missing = Missing::new(&accounts, counted);
            (accounts.told_of_kernel(), missing)
        } else {
            let nothing = Missing::new(&Accounts::default(), std::iter::empty());
            (loss::told(&counters.told().unwrap_or_default()), nothing)
        };
        let shared = Arc::new(Shared {
            counters: Mutex::new(counters),
            names: Mutex::new(Names::new(labels)),
            awaited: Mutex::default(),
            ledger: Mutex::new(Ledger::new(told)),
            watchman,
            owners,
            begun: Instant::now(),
            missing: Mutex::new(missing),
            sinks: stream.sinks(),
            accounts,
            book,
        });
        // An empty queue holds them.
        for body in words.into_iter().chain([daemon("start", Caller::default())]) {
            let _ = queue.try_send(draft(now(), body, Account::Nothing));
        }
        let reader = {
            let (shared, queue) = (Arc::clone(&shared), queue.clone());
            let introduced = Arc::clone(&shared);
            ring.read(move || introduced.is_introduced(), move |bytes| shared.take(bytes, &queue))
                .map_err(start("the reader"))?
        };
        let ticker = tokio::spawn(tick(Arc::clone(&shared), queue.clone(), reader.emptied()));
        let host = tokio::spawn(introduce(Arc::clone(&shared), queue.clone()));
        let journal = tokio::spawn(write_down(journal, queue.clone()));
        Ok(Self { reader, stream, ticker, host, journal, shared, queue })
    }

    pub(super) fn handle(&self) -> RecordsHandle {
        RecordsHandle {
            shared: Arc::clone(&self.shared),
            sinks: self.stream.sinks(),
            lost: self.queue.lost(),
        }
    }

    /// Reads and writes what is left, and who wanted the end. Gives up on sinks that take nothing.
    pub(super) async fn stop(self, by: Caller) {
        let Self { reader, stream, ticker, host, journal, shared, queue } = self;
        for task in [ticker, host] {
            task.abort();
            let _ = task.await;
        }
        // Its senders are gone: it ends when it has taken what is left. It must not outlive this: as
        // long as it may speak, the stream goes on.
        let ending = journal.abort_handle();
        if timeout(LAST_WORDS, journal).await.is_err() {
            ending.abort();
        }
        let rest = tokio::task::spawn_blocking(move || {
            drop(reader);
            shared.tell_awaited(&queue, true);
            shared.tell_losses(&queue);
            let _ = queue.try_send(draft(now(), daemon("stop", by), Account::Nothing));
            drop(queue);
            stream.finish(LAST_WORDS)
        });
        match rest.await {
            Ok(late) if late.is_empty() => {}
            Ok(late) => tracing::warn!(?late, "sinks that did not take the last records"),
            Err(error) => tracing::warn!(%error, "the last records may be lost"),
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

    /// Sinks that do not take records, and why.
    pub(super) fn problems(&self) -> Vec<String> {
        let failing = self.sinks.iter().filter_map(|(name, progress)| {
            let trouble = lock(progress).trouble()?;
            Some(format!("records are not written to {name}: {trouble}"))
        });
        let book = self.shared.book.as_ref().and_then(|book| {
            let problem = lock(book).problem()?.to_owned();
            Some(format!("names of pseudonyms are not kept: {problem}"))
        });
        failing.chain(book).collect()
    }

    /// How the sinks do.
    pub(super) fn sinks(&self) -> Vec<SinkStatus> {
        let status = |(name, progress): &(&str, Arc<Mutex<Progress>>)| {
            let Progress { taken, missed, failing, .. } = lock(progress).clone();
            SinkStatus { name: (*name).to_owned(), taken, missed, failing }
        };
        self.sinks.iter().map(status).collect()
    }

    /// Records that the daemon lost itself.
    pub(super) fn lost(&self) -> u64 {
        self.lost.count()
    }

    /// What is known of an owner.
    pub(super) fn subject(&self, owner: u32) -> Subject {
        lock(&self.shared.names).subject(owner)
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
    /// Whether everybody has a name, or it is time to do without.
    fn is_introduced(&self) -> bool {
        let owners = self.owners.borrow();
        let named = owners.values().all(|owner| owner.role.is_none() || !owner.name.is_empty());
        (named && !owners.is_empty()) || self.begun.elapsed() > INTRODUCTION
    }

    /// One event. Runs on the ring's thread: nothing here waits.
    fn take(&self, bytes: &[u8], queue: &Queue) {
        match decode::decode(bytes) {
            // The self-probe is no guest: nothing happened.
            Ok(decoded) if decoded.counter().owner == canary::OWNER => {}
            Ok(decoded) => {
                let now = now();
                lock(&self.missing).see(decoded.counter());
                self.watchman.see(&decoded);
                let mut names = lock(&self.names);
                names.update(&self.owners.borrow(), now.mono_ns);
                let owner = decoded.counter().owner;
                let mut awaited = lock(&self.awaited);
                if !names.is_awaited(owner) {
                    if awaited.knows(owner) {
                        release(&mut awaited, &names, now, queue);
                    }
                    tell(&names, &decoded, now, queue);
                } else if let Some(decoded) = awaited.keep(owner, decoded, now.mono_ns) {
                    tell(&names, &decoded, now, queue);
                }
            }
            Err(_not_understood) => {
                queue.count(LossKey { counter: CounterKey::default(), cause: Cause::Decode });
            }
        }
    }

    /// Queues what waited for a name that has come, or too long; everything, at the end.
    fn tell_awaited(&self, queue: &Queue, is_end: bool) {
        let now = now();
        let mut names = lock(&self.names);
        names.update(&self.owners.borrow(), now.mono_ns);
        let mut awaited = lock(&self.awaited);
        if is_end {
            for decoded in awaited.release(|_| false, now.mono_ns) {
                tell(&names, &decoded, now, queue);
            }
        } else {
            release(&mut awaited, &names, now, queue);
        }
    }

    /// Has the kernel keep what was told, for the next daemon.
    fn remember(&self, key: CounterKey, ledger: &Ledger) {
        if let Err(error) = lock(&self.counters).tell(&key, &loss::to_keep(key, ledger)) {
            tracing::warn!(error = &error as &dyn std::error::Error, "losses may be told twice");
        }
    }

    /// Queues a record of what an earlier daemon read and did not write, as soon as that is certain.
    fn tell_missing(&self, queue: &Queue, emptied: &Emptied) {
        let before = lock(&self.missing).seen();
        if lock(&self.missing).is_settled() {
            return;
        }
        let Ok(counters) = lock(&self.counters).list() else { return };
        if !emptied.wait() {
            return;
        }
        let recorded: BTreeMap<_, _> =
            counters.into_iter().map(|(key, counter)| (key, counter.recorded)).collect();
        let found = lock(&self.missing).settle(&before, &recorded);
        for (counter, count) in found {
            queue.count_many(LossKey { counter, cause: Cause::Killed }, count);
        }
    }

    /// Queues a record of each loss that was not told yet.
    fn tell_losses(&self, queue: &Queue) {
        let mut losses = queue.losses();
        let counters = lock(&self.counters);
        let mut counted = counters.list().unwrap_or_else(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "no counters");
            Vec::new()
        });
        // The self-probe is no guest.
        counted.retain(|(key, _)| key.owner != canary::OWNER);
        losses.extend(loss::of_kernel(&counted));
        if let Ok(count) = counters.uncounted() {
            let nobody = CounterKey::default();
            losses.insert(LossKey { counter: nobody, cause: Cause::Uncounted }, count);
        }
        drop(counters);
        self.watchman.count(&counted);
        let now = now();
        let mut names = lock(&self.names);
        names.update(&self.owners.borrow(), now.mono_ns);
        let owners = counted.iter().map(|(key, _)| key.owner);
        names.notice(owners.filter(|owner| *owner != 0), now.mono_ns);
        let mut ledger = lock(&self.ledger);
        let mut untold = false;
        for (key, count) in ledger.untold(&losses) {
            let body = Body::Loss(loss::record(&names, key, count));
            if queue.try_send(draft(now, body, Account::Loss(key, count))) {
                ledger.tell(key, count);
                // What the daemon counts begins at zero with the next one.
                if !loss::is_daemons_own(key.counter.reason) {
                    self.remember(key.counter, &ledger);
                }
            } else {
                untold = true;
            }
        }
        // What is not written down yet is in the kernel's counters only.
        if untold || self.is_behind() {
            return;
        }
        let gone = names.forget(now.mono_ns);
        drop(names);
        for owner in &gone {
            queue.forget(*owner);
            ledger.forget(*owner);
        }
        drop(ledger);
        let keys = counted.iter().map(|(key, _)| key).filter(|key| gone.contains(&key.owner));
        for key in keys {
            let _ = lock(&self.counters).remove(key);
        }
        if let Some(accounts) = self.accounts.as_ref().filter(|_| !gone.is_empty()) {
            lock(accounts).retain(|kept| !gone.contains(&kept));
        }
    }

    /// Whether the sink that outlives the daemon does not take what it gets. For others nothing is kept
    /// back: a collector that is away for days must not fill the kernel's table of counters.
    fn is_behind(&self) -> bool {
        let is_failing =
            |(_, progress): &(_, Arc<Mutex<Progress>>)| lock(progress).trouble().is_some();
        self.sinks.iter().filter(|(name, _)| *name == files::NAME).any(is_failing)
    }
}

/// Queues the record of an event.
fn tell(names: &Names, decoded: &Decoded, now: Clock, queue: &Queue) {
    let key = LossKey { counter: decoded.counter(), cause: Cause::Queue };
    queue.send(names.draft(decoded, now), key);
}

/// Queues what waited for a name that has come, or too long.
fn release(awaited: &mut Awaited<Decoded>, names: &Names, now: Clock, queue: &Queue) {
    for decoded in awaited.release(|owner| names.is_awaited(owner), now.mono_ns) {
        tell(names, &decoded, now, queue);
    }
}

/// What waits for a name is told as soon as it comes.
async fn introduce(shared: Arc<Shared>, queue: Queue) {
    let mut owners = shared.owners.clone();
    while owners.changed().await.is_ok() {
        let (shared, queue) = (Arc::clone(&shared), queue.clone());
        // Whoever holds these locks may be reading thousands of counters.
        let telling = tokio::task::spawn_blocking(move || {
            if !lock(&shared.awaited).is_empty() {
                shared.tell_awaited(&queue, false);
            }
        });
        let _ = telling.await;
    }
}

async fn tick(shared: Arc<Shared>, queue: Queue, emptied: Emptied) {
    let mut timer = tokio::time::interval(PERIOD);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let (shared, queue, emptied) = (Arc::clone(&shared), queue.clone(), emptied.clone());
        // Thousands of counters take a while to read.
        if !shared.is_introduced() {
            continue;
        }
        let looking = tokio::task::spawn_blocking(move || {
            shared.tell_missing(&queue, &emptied);
            shared.tell_awaited(&queue, false);
            shared.tell_losses(&queue);
        });
        let _ = looking.await;
    }
}

/// Records of what the daemon itself saw and did.
async fn write_down(mut journal: mpsc::UnboundedReceiver<Body>, queue: Queue) {
    while let Some(body) = journal.recv().await {
        let counter = CounterKey::default();
        let key = LossKey { counter, cause: Cause::Queue };
        let account = Account::of(&body);
        queue.send(draft(now(), body, account), key);
    }
}

fn draft(now: Clock, body: Body, account: Account) -> Draft {
    Draft { time: now.rfc3339(now.mono_ns), mono_ns: now.mono_ns, body, account }
}

fn daemon(event: &str, by: Caller) -> Body {
    Body::Daemon(Daemon {
        event: event.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        by,
    })
}
