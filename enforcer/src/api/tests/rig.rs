use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::{
    access::service::Access,
    api::{
        Asked, ControlSocket, Progress, Refusals,
        asked::{AllowanceAsked, Erase, GuestAsked, NetworkAsked, Step},
        roles::Roles,
        routes::{self, Api},
        serve::accept,
    },
    config::Config,
    guest::names::Seat,
    model::{
        allowance::AllowanceStatus,
        caller::Caller,
        declined::Declined,
        flows::{FlowStatus, FlowsReport},
        guest::{Executed, GuestDetail, GuestLogs, GuestStatus},
        limits::LimitsInForce,
        owned::OwnNetworkStatus,
        restraint::CutDone,
        status::{
            CounterStatus, EndpointStatus, Explained, ExplainedName, Health, HealthState,
            NameExplanation, NameQuestion, NetworkStatus, Opening, ProgramStatus, RestraintStatus,
            SinkStatus, StatusReport,
        },
    },
    policy::explain::{Explanation, Judged},
    run_dir::RunDir as Claimed,
};

/// A run directory of its own for each test.
pub(super) struct RunDir(pub(super) PathBuf);

impl RunDir {
    pub(super) fn new(name: &str) -> Self {
        let name = format!("enforcer-api-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("is made");
        Self(path)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let _missing = fs::remove_dir_all(&self.0);
    }
}

/// A daemon's API, with a supervisor that answers by rote.
pub(super) struct Server {
    dir: RunDir,
    pub(super) socket: Arc<ControlSocket>,
    pub(super) roles: watch::Sender<Roles>,
    refusals: Refusals,
    callers: Arc<Mutex<Vec<Caller>>>,
    serving: JoinHandle<()>,
    supervising: JoinHandle<()>,
    tending: JoinHandle<()>,
}

/// Longest wait for a head in tests, and so the least that a slow one gets.
pub(super) const HEAD: Duration = Duration::from_secs(2);

impl Server {
    pub(super) fn start(name: &str) -> Self {
        Self::with(name, routes::router)
    }

    pub(super) fn with(name: &str, router: impl FnOnce(Api) -> Router) -> Self {
        let dir = RunDir::new(name);
        let claimed = Claimed::claim(&dir.0).expect("claimed");
        let socket = Arc::new(ControlSocket::bind(claimed).expect("bound"));
        let own = Roles { admins: [own_uid()].into(), ..Roles::default() };
        let (roles, roles_out) = watch::channel(own);
        let (supervisor, asked) = mpsc::channel(8);
        let callers = Arc::default();
        let refusals = Refusals::default();
        let config = Config { state_dir: dir.0.join("state"), ..Config::default() };
        let (journal, _nobody) = mpsc::unbounded_channel();
        let access = Access::new(watch::channel(Arc::new(config)).1, journal);
        let tended = access.clone();
        let tending = tokio::spawn(async move { tended.tend().await });
        let api = Api { supervisor, roles: roles_out, access, refusals: refusals.clone() };
        let router = router(api);
        let listening = Arc::clone(&socket);
        let serving = tokio::spawn(async move { accept(&listening, &router, HEAD).await });
        let supervising = tokio::spawn(supervise(asked, Arc::clone(&callers)));
        Self { dir, socket, roles, refusals, callers, serving, supervising, tending }
    }

    /// The store of groups is open.
    pub(super) async fn ready(&mut self) {
        (&mut self.tending).await.expect("tended");
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir.0
    }

    pub(super) fn refused(&self) -> u64 {
        self.refusals.count()
    }

    /// Who wanted something changed.
    pub(super) fn callers(&self) -> Vec<Caller> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Nobody answers questions any more.
    pub(super) async fn forget_supervisor(&self) {
        self.supervising.abort();
        while !self.supervising.is_finished() {
            tokio::task::yield_now().await;
        }
    }

