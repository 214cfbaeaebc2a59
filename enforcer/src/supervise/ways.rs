//! Answers who has access to a container engine of this host, by a grant and past it; and says at the start what leads
//! past it (S20). Looks in tasks of its own, one after the other.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};

use crate::{
    access::{
        name::User,
        service::{Access, Holder},
    },
    api::{
        asked::Reply,
        routes::{
            access::{AccessReport, HolderStatus, RefusedStatus},
            groups::Given,
        },
    },
    causes::causes,
    config::Config,
    docker::{Engine, EngineState},
    gate::{Gate, socket_path},
    model::{
        declined::Declined,
        way::{Mounted, Way},
    },
    ways::{self, Facts},
};

/// Longest wait for the names of users and groups, which may come from a directory service.
const NAMED: Duration = Duration::from_secs(4);

/// Who looks. A copy is the same one.
#[derive(Clone)]
pub(super) struct Ways {
    config: watch::Receiver<Arc<Config>>,
    access: Access,
    gate: Option<Gate>,
    turn: Arc<Semaphore>,
}

impl Ways {
    pub(super) fn new(
        config: watch::Receiver<Arc<Config>>,
        access: Access,
        gate: Option<Gate>,
    ) -> Self {
        Self { config, access, gate, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Answers as soon as those who asked before have their answers.
    pub(super) fn answer(&self, reply: Reply<AccessReport>) {
        let this = self.clone();
        tokio::spawn(async move {
            // The semaphore is never closed.
            let Ok(_turn) = this.turn.acquire().await else { return };
            // Whoever asked may have gone meanwhile.
            if !reply.is_closed() {
                let _ = reply.send(this.report().await);
            }
        });
    }

    /// Says in the log what leads past the gate, once the engine answers.
    pub(super) async fn tell(self, mut engine: watch::Receiver<EngineState>) {
        let answers = |state: &EngineState| matches!(state, EngineState::Connected { .. });
        if engine.wait_for(answers).await.is_err() {
            return;
        }
        match self.look().await {
            Ok(Looked { ways, unknown, .. }) => {
                for Way { kind, at, who, warning } in ways {
                    let (kind, who) = (kind.name(), who.join(", "));
                    tracing::warn!(kind, at, who, "a way to the engine past the gate: {warning}");
                }
                for why in unknown {
                    tracing::warn!("ways to the engine past the gate are not known: {why}");
                }
            }
            Err(declined) => tracing::warn!(error = %declined, "ways past the gate are not known"),
        }
    }

    async fn report(&self) -> Result<AccessReport, Declined> {
        let enabled = self.config.borrow().access.docker_socket;
        let ((holders, silent), looked) = tokio::join!(self.access.holders(), self.look());
        let Looked { run_dir, mounted, ways, mut unknown } = looked?;
        unknown.extend(silent);
        let open = self.gate.as_ref().map(Gate::users).unwrap_or_default();
        let open: BTreeSet<User> = open.into_keys().collect();
        let with = |user: &User| with(&mounted, &socket_path(&run_dir, user));
        let is_holder = |user: &User| holders.iter().any(|holder| holder.user == *user);
        let refused = open.iter().filter(|user| !is_holder(user)).flat_map(|user| {
            let status = |container| {
                let (hub, user) = (user.hub.to_string(), user.name.to_string());
                RefusedStatus { container, hub, user }
            };
            with(user).into_iter().map(status)
        });
        let refused = refused.collect();
        let holders = holders.iter().map(|holder| status(holder, with(&holder.user))).collect();
        Ok(AccessReport { enabled, holders, refused, ways, unknown })
    }

    /// Looks at this host and at the engine. What cannot be looked at is told.
    async fn look(&self) -> Result<Looked, Declined> {
        let (socket, run_dir) = {
            let config = self.config.borrow();
            (config.docker_socket.clone(), config.run_dir.clone())
        };
        let mounted = async { Engine::connect(&socket).await?.mounted().await };
        let (mounted, silent) = match mounted.await {
            Ok(mounted) => (mounted, None),
            Err(error) => {
                let why: &dyn std::error::Error = &error;
                (Vec::new(), Some(format!("what containers have mounted: {}", causes(why))))
            }
        };
        let failed = |error: super::SuperviseError| Declined::failed(error.to_string());
        let look = move || {
            let run_dir = fs::canonicalize(&run_dir).unwrap_or(run_dir);
            (ways::look(&socket, &run_dir, mounted), run_dir)
        };
        let (mut facts, run_dir) =
            super::blocking("the look for ways", look).await.map_err(failed)?;
        facts.unknown.extend(silent);
        let (ways, facts) = judged(facts).await;
        let Facts { mounted, unknown, .. } = facts;
        Ok(Looked { run_dir, mounted, ways, unknown })
    }
}

/// What a look found.
struct Looked {
    /// The run directory, without symbolic links.
    run_dir: PathBuf,
    mounted: Vec<Mounted>,
    ways: Vec<Way>,
    unknown: Vec<String>,
}

/// The ways, with names as far as there are any in time.
async fn judged(facts: Facts) -> (Vec<Way>, Facts) {
    let facts = Arc::new(facts);
    let of = Arc::clone(&facts);
    let naming = tokio::task::spawn_blocking(move || ways::names(&of));
    let named = timeout(NAMED, naming).await.ok().and_then(Result::ok);
    let mut facts = Arc::unwrap_or_clone(facts);
    if named.is_none() {
        facts.unknown.push("names of users and members of groups: nobody tells them".to_owned());
    }
    (ways::ways(&facts, &named.unwrap_or_default()), facts)
}

/// Running containers that have a socket mounted.
fn with(mounted: &[Mounted], socket: &Path) -> Vec<String> {
    let has = |one: &&Mounted| one.sources.iter().any(|source| source == socket);
    mounted.iter().filter(has).map(|one| one.name.clone()).collect()
}

fn status(holder: &Holder, containers: Vec<String>) -> HolderStatus {
    let Holder { user, granted, member } = holder;
    HolderStatus {
        hub: user.hub.to_string(),
        user: user.name.to_string(),
        socket: granted.socket.kind().name().to_owned(),
        group: granted.group.to_string(),
        until: granted.until.map(|until| until.to_string()),
        grant: Given::from(&granted.note),
        member: member.as_ref().map(Given::from),
        containers,
    }
}
