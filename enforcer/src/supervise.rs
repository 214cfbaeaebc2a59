//! Starts and stops the daemon's tasks, in the order in which they need one another: what may fail
//! without a trace first, the packet path before anybody's word about guests.

mod abuse;
mod access;
mod allow;
pub mod alone;
pub mod closing;
mod dns;
mod doorkeeper;
pub mod doors;
mod erase;
mod explain;
mod flows;
mod gate;
mod guests;
mod leases;
mod live;
mod lives;
pub mod loading;
mod memory;
mod metrics;
mod networks;
mod orders;
mod outputs;
mod outside;
mod owned;
mod proof;
mod records;
mod reload;
mod report;
pub mod uninstall;
mod ways;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
};

use crate::{
    api::{self, Asked, ControlSocket, Refusals, SocketError, routes::Api},
    audit::record::Clock,
    config::Config,
    control::{
        path::PacketPath,
        reconcile::{self, Reconciler, State},
    },
    docker,
    gate::Around,
    guest::service::Guests,
    kernel::{
        self, KernelError,
        features::{self, PreflightError},
        load::LoadError,
        monotonic_ns,
        pins::PinError,
        takeover::Takeover,
    },
    metrics::Reports,
    model::{caller::Caller, owner::Owners},
    netlink::{self, NetlinkError},
    owned::service::Sights,
    run_dir::{RunDir, RunDirError},
    service_manager,
};
use abuse::{AbuseWatch, Wanted, Watchman};
use allow::Allower;
use erase::Eraser;
use flows::Viewer;
use guests::Keeper;
use leases::KernelLeases;
use orders::Orders;
use outside::Outsiders;
use records::Records;
use reload::Reloader;
use report::Reporter;
use ways::Ways;

/// How often the service manager hears of a control loop that goes on.
const ALIVE: Duration = Duration::from_secs(6);

