//! Own networks beside the daemon's other tasks: those that are kept are policed from the start, orders of hubs are carried
//! out, and what became of networks behind our back is swept up.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{SuperviseError, blocking};
use crate::{
    access::name::User,
    api::asked::NetworkAsked,
    causes::causes,
    config::Config,
    docker::{Engine, EngineState, owned as engine_side},
    gate::{names, principal::Principal},
    model::{
        declined::Declined,
        inventory::Inventory,
        link::Links,
        owned::{Found, OwnNetworkStatus, Prepared},
    },
    netlink,
    owned::{
        Networks, OwnError,
        service::{Sights, shown},
        store::{Row, Store},
    },
};

/// How often it is looked, whatever nobody says.
const PERIOD: Duration = Duration::from_secs(30);
/// Changes within this time are looked at together.
const COALESCE: Duration = Duration::from_secs(1);

/// What an earlier daemon left.
pub(super) struct Opened {
    store: Option<Store>,
    rows: Vec<Row>,
    problem: Option<String>,
}

/// Reads which own networks there are, and gives the config with them: before any program is taken over, or guests on them
/// would be cut off until somebody asks the engine.
pub(super) async fn open(config: Config) -> Result<(Config, Opened), SuperviseError> {
    let dir = config.state_dir.clone();
    let reading = move || {
        let store = Store::open(&dir)?;
        let rows = store.rows()?;
        Ok::<_, OwnError>((store, rows))
    };
    let opened = match blocking("the store of own networks", reading).await? {
        Ok((store, rows)) => Opened { store: Some(store), rows, problem: None },
        Err(error) => {
            let problem = format!("own networks are closed, and none is made: {}", causes(&error));
            tracing::error!("{problem}");
            Opened { store: None, rows: Vec::new(), problem: Some(problem) }
        }
    };
    let links = netlink::links::list().await?;
    Ok((config.with_owned(&shown(&opened.rows, &links)), opened))
}

/// Sees to own networks until it is dropped.
pub(super) struct Keeper {
    /// The handle, also for the gate.
    pub(super) networks: Networks,
    config: watch::Receiver<Arc<Config>>,
    inventory: watch::Receiver<Arc<Inventory>>,
    links: watch::Receiver<Arc<Links>>,
    engine: watch::Receiver<EngineState>,
    orders: mpsc::Receiver<Box<NetworkAsked>>,
    problem: Option<String>,
    problems: watch::Sender<Vec<String>>,
}

/// Where it is heard of.
pub(super) struct Keeping {
    /// What is wrong, for status.
    pub(super) problems: watch::Receiver<Vec<String>>,
    /// Orders go here.
    pub(super) orders: mpsc::Sender<Box<NetworkAsked>>,
}

impl Keeper {
    pub(super) fn new(
        opened: Opened,
        config: watch::Sender<Arc<Config>>,
        sights: Sights,
        engine: watch::Receiver<EngineState>,
    ) -> (Self, Keeping) {
        let Opened { store, rows, problem } = opened;
        let (problems, problems_out) = watch::channel(problem.iter().cloned().collect());
        let (ordered, orders) = mpsc::channel(8);
        let keeper = Self {
            config: config.subscribe(),
            inventory: sights.inventory.clone(),
            links: sights.links.clone(),
            networks: Networks::new(store, &rows, config, sights),
            engine,
            orders,
            problem,
            problems,
        };
        (keeper, Keeping { problems: problems_out, orders: ordered })
    }

    pub(super) async fn run(self) {
        let Self { networks, config, inventory, links, engine, orders, problem, problems } = self;
        let clerk =
            Clerk { networks: networks.clone(), config: config.clone(), turn: Arc::default() };
        let sweeper = Sweeper { networks, config, inventory, links, engine, problem, problems };
        tokio::join!(clerk.carry_out(orders), sweeper.run());
    }
}

/// Carries orders out.
#[derive(Clone)]
struct Clerk {
    networks: Networks,
    config: watch::Receiver<Arc<Config>>,
    /// One is made at a time: two could be more than their owner may have.
    turn: Arc<Mutex<()>>,
}

