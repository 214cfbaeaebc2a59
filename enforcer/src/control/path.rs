//! The packet path as control sees it: everything that is loaded, behind one lock that is held for
//! one step at a time, so that a new veth never waits for a long plan.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use enforcer_common::abi::{counter::Usage, event::Hook};
use tokio::runtime::Handle as Runtime;

use super::{
    apply::{Execute, ExecuteError},
    desired::Closes,
    plan::Action,
};
use crate::{
    closure::Table,
    kernel::{
        KernelError,
        links::{Hooks, is_ingress},
        maps::Maps,
        observe,
        processes::Processes,
        sockets::Proof,
    },
    model::{
        closure::{Closure, Drops},
        inventory::Mac,
        link::Links,
        observed::Observed,
    },
    netlink::{self, NetlinkError},
};

/// The loaded programs and maps.
pub struct Loaded {
    /// Programs on interfaces.
    pub hooks: Hooks,
    /// Maps.
    pub maps: Maps,
    /// Programs that know the process.
    pub processes: Processes,
}

/// Shared access to the packet path and to bridge ports.
#[derive(Clone)]
pub struct PacketPath {
    loaded: Arc<Mutex<Loaded>>,
    netlink: rtnetlink::Handle,
    fdb: Arc<Mutex<BTreeMap<u32, Mac>>>,
    closure: Table,
    /// Steps done so far, for whoever wonders whether anything goes on.
    steps: Arc<AtomicU64>,
    /// How guest bridges can be closed here.
    pub closes: Closes,
}

/// The kernel's state could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// eBPF.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Netlink.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

impl PacketPath {
    /// Takes the loaded object over.
    #[must_use]
    pub fn new(
        hooks: Hooks,
        maps: Maps,
        processes: Processes,
        netlink: rtnetlink::Handle,
        (closure, closes): (Table, Closes),
    ) -> Self {
        let loaded = Arc::new(Mutex::new(Loaded { hooks, maps, processes }));
        Self { loaded, netlink, fdb: Arc::default(), closure, steps: Arc::default(), closes }
    }

