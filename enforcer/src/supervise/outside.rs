//! Acts on guests that step outside their policy, and tells of ports that belong to no container:
//! level-triggered, at each change of what is known, until the engine obeys.

mod asked;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Mutex, mpsc, watch},
    task::JoinSet,
};

use crate::{
    audit::record::{Body, Outside as OutsideRecord, sentence, text},
    config::{Config, OutsideAction},
    control::{
        outside::{self, Attempt, Docket, Outside, Remedy, Strangers, Why},
        reconcile::State,
    },
    docker::{Engine, EngineError, EngineState, expel::Expelled},
    model::{inventory::Inventory, link::Links},
};

use asked::Asked;

/// Everything is looked at anew this often.
const PERIOD: Duration = Duration::from_secs(5);
/// One container is logged this often at most; each act is a record all the same.
const LOG_EVERY: Duration = Duration::from_mins(1);

/// What the loop works on.
pub(super) struct Outsiders {
    pub(super) config: watch::Receiver<Arc<Config>>,
    pub(super) inventory: watch::Receiver<Arc<Inventory>>,
    pub(super) engine: watch::Receiver<EngineState>,
    pub(super) state: watch::Receiver<Arc<State>>,
    pub(super) links: watch::Receiver<Arc<Links>>,
    pub(super) journal: mpsc::UnboundedSender<Body>,
    /// What is outside now, for people.
    pub(super) reasons: watch::Sender<Vec<String>>,
}

/// What the loop remembers.
#[derive(Default)]
struct Memory {
    docket: Docket<Outside>,
    strangers: Strangers,
    /// Strangers that were recorded, by ifindex.
    told: BTreeSet<u32>,
    acts: JoinSet<(Outside, Attempt)>,
    engine: Arc<Mutex<Option<Engine>>>,
    logged: BTreeMap<String, Instant>,
}