impl Clerk {
    async fn carry_out(self, mut orders: mpsc::Receiver<Box<NetworkAsked>>) {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => drop(tasks.spawn(self.clone().one(*order))),
                    None => return,
                },
                Some(ended) = tasks.join_next() => if let Err(error) = ended {
                    tracing::error!(%error, "an order about a network was lost");
                },
            }
        }
    }

    async fn one(self, order: NetworkAsked) {
        // Whoever asked may have gone.
        match order {
            NetworkAsked::Create(user, name, by, reply) => {
                tracing::info!(%user, name, uid = by.uid, "a network is to be made");
                drop(reply.send(self.create(&user, &name).await));
            }
            NetworkAsked::Remove(user, name, by, reply) => {
                tracing::info!(%user, name, uid = by.uid, "a network is to be removed");
                drop(reply.send(self.remove(&user, &name).await));
            }
            NetworkAsked::List(hub, user, reply) => {
                let is_meant = |row: &Row| {
                    hub.as_ref().is_none_or(|hub| *hub == row.owner.hub)
                        && user.as_ref().is_none_or(|user| *user == row.owner.name)
                };
                let rows = self.networks.rows().await.map_err(|error| error.declined());
                let told = rows.map(|rows| {
                    rows.iter().filter(|row| is_meant(row)).map(status).collect::<Vec<_>>()
                });
                drop(reply.send(told));
            }
        }
    }

    async fn create(&self, user: &User, name: &str) -> Result<OwnNetworkStatus, Declined> {
        let _turn = self.turn.lock().await;
        let config = Arc::clone(&self.config.borrow());
        let engine = connect(&config).await?;
        let engine_name = names::engine_name(&Principal::User(user.clone()), name);
        // Old engines take a name twice, and containers would be on either.
        let found = engine_side::list(&engine).await;
        let found = found.map_err(|error| Declined::failed(error.to_string()))?;
        if found.iter().any(|one| one.name == engine_name) {
            return Err(OwnError::Exists { name: engine_name }.declined());
        }
        let prepared = self.networks.prepare(user, &engine_name).await;
        let prepared = prepared.map_err(|error| error.declined())?;
        let id = match engine_side::create(&engine, &prepared, labels(user)).await {
            Ok(id) => id,
            Err(error) => {
                self.networks.forget(prepared.slot, &prepared.bridge).await;
                return Err(Declined::failed(error.to_string()));
            }
        };
        if let Err(error) = self.networks.settle(&prepared, &id).await {
            self.undo(&engine, &prepared, &id).await;
            return Err(error.declined());
        }
        let rows = self.networks.rows().await.map_err(|error| error.declined())?;
        let made = rows.iter().find(|row| row.id.as_ref() == Some(&id)).map(status);
        made.ok_or_else(|| Declined::failed(format!("network {name} was removed meanwhile")))
    }

    /// Removes one of which nobody was told. What cannot be removed now is swept up later.
    async fn undo(&self, engine: &Engine, prepared: &Prepared, id: &str) {
        match engine_side::remove(engine, id).await {
            Ok(_) => self.networks.forget(prepared.slot, &prepared.bridge).await,
            Err(error) => tracing::warn!(bridge = prepared.bridge, %error, "a network stays"),
        }
    }

    async fn remove(&self, user: &User, name: &str) -> Result<(), Declined> {
        let unknown = || Declined::unknown(format!("{user} has no network {name}"));
        let engine_name = names::engine_name(&Principal::User(user.clone()), name);
        let rows = self.networks.rows().await.map_err(|error| error.declined())?;
        let row = rows.iter().find(|row| row.name == engine_name).ok_or_else(unknown)?;
        let id = row.id.as_deref().ok_or_else(|| {
            Declined::conflict(format!("network {name} of {user} is in the making"))
        })?;
        let config = Arc::clone(&self.config.borrow());
        let engine = connect(&config).await?;
        match engine_side::remove(&engine, id).await {
            Ok(_) => {
                self.networks.forget(row.slot, &row.bridge).await;
                Ok(())
            }
            // Containers are on it.
            Err(error) if error.status() == Some(403) => Err(Declined::conflict(error.to_string())),
            Err(error) => Err(Declined::failed(error.to_string())),
        }
    }
}

async fn connect(config: &Config) -> Result<Engine, Declined> {
    let engine = Engine::connect(&config.docker_socket).await;
    engine.map_err(|error| Declined::failed(error.to_string()))
}

