//! Own networks as they are made and removed: what is kept, what control is told, and when the kernel has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use enforcer_common::abi::event::Hook;
use futures_util::future::BoxFuture;
use tokio::{
    sync::{Mutex as Turn, watch},
    task::spawn_blocking,
    time::timeout,
};

use super::{
    OwnError, pool,
    store::{Row, Store},
    sweep::{Swept, judge},
};
use crate::{
    access::name::User,
    causes::causes,
    config::{Config, GuestNetwork, OWNED_SLOTS, Owned},
    control::reconcile::State,
    gate::{networks::OwnNetworks, verdict::Refusal},
    model::{
        closure::OWN_BRIDGES,
        inventory::Inventory,
        link::{LinkKind, Links},
        owned::{Found, Prepared},
    },
    netlink::routes,
    policy::rule::Net,
};

/// Longest wait for the control loop.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a network may be in the making before it counts as cut short: longer than an engine may take.
const MAKING: Duration = Duration::from_mins(1);

/// Where a handle looks.
#[derive(Clone, Debug)]
pub struct Sights {
    /// What control holds in the kernel.
    pub state: watch::Receiver<Arc<State>>,
    /// What the engine says.
    pub inventory: watch::Receiver<Arc<Inventory>>,
    /// Interfaces.
    pub links: watch::Receiver<Arc<Links>>,
}

/// A handle; a copy is the same one.
#[derive(Clone, Debug)]
pub struct Networks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Option<Store>,
    config: watch::Sender<Arc<Config>>,
    sights: Sights,
    /// Slots of networks that are in the making, since when.
    making: Mutex<BTreeMap<u32, Instant>>,
    /// One change at a time: the config has what the store has.
    turn: Turn<()>,
}

/// The own networks that control is to see: those that are kept, and bridges of such a name that nobody knows.
#[must_use]
pub fn shown(rows: &[Row], links: &Links) -> BTreeMap<String, GuestNetwork> {
    let kept: BTreeSet<&str> = rows.iter().map(|row| row.bridge.as_str()).collect();
    let bridges = links.values().filter(|link| link.kind == LinkKind::Bridge);
    let names = bridges.map(|link| link.name.as_str());
    let stray = names.filter(|name| name.starts_with(OWN_BRIDGES) && !kept.contains(name));
    let nobody_s = |bridge: &str| {
        let owned = Owned { owner: None, slot: OWNED_SLOTS - 1 };
        (bridge.to_owned(), GuestNetwork::of_owner(owned, bridge.to_owned()))
    };
    let kept = rows.iter().map(|row| (row.name.clone(), row.guest_network()));
    kept.chain(stray.map(nobody_s)).collect()
}

impl Networks {
    /// With what was opened; networks that no daemon is making any more have a while to show at the engine.
    #[must_use]
    pub fn new(
        store: Option<Store>,
        rows: &[Row],
        config: watch::Sender<Arc<Config>>,
        sights: Sights,
    ) -> Self {
        let begun = rows.iter().filter(|row| row.id.is_none());
        let making = begun.map(|row| (row.slot, Instant::now())).collect();
        let making = Mutex::new(making);
        Self(Arc::new(Inner { store, config, sights, making, turn: Turn::default() }))
    }

    /// Those that are kept.
    pub async fn rows(&self) -> Result<Vec<Row>, OwnError> {
        self.with(Store::rows).await
    }

    /// See [`OwnNetworks::prepare`].
    pub async fn prepare(&self, owner: &User, name: &str) -> Result<Prepared, OwnError> {
        let row = {
            let _turn = self.0.turn.lock().await;
            let row = self.reserve(owner, name).await?;
            self.publish().await?;
            row
        };
        if let Err(error) = self.wait_held(&row).await {
            self.forget(row.slot, &row.bridge).await;
            return Err(error);
        }
        Ok(row.prepared())
    }

