//! Control path 4: the loop. Level-triggered: whatever woke it, it compares everything that should
//! be with everything that is. A lost event costs latency, never correctness.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use enforcer_common::abi::endpoint::Role;
use tokio::sync::{Notify, mpsc, watch};

use super::{
    allow, apply, cgroups,
    compiled::Compiled,
    cut,
    desired::{self, Facts},
    digest::Told,
    hold,
    path::{ObserveError, PacketPath},
    plan::{self, Identities},
    repair::{self, Mended},
};
use crate::{
    abuse::Restraints,
    audit::record::{Body, Repair, Unseen},
    causes::causes,
    config::Config,
    kernel,
    model::{
        desired::Desired,
        inventory::Inventory,
        link::{LinkKind, Links},
        observed::Observed,
        owner::Owners,
    },
    netlink,
    policy::allowance::Allowances,
};

/// Everything is compared anew this often, whether or not anything was heard.
const PERIOD: Duration = Duration::from_secs(5);
/// Programs and pins are looked at this often: the kernel tells nobody when a TCX link goes.
const WATCH: Duration = Duration::from_millis(250);
/// A veth without a bridge for this long is not about to become a guest's port.
const SETTLED: Duration = Duration::from_secs(10);
/// A guest's cgroup is there before its first instruction; one that is not there by now is not coming.
const CGROUP_PATIENCE: Duration = Duration::from_secs(3);
/// First and longest wait before a port without identity is looked at again.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// Rounds of plan and apply at one wake-up; a calm machine needs two.
const ROUNDS: usize = 4;

/// What the loop works on.
pub struct Reconciler {
    /// The configuration; a new one is taken as a whole.
    pub config: watch::Receiver<Arc<Config>>,
    /// The kernel's side.
    pub path: PacketPath,
    /// Netlink requests.
    pub netlink: rtnetlink::Handle,
    /// The links.
    pub links: watch::Receiver<Arc<Links>>,
    /// Where our resolver answers.
    pub resolvers: watch::Receiver<BTreeSet<SocketAddr>>,
    /// Guests that are cut off.
    pub restraints: watch::Receiver<Arc<Restraints>>,
    /// What is open to single guests for a while.
    pub allowances: watch::Receiver<Arc<Allowances>>,
    /// What was when the last daemon ended: what the kernel holds is made of that.
    pub left: Arc<Allowances>,
    /// Docker's inventory.
    pub inventory: watch::Receiver<Arc<Inventory>>,
    /// Asks the link follower to look again.
    pub refresh_links: mpsc::Sender<()>,
    /// Asks the Docker watcher to look again.
    pub refresh_docker: Arc<Notify>,
    /// Somebody changed the filters of an interface.
    pub filters: Arc<Notify>,
    /// Whom ids stand for, written before the kernel uses them.
    pub owners: watch::Sender<Arc<Owners>>,
    /// Records of what was mended.
    pub journal: mpsc::UnboundedSender<Body>,
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
    /// Guests whose processes are not seen, and why, for people.
    pub unseen: Vec<String>,
    /// The config that it wanted.
    pub config: Option<Arc<Config>>,
}

/// What the loop remembers from one wake-up to the next.
#[derive(Debug, Default)]
struct Memory {
    identities: Option<Identities>,
    masterless: BTreeMap<u32, Instant>,
    runs: u64,
    /// What was wanted when the kernel last held all of it.
    settled: Option<Settled>,
    /// Guest bridges by the name that the config has, whatever they are called now.
    bridges: BTreeMap<String, u32>,
    cgroups: kernel::cgroups::Cgroups,
    compiled: Compiled,
    /// Of guests to which something is open for a while.
    allowed: Compiled,
    /// What was open for a while when the kernel got its tables.
    allowances: Arc<Allowances>,
    /// Policies of which records tell; `None`: never looked.
    policies: Option<Told>,
    /// Guests without a cgroup of their own, by container id.
    without: BTreeMap<String, Without>,
}