    /// The daemon is gone; its directory is not.
    pub(super) async fn end(self) -> RunDir {
        self.serving.abort();
        let _aborted = self.serving.await;
        drop(self.socket);
        self.dir
    }
}

pub(super) fn own_uid() -> u32 {
    // SAFETY: it always succeeds.
    unsafe { libc::geteuid() }
}

async fn supervise(mut asked: mpsc::Receiver<Asked>, callers: Arc<Mutex<Vec<Caller>>>) {
    let note = |by: Caller| callers.lock().unwrap_or_else(PoisonError::into_inner).push(by);
    while let Some(asked) = asked.recv().await {
        // Whoever asked may have gone.
        match asked {
            Asked::Status(reply) => drop(reply.send(status())),
            Asked::Reload(by, reply) => {
                note(by);
                drop(reply.send(Ok(())));
            }
            Asked::Guest(asked) => guest(*asked, &note),
            Asked::Network(asked) => network(*asked, &note),
            Asked::Stop(by, reply) => {
                note(by);
                let _ = reply.send(());
            }
            Asked::Pardon { guest, by, reply } => {
                note(by);
                drop(reply.send(match guest.as_str() {
                    "two" => Err(Declined::conflict("two may be any of a, b")),
                    "late" => Err(Declined::not_yet("begun")),
                    _ => Ok(vec![format!("{guest} is no longer cut off")]),
                }));
            }
            Asked::Cut(order, by, reply) => {
                note(by);
                drop(reply.send(Ok(CutDone {
                    container: order.guest,
                    container_id: "ab12".to_owned(),
                    until: "2999-01-01T00:00:00Z".to_owned(),
                    done: true,
                })));
            }
            Asked::Allowance(asked) => allowance(asked, &note),
            Asked::Explain(question, reply) => drop(reply.send(Ok(explained(question.from)))),
            Asked::ExplainName(asked, reply) => drop(reply.send(Ok(name_explained(asked)))),
            Asked::Access(reply) => drop(reply.send(Ok(super::access::sample()))),
            Asked::Flows(question, reply) => {
                let guest = question.guest.unwrap_or_default();
                drop(reply.send(match guest.as_str() {
                    "nobody" => Err(Declined::unknown("no guest is called nobody")),
                    _ => Ok(FlowsReport { flows: vec![flow(guest)], others: 0, whole: true }),
                }));
            }
            Asked::Erase(Erase { pseudonyms, progress, .. }, reply) => {
                if pseudonyms[0] == "vanish" {
                    continue;
                }
                let of = pseudonyms.len() as u64;
                for done in 1..=of {
                    progress.send(Progress { done, of, step: None }).await.expect("heard");
                }
                let full = pseudonyms[0] == "bad";
                let failed = || Declined::failed("the disk is full");
                drop(reply.send(if full { Err(failed()) } else { Ok(3 * of) }));
            }
        }
    }
}

/// What is open for a while: one thing.
fn allowance(question: AllowanceAsked, note: &impl Fn(Caller)) {
    let status = |container: String| AllowanceStatus {
        id: 7,
        container,
        container_id: "ab12".to_owned(),
        network: "a".to_owned(),
        to: [192, 0, 2, 9].into(),
        protocol: 6,
        port: 443,
        since: "2026-01-01T00:00:00Z".to_owned(),
        until: "2999-01-01T00:00:00Z".to_owned(),
        reason: "a lesson".to_owned(),
        by: "root".to_owned(),
    };
    match question {
        AllowanceAsked::Allow(order, by, reply) => {
            note(by);
            drop(reply.send(Ok(status(order.guest))));
        }
        AllowanceAsked::Revoke(_, by, reply) => {
            note(by);
            drop(reply.send(Ok(status("ann".to_owned()))));
        }
        AllowanceAsked::List(reply) => drop(reply.send(Ok(vec![status("ann".to_owned())]))),
    }
}

/// What own networks there are: one of whoever is asked for.
fn network(question: NetworkAsked, note: &impl Fn(Caller)) {
    let status = |hub: &str, user: &str, name: String| OwnNetworkStatus {
        hub: hub.to_owned(),
        user: user.to_owned(),
        name,
        ..OwnNetworkStatus::default()
    };
    // Whoever asked may have gone.
    match question {
        NetworkAsked::Create(user, name, by, reply) => {
            note(by);
            drop(reply.send(match name.as_str() {
                "full" => Err(Declined::conflict("all are in use")),
                _ => Ok(status(user.hub.as_str(), user.name.as_str(), name)),
            }));
        }
        NetworkAsked::Remove(_, _, by, reply) => {
            note(by);
            drop(reply.send(Ok(())));
        }
        NetworkAsked::List(hub, user, reply) => {
            let hub = hub.map_or("every hub".to_owned(), |hub| hub.to_string());
            let user = user.map_or("everybody".to_owned(), |user| user.to_string());
            drop(reply.send(Ok(vec![status(&hub, &user, "data".to_owned())])));
        }
    }
}

/// What guests there are: whoever is asked for. A word about each start.
fn guest(question: GuestAsked, note: &impl Fn(Caller)) {
    let status = |hub: &str, user: &str| GuestStatus {
        hub: hub.to_owned(),
        user: user.to_owned(),
        socket: "none".to_owned(),
        ..GuestStatus::default()
    };
    let of = |seat: &Seat| status(seat.user.hub.as_str(), seat.user.name.as_str());
    let word = Progress { done: 1, of: 2, step: Some(Step::Pull) };
    // Whoever asked may have gone.
    match question {
        GuestAsked::Start(order, asker, words, reply) => {
            note(asker.by);
            words.try_send(word).expect("heard");
            let mut started = status(asker.hub.as_str(), &order.user);
            // What the supervisor is told of who asks.
            started.image = if asker.is_admin { "an admin" } else { "a hub" }.to_owned();
            drop(reply.send(match order.image.as_str() {
                "full" => Err(Declined::conflict("there is no room")),
                _ => Ok(started),
            }));
        }
        GuestAsked::Restart(seat, asker, _, reply) => {
            note(asker.by);
            drop(reply.send(Ok(of(&seat))));
        }
        GuestAsked::Stop(seat, asker, reply) | GuestAsked::Remove(seat, asker, reply) => {
            note(asker.by);
            let is_nobody = seat.user.name.as_str() == "nobody";
            let unknown = || Declined::unknown("there is no guest");
            drop(reply.send(if is_nobody { Err(unknown()) } else { Ok(()) }));
        }
        GuestAsked::Exec(_, (command, _), _, reply) => {
            let stdout = command.join(" ");
            drop(reply.send(Ok(Executed { exit_code: Some(3), stdout, ..Executed::default() })));
        }
        GuestAsked::Reset(_, uses, _, reply) => {
            let names = uses.iter().map(|of| of.name().to_owned());
            drop(reply.send(Ok(names.collect())));
        }
        GuestAsked::List(hub, user, reply) => {
            let hub = hub.map_or_else(|| "every hub".to_owned(), |hub| hub.to_string());
            let user = user.map_or_else(|| "everybody".to_owned(), |user| user.to_string());
            drop(reply.send(Ok(vec![status(&hub, &user)])));
        }
        GuestAsked::Inspect(seat, reply) => {
            drop(reply.send(Ok(GuestDetail { guest: of(&seat), ..GuestDetail::default() })));
        }
        GuestAsked::Logs(seat, _, reply) => {
            let text = seat.described();
            drop(reply.send(Ok(GuestLogs { text, cut: false })));
        }
    }
}

fn status() -> StatusReport {
    let network = NetworkStatus { name: "lab".to_owned(), ..NetworkStatus::default() };
    StatusReport {
        version: "0.1.0".to_owned(),
        pid: 42,
        health: Health { state: HealthState::Degraded, reasons: vec!["no engine".to_owned()] },
        networks: vec![network],
        endpoints: vec![EndpointStatus::default()],
        programs: vec![ProgramStatus::default()],
        counters: vec![CounterStatus::default()],
        sinks: vec![SinkStatus::default()],
        restrained: vec![RestraintStatus::default()],
        dns: [("answered".to_owned(), 3)].into(),
        ..StatusReport::default()
    }
}

fn name_explained(asked: NameQuestion) -> ExplainedName {
    let opening = Opening { number: 3, name: "line 7".to_owned(), ports: "443/tcp".to_owned() };
    ExplainedName {
        guest: asked.from,
        container_id: None,
        network: "lab".to_owned(),
        policy: Some("lab/guest".to_owned()),
        explanation: NameExplanation {
            verdict: "allow".to_owned(),
            rule: Some(3),
            so: "rule 3".to_owned(),
            resolved: true,
            outcome: "answered".to_owned(),
            because: "rule 3 names it".to_owned(),
            opens: vec![opening],
            rules: Vec::new(),
        },
    }
}

fn explained(guest: String) -> Explained {
    let rule = Judged {
        number: 3,
        name: "line 7".to_owned(),
        action: "allow".to_owned(),
        applies: true,
        why: "it is".to_owned(),
    };
    Explained {
        guest,
        container_id: None,
        network: "lab".to_owned(),
        policy: Some("lab (guest)".to_owned()),
        is_held: true,
        limits: LimitsInForce::default(),
        explanation: Explanation {
            verdict: "allow".to_owned(),
            reason: None,
            would_deny: None,
            rule: Some(3),
            because: "rule 3".to_owned(),
            rules: vec![rule],
        },
    }
}

fn flow(guest: String) -> FlowStatus {
    FlowStatus {
        guest,
        endpoint: 7,
        network: "lab".to_owned(),
        user: None,
        opener: "guest".to_owned(),
        protocol: 6,
        local: [172, 30, 0, 5].into(),
        local_port: 40_000,
        remote: [192, 0, 2, 1].into(),
        remote_port: 443,
        state: "established".to_owned(),
        packets_out: 3,
        packets_in: 4,
        bytes_out: 300,
        bytes_in: 4_000_000_000_000,
        age_ms: 5,
        idle_ms: 0,
        rule: Some(3),
        rule_name: None,
        would_deny: None,
    }
}

/// Sends bytes, closes that half, and reads what comes.
pub(super) async fn talk(dir: &Path, request: &[u8]) -> String {
    let mut stream = connect(dir).await;
    // The server may hang up before it has read all of it.
    let _cut = stream.write_all(request).await;
    let _cut = stream.shutdown().await;
    read(&mut stream).await
}

pub(super) async fn connect(dir: &Path) -> UnixStream {
    UnixStream::connect(crate::api::path(dir)).await.expect("connected")
}

pub(super) async fn read(stream: &mut UnixStream) -> String {
    let mut answer = Vec::new();
    let _cut = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).expect("text")
}

/// What follows the head.
pub(super) fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

pub(super) fn json(answer: &str) -> Value {
    serde_json::from_str(body(answer)).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// Says the same to everybody.
pub(super) async fn answer_all(listener: UnixListener, text: &'static str) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut question = [0; 1024];
        let _read = stream.read(&mut question).await;
        let _written = stream.write_all(text.as_bytes()).await;
    }
}
