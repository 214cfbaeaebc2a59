//! The gate as the daemon has it: sockets that are open, and the runtime that serves them. It has threads of its own,
//! so that nothing that a stranger does at a socket holds up the control loop (ADR 15).

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::{
    net::UnixListener,
    runtime::{Builder, Handle, Runtime},
    sync::{mpsc, watch},
    task::spawn_blocking,
};

use super::{
    hub::sight::Sight,
    identity::Doorman,
    networks::OwnNetworks,
    principal::Principal,
    serve::{self, Door, Server},
    sockets::{Sockets, SocketsError},
    store::{Store, StoreError},
    tell::Desk,
};
use crate::{
    access::{
        name::{HubName, User},
        service::Access,
    },
    api::roles::Roles,
    audit::record::Body,
    config::Config,
    docker::inventory::EngineState,
    model::{inventory::Inventory, status::GateStatus},
    service_manager,
};

/// Threads: what they do is wait, and copy.
const THREADS: usize = 2;
/// Longest wait for what it serves to end with the daemon.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the gate needs of the daemon.
#[derive(Debug)]
pub struct Around {
    /// The config.
    pub config: watch::Receiver<Arc<Config>>,
    /// Containers, and whose they are.
    pub inventory: watch::Receiver<Arc<Inventory>>,
    /// Users of this host that are hubs.
    pub roles: watch::Receiver<Roles>,
    /// Whether the engine answers, and in which version.
    pub engine: watch::Receiver<EngineState>,
    /// Groups and grants.
    pub access: Access,
    /// Who sees to users' own networks; `None`: nobody makes any.
    pub networks: Option<Arc<dyn OwnNetworks>>,
    /// Who sees what hubs are told of spawns; `None`: nobody.
    pub sight: Option<Arc<dyn Sight>>,
    /// Where records go.
    pub journal: mpsc::UnboundedSender<Body>,
}

/// The handle. A copy is the same one.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    server: Arc<Server>,
    runtime: Handle,
    doors: Mutex<Doors>,
    /// Moves with each socket that is opened or closed.
    changes: watch::Sender<u32>,
}

#[derive(Debug)]
struct Doors {
    sockets: Sockets,
    open: BTreeMap<Principal, Opened>,
    last: u32,
}

#[derive(Debug)]
struct Opened {
    path: PathBuf,
    /// Another one each time that it is opened.
    number: u32,
    /// The listener, for the kernel to be told which one it is; nobody takes connections from this one.
    listener: OwnedFd,
    is_renewed: bool,
    /// When somebody asked for it last.
    asked: Instant,
    /// Ends its listener and connections when dropped.
    _close: watch::Sender<()>,
}

/// The threads; what they serve ends when this is dropped. Its sockets stay.
#[derive(Debug)]
pub struct GateRuntime(Option<Runtime>);

impl GateRuntime {
    /// Ends what it serves, and waits until that is told. It blocks.
    pub fn stop(mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_timeout(PATIENCE);
        }
    }
}