/// A guest without a cgroup of its own.
#[derive(Debug)]
struct Without {
    since: Instant,
    /// For people, once it has been told.
    told: Option<String>,
}

/// The kernel held everything that was wanted.
#[derive(Debug)]
struct Settled {
    desired: Desired,
    /// When all of it was last seen in place.
    looked: Instant,
    /// When what [`PacketPath::is_intact`] sees was.
    watched: Instant,
}

impl Settled {
    /// Since when something may have been missing.
    fn last_seen(&self, what: &Mended) -> Instant {
        if what.is_watched { self.watched } else { self.looked }
    }
}

impl Reconciler {
    /// Runs until the link follower ends.
    pub async fn run(mut self) {
        let mut memory = Memory { allowances: Arc::clone(&self.left), ..Memory::default() };
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
            let path = self.path.clone();
            let state = self.state.borrow().clone();
            tokio::select! {
                changed = self.links.changed() => if changed.is_err() { return },
                Ok(()) = self.inventory.changed() => retry = RETRY.0,
                Ok(()) = self.config.changed() => retry = RETRY.0,
                Ok(()) = self.restraints.changed() => {}
                Ok(()) = self.allowances.changed() => {}
                Ok(()) = self.resolvers.changed() => {}
                () = self.filters.notified() => {}
                () = memory.watch(&path, &state.observed) => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Brings the kernel to what it should hold; says whether a port lacks its identity, or a guest
    /// its cgroup.
    async fn wake(&mut self, memory: &mut Memory) -> bool {
        let config = Arc::clone(&self.config.borrow_and_update());
        let links = Arc::clone(&self.links.borrow_and_update());
        let inventory = Arc::clone(&self.inventory.borrow_and_update());
        let restraints = Arc::clone(&self.restraints.borrow_and_update());
        let allowances = Arc::clone(&self.allowances.borrow_and_update());
        let facts = Facts {
            namespaces: self.namespaces(&config, &inventory).await,
            closes: self.path.closes,
            settled: memory.settled(&links, Instant::now()),
            bridges: memory.bridges(&config, &links),
            resolvers: self.resolvers.borrow_and_update().iter().map(SocketAddr::ip).collect(),
        };
        let (found, missing) = memory.cgroups(&config, &inventory);
        let mut desired = desired::desired(&config, &inventory, &links, &facts);
        memory.runs += 1;
        let mut problems = Vec::new();
        let outcome = match self.path.observe(&links).await {
            Ok(observed) => {
                hold::networks(&mut desired, &config, &inventory, &observed);
                problems = memory.compiled.fill(&mut desired);
                let allowed = [&*allowances, &*memory.allowances];
                hold::endpoints(&mut desired, &config, &inventory, &observed, allowed);
                let compiled = &mut memory.allowed;
                let mut closed =
                    allow::allow(&mut desired, &allowances, &restraints, &observed, compiled);
                problems.append(&mut closed);
                cut::restrain(&mut desired, &config, &restraints);
                cgroups::cgroups(&mut desired, &config, &inventory, &found, &observed);
                let refused = self.path.lock().processes.refuse_calls();
                cgroups::answered(&mut desired, &config, refused);
                if memory.runs > 1 {
                    self.publish(memory, &desired, &observed, Vec::new(), None);
                }
                let outcome = self.converge(memory, &desired, &links, observed).await;
                if outcome.as_ref().is_ok_and(|(_, failures)| failures.is_empty()) {
                    memory.allowances = allowances;
                }
                outcome
            }
            Err(error) => Err(error),
        };
        let (observed, mut failures) = outcome.unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot observe");
            (Observed::default(), vec![error.to_string()])
        });
        failures.append(&mut problems);
        let incomplete = self.tell_unseen(memory, &desired, &missing);
        let unidentified = desired.endpoints.values().any(|e| e.role == Role::Unknown);
        self.publish(memory, &desired, &observed, failures, Some(config));
        unidentified || incomplete
    }

