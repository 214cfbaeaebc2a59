//! The filtered grant and hubs: a request is judged, and what goes on is made of the verdict. Here the judge, with what
//! it has to know, is asked, and what it allows is done.

use std::{path::Path, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde_json::Value;
use tokio::time::timeout;

use super::{
    answer,
    head::Head,
    principal::Principal,
    raw::{self, Done},
    upstream,
    verdict::{Answer, Forward, Refusal, Verdict},
};

/// Longest body of a request that is judged, bytes.
const MAX_BODY: usize = 256 << 10;
/// Longest answer that is read whole, bytes.
const MAX_ANSWER: usize = 4 << 20;
/// Longest wait for the rest of a body.
const BODY: Duration = Duration::from_secs(30);

/// Judges a request. This is where the judge of all calls comes in; until then there is `_ping`.
pub(super) fn decide(_principal: &Principal, head: &Head, _body: &Bytes) -> Verdict {
    let path = head.target.strip_prefix("/v1.").map_or(head.target.as_str(), |versioned| {
        versioned.trim_start_matches(|digit: char| digit.is_ascii_digit())
    });
    if path != "/_ping" || !matches!(&*head.method, "GET" | "HEAD") {
        return Verdict::Deny(Refusal {
            status: StatusCode::FORBIDDEN,
            rule: "call.not-yet",
            message: "the gate does not judge this call yet: a filtered socket answers _ping only"
                .to_owned(),
        });
    }
    Verdict::Allow(Box::new(Forward {
        method: if head.method == "HEAD" { Method::HEAD } else { Method::GET },
        target: "/_ping".to_owned(),
        body: None,
        answer: Answer::Whole,
        effects: Vec::new(),
        shown: Value::Null,
    }))
}

/// Reads the body of a request that is to be judged: bounded, in time, without trailers, and what it says it is.
pub(super) async fn body(head: &Head, body: Incoming) -> Result<Bytes, Refusal> {
    let refusal =
        |status, rule, message: &str| Refusal { status, rule, message: message.to_owned() };
    if head.is_encoded {
        let message = "the body is compressed; send it as it is";
        return Err(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "body.encoding", message));
    }
    let most = format!("the body is longer than {MAX_BODY} bytes");
    let too_long = || refusal(StatusCode::PAYLOAD_TOO_LARGE, "body.long", &most);
    if let super::head::Length::Sized(length) = head.length
        && usize::try_from(length).map_or(true, |length| length > MAX_BODY)
    {
        return Err(too_long());
    }
    let reading = async {
        let (mut read, mut body) = (BytesMut::new(), body);
        while let Some(frame) = body.frame().await {
            let broken = |_error| {
                refusal(StatusCode::BAD_REQUEST, "body.broken", "the body is not what it says")
            };
            let data = frame.map_err(broken)?.into_data().map_err(|_trailers| {
                refusal(
                    StatusCode::BAD_REQUEST,
                    "body.trailers",
                    "there are trailers after the body",
                )
            })?;
            if read.len().saturating_add(data.len()) > MAX_BODY {
                return Err(too_long());
            }
            read.extend_from_slice(&data);
        }
        Ok(read.freeze())
    };
    let slow = refusal(StatusCode::REQUEST_TIMEOUT, "body.slow", "the body did not come in time");
    timeout(BODY, reading).await.unwrap_or(Err(slow))
}

/// Does what was allowed, in the version `api` of the engine's API.
pub(super) async fn forward(
    (engine, api): (&Path, &str),
    head: &Head,
    forward: Forward,
    client: hyper::upgrade::OnUpgrade,
) -> Result<Done, Refusal> {
    let mut request = Request::builder().method(forward.method);
    request = request.uri(format!("/v{api}{}", forward.target));
    let body = forward.body.map(|body| body.to_string());
    let has_body = body.is_some();
    let body = Either::Left(Full::new(Bytes::from(body.unwrap_or_default())));
    let wrong = |_error| answer::odd("gate.target", "the gate made a request that is none");
    let mut request = request.body(body).map_err(wrong)?;
    if has_body {
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
    }
    let client = head.upgrade.filter(|_| forward.answer == Answer::Hijack).map(|to| (to, client));
    if client.is_some() {
        answer::upgraded(request.headers_mut(), "tcp");
    }
    if matches!(forward.answer, Answer::Shown(_)) {
        return Err(answer::odd("answer.not-yet", "the gate does not reduce this answer yet"));
    }
    let (response, line) = upstream::ask(engine, request).await?;
    if forward.answer != Answer::Whole {
        return raw::relay(response, line, client, answer::shown);
    }
    let (parts, body) = response.into_parts();
    let read = http_body_util::Limited::new(body, MAX_ANSWER).collect().await;
    let long = |_error| answer::odd("engine.answer", "the engine's answer is too long, or broken");
    let mut answer = Response::new(Either::Left(Full::new(read.map_err(long)?.to_bytes())));
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = answer::shown(&parts.headers);
    drop(line);
    Ok((answer, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s08_of_calls_that_are_not_judged_yet_none_passes_but_ping() {
        let principal = Principal::Hub("lab".parse().expect("a hub"));
        for (method, target, is_allowed) in [
            ("GET", "/_ping", true),
            ("HEAD", "/v1.43/_ping", true),
            ("POST", "/_ping", false),
            ("GET", "/_ping?x=1", false),
            ("GET", "/_ping/", false),
            ("GET", "//_ping", false),
            ("GET", "/v1.43/v1.43/_ping", false),
            ("GET", "/v2.43/_ping", false),
            ("GET", "/%5fping", false),
            ("GET", "/containers/json", false),
            ("POST", "/containers/create", false),
        ] {
            let head = Head {
                method: method.to_owned(),
                target: target.to_owned(),
                length: super::super::head::Length::None,
                upgrade: None,
                is_encoded: false,
            };
            match decide(&principal, &head, &Bytes::new()) {
                Verdict::Allow(forward) => {
                    assert!(is_allowed, "{method} {target}");
                    assert_eq!((&*forward.target, forward.method.as_str()), ("/_ping", method));
                }
                Verdict::Deny(refusal) => {
                    assert!(!is_allowed, "{method} {target}: {refusal}");
                }
            }
        }
    }
}
