//! HTTP/1.1 to the collector: one request at a time, each with a limit of time. The connection is
//! kept, and is served by a thread of its own.

use std::{fmt, io, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, Uri,
    header::{CONTENT_TYPE, HeaderValue, USER_AGENT},
};
use hyper_util::{
    client::legacy::{Client as Pool, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};

use super::answer::Reply;
use crate::causes::causes;

/// What requests are written in.
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
/// Who asks.
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("enforcer/", env!("CARGO_PKG_VERSION")));
/// Longest answer that is read, bytes.
const MAX_ANSWER: usize = 64 << 10;
/// How long a connection is kept that nobody uses: shorter than collectors keep theirs.
const IDLE: Duration = Duration::from_secs(20);

/// See the module.
pub(super) struct Client {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    pool: Pool<HttpConnector, Full<Bytes>>,
    endpoint: Uri,
    limit: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(endpoint: Uri, limit: Duration) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("sink-otlp-http")
            .enable_all()
            .build()?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(limit));
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            .build(connector);
        Ok(Self { runtime: Some(runtime), pool, endpoint, limit })
    }

    /// Posts it and waits for the whole answer; the error is for people.
    pub(super) fn post(&self, headers: HeaderMap, body: Bytes) -> Result<Reply, String> {
        let Some(runtime) = &self.runtime else { return Err("it is over".to_owned()) };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        *request.headers_mut() = headers;
        request.headers_mut().insert(CONTENT_TYPE, PROTOBUF);
        request.headers_mut().insert(USER_AGENT, AGENT);
        let conversation = async {
            let sent = self.pool.request(request).await;
            let (head, body) = sent.map_err(|error| causes(&error))?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|error| causes(&*error))?.to_bytes();
            Ok(Reply { status: head.status, headers: head.headers, body })
        };
        let late = || format!("no answer within {:?}", self.limit);
        let answer = runtime.block_on(async { timeout(self.limit, conversation).await });
        answer.unwrap_or_else(|_| Err(late())).map_err(|why| format!("{}: {why}", self.endpoint))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // A name that is being looked up is not waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
