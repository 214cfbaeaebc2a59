//! The daemon without Docker and without a command line: the product's loader and control loop, fed
//! with an inventory that is written here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use enforcer::{
    audit::{
        decode::{Decoded, Judged, decode},
        record::Body,
    },
    closure::Table,
    config::{self, Config},
    control::{
        path::PacketPath,
        reconcile::{Reconciler, State, attach_early},
    },
    kernel::{
        features::{self, Features},
        import::Importer,
        maps::CounterMap,
        ring::Reader,
        takeover::Takeover,
    },
    model::{
        inventory::{Attachment, Container, DockerNetwork, Inventory, Subnet},
        owner::Owners,
    },
    netlink,
    supervise::{closing, loading},
};
use enforcer_common::abi::{counter::Counter, endpoint::Role, event::Hook, verdict::DropReason};
use tokio::{
    runtime::{Handle, Runtime},
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
};

use super::world::{BRIDGE, GATEWAY, HUB_PORT, Member, NETWORK, World};
use crate::harness::run::wait_for;

/// The control loop looks at everything every 5 s; emulation takes its time.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Digit of which A's container id is made.
pub(super) const CONTAINER_A: &str = "a";
/// Digit of which B's container id is made.
pub(super) const CONTAINER_B: &str = "b";

/// See the module.
pub(super) struct Daemon {
    /// What the kernel offers.
    pub(super) features: Features,
    /// Programs and maps.
    pub(super) path: PacketPath,
    /// What closes the bridge where no program sits.
    pub(super) closure: Table,
    /// Counters.
    pub(super) counters: CounterMap,
    /// Takes flows that were live before.
    pub(super) importer: Importer,
    /// What was taken over at the start.
    pub(super) takeover: Takeover,
    /// Records of the control loop.
    pub(super) journal: mpsc::UnboundedReceiver<Body>,
    /// What the control loop did.
    pub(super) state: watch::Receiver<Arc<State>>,
    inventory: watch::Sender<Arc<Inventory>>,
    events: Arc<Mutex<Vec<Decoded>>>,
    tasks: [JoinHandle<()>; 2],
    _reader: Reader,
    _config: watch::Sender<Arc<Config>>,
}

impl Daemon {
    /// Starts it, and waits until A and B have their identities.
    pub(super) fn start(runtime: &Runtime, world: &World) -> Result<Self> {
        let config = Arc::new(config()?);
        let features = features::preflight()?;
        let (loaded, takeover) = runtime.block_on(loading::load(&config, features.clone()))?;
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let take = move |bytes: &[u8]| match decode(bytes) {
            Ok(event) => seen.lock().unwrap_or_else(PoisonError::into_inner).push(event),
            Err(error) => println!("not an event: {error}"),
        };
        let reader = loaded.ring.read(|| true, take)?;
        let requests = netlink::connect()?;
        let (closure, closes) = runtime.block_on(closing::close(&config))?;
        let path = PacketPath::new(
            loaded.hooks,
            loaded.maps,
            loaded.processes,
            requests.clone(),
            (closure.clone(), closes),
        );
        let links = runtime.block_on(netlink::links::follow())?;
        let (inventory, inventory_out) = watch::channel(Arc::new(inventory(world)));
        let (state, state_out) = watch::channel(Arc::<State>::default());
        let (journal, journal_out) = mpsc::unbounded_channel();
        let (config, config_out) = watch::channel(config);
        let early =
            attach_early(config_out.clone(), path.clone(), links.links.clone(), links.new_veths);
        let reconciler = Reconciler {
            config: config_out,
            path: path.clone(),
            netlink: requests,
            links: links.links,
            resolvers: watch::channel(BTreeSet::new()).1,
            restraints: watch::channel(Arc::default()).1,
            allowances: watch::channel(Arc::default()).1,
            left: Arc::default(),
            inventory: inventory_out,
            refresh_links: links.refresh,
            refresh_docker: Arc::new(Notify::new()),
            filters: netlink::filters::follow()?,
            owners: watch::channel(Arc::<Owners>::default()).0,
            journal,
            state,
        };
        let tasks = [runtime.spawn(reconciler.run()), runtime.spawn(early)];
        let daemon = Self {
            features,
            path,
            closure,
            counters: loaded.counters,
            importer: loaded.importer,
            state: state_out,
            inventory,
            events,
            takeover,
            journal: journal_out,
            tasks,
            _reader: reader,
            _config: config,
        };
        daemon.settle(world)?;
        Ok(daemon)
    }

    /// Waits until the kernel holds what it should.
    pub(super) fn settle(&self, world: &World) -> Result<()> {
        wait_for("the control loop", PATIENCE, || {
            let state = self.state.borrow().clone();
            let role = |member: &Member| {
                state.observed.endpoints.get(&member.port.ifindex).map(|endpoint| endpoint.role)
            };
            let identified = role(&world.a) == Some(Role::Guest as u8)
                && role(&world.b) == Some(Role::Guest as u8)
                && role(&world.x) == Some(Role::Unknown as u8);
            Ok((identified && state.failures.is_empty()).then_some(()))
        })
        .with_context(|| format!("failures: {:?}", self.state.borrow().failures))
    }