    /// See [`OwnNetworks::settle`].
    pub async fn settle(&self, prepared: &Prepared, id: &str) -> Result<(), OwnError> {
        {
            let _turn = self.0.turn.lock().await;
            let (one, id) = (prepared.clone(), id.to_owned());
            self.with(move |store| store.settle(&one, &id)).await?;
            self.making().remove(&prepared.slot);
        }
        let mut state = self.0.sights.state.clone();
        let policed = state.wait_for(|state| is_policed(state, prepared));
        match timeout(PATIENCE, policed).await {
            Ok(Ok(_)) => {
                tracing::info!(network = prepared.name, bridge = prepared.bridge, "is policed");
                Ok(())
            }
            Ok(Err(_)) => Err(OwnError::Stopping),
            Err(_) => Err(OwnError::Late),
        }
    }

    /// See [`OwnNetworks::removed`].
    pub async fn removed(&self, id: &str) {
        match self.rows().await {
            Ok(rows) => {
                for row in rows.iter().filter(|row| row.id.as_deref() == Some(id)) {
                    self.forget(row.slot, &row.bridge).await;
                }
            }
            Err(error) => tracing::error!("own networks: {}", causes(&error)),
        }
    }

    /// Forgets one, unless its slot has another one by now. What cannot be forgotten now is swept up later.
    pub async fn forget(&self, slot: u32, bridge: &str) {
        let _turn = self.0.turn.lock().await;
        let name = bridge.to_owned();
        let freed = self.with(move |store| store.free(slot, &name)).await;
        match freed {
            Ok(true) => drop(self.making().remove(&slot)),
            Ok(false) => return,
            Err(error) => return tracing::error!(bridge, "own networks: {}", causes(&error)),
        }
        tracing::info!(bridge, "an own network is forgotten");
        if let Err(error) = self.publish().await {
            tracing::error!("own networks: {}", causes(&error));
        }
    }

    /// Holds these rows, which were read before the engine was asked, against what it has.
    #[must_use]
    pub fn sweep(&self, rows: &[Row], found: &[Found]) -> Swept {
        let mut making = self.making();
        making.retain(|_, since| since.elapsed() < MAKING);
        judge(rows, &making.keys().copied().collect(), found)
    }

    /// Has control see what is kept, and bridges that nobody knows as they are now.
    pub async fn refresh(&self) -> Result<(), OwnError> {
        let _turn = self.0.turn.lock().await;
        self.publish().await
    }

    async fn reserve(&self, owner: &User, name: &str) -> Result<Row, OwnError> {
        let config = Arc::clone(&self.0.config.borrow());
        let pool = config.gate.own_networks.ok_or(OwnError::Off)?;
        if config.networks.contains_key(name) {
            return Err(OwnError::Exists { name: name.to_owned() });
        }
        let rows = self.rows().await?;
        // Also those that nobody waits for any more.
        let count = rows.iter().filter(|row| row.owner == *owner).count();
        if count >= config.gate.of(&owner.hub).max_networks as usize {
            return Err(OwnError::Full { owner: owner.clone(), count });
        }
        let mut taken = routes::list4().await?;
        taken.extend(self.subnets(&config));
        taken.extend(rows.iter().filter_map(|row| net(row.subnet)));
        let subnet =
            pool::choose(pool, &taken).ok_or(OwnError::NoSubnet { pool, own: rows.len() })?;
        let (owner, name) = (owner.clone(), name.to_owned());
        let bridges = self.bridges();
        let row = self
            .with(move |store| store.reserve(&owner, &name, subnet, |name| bridges.contains(name)))
            .await?;
        self.making().insert(row.slot, Instant::now());
        Ok(row)
    }

    /// Subnets of the engine's networks, and of the config's.
    fn subnets(&self, config: &Config) -> Vec<Net> {
        let inventory = Arc::clone(&self.0.sights.inventory.borrow());
        let docker = inventory.networks.values().flat_map(|network| &network.subnets);
        let docker = docker.filter_map(|subnet| Net::new(subnet.address, subnet.prefix));
        let of_config = config.networks.values().filter_map(|network| net(network.subnet4?));
        docker.chain(of_config).collect()
    }

