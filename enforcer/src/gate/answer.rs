//! What a client is answered: the engine's words as far as they are for it, or why not, in the engine's own shape.

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, UPGRADE},
};
use serde_json::{Value, json};

use super::{head::Upgrade, upstream::Answered, verdict::Refusal};

/// Headers of the engine's that a judged request's client gets.
const SHOWN: [&str; 5] =
    ["content-type", "api-version", "docker-experimental", "ostype", "sec-websocket-accept"];
/// Headers that are a connection's, and not a request's or an answer's.
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-connection",
];

/// A refusal.
pub(super) fn refusal(refusal: &Refusal) -> Response<Answered> {
    let text = json!({ "message": format!("enforcer: {refusal}") }).to_string();
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(text))));
    *response.status_mut() = refusal.status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The same as it goes over a connection with which nothing else is done.
pub(super) fn refusal_text(refusal: &Refusal) -> String {
    let body = json!({ "message": format!("enforcer: {refusal}") }).to_string();
    format!(
        "HTTP/1.1 {}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        refusal.status,
        body.len()
    )
}

/// An answer of our own.
pub(super) fn json(value: &Value) -> Response<Answered> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(value.to_string()))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// What of an answer's headers goes on where the request was judged.
pub(super) fn shown(headers: &HeaderMap) -> HeaderMap {
    only(headers, |name| SHOWN.contains(&name.as_str()))
}

/// What goes on where nothing is judged: all but what is this connection's.
pub(super) fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    only(headers, |name| !HOP_BY_HOP.contains(&name.as_str()))
}

/// Says that a connection becomes a stream.
pub(super) fn upgraded(headers: &mut HeaderMap, to: Upgrade) {
    let name = match to {
        Upgrade::Tcp => "tcp",
        Upgrade::WebSocket(_) => "websocket",
    };
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(name));
}

fn only(headers: &HeaderMap, goes_on: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let kept = headers.iter().filter(|(name, _)| goes_on(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The engine did what is not understood.
pub(super) fn odd(rule: &'static str, message: &str) -> Refusal {
    Refusal { status: StatusCode::BAD_GATEWAY, rule, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s10_headers_of_a_connection_go_no_further() {
        let names = ["Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "Host", "Expect"];
        let all = names.into_iter().chain(["Content-Type", "X-Registry-Auth", "Server"]);
        let pair = |name: &str| {
            (
                HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                HeaderValue::from_static("x"),
            )
        };
        let headers: HeaderMap = all.map(pair).collect();
        let left = |headers: HeaderMap| {
            let mut names: Vec<_> = headers.keys().map(ToString::to_string).collect();
            names.sort_unstable();
            names.join(" ")
        };
        assert_eq!(left(end_to_end(&headers)), "content-type server x-registry-auth");
        assert_eq!(left(shown(&headers)), "content-type");
    }
}
