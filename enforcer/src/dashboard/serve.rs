//! HTTP/1 for the page and for what it shows: few connections at once, one answer each, and a time limit on all of it.

use std::{convert::Infallible, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Mutex,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::answer::{Asked, PAGE, headers, judge};
use crate::{
    api::client,
    audit::record::Record,
    metrics::Listener,
    model::flows::{FlowOrder, FlowsQuestion, MOST},
    sight::{Memory, Sight},
};

/// Connections at once; further ones wait in the kernel's queue.
const AT_ONCE: usize = 16;
/// Longest wait for the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// Longest that one conversation may take.
const LIMIT: Duration = Duration::from_mins(1);
/// Longest head of a request, bytes.
const MAX_HEAD: usize = 16 << 10;
/// The daemon is not asked again before this is over, however many look.
const FRESH: Duration = Duration::from_millis(900);
/// Flows that are sent.
const FLOWS: usize = 200;

/// What is heard of the stream.
#[derive(Debug)]
pub enum Heard {
    /// A record.
    Record(Box<Record>),
    /// Records are not told, and why; empty: they are.
    Deaf(String),
}

/// What the page shows.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    /// What is to be seen; null: the daemon cannot be asked.
    sight: Option<&'a Sight>,
    /// Why that is not all, or nothing.
    problems: Vec<&'a str>,
}

/// Asks the daemon for whoever looks.
#[derive(Debug)]
pub struct Desk {
    run_dir: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    memory: Memory,
    deaf: String,
    made: Option<(Instant, Bytes)>,
}

impl Desk {
    /// For the daemon of this directory.
    #[must_use]
    pub fn new(run_dir: PathBuf) -> Self {
        Self { run_dir, known: Mutex::default() }
    }

    /// Takes in what is heard.
    pub async fn hear(&self, heard: Heard) {
        let mut known = self.known.lock().await;
        match heard {
            Heard::Record(record) => known.memory.hear(&record),
            Heard::Deaf(why) => known.deaf = why,
        }
    }

    /// What is to be seen, not older than a moment; whoever comes meanwhile waits for the same.
    async fn sight(&self, begun: Instant) -> Bytes {
        let mut known = self.known.lock().await;
        if let Some((made, text)) = &known.made
            && made.elapsed() < FRESH
        {
            return text.clone();
        }
        let question = FlowsQuestion { guest: None, limit: MOST, order: FlowOrder::Bytes };
        let mut problems = vec![known.deaf.clone()];
        let sight = match client::status(&self.run_dir).await {
            Err(error) => {
                problems.insert(0, error.to_string());
                None
            }
            Ok(report) => {
                let flows = client::flows(&self.run_dir, &question).await.unwrap_or_else(|error| {
                    problems.insert(0, format!("flows are not known: {error}"));
                    crate::model::flows::FlowsReport::default()
                });
                let now = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
                let mut sight = known.memory.look(&report, &flows, now);
                let more = sight.flows.len().saturating_sub(FLOWS);
                sight.other_flows += u64::try_from(more).unwrap_or_default();
                sight.flows.truncate(FLOWS);
                Some(sight)
            }
        };
        let problems = problems.iter().map(String::as_str).filter(|why| !why.is_empty()).collect();
        let shown = Shown { sight: sight.as_ref(), problems };
        // Strings and numbers: that cannot fail.
        let text = Bytes::from(serde_json::to_vec(&shown).unwrap_or_default());
        known.made = Some((Instant::now(), text.clone()));
        text
    }
}

/// Serves the page until dropped.
pub async fn serve(listener: Listener, desk: Arc<Desk>) {
    let at = match &listener {
        Listener::Tcp(tcp) => tcp.local_addr().ok(),
        Listener::Unix(..) => None,
    };
    let begun = Instant::now();
    let mut connections = JoinSet::new();
    loop {
        if connections.len() >= AT_ONCE {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        let desk = Arc::clone(&desk);
        let accepted = match &listener {
            Listener::Tcp(tcp) => tcp.accept().await.map(|(stream, _)| {
                connections.spawn(converse(stream, at, desk, begun));
            }),
            Listener::Unix(unix, _) => unix.accept().await.map(|(stream, _)| {
                connections.spawn(converse(stream, at, desk, begun));
            }),
        };
        if let Err(error) = accepted {
            tracing::warn!(%error, "dashboard: connection not accepted");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    at: Option<SocketAddr>,
    desk: Arc<Desk>,
    begun: Instant,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, Infallible>(answer(request, at, &desk, begun).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false);
    // A client that goes away, dawdles or talks nonsense is its own problem.
    let _ended = timeout(LIMIT, http.serve_connection(TokioIo::new(stream), service)).await;
}

async fn answer(
    request: Request<Incoming>,
    at: Option<SocketAddr>,
    desk: &Desk,
    begun: Instant,
) -> Response<Full<Bytes>> {
    // Nobody reads a body: there is nothing to say but the head.
    let (head, _) = request.into_parts();
    let (status, kind, body) = match judge(&head, at) {
        Ok(Asked::Page) => (200, "text/html; charset=utf-8", Bytes::from_static(PAGE.as_bytes())),
        Ok(Asked::Sight) => (200, "application/json", desk.sight(begun).await),
        Err((status, why)) => {
            (status, "text/plain; charset=utf-8", Bytes::from_static(why.as_bytes()))
        }
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    response.headers_mut().extend(headers());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
