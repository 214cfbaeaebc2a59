//! Accepts connections, gives them places and time, and hands what they ask to the calls.

use std::time::Duration;

use axum::{Router, body::Body};
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::AsyncWriteExt as _,
    net::UnixStream,
    time::{sleep, sleep_until, timeout},
};

use super::{
    error::{ApiError, Code, Failure},
    identity::{self, Identity},
    ndjson::Patience,
    routes::{self, Api},
    socket::ControlSocket,
};
use crate::{
    places::Bounds,
    seats::{Seat, Seats},
};

/// Connections at once of one user.
pub(super) const EACH: usize = 16;
/// Connections at once; root has places besides those of all.
const PLACES: Bounds = Bounds { each: EACH, own: 0, all: 64, most: 64 + EACH, apart: Some(0) };
/// Longest wait for the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// Longest that a connection may last, but for one that takes an answer in lines.
const LIMIT: Duration = Duration::from_secs(45);
/// Longest head of a request, bytes.
const MAX_HEAD: usize = 16 << 10;
/// Longest wait until somebody without a place has taken the word of it.
const PARTING: Duration = Duration::from_millis(100);

/// Answers calls until dropped.
pub async fn serve(socket: &ControlSocket, api: Api) {
    accept(socket, &routes::router(api), HEAD).await;
}

pub(super) async fn accept(socket: &ControlSocket, router: &Router, head: Duration) {
    let places = Seats::new(PLACES);
    loop {
        let accepted = socket.listener.accept().await;
        let found = accepted.and_then(|(stream, _)| Ok((identity::uid(&stream)?, stream)));
        let (uid, stream) = match found {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "control socket: connection not accepted");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        match places.take(uid) {
            Some(seat) => drop(tokio::spawn(attend(stream, router.clone(), seat, head))),
            None => drop(tokio::spawn(turn_away(stream))),
        }
    }
}

async fn attend(stream: UnixStream, router: Router, seat: Seat, head: Duration) {
    let identity = match identity::identify(&stream).await {
        Ok(identity) => identity,
        Err(error) => {
            tracing::debug!(%error, "control socket: somebody left before they were known");
            return;
        }
    };
    let (patience, mut until) = Patience::new(LIMIT);
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request: Request<Incoming>| {
        seat.asked();
        router.call(known(request, &identity, &patience))
    });
    let mut http = http1::Builder::new();
    // One answer a connection: identity, place and time are a connection's. Who has said everything may
    // close their half of it.
    http.timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .half_close(true);
    // A client that goes away, dawdles or talks nonsense is its own problem.
    let mut conversation = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    loop {
        let end = *until.borrow_and_update();
        tokio::select! {
            _ended = &mut conversation => return,
            () = seat.given_up() => return,
            () = sleep_until(end) => {}
        }
        if *until.borrow() <= end {
            return;
        }
    }
}

/// A request that bears who sends it.
fn known(request: Request<Incoming>, identity: &Identity, patience: &Patience) -> Request<Body> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(identity.clone());
    request.extensions_mut().insert(patience.clone());
    request
}

/// Tells somebody that there is no place for them.
async fn turn_away(mut stream: UnixStream) {
    let error = ApiError::new(Code::Unavailable, "your user has too many connections");
    let body = serde_json::to_string(&Failure { error }).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // They may have gone, or take nothing.
    let _ = timeout(PARTING, stream.write_all(answer.as_bytes())).await;
}