    /// Records the guests whose processes are not seen, each once; says whether one may still be.
    fn tell_unseen(
        &self,
        memory: &mut Memory,
        desired: &Desired,
        missing: &BTreeMap<String, String>,
    ) -> bool {
        let without = cgroups::without(desired);
        let now = Instant::now();
        memory.without.retain(|container, _| without.contains_key(container));
        let mut incomplete = false;
        for (container, name) in without {
            let known = memory
                .without
                .entry(container.clone())
                .or_insert(Without { since: now, told: None });
            if known.told.is_some() {
                continue;
            }
            if now.duration_since(known.since) < CGROUP_PATIENCE {
                incomplete = true;
                continue;
            }
            let why = missing.get(&container).cloned().unwrap_or_default();
            tracing::warn!(container, name, why, "what its processes do is not seen");
            known.told = Some(format!("processes of {name}: {why}"));
            let what = "processes".to_owned();
            let unseen = Unseen { what, container_id: Some(container), container: name, why };
            // Nobody listens any more: the daemon is stopping.
            let _ = self.journal.send(Body::Unseen(unseen));
        }
        incomplete
    }

    /// What is known now: also before a long plan is done, for `status` tells how much is left of it.
    fn publish(
        &self,
        memory: &Memory,
        desired: &Desired,
        observed: &Observed,
        failures: Vec<String>,
        config: Option<Arc<Config>>,
    ) {
        let state = State {
            desired: desired.clone(),
            observed: observed.clone(),
            failures,
            runs: memory.runs,
            unseen: memory.without.values().filter_map(|without| without.told.clone()).collect(),
            config,
        };
        self.state.send_replace(Arc::new(state));
    }