    /// The packet path itself. A panic elsewhere left no half-written state: maps are in the kernel.
    pub fn lock(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether guests are refused unix sockets that are not theirs: tried. Blocks for some milliseconds.
    #[must_use]
    pub fn prove(&self) -> Proof {
        let mut loaded = self.lock();
        let Loaded { maps, processes, .. } = &mut *loaded;
        processes.guard().prove(&mut maps.cgroups)
    }

    /// The closure that the kernel holds, and what it dropped. One that cannot be read is none: it
    /// is then written anew, and why that fails is reported.
    pub async fn closed(&self) -> (Option<Closure>, Drops) {
        let table = self.closure.clone();
        let reading = tokio::task::spawn_blocking(move || table.read()).await;
        reading.unwrap_or_default()
    }

    /// Steps done so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Whether programs sit by TCX links; otherwise by clsact filters.
    #[must_use]
    pub fn uses_tcx(&self) -> bool {
        self.lock().hooks.uses_tcx()
    }

    /// Attaches both port programs at once to an interface that nobody has seen before. One that has
    /// programs is the plan's business: its entry comes first. Blocks.
    pub fn attach_early(&self, ifindex: u32) -> Result<(), KernelError> {
        if self.lock().hooks.holds(ifindex) {
            return Ok(());
        }
        self.attach_port(ifindex)
    }

    /// Attaches both port programs. Blocks.
    pub fn attach_port(&self, ifindex: u32) -> Result<(), KernelError> {
        self.lock().hooks.attach(ifindex, Hook::FromGuest)?;
        self.lock().hooks.attach(ifindex, Hook::ToGuest)
    }

    /// Whether everything that was in place still is, as far as it can be seen in microseconds:
    /// programs with TCX, pins. What it misses shows at the next look at everything.
    #[must_use]
    pub fn is_intact(&self, observed: &Observed) -> bool {
        let loaded = self.lock();
        let first = |(ifindex, hook): &(u32, Hook)| {
            !loaded.hooks.uses_tcx()
                || observe::runs_first(&loaded.hooks, *ifindex, *hook).unwrap_or(false)
        };
        observed.first.iter().all(first) && loaded.are_pinned()
    }

    /// Reads what the kernel holds, on the interfaces that this process touched.
    pub async fn observe(&self, links: &Links) -> Result<Observed, ObserveError> {
        let mut filters = Vec::new();
        let mut observed = {
            let loaded = self.lock();
            let mut observed = observe::maps(&loaded.maps)?;
            observed.pinned = loaded.are_pinned();
            for (ifindex, hook) in loaded.hooks.held() {
                observed.held.insert((ifindex, hook));
                if !loaded.hooks.uses_tcx() {
                    filters.push((ifindex, hook, loaded.hooks.program_id(hook)));
                } else if observe::runs_first(&loaded.hooks, ifindex, hook)? {
                    observed.first.insert((ifindex, hook));
                }
            }
            observed
        };
        for (ifindex, hook, program) in filters {
            match netlink::filters::programs(&self.netlink, ifindex, is_ingress(hook)).await {
                Ok(filters) => match filters.first() {
                    Some(first) if first.program == program => {
                        observed.first.insert((ifindex, hook));
                    }
                    _ => {}
                },
                Err(error) if error.is_gone() => {}
                Err(error) => return Err(error.into()),
            }
        }
        observed.closure = self.closed().await.0;
        observed.ports =
            links.values().filter_map(|link| Some((link.ifindex, link.port?))).collect();
        let mut fdb = self.fdb.lock().unwrap_or_else(PoisonError::into_inner);
        fdb.retain(|ifindex, _| links.get(ifindex).is_some_and(|link| link.port.is_some()));
        observed.fdb.clone_from(&fdb);
        Ok(observed)
    }
}

impl Execute for PacketPath {
    fn execute(&mut self, action: &Action) -> Result<(), ExecuteError> {
        self.steps.fetch_add(1, Ordering::Relaxed);
        match action {
            Action::SetPort(ifindex, settings) => {
                Runtime::current().block_on(netlink::ports::set(
                    &self.netlink,
                    *ifindex,
                    *settings,
                ))?;
            }
            Action::SetMac(ifindex, mac) => {
                Runtime::current().block_on(netlink::ports::set_mac(
                    &self.netlink,
                    *ifindex,
                    *mac,
                ))?;
                self.fdb.lock().unwrap_or_else(PoisonError::into_inner).insert(*ifindex, *mac);
            }
            Action::Close(closure) => self.closure.write(closure)?,
            Action::Open => self.closure.remove()?,
            action => self.lock().execute(action)?,
        }
        Ok(())
    }
}

impl Loaded {
    /// Whether everything that outlives the daemon is pinned, and does something.
    fn are_pinned(&self) -> bool {
        self.hooks.are_pinned() && self.processes.are_pinned()
    }

    fn execute(&mut self, action: &Action) -> Result<(), KernelError> {
        let Self { hooks, maps, processes } = self;
        match action {
            Action::Attach(ifindex, hook) => hooks.attach(*ifindex, *hook),
            Action::Detach(ifindex, hook) => hooks.detach(*ifindex, *hook),
            Action::Pin => {
                hooks.pin()?;
                processes.pin()
            }
            Action::PutLedger(ledger) => maps.set_ledger(*ledger),
            Action::PutNetwork(ifindex, network) => maps.networks.put(ifindex, network),
            Action::DropNetwork(ifindex) => maps.networks.remove(ifindex),
            Action::PutEndpoint(ifindex, endpoint) => maps.endpoints.put(ifindex, endpoint),
            Action::DropEndpoint(ifindex) => maps.endpoints.remove(ifindex),
            Action::CreateUsage(id) => maps.usage.create(id, &Usage::default()),
            Action::DropUsage(id) => maps.usage.remove(id),
            Action::PutPublished(key) => maps.published.put(key, &1),
            Action::DropPublished(key) => maps.published.remove(key),
            Action::PutHub(key, hub) => maps.hubs.put(key, hub),
            Action::DropHub(key) => maps.hubs.remove(key),
            Action::PutCgroup(cgroup, owner) => maps.cgroups.put(cgroup, owner),
            Action::DropCgroup(cgroup) => maps.cgroups.remove(cgroup),
            Action::PutPolicy(number, policy, tables) => maps.put_policy(*number, *policy, tables),
            Action::DropPolicy(number) => maps.drop_policy(*number),
            Action::DropRules(epoch, tables) => maps.drop_rules(*epoch, tables),
            // Bridge ports are netlink's, the closure is nft's: the caller has done them.
            Action::SetPort(..) | Action::SetMac(..) | Action::Close(_) | Action::Open => Ok(()),
        }
    }
}