    /// Names of interfaces, and of bridges that the engine would make.
    fn bridges(&self) -> BTreeSet<String> {
        let (links, inventory) =
            (self.0.sights.links.borrow().clone(), self.0.sights.inventory.borrow().clone());
        let docker = inventory.networks.values().map(|network| network.bridge.clone());
        links.values().map(|link| link.name.clone()).chain(docker).collect()
    }

    /// Whoever calls has the turn.
    async fn publish(&self) -> Result<(), OwnError> {
        let rows = match &self.0.store {
            Some(_) => self.rows().await?,
            None => Vec::new(),
        };
        let own = shown(&rows, &self.0.sights.links.borrow());
        self.0.config.send_if_modified(|config| {
            let differs = config.owned() != own;
            if differs {
                *config = Arc::new(config.with_owned(&own));
            }
            differs
        });
        Ok(())
    }

    /// Waits until control works with it, and its bridge is closed.
    async fn wait_held(&self, row: &Row) -> Result<(), OwnError> {
        let is_taken = |state: &State| {
            let config = state.config.as_ref();
            let network = config.and_then(|config| config.networks.get(&row.name));
            network.is_some_and(|network| network.bridge == row.bridge)
        };
        let is_closed = |state: &State| {
            state.observed.closure.as_ref().is_some_and(|closure| closure.covers(&row.bridge))
        };
        let mut state = self.0.sights.state.clone();
        let held = state.wait_for(|state| is_taken(state) && is_closed(state));
        match timeout(PATIENCE, held).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(OwnError::Stopping),
            Err(_) if is_taken(&self.0.sights.state.borrow()) => Err(OwnError::Open),
            Err(_) => Err(OwnError::Late),
        }
    }

    /// Asks the store, which waits for the disk.
    async fn with<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Store) -> Result<T, OwnError> + Send + 'static,
    ) -> Result<T, OwnError> {
        let this = Arc::clone(&self.0);
        let asked = spawn_blocking(move || ask(this.store.as_ref().ok_or(OwnError::NoStore)?));
        asked.await.map_err(|_panicked| OwnError::Stopping)?
    }

    /// A panic elsewhere left at worst a slot in the making.
    fn making(&self) -> MutexGuard<'_, BTreeMap<u32, Instant>> {
        self.0.making.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the programs of its bridge run, with what the engine says of the network.
fn is_policed(state: &State, prepared: &Prepared) -> bool {
    let found =
        state.desired.networks.iter().find(|(_, network)| {
            network.name == prepared.name && network.bridge == prepared.bridge
        });
    found.is_some_and(|(ifindex, network)| {
        network.gateway4.is_some()
            && state.observed.networks.contains_key(ifindex)
            && [Hook::FromBridge, Hook::ToBridge]
                .iter()
                .all(|hook| state.observed.first.contains(&(*ifindex, *hook)))
    })
}

fn net((address, length): (Ipv4Addr, u8)) -> Option<Net> {
    Net::new(IpAddr::V4(address), length)
}

impl OwnNetworks for Networks {
    fn prepare<'a>(
        &'a self,
        owner: &'a User,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Prepared, Refusal>> {
        Box::pin(async move { self.prepare(owner, name).await.map_err(|error| refused(&error)) })
    }

    fn settle<'a>(
        &'a self,
        prepared: &'a Prepared,
        id: &'a str,
    ) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async move { self.settle(prepared, id).await.map_err(|error| refused(&error)) })
    }

    fn abandon<'a>(&'a self, prepared: &'a Prepared) -> BoxFuture<'a, ()> {
        Box::pin(self.forget(prepared.slot, &prepared.bridge))
    }

    fn removed<'a>(&'a self, id: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(self.removed(id))
    }
}

/// What went wrong here is for the log, and not for strangers.
fn refused(error: &OwnError) -> Refusal {
    tracing::warn!("no own network: {}", causes(error));
    error.refusal()
}
