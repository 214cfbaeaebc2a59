//! Looks after the guests that enforcer starts: carries orders out, each in a task of its own, clears away what starts left
//! behind, and ends guests that are idle or old.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, SystemTime},
};

use enforcer_common::decide::Opener;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep},
};

use super::abuse::is_guest;
use crate::{
    api::asked::GuestAsked,
    config::{Config, Culled},
    docker::EngineState,
    guest::{
        cull::{Running, Visits},
        names,
        service::Guests,
    },
    kernel::{flows::FlowTable, monotonic_ns},
    model::{
        inventory::{Container, Inventory},
        owner::Owners,
    },
};

/// How often it is looked whether something is left behind that is known to be.
const SOON: Duration = Duration::from_secs(5);
/// How often it is looked whether something else is.
const SELDOM: Duration = Duration::from_secs(30);
/// How often guests are looked at.
const CULL: Duration = Duration::from_secs(20);

/// What the keeper works on.
pub(super) struct Keeper {
    pub(super) guests: Guests,
    pub(super) config: watch::Receiver<Arc<Config>>,
    pub(super) inventory: watch::Receiver<Arc<Inventory>>,
    pub(super) owners: watch::Receiver<Arc<Owners>>,
    pub(super) engine: watch::Receiver<EngineState>,
    pub(super) flows: FlowTable,
    pub(super) orders: mpsc::Receiver<Box<GuestAsked>>,
}

impl Keeper {
    /// Runs until it is dropped; what it is at then stays as it is, and the next daemon clears it away.
    pub(super) async fn run(self) {
        let Self { guests, config, inventory, owners, engine, flows, orders } = self;
        let culler = Culler { guests: guests.clone(), config, inventory, owners, flows };
        tokio::join!(carry_out(guests.clone(), orders), sweep(guests, engine), culler.run());
    }
}

async fn carry_out(guests: Guests, mut orders: mpsc::Receiver<Box<GuestAsked>>) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => drop(tasks.spawn(one(guests.clone(), *order))),
                None => return,
            },
            Some(ended) = tasks.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "an order about a guest was lost");
            },
        }
    }
}

async fn one(guests: Guests, order: GuestAsked) {
    // Whoever asked may have gone.
    match order {
        GuestAsked::Start(order, asker, words, reply) => {
            drop(reply.send(guests.start(*order, &asker, &words).await));
        }
        GuestAsked::Restart(seat, asker, words, reply) => {
            drop(reply.send(guests.restart(&seat, &asker, &words).await));
        }
        GuestAsked::Stop(seat, asker, reply) => drop(reply.send(guests.stop(&seat, &asker).await)),
        GuestAsked::Remove(seat, asker, reply) => {
            drop(reply.send(guests.remove(&seat, &asker).await));
        }
        GuestAsked::Exec(seat, what, asker, reply) => {
            drop(reply.send(guests.exec(&seat, what, &asker).await));
        }
        GuestAsked::Reset(user, volumes, asker, reply) => {
            drop(reply.send(guests.reset_volumes(&user, &volumes, &asker).await));
        }
        GuestAsked::List(hub, user, reply) => {
            drop(reply.send(guests.list(hub.as_ref(), user.as_ref()).await));
        }
        GuestAsked::Inspect(seat, reply) => drop(reply.send(guests.inspect(&seat).await)),
        GuestAsked::Logs(seat, tail, reply) => drop(reply.send(guests.logs(&seat, tail).await)),
    }
}

/// Clears away whenever the engine comes back, soon where something is known, and else now and then.
async fn sweep(guests: Guests, mut engine: watch::Receiver<EngineState>) {
    let mut last = None::<Instant>;
    loop {
        let answers = matches!(*engine.borrow_and_update(), EngineState::Connected { .. });
        let is_due = last.is_none_or(|last| last.elapsed() >= SELDOM);
        if answers && (is_due || guests.has_left()) {
            last = Some(Instant::now());
            if let Err(declined) = guests.sweep().await {
                tracing::warn!(error = %declined, "cannot look for what starts left behind");
            }
        }
        tokio::select! {
            changed = engine.changed() => match changed {
                Ok(()) => last = None,
                Err(_) => return,
            },
            () = sleep(SOON) => {}
        }
    }
}

