//! Stands before every call: who may, how long it may take, who is told no.

use std::time::{Duration, Instant};

use axum::{
    Extension,
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::time::timeout;

use super::{
    error::{ApiError, Code},
    identity::Identity,
    roles::{Judgement, Role, judge},
    routes::{Api, TABLE, Verb},
};

/// Longest wait for an answer, or for the beginning of one that comes in lines.
const ANSWER: Duration = Duration::from_secs(15);

/// Serves a call, or says why not.
pub(super) async fn guard(
    State(api): State<Api>,
    Extension(identity): Extension<Identity>,
    mut request: Request,
    next: Next,
) -> Response {
    let response = match admit(&api, &identity, &request) {
        Ok(role) => {
            request.extensions_mut().insert(identity.caller);
            request.extensions_mut().insert(role);
            let answer = timeout(ANSWER, next.run(request)).await;
            answer.unwrap_or_else(|_late| ApiError::timed_out().into_response())
        }
        Err(error) => refused(error, &request),
    };
    named(response)
}

fn admit(api: &Api, identity: &Identity, request: &Request) -> Result<Role, ApiError> {
    let role = api.roles.borrow().role(identity.peer);
    let role = role.map_err(|stranger| {
        note(api, identity, &stranger.to_string());
        ApiError::new(Code::Forbidden, stranger.to_string())
            .hint("call as root, or have root add you to [daemon] admins")
    })?;
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    match judge(TABLE, &role, (Verb::of(request.method()), path)) {
        Judgement::Serve(_) => Ok(role),
        Judgement::Deny => {
            note(api, identity, "the call is not for this role");
            Err(ApiError::new(Code::Forbidden, "this call is not for you"))
        }
        Judgement::NoSuchPath => {
            let message = "there is no such call; is it one of another version?";
            Err(ApiError::new(Code::NoSuchCall, message).hint("GET /v1/openapi.json lists all"))
        }
        Judgement::NoSuchVerb => Err(ApiError::new(Code::WrongVerb, "this call has another verb")),
    }
}

/// Counts a refusal, and logs it if there was none lately.
fn note(api: &Api, identity: &Identity, why: &str) {
    if let Some(count) = api.refusals.note(Instant::now()) {
        let caller = &identity.caller;
        tracing::warn!(
            uid = caller.uid,
            user = ?caller.user,
            pid = caller.pid,
            comm = ?caller.comm,
            refused = count,
            "control socket: refused: {why}"
        );
    }
}

fn refused(error: ApiError, request: &Request) -> Response {
    let is_wrong_verb = error.code == Code::WrongVerb;
    let mut response = error.into_response();
    if is_wrong_verb {
        let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let verbs = TABLE.iter().filter(|route| Some(route.path) == path);
        let verbs: Vec<_> = verbs.map(|route| route.verb.method().to_string()).collect();
        if let Ok(allow) = HeaderValue::from_str(&verbs.join(", ")) {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    response
}

/// Says which daemon answers: a client of another version can tell.
fn named(mut response: Response) -> Response {
    let name = concat!("enforcer/", env!("CARGO_PKG_VERSION"));
    response.headers_mut().insert(header::SERVER, HeaderValue::from_static(name));
    response
}
