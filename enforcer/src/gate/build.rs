//! A build by the engine's older builder (issue 7): `spool -> context -> dockerfile -> bases -> send`. The context is read
//! whole before the engine hears of it, and what goes on is written anew, so that what was judged is what is built (S2).
//! The Dockerfile that goes on is ours, under a name of ours.

mod context;
mod dockerfile;
mod lines;
mod spool;
#[cfg(test)]
mod tests;
mod words;

use std::{
    collections::BTreeMap,
    fmt::Display,
    fs::File,
    io::{Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Incoming},
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue},
};
use serde_json::Value;

use self::{context::Rewritten, dockerfile::Dockerfile};
use super::{
    answer,
    body::{Context, who},
    call::build::Build,
    image, names,
    principal::Principal,
    upstream::{self, Line},
    verdict::{Forward, Refusal},
};

/// Builds of all principals at a time.
const MOST: usize = 4;
/// The same with those whose context is still coming: each takes twice its context of disk.
const MOST_COMING: usize = 16;
/// Longest build, the coming of its context apart.
const LONGEST: Duration = Duration::from_mins(30);
/// The label that each stage begins with.
const LABEL: &str = "enforcer.build";
/// Longest answer about an image, bytes.
const MAX_IMAGE: usize = 1 << 20;

/// Builds on their way.
#[derive(Debug)]
pub(super) struct Builds {
    /// Where contexts are kept, in files without a name.
    dir: PathBuf,
    /// Whose, and whether it is past the coming of its context.
    running: Mutex<BTreeMap<Principal, bool>>,
}

/// One of them; it is over with this.
#[derive(Debug)]
struct Turn(Arc<Builds>, Principal);

impl Turn {
    /// The context has come: from here on it takes its part of the host.
    fn work(&mut self) -> Result<(), Refusal> {
        let mut running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.values().filter(|is_at_work| **is_at_work).count() >= MOST {
            let message = "too many builds are on their way on this host; try again";
            return busy(StatusCode::SERVICE_UNAVAILABLE, message);
        }
        running.insert(self.1.clone(), true);
        Ok(())
    }
}

fn busy<T>(status: StatusCode, message: &str) -> Result<T, Refusal> {
    Err(Refusal { status, rule: "build.busy", message: message.to_owned() })
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

impl Builds {
    /// Keeps contexts in this directory, which nobody else can look into.
    pub(super) const fn new(dir: PathBuf) -> Self {
        Self { dir, running: Mutex::new(BTreeMap::new()) }
    }

    fn begin(self: &Arc<Self>, principal: &Principal) -> Result<Turn, Refusal> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.contains_key(principal) {
            let message = "a build of yours is on its way; wait for its end";
            return busy(StatusCode::TOO_MANY_REQUESTS, message);
        }
        if running.len() >= MOST_COMING {
            let message = "too many builds are on their way on this host; try again";
            return busy(StatusCode::SERVICE_UNAVAILABLE, message);
        }
        running.insert(principal.clone(), false);
        Ok(Turn(Arc::clone(self), principal.clone()))
    }
}

/// A build that was judged, with its context.
#[derive(Debug)]
pub(super) struct Ready {
    context: File,
    /// Bytes of it.
    length: u64,
    /// What it is made from: ids by the names that the Dockerfile has.
    pub(super) images: BTreeMap<String, String>,
    turn: Turn,
}

/// Reads the context of a build that a client sends as `body`, and judges its Dockerfile.
pub(super) async fn prepare<B>(
    builds: &Arc<Builds>,
    engine: (&Path, &str),
    context: &Context<'_>,
    asked: &Build,
    body: &mut B,
) -> Result<Ready, Refusal>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let limit = context.rules.build_context;
    if limit == 0 {
        let message = "the operator of this host lets nothing be built; pull an image";
        return Err(Refusal::forbidden("build.off", message));
    }
    let mut turn = builds.begin(context.principal)?;
    let spooled = spool::from_client(&builds.dir, body, limit).await?;
    let (dir, wanted) = (builds.dir.clone(), asked.dockerfile.clone());
    // A client that dawdles keeps nobody else from building.
    turn.work()?;
    // Who has gone away keeps the turn as long as there is work for it.
    let rewritten = off_thread(move || {
        let written = spool::nameless(&dir).map_err(|error| spool::failed(&error))?;
        Ok((context::rewrite(spooled, written, &wanted, limit)?, turn))
    });
    let (rewritten, turn) = rewritten.await?;
    let dockerfile = Dockerfile::read(&rewritten.dockerfile, &asked.arguments, &|key| {
        who::not_own(key, context)
    })?;
    let images = bases(engine, context, &dockerfile).await?;
    let text = dockerfile.write(&images, &owner(context.principal)).ok_or_else(|| {
        answer::odd("build.base", "the gate lost an image that the build is made from")
    })?;
    let finished = off_thread(move || Ok((finish(rewritten, &text)?, turn))).await?;
    let ((context, length), turn) = finished;
    Ok(Ready { context, length, images, turn })
}

