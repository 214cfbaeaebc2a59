//! The way to the engine: each request has a connection of its own, so that no byte of one can be taken for another's.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1,
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::UnixStream,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::verdict::Refusal;

/// Longest wait for the engine to take a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// What the engine is called by whoever asks it.
const NAME: &str = "docker";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpstreamError {
    /// Nobody takes a connection.
    #[error("the engine does not answer at {}: {source}", path.display())]
    Connect { path: PathBuf, source: io::Error },
    /// It does not say anything that is HTTP, or the client went away.
    #[error("the engine did not answer: {0}")]
    Ask(#[from] hyper::Error),
}

impl From<UpstreamError> for Refusal {
    fn from(error: UpstreamError) -> Self {
        let (status, rule) = match error {
            UpstreamError::Connect { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "engine.unreachable")
            }
            UpstreamError::Ask(_) => (StatusCode::BAD_GATEWAY, "engine.no-answer"),
        };
        Self { status, rule, message: error.to_string() }
    }
}

/// A connection, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Line(JoinHandle<()>);

impl Drop for Line {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A body for the engine: whole, or a client's as it comes.
pub(super) type Sent = Either<Full<Bytes>, Relayed>;
/// A body for a client: whole, or the engine's as it comes.
pub(super) type Answered = Either<Full<Bytes>, Relayed>;

/// A body on its way from one side to the other, without trailers.
#[derive(Debug)]
pub(super) struct Relayed {
    body: Incoming,
    /// Kept as long as its body is read.
    _line: Option<Line>,
}

impl Relayed {
    /// From a client.
    pub(super) const fn from_client(body: Incoming) -> Self {
        Self { body, _line: None }
    }

    /// From the engine, over this connection.
    pub(super) const fn from_engine(body: Incoming, line: Line) -> Self {
        Self { body, _line: Some(line) }
    }
}

/// What stands after a chunked body could be taken for headers.
#[derive(Debug, thiserror::Error)]
pub(super) enum RelayError {
    /// A body with trailers.
    #[error("there are trailers after the body")]
    Trailers,
    /// The side that sends it failed.
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

impl Body for Relayed {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        polled.map(|frame| match frame? {
            Ok(frame) if frame.is_data() => Some(Ok(frame)),
            Ok(_) => Some(Err(RelayError::Trailers)),
            Err(error) => Some(Err(error.into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Line {
    /// Keeps something as long as the connection, and the connection for so long at most.
    pub(super) fn keeping(self, kept: impl Send + 'static, longest: Duration) -> Self {
        Self(tokio::spawn(async move {
            let _kept = (self, kept);
            sleep(longest).await;
        }))
    }
}

/// Asks the engine, over a new connection.
pub(super) async fn ask(
    socket: &Path,
    request: Request<Sent>,
) -> Result<(Response<Incoming>, Line), UpstreamError> {
    ask_with(socket, request).await
}

/// The same with a body of any kind.
pub(super) async fn ask_with<B>(
    socket: &Path,
    mut request: Request<B>,
) -> Result<(Response<Incoming>, Line), UpstreamError>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let failed = |source| UpstreamError::Connect { path: socket.to_owned(), source };
    let connecting = timeout(CONNECT, UnixStream::connect(socket)).await;
    let late = || io::Error::from(io::ErrorKind::TimedOut);
    let stream = connecting.map_err(|_late| failed(late()))?.map_err(failed)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let line = Line(tokio::spawn(async move {
        // What goes wrong is told to whoever waits for the answer.
        let _ = connection.with_upgrades().await;
    }));
    request.headers_mut().insert(HOST, HeaderValue::from_static(NAME));
    let response = sender.send_request(request).await?;
    Ok((response, line))
}
