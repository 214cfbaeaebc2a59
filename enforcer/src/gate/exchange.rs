//! One request, from its head to the end of its answer, or of its grant: what it does to the engine, and how long what
//! is in memory for it stays there.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use crate::access::name::HubName;

use super::{
    about, answer,
    build::{self, Ready},
    call::{BodyKind, Call, build::Build},
    errand::Errand,
    head::Head,
    hub::{self, ask},
    json::Json,
    judged,
    principal::Principal,
    raw, rest,
    serve::Server,
    stream::{Hijack, Unread},
    tell::Telling,
    turns::Turn,
    upstream::Answered,
    verdict::{Answer, Refusal, View},
    wire::Wire,
};

/// A request that takes longer is told of while it lasts.
const LASTS: Duration = Duration::from_secs(1);
/// Most bytes that are kept of a client's at a time.
const BUFFER: usize = 64 << 10;

/// What is done with a request.
#[derive(Debug)]
pub(super) enum Way {
    /// It goes on as it is.
    Raw,
    /// It is judged.
    Judged,
}

/// A request that is served, and all that is known of it.
#[derive(Debug)]
pub(super) struct Exchange {
    server: Arc<Server>,
    principal: Principal,
    head: Head,
    way: Way,
    telling: Mutex<Telling>,
    hijack: Mutex<Option<Hijack>>,
    /// As long as something of it is in memory whole.
    turn: Mutex<Option<Turn>>,
    /// As long as it lasts: of a stream of events, or of a pull.
    lasting: Mutex<Vec<Turn>>,
    /// Told when an answer is ready that is in memory.
    kept: Notify,
    /// Told with the body of what was refused, of which more may come.
    refused: (Mutex<Option<Incoming>>, Notify),
}

impl Exchange {
    /// Of a request that has a place, and a grant.
    pub(super) fn new(
        server: &Arc<Server>,
        principal: &Principal,
        (head, way): (Head, Way),
        telling: Telling,
    ) -> Self {
        Self {
            server: Arc::clone(server),
            principal: principal.clone(),
            head,
            way,
            telling: Mutex::new(telling),
            hijack: Mutex::default(),
            turn: Mutex::default(),
            lasting: Mutex::default(),
            kept: Notify::new(),
            refused: Default::default(),
        }
    }

    /// Serves it until it is done, or its grant is over.
    pub(super) async fn run(self, wire: Wire, over: impl Future<Output = String>) {
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
        let mut dawdles = std::pin::pin!(async {
            self.kept.notified().await;
            sleep(self.server.taking).await;
        });
        let mut parts = std::pin::pin!(async {
            self.refused.1.notified().await;
            let body = lock(&self.refused.0).take();
            if let Some(body) = body {
                rest::take(body).await;
            }
            // Without its body the conversation ends by itself.
            std::future::pending::<Infallible>().await
        });
        let mut is_told = false;
        loop {
            tokio::select! {
                () = &mut talk => return,
                never = &mut parts => match never {},
                why = &mut over => return lock(&self.telling).cut(why),
                () = &mut dawdles => {
                    let why = format!("it took longer than {:?} for its answer", self.server.taking);
                    return lock(&self.telling).cut(why);
                }
                () = &mut lasts, if !is_told => {
                    lock(&self.telling).lasts();
                    is_told = true;
                }
            }
        }
    }

