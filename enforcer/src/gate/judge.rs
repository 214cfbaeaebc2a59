//! The decision: a call, its body and what is known of the principal's things in, a verdict out. What a client calls
//! something is looked up among the principal's own; what goes on is the full id. What is not there is missing,
//! whoever's it may be (S12, S22).

pub mod build;
mod containers;
mod images;
mod networks;
pub mod own;
mod system;
mod target;
#[cfg(test)]
mod tests;
mod volumes;

use hyper::Method;
use serde_json::Value;

use self::target::Target;
use super::{
    body::{Context, Judged},
    call::{BodyKind, Call},
    json::Json,
    principal::Principal,
    verdict::{Answer, Effect, Forward, Refusal, Verdict},
};

/// Judges a call. `context.name` is filled in here; `body` is what was read of the request's, within
/// [`Call::body`].
pub fn judge(context: &Context<'_>, call: &Call, body: Option<&Json>) -> Verdict {
    match check_body(call, body).and_then(|()| decide(context, call, body)) {
        Ok(forward) => Verdict::Allow(Box::new(forward)),
        Err(refusal) => Verdict::Deny(refusal),
    }
}

/// Whether there is a body where there is to be one, and none where there is none: an engine reads a body by other
/// rules than its routes' (S06).
fn check_body(call: &Call, body: Option<&Json>) -> Result<(), Refusal> {
    let is_nothing = |json: &Json| matches!(json, Json::Null) || *json == Json::Map(Vec::new());
    match (call.body(), body) {
        (BodyKind::Empty, Some(json)) if !is_nothing(json) => {
            Err(Refusal::unclear("body.unasked", "this call has no body; send none"))
        }
        (BodyKind::Json { .. }, None) => {
            Err(Refusal::unclear("body.missing", "this call has a JSON body; send one"))
        }
        _ => Ok(()),
    }
}

fn decide(context: &Context<'_>, call: &Call, body: Option<&Json>) -> Result<Forward, Refusal> {
    let nothing = Json::Null;
    let body = body.unwrap_or(&nothing);
    match call {
        Call::Ping { .. } | Call::Version | Call::Info | Call::Events { .. } => {
            Ok(system::judge(context, call))
        }
        Call::ImageList { .. }
        | Call::ImageInspect { .. }
        | Call::ImageHistory { .. }
        | Call::ImagePull { .. }
        | Call::ImageBuild(_)
        | Call::ImageTag { .. }
        | Call::ImageRemove { .. } => images::judge(context, call),
        Call::VolumeList { .. }
        | Call::VolumeCreate
        | Call::VolumeInspect { .. }
        | Call::VolumeRemove { .. }
        | Call::VolumePrune { .. } => volumes::judge(context, call, body),
        Call::NetworkList { .. }
        | Call::NetworkCreate
        | Call::NetworkInspect { .. }
        | Call::NetworkConnect { .. }
        | Call::NetworkDisconnect { .. }
        | Call::NetworkRemove { .. }
        | Call::NetworkPrune { .. } => networks::judge(context, call, body),
        _ => containers::judge(context, call, body),
    }
}

/// Whether a principal may use, and so see, any image: a hub without a list.
pub(super) fn sees_all_images(context: &Context<'_>) -> bool {
    matches!(context.principal, Principal::Hub(_)) && context.rules.images.is_empty()
}

/// A request without a body.
fn plain(method: Method, target: Target, answer: Answer) -> Forward {
    Forward {
        method,
        target: target.text(),
        body: None,
        answer,
        effects: Vec::new(),
        shown: Value::Null,
    }
}

/// A request with one.
fn with_body(target: Target, judged: Judged, answer: Answer) -> Forward {
    let forward = plain(Method::POST, target, answer);
    Forward { body: Some(judged.body), shown: judged.shown, ..forward }
}

impl Forward {
    fn noting(mut self, effect: Effect) -> Self {
        self.effects.push(effect);
        self
    }
}

/// A call that came to the wrong place: the table and `decide` disagree.
fn misplaced() -> Refusal {
    Refusal::forbidden("route.unknown", "this call is not judged here; report it")
}
