//! The way to the engine: each request has a connection of its own, so that no byte of one can be taken for another's.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1,
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::UnixStream,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{answer, verdict::Refusal};

/// Longest wait for the engine to take a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest wait for a value that the gate itself asks for.
const VALUE: Duration = Duration::from_secs(30);
/// Longest such value, bytes.
const MAX_VALUE: usize = 16 << 20;
/// Longest line of a stream of which only some goes on, bytes.
const MAX_LINE: usize = 1 << 20;
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

impl Line {
    /// Keeps something as long as the connection, and the connection for so long at most.
    pub(super) fn keeping(self, kept: impl Send + 'static, longest: Duration) -> Self {
        Self(tokio::spawn(async move {
            let _kept = (self, kept);
            sleep(longest).await;
        }))
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
    lines: Option<Lines>,
    last: Option<Last>,
    is_over: bool,
}

/// What is done when a body has come to its end, before that is told.
struct Last(Pin<Box<dyn Future<Output = ()> + Send>>);

impl fmt::Debug for Last {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Last").finish_non_exhaustive()
    }
}

/// What goes on of a line; `None`: nothing.
pub(super) type Reduce = Box<dyn FnMut(&[u8]) -> Option<Vec<u8>> + Send>;

/// A body that goes on line by line, each reduced.
struct Lines {
    begun: BytesMut,
    reduce: Reduce,
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("begun", &self.begun.len()).finish_non_exhaustive()
    }
}

impl Lines {
    /// What goes on of these bytes and those before them.
    fn take(&mut self, bytes: &[u8]) -> Result<Bytes, RelayError> {
        self.begun.extend_from_slice(bytes);
        let mut out = BytesMut::new();
        while let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') {
            let line = self.begun.split_to(end + 1);
            if let Some(reduced) = (self.reduce)(&line) {
                out.extend_from_slice(&reduced);
            }
        }
        if self.begun.len() > MAX_LINE { Err(RelayError::Long) } else { Ok(out.freeze()) }
    }
}

impl Relayed {
    /// From a client.
    pub(super) const fn from_client(body: Incoming) -> Self {
        Self { body, _line: None, lines: None, last: None, is_over: false }
    }

    /// From the engine, over this connection.
    pub(super) const fn from_engine(body: Incoming, line: Line) -> Self {
        Self { body, _line: Some(line), lines: None, last: None, is_over: false }
    }

    /// From the engine, line by line.
    pub(super) fn lines(body: Incoming, line: Line, reduce: Reduce) -> Self {
        let lines = Lines { begun: BytesMut::new(), reduce };
        Self { body, _line: Some(line), lines: Some(lines), last: None, is_over: false }
    }

    /// Has this done at its end, if it comes to it.
    pub(super) fn then(mut self, last: impl Future<Output = ()> + Send + 'static) -> Self {
        self.last = Some(Last(Box::pin(last)));
        self
    }
}

/// What stands after a chunked body could be taken for headers.
#[derive(Debug, thiserror::Error)]
pub(super) enum RelayError {
    /// A body with trailers.
    #[error("there are trailers after the body")]
    Trailers,
    /// A line that does not end.
    #[error("a line of the stream is too long")]
    Long,
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
        let this = &mut *self;
        loop {
            let frame =
                if this.is_over { None } else { ready!(Pin::new(&mut this.body).poll_frame(cx)) };
            let Some(frame) = frame else {
                this.is_over = true;
                if let Some(last) = &mut this.last {
                    ready!(last.0.as_mut().poll(cx));
                    this.last = None;
                }
                return Poll::Ready(None);
            };
            let data = match frame.map(Frame::into_data) {
                Ok(Ok(data)) => data,
                Ok(Err(_trailers)) => return Poll::Ready(Some(Err(RelayError::Trailers))),
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            };
            let data = match &mut this.lines {
                None => data,
                Some(lines) => match lines.take(&data) {
                    // Nothing of it is for this client.
                    Ok(reduced) if reduced.is_empty() => continue,
                    Ok(reduced) => reduced,
                    Err(error) => return Poll::Ready(Some(Err(error))),
                },
            };
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.last.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.lines.is_some() || self.last.is_some() {
            SizeHint::default()
        } else {
            self.body.size_hint()
        }
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

/// A JSON value that the gate itself asks for.
pub(super) async fn value(socket: &Path, api: &str, path: &str) -> Result<Value, Refusal> {
    let request = Request::get(format!("/v{api}{path}")).body(Either::Left(Full::default()));
    let request = request.map_err(|_error| odd_answer())?;
    let asking = async {
        let (response, _line) = ask(socket, request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_VALUE).collect().await;
        let body = body.map_err(|_error| odd_answer())?.to_bytes();
        if !status.is_success() {
            return Err(odd_answer());
        }
        serde_json::from_slice(&body).map_err(|_error| odd_answer())
    };
    timeout(VALUE, asking).await.map_err(|_late| odd_answer())?
}

fn odd_answer() -> Refusal {
    answer::odd("engine.answer", "the engine does not say what there is")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s12_lines_are_reduced_wherever_they_are_cut() {
        let text = b"one\nsecret\ntwo\n\nthree";
        for size in 1..=text.len() {
            let reduce = |line: &[u8]| (line != b"secret\n").then(|| line.to_ascii_uppercase());
            let mut lines = Lines { begun: BytesMut::new(), reduce: Box::new(reduce) };
            let mut out = Vec::new();
            for part in text.chunks(size) {
                out.extend_from_slice(&lines.take(part).expect("short"));
            }
            assert_eq!(out, b"ONE\nTWO\n\n", "{size}");
        }
        let mut lines =
            Lines { begun: BytesMut::new(), reduce: Box::new(|line| Some(line.into())) };
        assert!(matches!(lines.take(&vec![b'x'; MAX_LINE + 1]), Err(RelayError::Long)));
    }
}
