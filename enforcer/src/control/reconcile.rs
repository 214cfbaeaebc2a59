//! Control path 4: the loop. Level-triggered: whatever woke it, it compares everything that should
//! be with everything that is. A lost event costs latency, never correctness.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use enforcer_common::abi::endpoint::Role;
use tokio::sync::{Notify, mpsc, watch};

use super::{
    apply,
    desired::{self, Facts},
    path::{ObserveError, PacketPath},
    plan::{self, Identities},
};
use crate::{
    config::Config,
    model::{
        desired::Desired,
        inventory::Inventory,
        link::{LinkKind, Links},
        observed::Observed,
        owner::Owners,
    },
    netlink,
};

/// Everything is compared anew this often, whether or not anything was heard.
const PERIOD: Duration = Duration::from_secs(5);
/// A veth without a bridge for this long is not about to become a guest's port.
const SETTLED: Duration = Duration::from_secs(10);
/// First and longest wait before a port without identity is looked at again.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// Rounds of plan and apply at one wake-up; a calm machine needs two.
const ROUNDS: usize = 4;

/// What the loop works on.
pub struct Reconciler {
    /// The configuration.
    pub config: Arc<Config>,
    /// The kernel's side.
    pub path: PacketPath,
    /// Netlink requests.
    pub netlink: rtnetlink::Handle,
    /// The links.
    pub links: watch::Receiver<Arc<Links>>,
    /// Docker's inventory.
    pub inventory: watch::Receiver<Arc<Inventory>>,
    /// Asks the link follower to look again.
    pub refresh_links: mpsc::Sender<()>,
    /// Asks the Docker watcher to look again.
    pub refresh_docker: Arc<Notify>,
    /// Whom ids stand for, written before the kernel uses them.
    pub owners: watch::Sender<Arc<Owners>>,
    /// The outcome of the last wake-up.
    pub state: watch::Sender<Arc<State>>,
}

/// What the loop last wanted, and how far it got.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// What should be.
    pub desired: Desired,
    /// What was, after the last step.
    pub observed: Observed,
    /// Steps that failed, for people.
    pub failures: Vec<String>,
    /// Wake-ups so far; 0: never ran.
    pub runs: u64,
}

/// What the loop remembers from one wake-up to the next.
#[derive(Debug, Default)]
struct Memory {
    identities: Identities,
    masterless: BTreeMap<u32, Instant>,
    runs: u64,
}