    async fn converge(
        &self,
        memory: &mut Memory,
        desired: &Desired,
        links: &Links,
        first_look: Observed,
    ) -> Result<(Observed, Vec<String>), ObserveError> {
        let names: BTreeMap<u32, String> =
            links.values().map(|link| (link.ifindex, link.name.clone())).collect();
        let mut links = links.clone();
        let mut failures = Vec::new();
        let mut mended = Vec::new();
        let mut observed = first_look;
        let identities = memory.identities.get_or_insert_with(|| Identities::adopt(&observed));
        let told = memory.policies.get_or_insert_with(|| Told::adopt(&observed.policies));
        let untouched = memory.settled.take().filter(|settled| settled.desired == *desired);
        for _ in 0..ROUNDS {
            let actions = plan::plan(desired, &observed, identities);
            let owners = identities.owners(desired, &names, &self.inventory.borrow().containers);
            self.owners.send_if_modified(|is| {
                let changed = **is != owners;
                if changed {
                    *is = Arc::new(owners);
                }
                changed
            });
            if actions.is_empty() {
                break;
            }
            for one in repair::mended(&actions, self.path.uses_tcx()) {
                // Its identity comes back after it.
                if !mended.contains(&one) {
                    mended.push(one);
                }
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
            observed = self.path.observe(&links).await?;
            for change in told.changes(&observed.policies, &desired.policies) {
                // Nobody listens any more: the daemon is stopping.
                let _ = self.journal.send(Body::Policy(change));
            }
            if gone == steps {
                // Only interfaces that have left: the next look at the links settles that.
                break;
            }
        }
        let now = Instant::now();
        for (one, settled) in mended.into_iter().zip(std::iter::repeat(&untouched)) {
            let Some(settled) = settled else { break };
            let interface = names.get(&one.ifindex).cloned().unwrap_or_default();
            let gap = now.duration_since(settled.last_seen(&one));
            let gap_ms = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
            let repair = Repair { what: one.what, interface, gap_ms, mended: failures.is_empty() };
            tracing::warn!(
                what = repair.what,
                interface = repair.interface,
                gap_ms,
                mended = repair.mended,
                "changed behind our back"
            );
            // Nobody listens any more: the daemon is stopping.
            let _ = self.journal.send(Body::Repair(repair));
        }
        memory.settled = failures.is_empty().then(|| Settled {
            desired: desired.clone(),
            looked: now,
            watched: now,
        });
        Ok((observed, failures))
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
                tracing::warn!(error, action = %failure.action, "a step failed");
                failure.to_string()
            })
            .collect();
        (failures, late.len())
    }

    /// Asked anew each time: the number of a namespace that is gone is given to another one.
    async fn namespaces(&self, config: &Config, inventory: &Inventory) -> BTreeMap<String, i32> {
        let mut found = BTreeMap::new();
        for id in attached(config, inventory) {
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
    /// The cgroups that guests' containers are in, and why others' are not known.
    fn cgroups(
        &mut self,
        config: &Config,
        inventory: &Inventory,
    ) -> (BTreeMap<String, u64>, BTreeMap<String, String>) {
        let (mut found, mut missing) = (BTreeMap::new(), BTreeMap::new());
        let root = kernel::cgroups::root();
        for id in attached(config, inventory) {
            let pid = inventory.containers.get(id).map_or(0, |container| container.pid);
            let outcome = match &root {
                Some(root) => self.cgroups.find(root, id, pid),
                None => Err(kernel::cgroups::NoCgroup::NoHierarchy),
            };
            match outcome {
                Ok(cgroup) => drop(found.insert(id.clone(), cgroup)),
                Err(error) => drop(missing.insert(id.clone(), causes(&error))),
            }
        }
        (found, missing)
    }

    /// Returns when something that was in place is not any more.
    async fn watch(&mut self, path: &PacketPath, observed: &Observed) {
        loop {
            tokio::time::sleep(WATCH).await;
            if !path.is_intact(observed) {
                return;
            }
            if let Some(settled) = &mut self.settled {
                settled.watched = Instant::now();
            }
        }
    }

    /// The bridge of a network is known by its name once, and from then on by its index: another
    /// name makes its guests no less guests.
    fn bridges(&mut self, config: &Config, links: &Links) -> BTreeMap<String, u32> {
        self.bridges.retain(|_, ifindex| {
            links.get(ifindex).is_some_and(|link| link.kind == LinkKind::Bridge)
        });
        for network in config.networks.values() {
            let named = links
                .values()
                .find(|link| link.kind == LinkKind::Bridge && link.name == network.bridge);
            if let Some(bridge) = named {
                self.bridges.insert(network.bridge.clone(), bridge.ifindex);
            }
        }
        self.bridges.clone()
    }

    fn settled(&mut self, links: &Links, now: Instant) -> BTreeSet<u32> {
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

/// Containers on guest networks.
fn attached<'a>(config: &Config, inventory: &'a Inventory) -> impl Iterator<Item = &'a String> {
    let is_ours = |bridge: &String| config.networks.values().any(|n| n.bridge == *bridge);
    let ours = inventory.networks.values().filter(move |network| is_ours(&network.bridge));
    ours.flat_map(|network| network.attachments.keys())
}

/// Attaches to each new veth at its first appearance, before it is anybody's port.
pub async fn attach_early(
    config: watch::Receiver<Arc<Config>>,
    path: PacketPath,
    links: watch::Receiver<Arc<Links>>,
    mut new_veths: mpsc::UnboundedReceiver<netlink::links::NewVeth>,
) {
    while let Some(veth) = new_veths.recv().await {
        let ours = veth.master.is_none_or(|master| {
            links.borrow().get(&master).is_some_and(|bridge| {
                config.borrow().networks.values().any(|network| network.bridge == bridge.name)
            })
        });
        if !ours {
            continue;
        }
        let path = path.clone();
        let attached = tokio::task::spawn_blocking(move || path.attach_early(veth.ifindex)).await;
        if let Ok(Err(error)) = attached
            && !error.is_gone()
        {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, ifindex = veth.ifindex, "cannot attach to a new veth");
        }
    }
}