impl Outsiders {
    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        let mut memory = Memory::default();
        let socket = self.config.borrow().docker_socket.clone();
        let mut asked = Asked::new(socket, self.engine.clone());
        loop {
            let now = Instant::now();
            let config = Arc::clone(&self.config.borrow_and_update());
            let inventory = Arc::clone(&self.inventory.borrow_and_update());
            let askers = asked.of(&inventory, now).await;
            let found: BTreeSet<Outside> =
                outside::outside(&config, &inventory, askers).into_iter().collect();
            let is_unknown = outside::has_unknown_asker(&config, &inventory, askers);
            for way in memory.docket.take_due(&found, now) {
                let action = match way.why {
                    Why::EngineResolver(_) => config.outside.engine_resolver,
                    _ => config.outside.action,
                };
                let engine = Arc::clone(&memory.engine);
                let socket = config.docker_socket.clone();
                memory.acts.spawn(async move {
                    let attempt = match action {
                        OutsideAction::Record => Attempt { action: "record", outcome: Ok("done") },
                        OutsideAction::Stop => stop(&engine, &socket, &way).await,
                    };
                    (way, attempt)
                });
            }
            let strangers = self.strangers(&mut memory, now);
            let mut reasons: Vec<String> = found.iter().map(reason).collect();
            reasons.extend(strangers);
            reasons.extend(asked.problem(&found, is_unknown));
            self.reasons.send_if_modified(|last| {
                let changed = *last != reasons;
                *last = reasons;
                changed
            });
            let due = memory.docket.next_due().into_iter().chain(memory.strangers.next_due(now));
            let wake = due.min().unwrap_or(now + PERIOD).min(now + PERIOD);
            tokio::select! {
                Some(done) = memory.acts.join_next() => match done {
                    Ok((way, attempt)) => self.tell(&mut memory, &way, &attempt),
                    Err(error) => tracing::error!(%error, "an act against a guest outside was lost"),
                },
                changed = self.config.changed() => if changed.is_err() { return },
                changed = self.inventory.changed() => if changed.is_err() { return },
                changed = self.state.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    fn tell(&self, memory: &mut Memory, way: &Outside, attempt: &Attempt) {
        let now = Instant::now();
        if !memory.docket.note(way, attempt, now) {
            return;
        }
        let (outcome, error) = match &attempt.outcome {
            Ok(outcome) => (*outcome, String::new()),
            Err(error) => ("failed", error.clone()),
        };
        memory.logged.retain(|_, at| now.duration_since(*at) < LOG_EVERY);
        if !memory.logged.contains_key(&way.container) {
            let (container, why) = (&way.name, &way.why);
            let action = attempt.action;
            tracing::warn!(container, %why, action, outcome, error, "a guest is outside its policy");
            memory.logged.insert(way.container.clone(), now);
        }
        self.record(OutsideRecord {
            container_id: Some(way.container.clone()),
            container: text(&way.name),
            why: way.why.name().to_owned(),
            to: text(&way.why.to()),
            action: attempt.action.to_owned(),
            outcome: outcome.to_owned(),
            error: sentence(&error),
            ..OutsideRecord::default()
        });
    }

    fn record(&self, record: OutsideRecord) {
        // Nobody listens any more: the daemon is stopping.
        let _ = self.journal.send(Body::Outside(record));
    }

    /// Ports of guest bridges without a container: a reason for each, and a record once.
    fn strangers(&mut self, memory: &mut Memory, now: Instant) -> Vec<String> {
        let state = Arc::clone(&self.state.borrow_and_update());
        let strangers = memory.strangers.update(&state.desired, now);
        memory.told.retain(|ifindex| strangers.contains(ifindex));
        let links = self.links.borrow();
        let mut reasons = Vec::new();
        for ifindex in strangers {
            let interface =
                links.get(&ifindex).map_or_else(|| format!("#{ifindex}"), |link| link.name.clone());
            let endpoint = state.desired.endpoints.get(&ifindex);
            let network = endpoint.and_then(|e| state.desired.networks.get(&e.network));
            let network = network.map(|network| network.name.clone()).unwrap_or_default();
            reasons.push(format!(
                "a port of a guest bridge belongs to no container: {interface} (network \
                 {network}); it is denied"
            ));
            if memory.told.insert(ifindex) {
                tracing::warn!(interface, network, "a port of a guest bridge has no container");
                self.record(OutsideRecord {
                    network: text(&network),
                    interface: text(&interface),
                    why: "no_container".to_owned(),
                    action: "deny".to_owned(),
                    outcome: "done".to_owned(),
                    ..OutsideRecord::default()
                });
            }
        }
        reasons
    }
}

fn reason(way: &Outside) -> String {
    let id = way.container.get(..12).unwrap_or(&way.container);
    format!("guest {} ({id}) is outside its policy: {}", way.name, way.why)
}

/// Takes the way out away; ends the container when that fails.
async fn stop(engine: &Mutex<Option<Engine>>, socket: &std::path::Path, way: &Outside) -> Attempt {
    let failed = |action, error: &EngineError| Attempt { action, outcome: Err(error.to_string()) };
    let connected = match connected(engine, socket).await {
        Ok(connected) => connected,
        Err(error) => return failed("connect", &error),
    };
    if let Remedy::Disconnect(network) = &way.remedy {
        match connected.disconnect(network, &way.container).await {
            Ok(outcome) => return attempt("disconnect", outcome),
            Err(error) => {
                tracing::warn!(%error, container = way.name, "not disconnected: it is killed");
            }
        }
    }
    match connected.kill(&way.container).await {
        Ok(outcome) => attempt("kill", outcome),
        Err(error) => {
            // The next attempt has a connection of its own.
            *engine.lock().await = None;
            failed("kill", &error)
        }
    }
}

fn attempt(action: &'static str, outcome: Expelled) -> Attempt {
    let word = match outcome {
        Expelled::Done => "done",
        Expelled::Gone => "gone",
    };
    Attempt { action, outcome: Ok(word) }
}

async fn connected(
    engine: &Mutex<Option<Engine>>,
    socket: &std::path::Path,
) -> Result<Engine, EngineError> {
    let mut engine = engine.lock().await;
    if let Some(engine) = &*engine {
        return Ok(engine.clone());
    }
    let new = Engine::connect(socket).await?;
    *engine = Some(new.clone());
    Ok(new)
}
