//! One connection, one request: who is there (identity), what they ask (head), what they may (grant, judge), and what
//! the engine says. Each connection is a task of its own; what goes wrong in one ends that one only (S31).

#[cfg(test)]
mod tests;

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock, atomic::Ordering},
    time::Duration,
};

use hyper::StatusCode;
use tokio::{
    io::AsyncWriteExt as _,
    net::{UnixListener, UnixStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use super::{
    about, answer,
    build::Builds,
    exchange::{Exchange, Way},
    hub::{self, sight::Sight, spawns::Spawns, waits::Waits},
    identity::{Doorman, Stranger, Visitor},
    networks::OwnNetworks,
    pace::Pace,
    principal::Principal,
    run::WeakGate,
    standing::Standing,
    store::Store,
    tell::{Desk, Telling},
    turns::{self, Turns},
    verdict::Refusal,
    wire::{self, Wire},
};
use crate::{
    access::{grant::Socket, service::Access},
    docker::inventory::EngineState,
    places::Bounds,
    seats::{Seat, Seats},
};

/// Places of users: of one, and of all; the first few of each are nobody else's.
const USERS: Bounds = Bounds { each: 64, own: 8, all: 512, most: 8192, apart: None };
/// Places of hubs, which nobody else takes.
const HUBS: Bounds = Bounds { each: 256, own: 64, all: 1024, most: 4096, apart: None };
/// What share of the files that this process may open the places of users may take, and those of hubs: a connection is
/// up to three, and the kernel's objects need the rest.
const FILES: (u64, u64) = (8, 16);
/// Longest wait for a head.
const HEAD: Duration = Duration::from_secs(10);
/// Longest wait until somebody who is turned away has taken the word of it.
const PARTING: Duration = Duration::from_millis(100);
/// Longest that a client takes for an answer that is in memory.
const TAKING: Duration = Duration::from_mins(1);

/// What all sockets have in common.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) doorman: Doorman,
    pub(super) access: Access,
    pub(super) engine: watch::Receiver<EngineState>,
    pub(super) engine_socket: PathBuf,
    pub(super) desk: Desk,
    /// Whose the engine's things are.
    pub(super) store: Arc<Store>,
    pub(super) turns: Turns,
    /// Of what is in memory whole.
    pub(super) whole: Turns,
    /// Of streams of events.
    pub(super) events: Turns,
    /// Of pulls: of one, and of all users.
    pub(super) pulls: Turns,
    pub(super) pulling: Arc<Semaphore>,
    pub(super) pace: Pace,
    /// Held while it is looked what became of what was made.
    pub(super) sweeping: tokio::sync::Mutex<()>,
    pub(super) builds: Arc<Builds>,
    /// Who sees to own networks; `None`: there are none.
    pub(super) networks: Option<Arc<dyn OwnNetworks>>,
    /// Where users' sockets are made.
    pub(super) doors: OnceLock<WeakGate>,
    /// What hubs said of spawns.
    pub(super) spawns: Spawns,
    /// Hubs' requests that wait for a spawn to get further.
    pub(super) waits: Waits,
    /// Who sees what hubs are told of spawns; `None`: nobody.
    pub(super) sight: Option<Arc<dyn Sight>>,
    pub(super) users: Seats,
    pub(super) hubs: Seats,
    /// Longest wait for a head.
    pub(super) patience: Duration,
    /// Longest that a client takes for an answer that is in memory.
    pub(super) taking: Duration,
}

/// A socket.
#[derive(Debug)]
pub(super) struct Door {
    /// Whose.
    pub(super) principal: Principal,
    /// Its number, by which places are given.
    pub(super) number: u32,
    /// Ends with the socket.
    pub(super) closed: watch::Receiver<()>,
}

impl Server {
    pub(super) fn new(
        doorman: Doorman,
        access: Access,
        (engine, engine_socket): (watch::Receiver<EngineState>, PathBuf),
        desk: Desk,
        store: Store,
    ) -> Self {
        let builds = doorman.config.borrow().state_dir.join("builds");
        Self {
            builds: Arc::new(Builds::new(builds)),
            doorman,
            access,
            engine,
            engine_socket,
            desk,
            store: Arc::new(store),
            turns: Turns::of_changes(),
            whole: Turns::of_whole(),
            events: Turns::of_events(),
            pulls: Turns::of_pulls(),
            pulling: Arc::new(Semaphore::new(turns::MOST_PULLS)),
            pace: Pace::default(),
            sweeping: tokio::sync::Mutex::default(),
            networks: None,
            doors: OnceLock::new(),
            spawns: Spawns::default(),
            waits: Waits::default(),
            sight: None,
            users: Seats::new(USERS),
            hubs: Seats::new(HUBS),
            patience: HEAD,
            taking: TAKING,
        }
    }

    /// Has no more places than there are files for, where this process may open so many.
    pub(super) fn fit(&mut self, open_files: u64) {
        self.users = Seats::new(fitted(USERS, open_files / FILES.0));
        self.hubs = Seats::new(fitted(HUBS, open_files / FILES.1));
    }

    const fn seats(&self, principal: &Principal) -> &Seats {
        match principal {
            Principal::Hub(_) => &self.hubs,
            Principal::User(_) => &self.users,
        }
    }

    /// Version of the engine's API that is spoken with it.
    pub(super) fn api(&self) -> Result<String, Refusal> {
        match &*self.engine.borrow() {
            EngineState::Connected { api, .. } => Ok(api.clone()),
            _ => Err(Refusal {
                status: StatusCode::SERVICE_UNAVAILABLE,
                rule: "engine.unreachable",
                message: "the engine does not answer; enforcer status tells why".to_owned(),
            }),
        }
    }
}

fn fitted(bounds: Bounds, files: u64) -> Bounds {
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    Bounds { most: bounds.most.min(files), ..bounds }
}

/// Takes connections until the socket is closed.
pub(super) async fn accept(listener: UnixListener, door: Arc<Door>, server: Arc<Server>) {
    let mut closed = door.closed.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _gone = closed.changed() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, principal = %door.principal, "gate: connection not accepted");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        match server.seats(&door.principal).take(door.number) {
            Some(seat) => {
                let (door, server) = (Arc::clone(&door), Arc::clone(&server));
                tokio::spawn(attend(stream, seat, door, server));
            }
            None => drop(tokio::spawn(turn_away(stream))),
        }
    }
}