impl Drop for GateRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Gate {
    /// Makes it, with the sockets that containers have from before.
    pub fn start(around: Around) -> Result<(Self, GateRuntime), GateError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("gate")
            .enable_all()
            .build()
            .map_err(GateError::Threads)?;
        let (run_dir, state_dir, engine_socket) = {
            let config = around.config.borrow();
            (config.run_dir.clone(), config.state_dir.clone(), config.docker_socket.clone())
        };
        let store = Store::open(&state_dir)?;
        let sockets = Sockets::new(&run_dir, service_manager::handed_over())?;
        let left = sockets.left()?;
        let Around { config, inventory, roles, engine, access, networks, sight, journal } = around;
        let mut server = Server::new(
            Doorman { inventory, config, roles },
            access,
            (engine, engine_socket),
            Desk::new(journal),
            store,
        );
        server.networks = networks;
        server.sight = sight;
        server.fit(open_files());
        let doors = Doors { sockets, open: BTreeMap::new(), last: 0 };
        let gate = Self(Arc::new(Inner {
            server: Arc::new(server),
            runtime: runtime.handle().clone(),
            doors: Mutex::new(doors),
            changes: watch::channel(0).0,
        }));
        // It is the first that there is.
        let _ = gate.0.server.doors.set(WeakGate(Arc::downgrade(&gate.0)));
        for user in left {
            gate.open(&Principal::User(user), true)?;
        }
        let renewed = gate.status().renewed;
        if renewed > 0 {
            tracing::warn!(
                renewed,
                "gate: no service manager kept the sockets of users; restart their running containers"
            );
        }
        Ok((gate, GateRuntime(Some(runtime))))
    }

    /// The socket of a user, which listens from here on: to be mounted into containers of that user, labelled with
    /// [`super::identity::USER_LABEL`] and [`super::identity::HUB_LABEL`]. What it serves is what the grants say at each
    /// request.
    pub async fn open_for(&self, user: &User) -> Result<PathBuf, GateError> {
        let (gate, principal) = (self.clone(), Principal::User(user.clone()));
        let opening = spawn_blocking(move || gate.open(&principal, false)).await;
        Ok(opening.map_err(|_panicked| GateError::NoAnswer)??)
    }

    /// Removes the socket of a user, when no container has it mounted any more; ends what goes over it.
    pub async fn close_for(&self, user: &User) -> Result<(), GateError> {
        let (gate, principal) = (self.clone(), Principal::User(user.clone()));
        let closing = spawn_blocking(move || gate.close(&principal)).await;
        Ok(closing.map_err(|_panicked| GateError::NoAnswer)??)
    }

    /// Removes the sockets of users other than these, unless somebody asked for one less than `rest` ago. What went
    /// wrong.
    #[must_use]
    pub fn close_others(&self, users: &BTreeSet<User>, rest: Duration) -> Vec<String> {
        let idle: Vec<Principal> = {
            let doors = self.doors();
            let is_idle = |(principal, opened): &(&Principal, &Opened)| {
                matches!(principal, Principal::User(user) if !users.contains(user))
                    && opened.asked.elapsed() >= rest
            };
            doors.open.iter().filter(is_idle).map(|(principal, _)| principal.clone()).collect()
        };
        let closed = idle.iter().map(|principal| self.close(principal));
        closed.filter_map(|outcome| outcome.err().map(|error| error.to_string())).collect()
    }

    /// Users whose sockets are open, and a number that is another one each time that a socket is opened.
    #[must_use]
    pub fn users(&self) -> BTreeMap<User, u32> {
        let doors = self.doors();
        let users = doors.open.iter().filter_map(|(principal, opened)| match principal {
            Principal::User(user) => Some((user.clone(), opened.number)),
            Principal::Hub(_) => None,
        });
        users.collect()
    }

    /// What listens for a user, where it is still the one of this number.
    #[must_use]
    pub fn listener(&self, user: &User, number: u32) -> Option<OwnedFd> {
        let doors = self.doors();
        let opened = doors.open.get(&Principal::User(user.clone()))?;
        (opened.number == number).then(|| opened.listener.try_clone().ok()).flatten()
    }

    /// Moves whenever [`Self::users`] has another answer.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u32> {
        self.0.changes.subscribe()
    }

    /// Opens the sockets of these hubs and of no other, for these users of this host beside root. What went wrong.
    #[must_use]
    pub fn keep_hubs(&self, hubs: &BTreeSet<HubName>, roles: &Roles) -> Vec<String> {
        let open: BTreeSet<HubName> = {
            let doors = self.doors();
            let hubs = doors.open.keys().filter_map(|principal| match principal {
                Principal::Hub(hub) => Some(hub.clone()),
                Principal::User(_) => None,
            });
            hubs.collect()
        };
        let mut problems = Vec::new();
        let mut note = |outcome: Result<(), SocketsError>| {
            problems.extend(outcome.err().map(|error| error.to_string()));
        };
        for gone in open.difference(hubs) {
            note(self.close(&Principal::Hub(gone.clone())));
        }
        for hub in hubs {
            note(self.open(&Principal::Hub(hub.clone()), false).map(drop));
            let is_hub_s = |(uid, name): (&u32, &String)| (name == hub.as_str()).then_some(*uid);
            let users = roles.hubs.iter().filter_map(is_hub_s).collect();
            note(self.doors().sockets.open_to(hub, &users));
        }
        problems
    }

    /// Tells what was not told of refusals, and looks what became of what it made. To be called now and then.
    pub fn settle(&self) {
        self.0.server.desk.settle();
        let server = Arc::clone(&self.0.server);
        self.0.runtime.spawn(async move { server.sweep_all().await });
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> GateStatus {
        let doors = self.doors();
        let is_hub = |principal: &&Principal| matches!(principal, Principal::Hub(_));
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let hubs = doors.open.keys().filter(is_hub).count();
        let server = &self.0.server;
        GateStatus {
            hubs: count(hubs),
            users: count(doors.open.len() - hubs),
            renewed: count(doors.open.values().filter(|opened| opened.is_renewed).count()),
            connections: count(server.users.taken() + server.hubs.taken()),
            allowed: server.desk.counts().allowed.load(Ordering::Relaxed),
            denied: server.desk.counts().denied.load(Ordering::Relaxed),
        }
    }

    fn open(&self, principal: &Principal, was_there: bool) -> Result<PathBuf, SocketsError> {
        let mut doors = self.doors();
        if let Some(opened) = doors.open.get_mut(principal)
            && opened.path.exists()
        {
            opened.asked = Instant::now();
            return Ok(opened.path.clone());
        }
        let bound = doors.sockets.open(principal)?;
        let failed = |source| SocketsError::listening(&bound.path, source);
        let second = OwnedFd::from(bound.listener.try_clone().map_err(failed)?);
        let listener = {
            let _within = self.0.runtime.enter();
            UnixListener::from_std(bound.listener)
        };
        let listener = listener.map_err(failed)?;
        doors.last = doors.last.wrapping_add(1);
        let (close, closed) = watch::channel(());
        let door = Door { principal: principal.clone(), number: doors.last, closed };
        self.0.runtime.spawn(serve::accept(listener, Arc::new(door), Arc::clone(&self.0.server)));
        let is_renewed = was_there && !bound.is_same;
        let opened = Opened {
            path: bound.path.clone(),
            number: doors.last,
            listener: second,
            is_renewed,
            asked: Instant::now(),
            _close: close,
        };
        doors.open.insert(principal.clone(), opened);
        self.0.changes.send_modify(|number| *number = number.wrapping_add(1));
        Ok(bound.path)
    }

    fn close(&self, principal: &Principal) -> Result<(), SocketsError> {
        let mut doors = self.doors();
        doors.open.remove(principal);
        self.0.changes.send_modify(|number| *number = number.wrapping_add(1));
        doors.sockets.remove(principal)
    }

    fn doors(&self) -> std::sync::MutexGuard<'_, Doors> {
        self.0.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many files this process may open; `0`: nobody knows.
fn open_files() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a live struct, which the kernel fills.
    let is_known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0;
    if is_known { limit.rlim_cur } else { 0 }
}

/// The gate, as what it serves knows it.
#[derive(Debug)]
pub(super) struct WeakGate(Weak<Inner>);

impl WeakGate {
    /// The socket of a user; `None`: there is none, and why is told.
    pub(super) async fn open_for(&self, user: &User) -> Option<PathBuf> {
        let opened = Gate(self.0.upgrade()?).open_for(user).await;
        opened.inspect_err(|error| tracing::error!(%user, "no Docker socket: {error}")).ok()
    }
}

/// Why there is no gate, or no socket.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// No threads.
    #[error("gate: cannot start its threads")]
    Threads(#[source] io::Error),
    /// No file.
    #[error(transparent)]
    Socket(#[from] SocketsError),
    /// Nobody knows what is whose.
    #[error(transparent)]
    Store(Box<dyn std::error::Error + Send + Sync>),
    /// It did not get to an end.
    #[error("gate: whoever makes the socket does not get to the end")]
    NoAnswer,
}

impl From<StoreError> for GateError {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

/// Removes all sockets and directories of the gate, once no daemon runs.
pub fn remove_all(run_dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(run_dir.join("gate")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
