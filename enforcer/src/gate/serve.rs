//! One connection, one request: who is there (identity), what they ask (head), what they may (grant, judge), and what
//! the engine says. Each connection is a task of its own; what goes wrong in one ends that one only (S31).

#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError, atomic::Ordering},
    time::Duration,
};

use hyper::{
    Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::AsyncWriteExt as _,
    net::{UnixListener, UnixStream},
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    answer,
    build::{self, Builds, Ready},
    call::{Call, build::Build},
    errand::Errand,
    head::Head,
    identity::{Doorman, Stranger, Visitor},
    judged,
    networks::OwnNetworks,
    principal::Principal,
    raw,
    run::WeakGate,
    standing::Standing,
    store::Store,
    stream::{Hijack, Unread},
    tell::{Desk, Telling},
    turns::Turns,
    upstream::Answered,
    verdict::Refusal,
    wire::{self, Wire},
};
use crate::{
    access::{grant::Socket, service::Access},
    docker::inventory::EngineState,
    places::Bounds,
    seats::{Seat, Seats},
};

/// Places of users: of one, and of all.
const USERS: Bounds = Bounds { each: 64, all: 512, apart: None };
/// Places of hubs, which nobody else takes.
const HUBS: Bounds = Bounds { each: 256, all: 1024, apart: None };
/// Longest wait for a head.
const HEAD: Duration = Duration::from_secs(10);
/// Longest wait until somebody who is turned away has taken the word of it.
const PARTING: Duration = Duration::from_millis(100);
/// A request that takes longer is told of while it lasts.
const LASTS: Duration = Duration::from_secs(1);
/// Most bytes that are kept of a client's at a time.
const BUFFER: usize = 64 << 10;

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
    /// Held while it is looked what became of what was made.
    pub(super) sweeping: tokio::sync::Mutex<()>,
    pub(super) builds: Arc<Builds>,
    /// Who sees to own networks; `None`: there are none.
    pub(super) networks: Option<Arc<dyn OwnNetworks>>,
    /// Where users' sockets are made.
    pub(super) doors: OnceLock<WeakGate>,
    pub(super) users: Seats,
    pub(super) hubs: Seats,
    /// Longest wait for a head.
    pub(super) patience: Duration,
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
            turns: Turns::default(),
            sweeping: tokio::sync::Mutex::default(),
            networks: None,
            doors: OnceLock::new(),
            users: Seats::new(USERS),
            hubs: Seats::new(HUBS),
            patience: HEAD,
        }
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

/// What is done with a request.
#[derive(Debug)]
enum Way {
    /// It goes on as it is.
    Raw,
    /// It is judged.
    Judged,
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
        telling.asks(&head.method, &head.target);
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
    let exchange = Exchange {
        server: Arc::clone(server),
        principal: principal.clone(),
        head,
        way,
        telling: Mutex::new(telling),
        hijack: Mutex::default(),
    };
    exchange.run(wire, over).await;
}

async fn refuse(mut stream: UnixStream, telling: &mut Telling, refusal: &Refusal) {
    telling.refused(refusal);
    let text = answer::refusal_text(refusal);
    if let Ok(Ok(())) = timeout(PARTING, stream.write_all(text.as_bytes())).await {
        let length = u64::try_from(text.len()).unwrap_or_default();
        telling.traffic.received.store(length, Ordering::Relaxed);
    }
}

/// A request that is served, and all that is known of it.
#[derive(Debug)]
struct Exchange {
    server: Arc<Server>,
    principal: Principal,
    head: Head,
    way: Way,
    telling: Mutex<Telling>,
    hijack: Mutex<Option<Hijack>>,
}

impl Exchange {
    /// Serves it until it is done, or its grant is over.
    async fn run(self, wire: Wire, over: impl Future<Output = String>) {
        let service =
            service_fn(|request| async { Ok::<_, Infallible>(self.answer(request).await) });
        let unread = self.head.upgrade.and_then(|_| Unread::of(wire.as_ref()).ok());
        let mut http = http1::Builder::new();
        // One request a connection. Who closes their half of it before the answer has gone away.
        http.keep_alive(false).half_close(false).max_buf_size(BUFFER).header_read_timeout(None);
        let conversation = http.serve_connection(TokioIo::new(wire), service).with_upgrades();
        let mut talk = std::pin::pin!(async {
            // A client that goes away, dawdles or talks nonsense is its own problem.
            let _ = conversation.await;
            let hijack = lock(&self.hijack).take();
            if let Some(hijack) = hijack {
                hijack.run(unread).await;
            }
        });
        let mut over = std::pin::pin!(over);
        let mut lasts = std::pin::pin!(sleep(LASTS));
        let mut is_told = false;
        loop {
            tokio::select! {
                () = &mut talk => return,
                why = &mut over => return lock(&self.telling).cut(why),
                () = &mut lasts, if !is_told => {
                    lock(&self.telling).lasts();
                    is_told = true;
                }
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Answered> {
        let done = match self.way {
            Way::Raw => {
                lock(&self.telling).allowed(raw::RULE);
                raw::forward(&self.server.engine_socket, &self.head, request).await
            }
            Way::Judged => self.judge(request).await,
        };
        let response = match done {
            Ok((response, hijack)) => {
                *lock(&self.hijack) = hijack;
                response
            }
            Err(refusal) => {
                lock(&self.telling).failed(&refusal);
                answer::refusal(&refusal)
            }
        };
        lock(&self.telling).status.store(response.status().as_u16(), Ordering::Relaxed);
        response
    }

    async fn judge(&self, mut request: Request<Incoming>) -> Result<raw::Done, Refusal> {
        let client = self.head.upgrade.map(|to| (to, hyper::upgrade::on(&mut request)));
        let judging = async {
            let call = match judged::call(&self.principal, &self.head) {
                Err(refusal) if build::is_one(&self.head) => {
                    build::drain(request.body_mut()).await;
                    return Err(refusal);
                }
                call => call?,
            };
            if let Call::ImageBuild(asked) = &call {
                return self.build(&call, asked, request.into_body()).await;
            }
            let body = judged::body(&self.head, &call, request.into_body()).await?;
            Ok((self.server.judge(&self.principal, &call, body.as_ref()).await?, None))
        };
        let judged = judging.await.inspect_err(|refusal| lock(&self.telling).refused(refusal))?;
        let (errand, build) = judged;
        {
            let mut telling = lock(&self.telling);
            telling.asks(errand.forward.method.as_str(), &errand.forward.target);
            telling.judged(&errand.forward.shown);
            telling.allowed("judged");
        }
        match build {
            Some(ready) => errand.build(ready).await,
            None => errand.run(client).await,
        }
    }

    async fn build(
        &self,
        call: &Call,
        asked: &Build,
        mut body: Incoming,
    ) -> Result<(Errand, Option<Ready>), Refusal> {
        let judged = self.judge_build(call, asked, &mut body).await;
        if judged.is_err() {
            build::drain(&mut body).await;
        }
        judged
    }

    /// A build is judged by its query first, and then by its context, which takes long to come.
    async fn judge_build(
        &self,
        call: &Call,
        asked: &Build,
        body: &mut Incoming,
    ) -> Result<(Errand, Option<Ready>), Refusal> {
        let mut errand = self.server.judge(&self.principal, call, None).await?;
        judged::check_encoding(&self.head)?;
        let api = self.server.api()?;
        let engine = (&*self.server.engine_socket, &*api);
        let builds = &self.server.builds;
        let ready = build::prepare(builds, engine, &errand.context(), asked, body).await?;
        errand.forward.shown["images"] = serde_json::json!(ready.images);
        Ok((errand, Some(ready)))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
