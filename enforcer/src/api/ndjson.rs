//! Answers of calls that take their time: `application/x-ndjson`, a line for each word about how far it is,
//! and a last one with the outcome. A word is repeated while nothing else happens, so that both ends know
//! that the other lives.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, interval_at},
};

use super::{asked::Progress, error::ApiError};

/// What such an answer is.
pub(super) const KIND: &str = "application/x-ndjson";
/// How often a word is repeated.
const AGAIN: Duration = Duration::from_secs(5);
/// How long a client may take nothing.
const STUCK: Duration = Duration::from_secs(30);
/// Lines that wait for a client.
const LINES: usize = 2;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "{T}Line"))]
#[serde(rename_all = "snake_case")]
pub(super) enum Line<T> {
    /// How far it is.
    Progress(Progress),
    /// The last line: it is done.
    Done(T),
    /// The last line: it is not.
    Error(ApiError),
}

/// Until when a connection may last. Whoever takes lines gets more time.
#[derive(Clone, Debug)]
pub(super) struct Patience(watch::Sender<Instant>);

impl Patience {
    /// A connection that may last so long.
    pub(super) fn new(limit: Duration) -> (Self, watch::Receiver<Instant>) {
        let (sender, receiver) = watch::channel(Instant::now() + limit);
        (Self(sender), receiver)
    }

    fn extend(&self) {
        let until = Instant::now() + STUCK;
        self.0.send_modify(|end| *end = until.max(*end));
    }
}

/// Answers with words and then an outcome. The work goes on where it is done if nobody listens any more.
pub(super) fn respond<T: Serialize + Send + 'static>(
    words: mpsc::Receiver<Progress>,
    outcome: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    patience: Patience,
) -> Response {
    let (lines, written) = mpsc::channel(LINES);
    tokio::spawn(tell(words, outcome, lines, patience));
    let body = stream::unfold(written, |mut written| async {
        let line: Bytes = written.recv().await?;
        Some((Ok::<_, Infallible>(line), written))
    });
    let mut response = Body::from_stream(body).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(KIND));
    response
}

async fn tell<T: Serialize>(
    mut words: mpsc::Receiver<Progress>,
    outcome: impl Future<Output = Result<T, ApiError>>,
    lines: mpsc::Sender<Bytes>,
    patience: Patience,
) {
    let mut outcome = std::pin::pin!(outcome);
    let mut again = interval_at(Instant::now() + AGAIN, AGAIN);
    let mut latest = None;
    loop {
        let line = tokio::select! {
            // What was said before the end is told before it.
            biased;
            Some(word) = words.recv() => {
                latest = Some(word);
                Line::Progress(word)
            }
            ended = &mut outcome => ended.map_or_else(Line::Error, Line::Done),
            _ = again.tick() => Line::Progress(latest.unwrap_or(Progress::default())),
        };
        let is_last = !matches!(line, Line::Progress(_));
        // A client that has gone, or takes nothing until its time is over, is told nothing.
        if lines.send(text(&line)).await.is_err() || is_last {
            patience.extend();
            return;
        }
        patience.extend();
    }
}

fn text<T: Serialize>(line: &Line<T>) -> Bytes {
    // Numbers and texts: nothing that JSON lacks.
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text.into()
}