impl Ready {
    /// Has the engine build it. When the answer is dropped, or takes too long, the engine gives up.
    pub(super) async fn send(
        self,
        (engine, api): (&Path, &str),
        forward: &Forward,
    ) -> Result<(Response<Incoming>, Line), Refusal> {
        let request = Request::post(format!("/v{api}{}", forward.target))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-tar"))
            .header(CONTENT_LENGTH, HeaderValue::from(self.length))
            .body(spool::to_engine(self.context));
        let wrong = |_error| answer::odd("gate.target", "the gate made a request that is none");
        let (response, line) = upstream::ask_with(engine, request.map_err(wrong)?).await?;
        Ok((response, line.keeping(self.turn, LONGEST)))
    }
}

fn finish(rewritten: Rewritten<File>, dockerfile: &str) -> Result<(File, u64), Refusal> {
    let finish = || {
        let mut file = rewritten.finish(dockerfile)?;
        let length = file.stream_position()?;
        file.seek(SeekFrom::Start(0))?;
        Ok((file, length))
    };
    finish().map_err(|error: std::io::Error| spool::failed(&error))
}

/// Work on files, which keeps no other request waiting.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let worked = tokio::task::spawn_blocking(work).await;
    worked.unwrap_or_else(|_panicked| {
        Err(answer::odd("build.broken", "the gate failed while it read the context"))
    })
}

/// What the cache of steps is told apart by. Not the label by which a container's user is known: what a container has
/// of its image says nothing about it (A2).
fn owner(principal: &Principal) -> (&'static str, String) {
    (LABEL, names::mark(principal))
}

/// The ids of the images that it is made from. The engine pulls none of them by itself: which image a name means is
/// asked here, once, and an image that has instructions for builds of others is refused, for they are not judged.
async fn bases(
    engine: (&Path, &str),
    context: &Context<'_>,
    dockerfile: &Dockerfile,
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut ids = BTreeMap::new();
    for called in dockerfile.images() {
        let usable = image::usable(called, context.rules, context.facts, false);
        let Some(usable) = usable else {
            let message = format!(
                "the build is made from {called:?}, which is neither your own nor among the images \
                 that may be used: {:?}",
                context.rules.images
            );
            return Err(Refusal::forbidden("build.base", message));
        };
        ids.insert(called.to_owned(), base(engine, &usable).await?);
    }
    Ok(ids)
}

async fn base((engine, api): (&Path, &str), name: &str) -> Result<String, Refusal> {
    let wrong = |_error| answer::odd("gate.target", "the gate made a request that is none");
    let request = Request::get(format!("/v{api}/images/{name}/json"));
    let request = request.body(Full::<Bytes>::default()).map_err(wrong)?;
    let (response, _line) = upstream::ask_with(engine, request).await?;
    let status = response.status();
    let odd =
        || answer::odd("engine.answer", "the engine's answer about an image is not understood");
    let read = Limited::new(response.into_body(), MAX_IMAGE).collect().await;
    let answer: Value =
        serde_json::from_slice(&read.map_err(|_long| odd())?.to_bytes()).map_err(|_error| odd())?;
    match status {
        StatusCode::OK => check(name, &answer)?.ok_or_else(odd),
        StatusCode::NOT_FOUND => Err(Refusal {
            status: StatusCode::NOT_FOUND,
            rule: "build.base-missing",
            message: format!(
                "{name} is not on this host, and a build pulls nothing: use docker pull {name} before it"
            ),
        }),
        _ => Err(odd()),
    }
}

/// The id of an image that a build may be made from.
fn check(name: &str, answer: &Value) -> Result<Option<String>, Refusal> {
    let later = &answer["Config"]["OnBuild"];
    if !(later.is_null() || later.as_array().is_some_and(Vec::is_empty)) {
        let message = format!("{name} has ONBUILD instructions, which are judged by nobody");
        return Err(Refusal::forbidden("build.on-build", message));
    }
    let hex = answer["Id"].as_str().and_then(|id| id.strip_prefix("sha256:"));
    let hex = hex.filter(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    Ok(hex.map(|hex| format!("sha256:{hex}")))
}

/// A line of a Dockerfile that is not taken.
fn wrong(line: usize, why: impl Display) -> Refusal {
    Refusal::forbidden("build.dockerfile", format!("the Dockerfile, line {line}: {why}"))
}
