//! The raw grant: a request goes on as it is, read by an HTTP library and made anew by it, but judged by nobody.

use std::path::Path;

use hyper::{Request, Response, StatusCode, Version, body::Incoming};

use super::{
    answer::{self, end_to_end, upgraded},
    head::{Head, Upgrade},
    stream::Hijack,
    upstream::{self, Answered, Relayed},
    verdict::Refusal,
};

/// What the raw grant is called in records.
pub(super) const RULE: &str = "grant.raw";

/// An answer, and what becomes of the connection after it.
pub(super) type Done = (Response<Answered>, Option<Hijack>);

/// Has the engine answer.
pub(super) async fn forward(
    engine: &Path,
    head: &Head,
    mut request: Request<Incoming>,
) -> Result<Done, Refusal> {
    let client = head.upgrade.map(|upgrade| (upgrade, hyper::upgrade::on(&mut request)));
    let (mut parts, body) = request.into_parts();
    parts.headers = end_to_end(&parts.headers);
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    if let Some((upgrade, _)) = &client {
        upgraded(&mut parts.headers, *upgrade);
    }
    let body = Relayed::from_client(body);
    let request = Request::from_parts(parts, http_body_util::Either::Right(body));
    let (response, line) = upstream::ask(engine, request).await?;
    relay(response, line, client, end_to_end)
}

/// Gives the engine's answer on, as it comes.
pub(super) fn relay(
    mut response: Response<Incoming>,
    line: upstream::Line,
    client: Option<(Upgrade, hyper::upgrade::OnUpgrade)>,
    goes_on: impl Fn(&hyper::HeaderMap) -> hyper::HeaderMap,
) -> Result<Done, Refusal> {
    let headers = goes_on(response.headers());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some((upgrade, client)) = client else {
            return Err(answer::odd("engine.upgrade", "the engine changed the protocol unasked"));
        };
        let engine = hyper::upgrade::on(&mut response);
        let mut answer =
            Response::new(http_body_util::Either::Left(http_body_util::Full::default()));
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *answer.headers_mut() = headers;
        upgraded(answer.headers_mut(), upgrade);
        return Ok((answer, Some(Hijack { client, engine, line })));
    }
    let (parts, body) = response.into_parts();
    let body = Relayed::from_engine(body, line);
    let mut answer = Response::new(http_body_util::Either::Right(body));
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = headers;
    Ok((answer, None))
}
