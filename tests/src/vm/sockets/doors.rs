//! A user's socket of the real gate, named to the kernel by the daemon's own task: open to the user's container as soon as the
//! control loop knows it, to no other, and no longer than it is the user's.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use enforcer::{
    access::{
        name::{HubName, User},
        service::Access,
    },
    api::roles::Roles,
    config::Config,
    docker::EngineState,
    gate::{Around, Gate, GateRuntime},
    model::{inventory::Inventory, provenance::Provenance},
    owned::{Networks, service::Sights},
    supervise::doors,
};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::{Guests, ask};
use crate::{
    harness::run::wait_for,
    vm::daemon::{CONTAINER_A, Daemon, PATIENCE},
};

/// Longest between a change and the kernel's knowledge of it. Emulation takes its time.
const SOON: Duration = Duration::from_secs(1);

/// The gate, with what it needs of a daemon.
struct Rig {
    gate: Gate,
    runtime: GateRuntime,
    naming: JoinHandle<()>,
    _config: watch::Sender<Arc<Config>>,
    _roles: watch::Sender<Roles>,
    _engine: watch::Sender<EngineState>,
    _records: mpsc::UnboundedReceiver<enforcer::audit::record::Body>,
}

impl Rig {
    fn start(runtime: &Runtime, daemon: &Daemon, guests: &Guests) -> Result<Self> {
        let run_dir = guests.dir.join("run");
        let config = Config { run_dir, ..Config::default() };
        let (config, config_out) = watch::channel(Arc::new(config));
        let (roles, roles_out) = watch::channel(Roles::default());
        let (engine, engine_out) = watch::channel(EngineState::Connecting);
        let (journal, records) = mpsc::unbounded_channel();
        // Nobody makes a network here.
        let sights = Sights {
            state: daemon.state.clone(),
            inventory: daemon.inventory(),
            links: watch::channel(Arc::default()).1,
        };
        let networks = Arc::new(Networks::new(None, &[], config.clone(), sights));
        let (gate, threads) = Gate::start(Around {
            config: config_out.clone(),
            inventory: daemon.inventory(),
            roles: roles_out,
            engine: engine_out,
            access: Access::new(config_out, journal.clone()),
            sight: None,
            networks: Some(networks),
            journal,
        })?;
        let gates = daemon.path.lock().processes.guard().gates();
        let keeping = doors::keep(gate.clone(), gates, daemon.state.clone(), daemon.inventory());
        Ok(Self {
            gate,
            runtime: threads,
            naming: runtime.spawn(keeping),
            _config: config,
            _roles: roles,
            _engine: engine,
            _records: records,
        })
    }
}

/// S4: see the module.
pub(super) fn follow(runtime: &Runtime, daemon: &Daemon, guests: &Guests) -> Result<()> {
    std::fs::create_dir_all(guests.dir.join("run"))?;
    let rig = Rig::start(runtime, daemon, guests)?;
    let outcome = steps(runtime, daemon, guests, &rig.gate);
    rig.naming.abort();
    rig.runtime.stop();
    outcome
}

fn steps(runtime: &Runtime, daemon: &Daemon, guests: &Guests, gate: &Gate) -> Result<()> {
    let user = User { hub: HubName::local(), name: "ann".parse()? };
    let open = || runtime.block_on(gate.open_for(&user));
    let path = open()?.to_string_lossy().into_owned();
    let ways = || {
        let b = ask(Some(&guests.b.dir), "connect", &path)?;
        anyhow::Ok((guests.as_a("connect", &path)?, b))
    };
    let (eperm, begun) = (libc::EPERM, Instant::now());
    let settles =
        |what: &str, expected: i32| {
            let since = Instant::now();
            wait_for(what, PATIENCE, || {
                Ok((guests.as_a("connect", &path)? == expected).then_some(()))
            })?;
            let took = since.elapsed();
            println!("{what}: {took:?}");
            ensure!(took < SOON, "{what}: {took:?}");
            // B's never.
            ensure!(ways()? == (expected, eperm), "{what}: {:?}", ways()?);
            Ok(())
        };
    ensure!(ways()? == (eperm, eperm), "whose containers are, nobody has said");
    daemon.change(|inventory| say(inventory, true));
    settles("a container of the user's", 0)?;
    runtime.block_on(gate.close_for(&user))?;
    let again = open()?;
    ensure!(again.to_string_lossy() == path, "{}", again.display());
    settles("the socket that is made anew at its path", 0)?;
    daemon.change(|inventory| say(inventory, false));
    settles("a container that is the user's no longer", eperm)?;
    ensure!(begun.elapsed() < PATIENCE, "it took {:?}", begun.elapsed());
    runtime.block_on(gate.close_for(&user)).context("close")
}

/// Whose A's container is.
fn say(inventory: &mut Inventory, is_anns: bool) {
    let labels = [("enforcer.user", "ann"), ("enforcer.hub", "local")];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let labels = if is_anns { labels.into() } else { std::collections::BTreeMap::new() };
    let provenance = Provenance { is_told: true, labels, ..Provenance::default() };
    if let Some(container) = inventory.containers.get_mut(&CONTAINER_A.repeat(64)) {
        container.provenance = Arc::new(provenance);
    }
}