    /// Has the control loop look at everything now.
    pub(super) fn wake(&self) {
        self.change(|_| {});
    }

    /// Has the engine tell something else.
    pub(super) fn change(&self, change: impl FnOnce(&mut Inventory)) {
        self.inventory.send_modify(|inventory| {
            let mut next = Inventory::clone(inventory);
            change(&mut next);
            next.version += 1;
            *inventory = Arc::new(next);
        });
    }

    /// What the engine tells.
    pub(super) fn inventory(&self) -> watch::Receiver<Arc<Inventory>> {
        self.inventory.subscribe()
    }

    /// Id of a port's endpoint.
    pub(super) fn id(&self, ifindex: u32) -> Result<u32> {
        let endpoints = self.path.lock().maps.endpoints.list()?;
        let found = endpoints.into_iter().find(|(index, _)| *index == ifindex);
        Ok(found.context("the port has no endpoint")?.1.id)
    }

    /// A counter of denials at ingress; absent is zero.
    pub(super) fn denials(&self, ifindex: u32, reason: DropReason) -> Result<Counter> {
        let owner = self.id(ifindex)?;
        let all = self.counters.list()?;
        let found = all.into_iter().find(|(key, _)| {
            (key.owner, key.reason, key.hook) == (owner, reason as u16, Hook::FromGuest as u8)
        });
        Ok(found.map(|(_, counter)| counter).unwrap_or_default())
    }

    /// Frames of a port that were denied so far, whatever for.
    pub(super) fn denied(&self, ifindex: u32) -> Result<u64> {
        let owner = self.id(ifindex)?;
        let all = self.counters.list()?;
        let denied = all.iter().filter(|(key, _)| {
            (key.owner, key.hook) == (owner, Hook::FromGuest as u8)
                && DropReason::from_value(key.reason).is_some()
        });
        Ok(denied.map(|(_, counter)| counter.events).sum())
    }

    /// Records of denials at a port so far.
    pub(super) fn records(&self, ifindex: u32, reason: DropReason) -> Result<usize> {
        let owner = self.id(ifindex)?;
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let is = |judged: &Judged| {
            judged.reason == Some(reason)
                && judged.event.owner == owner
                && judged.event.ifindex == ifindex
        };
        let matching =
            events.iter().filter(|event| matches!(event, Decoded::Judged(judged) if is(judged)));
        Ok(matching.count())
    }

    /// Everything that the kernel told so far.
    pub(super) fn events(&self) -> Vec<Decoded> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops it and lets go of everything.
    pub(super) fn stop(self) {
        let Self { path, tasks, .. } = self;
        for task in tasks {
            task.abort();
            // Cancelled, as asked for.
            let _ = Handle::current().block_on(task);
        }
        drop(path);
    }
}

/// The config of the one guest network.
pub(super) fn config() -> Result<Config> {
    let text = format!(
        "[networks.{NETWORK}]\nbridge = \"{BRIDGE}\"\ncreate = false\n\
         subnet = \"10.98.0.0/24\"\ngateway = \"{GATEWAY}\"\n\
         [[networks.{NETWORK}.hub]]\ngateway = true\nport = {HUB_PORT}\n"
    );
    Ok(config::parse(&text, "the test's config")?)
}

fn inventory(world: &World) -> Inventory {
    // Ids of 64 digits, as Docker's are.
    let members = [(CONTAINER_A.repeat(64), &world.a), (CONTAINER_B.repeat(64), &world.b)];
    let attachments = members.clone().map(|(id, member)| {
        let attachment =
            Attachment { mac: Some(member.port.mac), ipv4: Some(member.port.ipv4), ipv6: None };
        (id, attachment)
    });
    let containers = members.map(|(id, member)| {
        let sandbox = Some(member.guest.sandbox.display().to_string());
        let name = format!("guest-{}", id.chars().next().unwrap_or_default());
        let networks = [("network".to_owned(), NETWORK.to_owned())].into();
        (id.clone(), Container { id, name, sandbox, networks, ..Container::default() })
    });
    let network = DockerNetwork {
        id: "network".into(),
        name: NETWORK.into(),
        bridge: BRIDGE.into(),
        subnets: vec![Subnet {
            address: [10, 98, 0, 0].into(),
            prefix: 24,
            gateway: Some(GATEWAY.into()),
        }],
        attachments: attachments.into(),
    };
    Inventory {
        version: 1,
        networks: BTreeMap::from([(network.id.clone(), network)]),
        containers: containers.into(),
        ..Inventory::default()
    }
}
