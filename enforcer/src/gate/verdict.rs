//! What the gate decides of a request; there is no third answer.

use hyper::{Method, StatusCode};
use serde_json::Value;

/// The decision.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum Verdict {
    /// This goes to the engine, and nothing else does.
    Allow(Box<Forward>),
    /// Nothing goes to the engine.
    Deny(Refusal),
}

/// Why a request is refused, for the client and for the record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (rule {rule})")]
pub struct Refusal {
    /// Status of the answer. What is somebody else's is 404, as what does not exist.
    pub status: StatusCode,
    /// The rule, for records and documents: `host-config.privileged`, `route.unknown`, `json.duplicate`.
    pub rule: &'static str,
    /// What is wrong and what to do, in one sentence.
    pub message: String,
}

/// A request made anew from what was judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// Method.
    pub method: Method,
    /// Path and query, canonical and percent-encoded, without the version: `/containers/create?name=x`.
    pub target: String,
    /// The body, serialised from the judged value; `None`: there is none.
    pub body: Option<Value>,
    /// What is done with the engine's answer.
    pub answer: Answer,
    /// What is noted about ownership once the engine has said yes.
    pub effect: Option<Effect>,
    /// The judged request for the record, secrets masked.
    pub shown: Value,
}

/// What the client gets of the engine's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All of it: one JSON value or nothing, read whole and bounded.
    Whole,
    /// A JSON list or object of which only what is the principal's own, or a reduced form, goes on.
    Shown(View),
    /// Bytes as they come, to their end: logs, events, progress.
    Stream,
    /// Both directions after 101 or 200: attach, exec.
    Hijack,
}

/// How an answer is reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// `GET /containers/json`.
    Containers,
    /// `GET /containers/{id}/json`.
    Container,
    /// `GET /images/json`.
    Images,
    /// `GET /networks`.
    Networks,
    /// `GET /networks/{id}`.
    Network,
    /// `GET /volumes`.
    Volumes,
    /// `GET /info`.
    Info,
    /// `GET /version`.
    Version,
    /// `GET /events`: line by line.
    Events,
}

/// What changes in the store of owners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The answer names what is new; it is the principal's.
    Created(Kind),
    /// It is gone.
    Removed(Kind, String),
}

/// What can be owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// By its full id.
    Container,
    /// By its name.
    Volume,
    /// By its full id.
    Network,
    /// An exec instance, by its id; belongs to whom its container belongs.
    Exec,
    /// A tag that a principal made, by `repository:tag`.
    Image,
}