async fn turn_away(mut stream: UnixStream) {
    let refusal = Refusal {
        status: StatusCode::SERVICE_UNAVAILABLE,
        rule: "places.none",
        message: "too many connections to this socket at once; try again".to_owned(),
    };
    // They may have gone, or take nothing.
    let _ = timeout(PARTING, stream.write_all(answer::refusal_text(&refusal).as_bytes())).await;
}

async fn attend(stream: UnixStream, seat: Seat, door: Arc<Door>, server: Arc<Server>) {
    let mut closed = door.closed.clone();
    tokio::select! {
        () = converse(stream, &seat, &door, &server) => {}
        () = seat.given_up() => {}
        _gone = closed.changed() => {}
    }
}

async fn converse(stream: UnixStream, seat: &Seat, door: &Door, server: &Arc<Server>) {
    let identified = server.doorman.identify(&door.principal, &stream).await;
    serve(stream, seat, &door.principal, server, identified).await;
}

/// Serves who is known by now.
async fn serve(
    mut stream: UnixStream,
    seat: &Seat,
    principal: &Principal,
    server: &Arc<Server>,
    (visitor, admitted): (Visitor, Result<(), Stranger>),
) {
    let opening = timeout(server.patience, wire::open(&mut stream)).await;
    let mut telling = match (&opening, &admitted) {
        // Who says nothing asks nothing; who may not be here is told of in any case.
        (Err(_) | Ok(Err(_) | Ok(None)), Ok(())) => return,
        _ => server.desk.begin(principal, visitor),
    };
    seat.asked();
    let opening = opening.ok().and_then(Result::ok).flatten();
    if let Some(Ok((head, _))) = &opening {
        telling.asks(&head.method, hub::told(principal, &head.target));
        if let Principal::Hub(hub) = principal {
            let inventory = Arc::clone(&server.doorman.inventory.borrow());
            telling.is_about(about::target(hub, &head.target, &inventory));
        }
    }
    let stranger = admitted.map_err(|why| Refusal {
        status: StatusCode::FORBIDDEN,
        rule: "identity.stranger",
        message: why.to_string(),
    });
    let (head, read) = match (stranger, opening) {
        (Err(refusal), _) | (Ok(()), Some(Err(refusal))) => {
            return refuse(stream, &mut telling, &refusal).await;
        }
        (Ok(()), Some(Ok(opened))) => opened,
        (Ok(()), None) => return,
    };
    server.pace.wait(principal).await;
    let (way, mut standing) = match principal {
        Principal::Hub(_) => (Way::Judged, None),
        Principal::User(user) => {
            match Standing::find(&server.access, &server.doorman.config, user).await {
                Ok(standing) => {
                    telling.granted(standing.socket().kind());
                    let is_raw = standing.socket() == Socket::Raw;
                    (if is_raw { Way::Raw } else { Way::Judged }, Some(standing))
                }
                Err(refusal) => return refuse(stream, &mut telling, &refusal).await,
            }
        }
    };
    let over = async {
        match &mut standing {
            Some(standing) => standing.over().await,
            None => std::future::pending().await,
        }
    };
    let wire = Wire::new(read, stream, Arc::clone(&telling.traffic));
    Exchange::new(server, principal, (head, way), telling).run(wire, over).await;
}

async fn refuse(mut stream: UnixStream, telling: &mut Telling, refusal: &Refusal) {
    telling.refused(refusal);
    let text = answer::refusal_text(refusal);
    if let Ok(Ok(())) = timeout(PARTING, stream.write_all(text.as_bytes())).await {
        let length = u64::try_from(text.len()).unwrap_or_default();
        telling.traffic.received.store(length, Ordering::Relaxed);
    }
}