/// Why the daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// The host lacks something.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// Another daemon, or no run directory.
    #[error(transparent)]
    Claim(#[from] RunDirError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] SocketError),
    /// Nothing can be pinned, or what is pinned cannot be taken over.
    #[error("cannot use the pin directory")]
    Pins(#[from] PinError),
    /// The kernel refuses the packet path.
    #[error("cannot load the packet path")]
    Load(#[from] LoadError),
    /// What the kernel holds cannot be read.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The links cannot be followed.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A thread or a signal handler.
    #[error("cannot start {what}")]
    Start {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A task that must run ended.
    #[error("{what} ended unexpectedly")]
    Ended {
        /// Which.
        what: &'static str,
    },
}

/// The clocks of a record that is made now.
fn now() -> Clock {
    Clock { wall: SystemTime::now(), mono_ns: monotonic_ns() }
}

fn start(what: &'static str) -> impl FnOnce(std::io::Error) -> SuperviseError {
    move |source| SuperviseError::Start { what, source }
}

/// Polices the guest networks of `config` until it is told to stop. Policy outlives it.
#[expect(clippy::too_many_lines, reason = "a list of tasks, in the order in which they start")]
pub async fn run(config: Config, config_path: &Path) -> Result<(), SuperviseError> {
    let features = features::preflight()?;
    let kernel_proof = config.access.kernel_proof;
    proof::preflight(&features, kernel_proof)?;
    kernel::raise_open_files();
    // The lock comes before anything that a second daemon would disturb.
    let socket = ControlSocket::bind(RunDir::claim(&config.run_dir)?)?;
    let mut signals = Signals::new().map_err(start("signal handlers"))?;
    let (config, opened) = owned::open(config).await?;
    let closing = closing::close(&config).await?;
    let (loaded, takeover) = loading::load(&config, features.clone()).await?;
    tracing::info!(file = %config_path.display(), ?features, ?takeover, "the packet path is loaded");
    #[cfg(feature = "bpf-log")]
    loading::read_log(loaded.log)?;

    let (config, config_out) = watch::channel(Arc::new(config));
    let (owners, owners_out) = watch::channel(Arc::<Owners>::default());
    let (journal, journal_out) = mpsc::unbounded_channel();
    let (outputs, following) =
        outputs::open(&config.borrow(), &takeover, loaded.counters.id(), &journal)?;
    let eraser = Eraser::new(&config.borrow().audit, outputs.book.clone(), journal.clone());
    let (watchman, told) = Watchman::new();
    let kernel = (loaded.ring, loaded.counters);
    let records = Records::start(outputs, kernel, owners_out.clone(), journal_out, watchman)?;
    let requests = netlink::connect()?;
    let path =
        PacketPath::new(loaded.hooks, loaded.maps, loaded.processes, requests.clone(), closing);
    let unproven = proof::prove(&path, kernel_proof)?;
    let links = netlink::links::follow().await?;
    let filters = netlink::filters::follow()?;
    let poke = Arc::new(Notify::new());
    let watching = docker::watch(config.borrow().docker_socket.clone(), Arc::clone(&poke));
    let networks = networks::ensure(config_out.clone(), watching.engine.clone());
    let (state, state_out) = watch::channel(Arc::<State>::default());
    let (outside, outside_out) = watch::channel(Vec::new());
    let outsiders = Outsiders {
        config: config_out.clone(),
        inventory: watching.inventory.clone(),
        engine: watching.engine.clone(),
        state: state_out.clone(),
        links: links.links.clone(),
        journal: journal.clone(),
        reasons: outside,
    };
    let sights = Sights {
        state: state_out.clone(),
        inventory: watching.inventory.clone(),
        links: links.links.clone(),
    };
    let (owning, owned) =
        owned::Keeper::new(opened, config.clone(), sights, watching.engine.clone());
    let (abuse, abuse_out) =
        AbuseWatch::beside(&outsiders, told, owners_out.clone(), records.handle());
    let (allowing, allowed) = Allower::new(
        &config.borrow().state_dir,
        state_out.clone(),
        allow::subjects(owners_out.clone(), records.handle()),
        journal.clone(),
    );
    let (reports, asked_for) = mpsc::channel(16);
    let serving = metrics::start(config_out.borrow().metrics.clone(), reports.clone());
    let tending = access::start(config_out.clone(), journal.clone());
    let leases = Arc::new(KernelLeases::new(&path, state_out.clone())?);
    let resolving = dns::start(config_out.clone(), state_out.clone(), leases, records.queries());
    let refusals = Refusals::default();
    let (doorkeeper, admitted) = doorkeeper::Doorkeeper::new(config_out.clone());
    let sight = Arc::new(gate::Seen::new(state_out.clone(), following.followers()));
    let following = following.serve(admitted.roles.clone(), refusals.clone());
    let around = Around {
        config: config_out.clone(),
        inventory: watching.inventory.clone(),
        roles: admitted.roles.clone(),
        engine: watching.engine.clone(),
        access: tending.access.clone(),
        networks: Some(Arc::new(owning.networks.clone())),
        sight: Some(sight),
        journal: journal.clone(),
    };
    let keeping = gate::start(around, path.lock().processes.guard().gates(), state_out.clone());
    let reporter = Reporter {
        config: config_out.clone(),
        path: path.clone(),
        links: links.links.clone(),
        state: state_out.clone(),
        engine: watching.engine.clone(),
        problems: [
            networks.problems,
            outside_out,
            serving.problems,
            resolving.problems,
            abuse_out.problems.clone(),
            admitted.problems,
            tending.problems,
            keeping.problems,
            owned.problems,
            allowed.problems,
        ],
        gate: keeping.gate.clone(),
        refusals: refusals.clone(),
        abuse: abuse_out.clone(),
        dns: resolving.status,
        records: records.handle(),
    };
    // A task of its own: the control loop does not wait while a report is put together.
    let mut reporting = tokio::spawn(reporter.run(asked_for));
    let mut reloader = Reloader::new(config_path, config, state_out.clone(), journal.clone());
    let early = reconcile::attach_early(
        config_out.clone(),
        path.clone(),
        links.links.clone(),
        links.new_veths,
    );
    loading::tell(&journal, &takeover, path.lock().processes.list(), unproven);
    let viewer = Viewer::new(&path, owners_out.clone(), state_out.clone());
    let (ordered, orders) = mpsc::channel(8);
    let access = tending.access.clone();
    let sockets = Arc::new(gate::GuestSockets(keeping.gate.clone()));
    let ways = Ways::new(config_out.clone(), access.clone(), keeping.gate.clone());
    let telling = tokio::spawn(ways.clone().tell(watching.engine.clone()));
    let keeper = Keeper {
        guests: Guests::new(
            config_out.clone(),
            access,
            state_out.clone(),
            journal.clone(),
            sockets,
        ),
        config: config_out.clone(),
        inventory: watching.inventory.clone(),
        owners: owners_out.clone(),
        engine: watching.engine.clone(),
        flows: path.lock().maps.flow_table.clone(),
        orders,
    };
    let lives = lives::tell(config_out.clone(), owners_out, watching.heard, journal.clone());
    let importing = live::Importing {
        wanted: takeover == Takeover::Fresh,
        importer: loaded.importer,
        netlink: requests.clone(),
        state: state_out.clone(),
        journal: journal.clone(),
    };
    let reconciler = Reconciler {
        config: config_out,
        path: path.clone(),
        netlink: requests,
        links: links.links,
        restraints: abuse_out.restraints,
        allowances: allowed.allowances,
        left: allowed.left,
        resolvers: resolving.held,
        inventory: watching.inventory,
        refresh_links: links.refresh,
        refresh_docker: poke,
        filters,
        owners,
        journal,
        state,
    };
    let (asked, questions) = mpsc::channel(8);
    let api = Api { supervisor: asked, roles: admitted.roles, access: tending.access, refusals };

    let orders_to = Orders {
        guests: &ordered,
        networks: &owned.orders,
        wanted: &abuse_out.wanted,
        allowances: &allowed.orders,
    };

    let outcome = tokio::select! {
        () = reconciler.run() => ended("the control loop"),
        () = outsiders.run() => ended("the watch for guests outside"),
        () = abuse.run() => ended("the watch for abuse"),
        () = allowing.run() => ended("the keeper of allowances"),
        () = keeper.run() => ended("the keeper of guests"),
        () = owning.run() => ended("the keeper of own networks"),
        () = lives => ended("the watch for lives"),
        () = importing.run() => ended("the import of flows"),
        () = memory::tend() => ended("the giving back of memory"),
        () = early => ended("the watch for new interfaces"),
        () = following => ended("the events socket"),
        _ = &mut reporting => ended("the reports"),
        () = api::serve(&socket, api) => ended("the control socket"),
        () = doorkeeper.run(&socket) => ended("the control socket's doorkeeper"),
        () = announce(state_out, path) => ended("the control loop"),
        by = obey(
            (&reports, orders_to),
            (&mut reloader, &eraser, &viewer, &ways),
            questions,
            &mut signals,
        ) => Ok(by),
    };
    service_manager::send("STOPPING=1");
    tracing::info!("stopping; policy stays as it is until `enforcer uninstall`");
    drop((reloader, eraser, viewer, ways, socket));
    end([
        watching.task,
        networks.task,
        serving.task,
        resolving.task,
        tending.task,
        keeping.task,
        telling,
        reporting,
    ])
    .await;
    // What it served is told before the stream ends.
    if let Some(runtime) = keeping.runtime {
        let _ = blocking("the gate", move || runtime.stop()).await;
    }
    let (by, outcome) = match outcome {
        Ok(by) => (by, Ok(())),
        Err(error) => (Caller::default(), Err(error)),
    };
    records.stop(by).await;
    outcome
}

fn ended(what: &'static str) -> Result<Caller, SuperviseError> {
    Err(SuperviseError::Ended { what })
}

/// Ends tasks, and what they hold: a socket, the handle of the records.
async fn end<const N: usize>(tasks: [JoinHandle<()>; N]) {
    tasks.iter().for_each(JoinHandle::abort);
    // One that was waited for before must not be again.
    for task in tasks.into_iter().filter(|task| !task.is_finished()) {
        let _ = task.await;
    }
}

async fn blocking<T: Send + 'static>(
    what: &'static str,
    task: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SuperviseError> {
    let outcome = tokio::task::spawn_blocking(task).await;
    outcome.map_err(|_panicked| SuperviseError::Ended { what })
}

/// What ends the daemon, or has it read its config anew.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// Does what the control socket and signals ask, until one of them asks for the end: who that was.
async fn obey(
    (reports, orders): (&Reports, Orders<'_>),
    (reloader, eraser, viewer, ways): (&mut Reloader, &Eraser, &Viewer, &Ways),
    mut questions: mpsc::Receiver<Asked>,
    signals: &mut Signals,
) -> Caller {
    loop {
        let asked = tokio::select! {
            Some(asked) = questions.recv() => asked,
            _ = signals.hangup.recv() => {
                // Told in the log and in the stream.
                let _ = reloader.reload(Caller::default()).await;
                continue;
            }
            _ = signals.terminate.recv() => return Caller::default(),
            _ = signals.interrupt.recv() => return Caller::default(),
        };
        // Whoever asked may have gone.
        match asked {
            Asked::Status(reply) => drop(reports.send(reply).await),
            Asked::Reload(by, reply) => drop(reply.send(reloader.reload(by).await)),
            Asked::Erase(erase, reply) => eraser.erase(erase, reply),
            Asked::Explain(question, reply) => {
                drop(reply.send(explain::answer(&reloader.state(), &question)));
            }
            Asked::ExplainName(question, reply) => {
                drop(reply.send(explain::answer_name(&reloader.state(), &question)));
            }
            Asked::Flows(question, reply) => viewer.answer(question, reply),
            Asked::Access(reply) => ways.answer(reply),
            Asked::Pardon { guest, by, reply } => orders.want(Wanted::Pardon(guest, by, reply)),
            Asked::Cut(order, by, reply) => orders.want(Wanted::Cut(order, by, reply)),
            Asked::Allowance(asked) => orders.allow(asked),
            Asked::Guest(asked) => drop(orders.guests.send(asked).await),
            Asked::Network(asked) => drop(orders.networks.send(asked).await),
            Asked::Stop(by, reply) => {
                let _ = reply.send(());
                return by;
            }
        }
    }
}

/// Says that guests are policed, once the first comparison is over, and again and again that the
/// control loop is alive.
async fn announce(mut state: watch::Receiver<Arc<State>>, path: PacketPath) {
    if state.wait_for(|state| state.runs > 0).await.is_ok() {
        tracing::info!("ready");
        service_manager::send("READY=1");
    }
    // It wakes every few seconds, or is at a long plan; the service manager waits longer than that.
    let mut last = (0, 0);
    loop {
        tokio::time::sleep(ALIVE).await;
        let now = (state.borrow().runs, path.steps());
        if now != last {
            service_manager::send("WATCHDOG=1");
        }
        last = now;
    }
}
