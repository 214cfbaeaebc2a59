//! Starts and stops the daemon's tasks, in the order in which they need one another: what may fail
//! without a trace first, the packet path before anybody's word about guests.

mod networks;
mod notify;
mod outside;
mod records;
mod report;

use std::{path::Path, sync::Arc};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Notify, mpsc, oneshot, watch},
};

use crate::{
    config::Config,
    control::{
        path::PacketPath,
        reconcile::{self, Reconciler, State},
    },
    control_socket::{ControlError, ControlSocket},
    docker,
    kernel::{
        features::{self, PreflightError},
        load::{self, LoadError, LoadOptions},
    },
    model::{owner::Owners, status::StatusReport},
    netlink::{self, NetlinkError},
};
use outside::Outsiders;
use records::Records;
use report::Reporter;

/// Why the daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// The host lacks something.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// Another daemon, or no run directory.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The kernel refuses the packet path.
    #[error("cannot load the packet path")]
    Load(#[from] LoadError),
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

fn start(what: &'static str) -> impl FnOnce(std::io::Error) -> SuperviseError {
    move |source| SuperviseError::Start { what, source }
}

/// Polices the guest networks of `config` until it is told to stop.
pub async fn run(config: Config, config_path: &Path) -> Result<(), SuperviseError> {
    let features = features::preflight()?;
    // The lock comes before anything that a second daemon would disturb.
    let socket = ControlSocket::bind(&config.run_dir)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(start("signal handlers"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(start("signal handlers"))?;
    let options = LoadOptions { mark_mask: config.mark_mask, max_flows: config.max_flows };
    let loaded = {
        let features = features.clone();
        // The verifier takes its time.
        let task = tokio::task::spawn_blocking(move || load::load(options, &features));
        task.await.map_err(|_panicked| SuperviseError::Ended { what: "the loader" })??
    };
    tracing::info!(
        config = %config_path.display(),
        kernel = features.release,
        tcx = features.tcx,
        "the packet path is loaded"
    );
    #[cfg(feature = "bpf-log")]
    loaded
        .log
        .read(|line| tracing::debug!(target: "bpf", line))
        .map_err(start("the log reader"))?;

    let config = Arc::new(config);
    let (owners, owners_out) = watch::channel(Arc::<Owners>::default());
    let records = Records::start(loaded.ring, loaded.counters, owners_out)?;
    let requests = netlink::connect()?;
    let path = PacketPath::new(loaded.hooks, loaded.maps, requests.clone());
    let links = netlink::links::follow().await?;
    let poke = Arc::new(Notify::new());
    let watching = docker::watch(config.docker_socket.clone(), Arc::clone(&poke));
    let networks = networks::ensure(Arc::clone(&config), watching.engine.clone());
    let (state, state_out) = watch::channel(Arc::<State>::default());
    let (outside, outside_out) = watch::channel(Vec::new());
    let outsiders = Outsiders {
        config: Arc::clone(&config),
        inventory: watching.inventory.clone(),
        state: state_out.clone(),
        links: links.links.clone(),
        records: records.handle(),
        reasons: outside,
    };
    let reporter = Reporter {
        config: Arc::clone(&config),
        path: path.clone(),
        links: links.links.clone(),
        state: state_out.clone(),
        engine: watching.engine.clone(),
        networks: networks.problems.clone(),
        outside: outside_out,
        records: records.handle(),
    };
    let early = reconcile::attach_early(
        Arc::clone(&config),
        path.clone(),
        links.links.clone(),
        links.new_veths,
    );
    let reconciler = Reconciler {
        config,
        path,
        netlink: requests,
        links: links.links,
        inventory: watching.inventory,
        refresh_links: links.refresh,
        refresh_docker: poke,
        owners,
        state,
    };
    let (status, status_requests) = mpsc::channel(8);

    let outcome = tokio::select! {
        () = reconciler.run() => Err(SuperviseError::Ended { what: "the control loop" }),
        () = outsiders.run() => {
            Err(SuperviseError::Ended { what: "the watch for guests outside" })
        }
        () = early => Err(SuperviseError::Ended { what: "the watch for new interfaces" }),
        () = socket.serve(status) => Err(SuperviseError::Ended { what: "the control socket" }),
        () = answer(reporter, status_requests) => {
            Err(SuperviseError::Ended { what: "the status report" })
        }
        () = announce(state_out) => Err(SuperviseError::Ended { what: "the control loop" }),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    notify::send("STOPPING=1");
    tracing::info!("stopping");
    watching.task.abort();
    networks.task.abort();
    // The links were dropped with the futures above: no more events come.
    records.stop().await;
    outcome
}

/// Says that guests are policed, once the first comparison is over.
async fn announce(mut state: watch::Receiver<Arc<State>>) {
    if state.wait_for(|state| state.runs > 0).await.is_ok() {
        tracing::info!("ready");
        notify::send("READY=1");
    }
    std::future::pending::<()>().await;
}

async fn answer(reporter: Reporter, mut requests: mpsc::Receiver<oneshot::Sender<StatusReport>>) {
    while let Some(reply) = requests.recv().await {
        // Whoever asked may have gone.
        let _ = reply.send(reporter.report().await);
    }
}