struct Culler {
    guests: Guests,
    config: watch::Receiver<Arc<Config>>,
    inventory: watch::Receiver<Arc<Inventory>>,
    owners: watch::Receiver<Arc<Owners>>,
    flows: FlowTable,
}

impl Culler {
    async fn run(self) {
        let mut visits = Visits::default();
        loop {
            sleep(CULL).await;
            let config = Arc::clone(&self.config.borrow());
            if config.guests.idle_after.is_none() && config.guests.max_age.is_none() {
                visits = Visits::default();
                continue;
            }
            let (inventory, owners) =
                (Arc::clone(&self.inventory.borrow()), Arc::clone(&self.owners.borrow()));
            let (flows, of) = (self.flows.clone(), Arc::clone(&owners));
            let visited = super::blocking("visits", move || visited(&flows, &of)).await;
            let visited = match visited {
                Ok(Ok(visited)) => visited,
                // Nobody is idle of whom nobody knows.
                Ok(Err(error)) => {
                    tracing::warn!(%error, "cannot read map FLOWS: no guest is ended for idleness");
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot look for visits");
                    continue;
                }
            };
            let going: Vec<(String, _)> = {
                let running = running(&config, &inventory, &owners, &visited);
                let going = visits.judge(&running, &config.guests, monotonic_ns());
                going.into_iter().map(|(id, why)| (id.to_owned(), why)).collect()
            };
            for (id, why) in going {
                if let Err(declined) = self.guests.cull(&id, why).await {
                    tracing::warn!(error = %declined, container = id, "a guest cannot be ended");
                }
            }
        }
    }
}

/// The newest packet of anybody else's conversation with each guest, by its container, monotonic ns.
fn visited(flows: &FlowTable, owners: &Owners) -> std::io::Result<BTreeMap<String, u64>> {
    let mut newest = HashMap::<u32, u64>::new();
    flows.each(&mut |key, flow| {
        if flow.opener != Opener::Endpoint.value() {
            let last = newest.entry(key.endpoint).or_default();
            *last = (*last).max(flow.last_seen_ns);
        }
        true
    })?;
    let mut visited = BTreeMap::<String, u64>::new();
    for (id, newest) in newest {
        if let Some(container) = owners.get(&id).and_then(|owner| owner.container.clone()) {
            let last = visited.entry(container).or_default();
            *last = (*last).max(newest);
        }
    }
    Ok(visited)
}

/// Guests that may be ended: those of enforcer's, or all but what is the operator's.
fn running<'a>(
    config: &Config,
    inventory: &'a Inventory,
    owners: &Owners,
    visited: &BTreeMap<String, u64>,
) -> Vec<Running<'a>> {
    let guests = owners.values().filter(|owner| is_guest(config, owner));
    let ids: BTreeSet<&str> = guests.filter_map(|owner| owner.container.as_deref()).collect();
    let all = inventory.containers.values().filter(|one| one.running);
    let is_meant = |one: &&Container| {
        ids.contains(one.id.as_str())
            && (config.guests.cull == Culled::All || names::known(&one.name, &one.labels).is_some())
    };
    let running = all.filter(is_meant).map(|one| Running {
        container: &one.id,
        age: age(one),
        visited_ns: visited.get(&one.id).copied(),
    });
    running.collect()
}

fn age(container: &Container) -> Option<Duration> {
    let started = crate::audit::store::time::micros(&container.started)?;
    let started = SystemTime::UNIX_EPOCH + Duration::from_micros(started);
    SystemTime::now().duration_since(started).ok()
}