impl Reconciler {
    /// Runs until the link follower ends.
    pub async fn run(mut self) {
        let mut memory = Memory::default();
        let mut retry = RETRY.0;
        loop {
            let unidentified = self.wake(&mut memory).await;
            let wait = if unidentified {
                // Not blocking: one request that waits is enough.
                let _ = self.refresh_links.try_send(());
                self.refresh_docker.notify_one();
                let wait = retry;
                retry = (retry * 2).min(RETRY.1);
                wait
            } else {
                retry = RETRY.0;
                PERIOD
            };
            tokio::select! {
                changed = self.links.changed() => if changed.is_err() { return },
                Ok(()) = self.inventory.changed() => retry = RETRY.0,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Brings the kernel to what it should hold; says whether a port lacks its identity.
    async fn wake(&mut self, memory: &mut Memory) -> bool {
        let links = Arc::clone(&self.links.borrow_and_update());
        let inventory = Arc::clone(&self.inventory.borrow_and_update());
        let facts = Facts {
            namespaces: self.namespaces(&inventory).await,
            settled: memory.settled(&links, Instant::now()),
        };
        let desired = desired::desired(&self.config, &inventory, &links, &facts);
        memory.runs += 1;
        let (observed, failures) = match self.converge(memory, &desired, &links).await {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot observe");
                (Observed::default(), vec![error.to_string()])
            }
        };
        let unidentified = desired.endpoints.values().any(|e| e.role == Role::Unknown);
        self.state.send_replace(Arc::new(State { desired, observed, failures, runs: memory.runs }));
        unidentified
    }

    async fn converge(
        &self,
        memory: &mut Memory,
        desired: &Desired,
        links: &Links,
    ) -> Result<(Observed, Vec<String>), ObserveError> {
        let names: BTreeMap<u32, String> =
            links.values().map(|link| (link.ifindex, link.name.clone())).collect();
        let mut links = links.clone();
        let mut failures = Vec::new();
        for _ in 0..ROUNDS {
            let observed = self.path.observe(&links).await?;
            let actions = plan::plan(desired, &observed, &mut memory.identities);
            let owners = memory.identities.owners(desired, &names);
            self.owners.send_if_modified(|is| {
                let changed = **is != owners;
                if changed {
                    *is = Arc::new(owners);
                }
                changed
            });
            if actions.is_empty() {
                return Ok((observed, failures));
            }
            tracing::debug!(?actions, "applying");
            // Port settings come from the link table, which lags: do not repeat what was just done.
            for action in &actions {
                if let plan::Action::SetPort(ifindex, settings) = action
                    && let Some(link) = links.get_mut(ifindex)
                {
                    link.port = Some(*settings);
                }
            }
            let steps = actions.len();
            let gone;
            (failures, gone) = self.apply(actions).await;
            if gone == steps {
                // Only interfaces that have left: the next look at the links settles that.
                break;
            }
        }
        Ok((self.path.observe(&links).await?, failures))
    }

    /// Returns what failed, and how many steps came too late for their interface.
    async fn apply(&self, actions: Vec<plan::Action>) -> (Vec<String>, usize) {
        let mut path = self.path.clone();
        let task = tokio::task::spawn_blocking(move || apply::apply(actions, &mut path));
        let (late, failures): (Vec<_>, Vec<_>) =
            task.await.unwrap_or_default().into_iter().partition(|f| f.error.is_gone());
        let failures = failures
            .into_iter()
            .map(|failure| {
                let error = &failure.error as &dyn std::error::Error;
                tracing::warn!(error, action = ?failure.action, "a step failed");
                format!("{:?}: {}", failure.action, failure.error)
            })
            .collect();
        (failures, late.len())
    }

    /// Asked anew each time: the number of a namespace that is gone is given to another one.
    async fn namespaces(&self, inventory: &Inventory) -> BTreeMap<String, i32> {
        let bridges: Vec<&String> = self.config.networks.values().map(|n| &n.bridge).collect();
        let attached = inventory.networks.values().filter(|n| bridges.contains(&&n.bridge));
        let mut found = BTreeMap::new();
        for id in attached.flat_map(|network| network.attachments.keys()) {
            let sandbox = inventory.containers.get(id).and_then(|c| c.sandbox.as_deref());
            let Some(sandbox) = sandbox else { continue };
            match netlink::netns::number(&self.netlink, sandbox).await {
                Ok(number) => found.extend(number.map(|number| (id.clone(), number))),
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "no namespace");
                }
            }
        }
        found
    }
}

impl Memory {
    fn settled(&mut self, links: &Links, now: Instant) -> std::collections::BTreeSet<u32> {
        let free = |ifindex: &u32| {
            links.get(ifindex).is_some_and(|l| l.kind == LinkKind::Veth && l.master.is_none())
        };
        self.masterless.retain(|ifindex, _| free(ifindex));
        for ifindex in links.keys().filter(|ifindex| free(ifindex)) {
            self.masterless.entry(*ifindex).or_insert(now);
        }
        let old = |since: &Instant| now.duration_since(*since) >= SETTLED;
        self.masterless.iter().filter(|(_, since)| old(since)).map(|(i, _)| *i).collect()
    }
}

/// Attaches to each new veth at its first appearance, before it is anybody's port.
pub async fn attach_early(
    config: Arc<Config>,
    path: PacketPath,
    links: watch::Receiver<Arc<Links>>,
    mut new_veths: mpsc::UnboundedReceiver<netlink::links::NewVeth>,
) {
    while let Some(veth) = new_veths.recv().await {
        let ours = veth.master.is_none_or(|master| {
            links.borrow().get(&master).is_some_and(|bridge| {
                config.networks.values().any(|network| network.bridge == bridge.name)
            })
        });
        if !ours {
            continue;
        }
        let path = path.clone();
        let attached = tokio::task::spawn_blocking(move || path.attach_port(veth.ifindex)).await;
        if let Ok(Err(error)) = attached
            && !error.is_gone()
        {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, ifindex = veth.ifindex, "cannot attach to a new veth");
        }
    }
}
