//! Looks after the guests that enforcer starts: carries orders out, each in a task of its own, clears away what starts left
//! behind, and ends guests that are idle or old.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    sync::Arc,
    time::Duration,
};

use enforcer_common::decide::Opener;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep},
};

use super::abuse::is_guest;
use crate::{
    access::name::HubName,
    api::asked::GuestAsked,
    config::{Config, Culled},
    docker::EngineState,
    guest::{
        cull::{Running, Visits},
        names,
        service::Guests,
    },
    kernel::{flows::FlowTable, monotonic_ns, since_boot},
    model::{
        declined::Declined,
        inventory::{Container, Inventory},
        owner::Owners,
    },
};

/// How often it is looked whether something is left behind that is known to be.
const SOON: Duration = Duration::from_secs(5);
/// How often it is looked whether something else is.
const SELDOM: Duration = Duration::from_secs(30);
/// How often guests are looked at.
const CULL: Duration = Duration::from_secs(10);

/// Orders of a hub, and of this host, that are carried out at a time: those of who has gone are, too.
const ORDERS: usize = 32;

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
    let (mut tasks, mut busy) = (JoinSet::new(), Busy::default());
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => match busy.place(order.hub()) {
                    Ok(place) => {
                        let guests = guests.clone();
                        tasks.spawn(async move {
                            one(guests, *order).await;
                            drop(place);
                        });
                    }
                    Err(declined) => order.decline(declined),
                },
                None => return,
            },
            Some(ended) = tasks.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "an order about a guest was lost");
            },
        }
    }
}

/// Places of hubs.
#[derive(Debug, Default)]
struct Busy(BTreeMap<HubName, Arc<Semaphore>>);

impl Busy {
    /// A place for an order, held while it is carried out; root's and admins' need none.
    fn place(&mut self, hub: Option<&HubName>) -> Result<Option<OwnedSemaphorePermit>, Declined> {
        let Some(hub) = hub else { return Ok(None) };
        let places = self.0.entry(hub.clone()).or_insert_with(|| Arc::new(Semaphore::new(ORDERS)));
        let place = Arc::clone(places).try_acquire_owned();
        place.map(Some).map_err(|_none| {
            Declined::conflict(format!(
                "{ORDERS} orders of hub {hub} are being carried out; try again"
            ))
        })
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
        age: age(one.pid),
        visited_ns: visited.get(&one.id).copied(),
    });
    running.collect()
}

/// How long a container's first process has been running, by a clock that nobody sets: no jump of the wall's makes guests
/// old. `None`: nobody can tell.
fn age(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    since_boot().checked_sub(began(&stat)?)
}

/// When a process began, since the boot: field 22 of `/proc/PID/stat` (`proc_pid_stat(5)`), in ticks that have been hundredths
/// of a second on every architecture (`USER_HZ`) since Linux 2.6.
fn began(stat: &str) -> Option<Duration> {
    // The name, which may have anything in it, ends at the last bracket.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    ticks.checked_mul(10).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_s_orders_take_no_place_of_another_s() {
        let mut busy = Busy::default();
        let (one, other) = ("lab".parse().expect("a hub"), "two".parse().expect("a hub"));
        let held: Vec<_> = (0..ORDERS).map(|_| busy.place(Some(&one)).expect("a place")).collect();
        let refused = busy.place(Some(&one)).expect_err("full");
        assert!(refused.message.contains("try again"), "{refused}");
        assert!(busy.place(Some(&other)).expect("a place").is_some());
        assert!(busy.place(None).expect("root").is_none());
        drop(held);
        assert!(busy.place(Some(&one)).is_ok());
    }

    #[test]
    fn f20_a_process_is_as_old_as_the_kernel_says_whatever_the_time_is() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1000 1 184467";
        assert_eq!(began(stat), Some(Duration::from_millis(123_450)));
        for cut in
            ["", "7 (sleep", "7 (sleep) S 1 7", "7 (a) S 1 7 7 0 -1 4 1 0 0 0 0 0 0 0 20 0 1 0 x 1"]
        {
            assert_eq!(began(cut), None, "{cut}");
        }
        let own = age(std::process::id()).expect("an age");
        assert!(own < Duration::from_hours(24) && own <= since_boot(), "{own:?}");
        assert_eq!(age(u32::MAX), None);
    }
}
