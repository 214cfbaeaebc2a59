//! Follows the engine and publishes an [`Inventory`] whenever it changes.
//!
//! `docker start` emits "network connect" before the container's first instruction, and holds the
//! container's lock until it runs: an inspect of the container waits, one of the network does not.
//! So networks are asked first and published at once; containers are asked beside that, each with
//! a time limit, and never delay a snapshot. An event costs latency when it is lost, never
//! correctness: everything is asked again every few seconds.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::StreamExt as _;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::{AbortHandle, JoinHandle},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

use super::{
    Engine, EngineError,
    events::{self, News, Stale},
    refresh::Follower,
    snapshot::Snapshot,
};
use crate::model::{heard::Heard, inventory::Inventory};

/// Events within this time are answered by one round of questions.
const COALESCE: Duration = Duration::from_millis(20);
/// Everything is asked again this often, whatever the events say.
const RESYNC: Duration = Duration::from_secs(5);
/// First and longest wait before connecting again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// The same complaint is logged this often at most.
const COMPLAIN_EVERY: Duration = Duration::from_mins(1);

/// Whether the engine answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineState {
    /// No connection yet.
    Connecting,
    /// Its events are followed.
    Connected {
        /// Version of the engine.
        version: String,
        /// API version in use.
        api: String,
        /// Whether its containers' users are remapped.
        userns_remap: bool,
    },
    /// It answers, but enforcer cannot police its containers.
    Refused {
        /// Why, and what to do.
        error: String,
    },
    /// It cannot be asked; the last inventory stands.
    Unreachable {
        /// Why, and what to do.
        error: String,
    },
}

/// What [`watch()`] hands out.
#[derive(Debug)]
pub struct Watching {
    /// The newest snapshot. Version 0: nothing is known yet.
    pub inventory: watch::Receiver<Arc<Inventory>>,
    /// Whether the engine answers.
    pub engine: watch::Receiver<EngineState>,
    /// What the engine says happens, of anybody's containers.
    pub heard: mpsc::UnboundedReceiver<Heard>,
    /// The task; it ends when nobody holds `inventory` any more, or when it is aborted.
    pub task: JoinHandle<()>,
}

/// Follows the engine behind `socket` for as long as anybody listens. `poke` asks everything anew
/// at once: for a new veth on a guest bridge that no event has announced.
#[must_use]
pub fn watch(socket: PathBuf, poke: Arc<Notify>) -> Watching {
    let (publish, inventory) = watch::channel(Arc::new(Inventory::default()));
    let (state, engine) = watch::channel(EngineState::Connecting);
    let (tell, heard) = mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        // Ends the connection too: every task below it is aborted when dropped.
        tokio::select! {
            () = publish.closed() => {}
            () = follow_for_ever(&socket, &poke, &publish, &state, &tell) => {}
        }
    });
    Watching { inventory, engine, heard, task }
}

async fn follow_for_ever(
    socket: &Path,
    poke: &Notify,
    publish: &watch::Sender<Arc<Inventory>>,
    state: &watch::Sender<EngineState>,
    tell: &mpsc::UnboundedSender<Heard>,
) {
    let mut backoff = BACKOFF.0;
    let mut complaint = Complaint::default();
    // Outlives a connection: an engine that restarts must not close published ports.
    let mut snapshot = Snapshot::default();
    loop {
        let started = Instant::now();
        let mut is_followed = false;
        let result = async {
            let engine = Engine::connect(socket).await?;
            is_followed = true;
            // Nobody listens any more: the daemon is stopping.
            let _ = tell.send(Heard::of_the_engine("engine followed"));
            state.send_replace(EngineState::Connected {
                version: engine.version.clone(),
                api: engine.api.to_string(),
                userns_remap: engine.userns_remap,
            });
            complaint.over(&engine);
            follow(engine, poke, publish, tell, &mut snapshot).await
        };
        let Err(error) = result.await;
        if is_followed {
            let _ = tell.send(Heard::of_the_engine("engine lost"));
        }
        complaint.make(&error);
        let text = error.to_string();
        state.send_replace(match error {
            EngineError::Rootless => EngineState::Refused { error: text },
            _ => EngineState::Unreachable { error: text },
        });
        // A connection that fails as soon as it is made is no reason to hurry.
        backoff = if started.elapsed() > RESYNC { BACKOFF.0 } else { backoff };
        sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF.1);
    }
}

