//! What is done to a guest for abuse, and whether it was.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, Semaphore, watch},
    time::timeout,
};

use crate::{
    abuse::Answer,
    control::{
        cut::{Seen, seen},
        outside::Attempt,
        reconcile::State,
    },
    docker::{Engine, EngineError, expel::Expelled},
};

/// Requests to the engine at once.
const AT_ONCE: usize = 4;
/// Longest wait for the kernel to hold a guest as slowed or cut off; then it is tried again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Something to be done to a container, by Docker's id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deed {
    /// The control loop is to hold it so: to slow it, or to cut it off.
    Hold(Answer, String),
    /// It is to be frozen.
    Pause(String),
    /// It is to be stopped.
    Stop(String),
    /// It is to go on.
    Unpause(String),
}

impl Deed {
    /// What an answer asks for, beside its record.
    pub(super) fn of(answer: Answer, container: &str) -> Option<Self> {
        let container = container.to_owned();
        match answer {
            Answer::Record => None,
            Answer::Slow | Answer::Cut => Some(Self::Hold(answer, container)),
            Answer::Pause => Some(Self::Pause(container)),
            Answer::Stop => Some(Self::Stop(container)),
        }
    }
}

/// Does it.
#[derive(Clone)]
pub(super) struct Hands {
    state: watch::Receiver<Arc<State>>,
    engine: Arc<Mutex<Option<Engine>>>,
    slots: Arc<Semaphore>,
}

impl Hands {
    pub(super) fn new(state: watch::Receiver<Arc<State>>) -> Self {
        Self { state, engine: Arc::default(), slots: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    pub(super) async fn act(self, deed: &Deed, socket: &Path) -> Attempt {
        let (action, outcome) = match deed {
            Deed::Hold(answer, container) => (answer.name(), self.see(*answer, container).await),
            Deed::Pause(container) => {
                let outcome = self.ask(socket, async |engine| engine.pause(container).await).await;
                ("pause", outcome)
            }
            Deed::Stop(container) => {
                let outcome = self.ask(socket, async |engine| engine.stop(container).await).await;
                ("stop", outcome)
            }
            Deed::Unpause(container) => {
                let outcome =
                    self.ask(socket, async |engine| engine.unpause(container).await).await;
                ("unpause", outcome)
            }
        };
        let word = |outcome| match outcome {
            Expelled::Done => "done",
            Expelled::Gone => "gone",
        };
        Attempt { action, outcome: outcome.map(word) }
    }

    /// Waits until the kernel holds the container so.
    async fn see(mut self, answer: Answer, container: &str) -> Result<Expelled, String> {
        let held = self.state.wait_for(|state| seen(state, container, answer) != Seen::NotYet);
        let Ok(Ok(state)) = timeout(PATIENCE, held).await else {
            return Err("the kernel does not hold it yet".to_owned());
        };
        Ok(match seen(&state, container, answer) {
            Seen::Gone => Expelled::Gone,
            Seen::Held | Seen::NotYet => Expelled::Done,
        })
    }

    async fn ask(
        &self,
        socket: &Path,
        step: impl AsyncFnOnce(Engine) -> Result<Expelled, EngineError>,
    ) -> Result<Expelled, String> {
        // It is never closed.
        let Ok(_slot) = self.slots.acquire().await else { return Err(String::new()) };
        let engine = self.connected(socket).await.map_err(|error| error.to_string())?;
        match step(engine).await {
            Ok(outcome) => Ok(outcome),
            Err(error) => {
                // The next attempt has a connection of its own.
                *self.engine.lock().await = None;
                Err(error.to_string())
            }
        }
    }

    async fn connected(&self, socket: &Path) -> Result<Engine, EngineError> {
        let mut engine = self.engine.lock().await;
        if let Some(engine) = &*engine {
            return Ok(engine.clone());
        }
        let new = Engine::connect(socket).await?;
        *engine = Some(new.clone());
        Ok(new)
    }
}