/// Those that the gate gives what a user makes.
fn labels(user: &User) -> BTreeMap<String, String> {
    let labels = [
        ("enforcer.gate", "user"),
        ("enforcer.hub", user.hub.as_str()),
        ("enforcer.user", user.name.as_str()),
        ("enforcer.network", "own"),
    ];
    labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn status(row: &Row) -> OwnNetworkStatus {
    let principal = Principal::User(row.owner.clone());
    let (address, length) = row.subnet;
    OwnNetworkStatus {
        hub: row.owner.hub.to_string(),
        user: row.owner.name.to_string(),
        name: names::own_name(&principal, &row.name).unwrap_or(&row.name).to_owned(),
        engine_name: row.name.clone(),
        bridge: row.bridge.clone(),
        subnet: format!("{address}/{length}"),
        network_id: row.id.clone(),
    }
}

/// Sweeps up.
struct Sweeper {
    networks: Networks,
    config: watch::Receiver<Arc<Config>>,
    inventory: watch::Receiver<Arc<Inventory>>,
    links: watch::Receiver<Arc<Links>>,
    engine: watch::Receiver<EngineState>,
    problem: Option<String>,
    problems: watch::Sender<Vec<String>>,
}

impl Sweeper {
    async fn run(mut self) {
        let mut last = None::<Instant>;
        loop {
            let is_due = last.is_none_or(|last| last.elapsed() >= PERIOD);
            if is_due || self.is_off().await {
                last = Some(Instant::now());
                let mut found = self.problem.iter().cloned().collect::<Vec<_>>();
                found.extend(self.sweep().await);
                self.publish(found);
            }
            let changed = tokio::select! {
                changed = self.inventory.changed() => changed,
                changed = self.links.changed() => changed,
                changed = self.engine.changed() => {
                    last = None;
                    changed
                }
                () = sleep(PERIOD) => Ok(()),
            };
            if changed.is_err() {
                return;
            }
            sleep(COALESCE).await;
        }
    }

    /// Whether what is kept is not what the engine had, when it was last asked, or what interfaces there are.
    async fn is_off(&mut self) -> bool {
        let inventory = Arc::clone(&self.inventory.borrow_and_update());
        let links = Arc::clone(&self.links.borrow_and_update());
        let rows = self.networks.rows().await.unwrap_or_default();
        let is_missing =
            |row: &Row| row.id.as_ref().is_some_and(|id| !inventory.networks.contains_key(id));
        rows.iter().any(is_missing) || self.config.borrow().owned() != shown(&rows, &links)
    }

    /// What nobody can put right but an operator, for status.
    async fn sweep(&self) -> Vec<String> {
        if let Err(error) = self.networks.refresh().await {
            return vec![format!("own networks: {}", causes(&error))];
        }
        if !matches!(*self.engine.borrow(), EngineState::Connected { .. }) {
            return self.problems.borrow().clone();
        }
        // In this order: see `sweep::judge`.
        let rows = self.networks.rows().await.unwrap_or_default();
        let config = Arc::clone(&self.config.borrow());
        let asked = async {
            let engine = Engine::connect(&config.docker_socket).await?;
            let found = engine_side::list(&engine).await?;
            Ok::<_, crate::docker::EngineError>((engine, found))
        };
        // Status tells of an engine that cannot be asked.
        let Ok((engine, mut found)) = asked.await else { return Vec::new() };
        // What was settled or made while the engine was asked is looked at the next time.
        let now = self.networks.rows().await.unwrap_or_default();
        let (rows, changed): (Vec<Row>, Vec<Row>) =
            rows.into_iter().partition(|row| now.contains(row));
        let is_new = |row: &&Row| !rows.contains(row);
        let new: Vec<&str> =
            now.iter().filter(is_new).chain(&changed).map(|row| row.bridge.as_str()).collect();
        found.retain(|one| !new.contains(&one.bridge.as_str()));
        let swept = self.networks.sweep(&rows, &found);
        for row in &swept.gone {
            tracing::info!(network = row.name, "the engine does not have it any more");
            self.networks.forget(row.slot, &row.bridge).await;
        }
        for (row, id) in &swept.cut_short {
            self.finish(&engine, row, id).await;
        }
        swept.unknown.iter().map(stranger).collect()
    }

    /// Removes a network of which nobody was told; one that somebody is on already is its owner's.
    async fn finish(&self, engine: &Engine, row: &Row, id: &str) {
        match engine_side::remove(engine, id).await {
            Ok(_) => {
                tracing::info!(network = row.name, "its making was cut short: removed");
                self.networks.forget(row.slot, &row.bridge).await;
            }
            Err(error) if error.status() == Some(403) => {
                if let Err(error) = self.networks.settle(&row.prepared(), id).await {
                    tracing::warn!(network = row.name, "own networks: {}", causes(&error));
                }
            }
            Err(error) => tracing::warn!(network = row.name, %error, "cannot be removed"),
        }
    }

    fn publish(&self, found: Vec<String>) {
        self.problems.send_if_modified(|known| {
            let differs = *known != found;
            if differs {
                for problem in &found {
                    tracing::error!("{problem}");
                }
                *known = found;
            }
            differs
        });
    }
}

fn stranger(found: &Found) -> String {
    format!(
        "network {} of Docker has bridge {}, as own networks have, and is none that enforcer knows: it stays closed; remove \
         it (docker network rm {})",
        found.name, found.bridge, found.id
    )
}