/// Follows one connection until it fails.
async fn follow(
    engine: Engine,
    poke: &Notify,
    publish: &watch::Sender<Arc<Inventory>>,
    tell: &mpsc::UnboundedSender<Heard>,
    snapshot: &mut Snapshot,
) -> Result<Infallible, EngineError> {
    let feed = Feed::start(&engine, tell.clone());
    let mut follower = Follower::new(engine, publish, snapshot);
    // The first tick comes at once: the first list.
    let mut resync = interval(RESYNC);
    resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next = Instant::now();
    loop {
        let mut stale = Stale::default();
        tokio::select! {
            () = feed.news.notified() => {}
            () = poke.notified() => stale = Stale::everything(),
            _ = resync.tick() => stale = Stale::everything(),
            () = follower.answer() => continue,
        }
        // The first event is answered at once, those that follow it together.
        sleep_until(next).await;
        stale.add(feed.take()?);
        if !stale.is_empty() {
            follower.refresh(stale).await?;
            next = Instant::now() + COALESCE;
        }
    }
}

/// Reads events as fast as they come, since the engine drops a slow reader's, and keeps only what
/// they make stale: bounded, however many there are.
struct Feed {
    shared: Arc<Mutex<FeedState>>,
    news: Arc<Notify>,
    reader: AbortHandle,
}

#[derive(Default)]
struct FeedState {
    stale: Stale,
    failed: Option<EngineError>,
}

impl Feed {
    fn start(engine: &Engine, tell: mpsc::UnboundedSender<Heard>) -> Self {
        // Replays what happens before the subscription takes effect, so that the list that is
        // asked meanwhile misses nothing.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = format!("{}.{:09}", since.as_secs(), since.subsec_nanos());
        let mut stream = events::subscribe(engine, &since);
        let shared = Arc::new(Mutex::new(FeedState::default()));
        let news = Arc::new(Notify::new());
        let (feed, notify) = (Arc::clone(&shared), Arc::clone(&news));
        let reader = tokio::spawn(async move {
            loop {
                let item = stream.next().await.unwrap_or(Err(EngineError::EventsEnded));
                let mut state = feed.lock().unwrap_or_else(PoisonError::into_inner);
                match item {
                    Ok(News { stale, heard }) => {
                        if let Some(heard) = heard {
                            // Nobody listens any more: the daemon is stopping.
                            let _ = tell.send(heard);
                        }
                        if stale.is_empty() {
                            continue;
                        }
                        state.stale.add(stale);
                    }
                    Err(error) => state.failed = Some(error),
                }
                notify.notify_one();
                if state.failed.is_some() {
                    return;
                }
            }
        });
        Self { shared, news, reader: reader.abort_handle() }
    }

    /// What became stale since the last call.
    fn take(&self) -> Result<Stale, EngineError> {
        let mut state = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        match state.failed.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut state.stale)),
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Logs a failure when it is new, and once a minute while it lasts.
#[derive(Default)]
struct Complaint {
    last: Option<(Instant, String)>,
    answered: bool,
}

impl Complaint {
    fn make(&mut self, error: &EngineError) {
        let text = error.to_string();
        let repeated = self
            .last
            .as_ref()
            .is_some_and(|(at, last)| *last == text && at.elapsed() < COMPLAIN_EVERY);
        if !repeated {
            tracing::warn!(error = %text, "docker cannot be asked; the last inventory stands");
            self.last = Some((Instant::now(), text));
            self.answered = false;
        }
    }

    fn over(&mut self, engine: &Engine) {
        if !self.answered {
            tracing::info!(version = %engine.version, api = %engine.api, "following docker");
            self.answered = true;
        }
    }
}