    async fn answer(&self, mut request: Request<Incoming>) -> Response<Answered> {
        let done = match self.way {
            Way::Raw => {
                lock(&self.telling).allowed(raw::RULE);
                raw::forward(&self.server.engine_socket, &self.head, request).await
            }
            Way::Judged => {
                let judged = self.judge(&mut request).await;
                if judged.is_err() {
                    self.part(request.into_body());
                }
                judged
            }
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

    /// Has the rest of a body taken while its client is told why not.
    fn part(&self, body: Incoming) {
        drop(lock(&self.turn).take());
        *lock(&self.refused.0) = Some(body);
        self.refused.1.notify_one();
    }

    async fn judge(&self, request: &mut Request<Incoming>) -> Result<raw::Done, Refusal> {
        if let Principal::Hub(hub) = &self.principal
            && hub::is_one(&self.head.target)
        {
            let answered = self.answer_hub(hub, request).await;
            return answered.inspect_err(|refusal| lock(&self.telling).refused(refusal));
        }
        let client = self.head.upgrade.map(|to| (to, hyper::upgrade::on(&mut *request)));
        let mut is_pull = false;
        let judging = async {
            let call = judged::call(&self.principal, &self.head)?;
            is_pull = matches!(call, Call::ImagePull { .. });
            if let Call::ImageBuild(asked) = &call {
                return self.build(&call, asked, request.body_mut()).await;
            }
            if matches!(call.body(), BodyKind::Json { .. }) {
                self.take_turn().await;
            }
            let body = judged::body(&self.head, &call, request.body_mut()).await?;
            self.is_about(body.as_ref());
            Ok((self.server.judge(&self.principal, &call, body.as_ref()).await?, None))
        };
        let judged = judging.await.inspect_err(|refusal| lock(&self.telling).refused(refusal))?;
        let (errand, build) = judged;
        if errand.forward.answer == Answer::Shown(View::Events) {
            let turn = self.server.events.try_take(&self.principal).ok_or_else(too_many_events);
            let turn = turn.inspect_err(|refusal| lock(&self.telling).refused(refusal))?;
            lock(&self.lasting).push(turn);
        }
        if is_pull {
            self.take_pull().await;
        }
        {
            let mut telling = lock(&self.telling);
            telling.asks(errand.forward.method.as_str(), &errand.forward.target);
            telling.judged(&errand.forward.shown);
            telling.allowed("judged");
        }
        match errand.forward.answer.is_kept() {
            // What is read of the engine may be long; what it says of a change is not.
            true if errand.forward.method == Method::GET => self.take_turn().await,
            true => {}
            false => drop(lock(&self.turn).take()),
        }
        let is_kept = lock(&self.turn).is_some();
        let done = match build {
            Some(ready) => errand.build(ready).await,
            None => errand.run(client).await,
        };
        if is_kept {
            self.kept.notify_one();
        }
        done
    }

    /// What a hub asks of enforcer itself.
    async fn answer_hub(
        &self,
        hub: &HubName,
        request: &mut Request<Incoming>,
    ) -> Result<raw::Done, Refusal> {
        self.take_turn().await;
        let body = judged::json(&self.head, hub::MAX_BODY, request.body_mut()).await?;
        self.is_about(body.as_ref());
        let ask = ask::read(request.method(), &self.head.target, body.as_ref())?;
        // It may wait for a spawn, and keeps nothing meanwhile.
        drop(lock(&self.turn).take());
        lock(&self.telling).allowed("hub.own");
        Ok((answer::json(&self.server.answer_hub(hub, ask).await), None))
    }

    /// Notes whom a hub's body names.
    fn is_about(&self, body: Option<&Json>) {
        let (Principal::Hub(hub), Some(body)) = (&self.principal, body) else { return };
        let inventory = Arc::clone(&self.server.doorman.inventory.borrow());
        let mut said = about::body(hub, body, &inventory);
        if let Some(seat) = ask::seat_of_create(body) {
            let known = self.server.spawns.of(hub, &seat, Instant::now());
            let announced = known.and_then(|known| known.said?.client);
            said.client = announced.map(|address| address.to_string()).or(said.client);
        }
        lock(&self.telling).is_about(said);
    }

    /// Waits until less is in memory whole for this principal.
    async fn take_turn(&self) {
        let turn = self.server.whole.take(&self.principal).await;
        *lock(&self.turn) = turn;
    }

    /// Waits until less is pulled: by this principal, and by all users together.
    async fn take_pull(&self) {
        let own = self.server.pulls.take(&self.principal).await;
        let of_all = match self.principal {
            Principal::User(_) => Arc::clone(&self.server.pulling).acquire_owned().await.ok(),
            Principal::Hub(_) => None,
        };
        lock(&self.lasting).extend([own, of_all].into_iter().flatten());
    }

    /// A build is judged by its query first, and then by its context, which takes long to come.
    async fn build(
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

fn too_many_events() -> Refusal {
    Refusal {
        status: StatusCode::TOO_MANY_REQUESTS,
        rule: "events.many",
        message: "too many streams of events at once; end one first".to_owned(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
