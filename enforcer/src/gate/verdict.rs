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

impl Refusal {
    /// Not allowed, whoever asks for whatever of its own.
    pub(crate) fn forbidden(rule: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::FORBIDDEN, rule, message: message.into() }
    }

    /// Not a request that can be read in one way only.
    pub(crate) fn unclear(rule: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, rule, message: message.into() }
    }

    /// Not there, or somebody else's: the same words, which are the engine's.
    pub(crate) fn missing(what: Kind, called: &str) -> Self {
        let message = match what {
            Kind::Container => format!("No such container: {called}"),
            Kind::Volume => format!("get {called}: no such volume"),
            Kind::Network => format!("network {called} not found"),
            Kind::Exec => format!("No such exec instance: {called}"),
            Kind::Image => format!("No such image: {called}"),
        };
        Self { status: StatusCode::NOT_FOUND, rule: "own.missing", message }
    }
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
    pub effects: Vec<Effect>,
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
    /// A prune of containers: each that it means is removed with its volumes, and the answer is made of that.
    OneByOne,
    /// Bytes as they come, to their end: logs, events, progress.
    Stream,
    /// Both directions after 101 or 200: attach, exec.
    Hijack,
}

impl Answer {
    /// Whether all of it is in memory before any of it goes on.
    #[must_use]
    pub const fn is_kept(self) -> bool {
        match self {
            Self::Whole | Self::OneByOne => true,
            Self::Shown(view) => !matches!(view, View::Events),
            Self::Stream | Self::Hijack => false,
        }
    }
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
    /// `GET /images/{name}/json`.
    Image,
    /// `GET /images/{name}/history`.
    History,
    /// `GET /networks`.
    Networks,
    /// `GET /networks/{id}`.
    Network,
    /// `GET /volumes`.
    Volumes,
    /// `GET /volumes/{name}`, and the answer to a create.
    Volume,
    /// `GET /exec/{id}/json`.
    Exec,
    /// The answer to a prune of networks or volumes: names as the owner gave them.
    Pruned,
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
    /// This is the principal's: the answer does not name it.
    Made(Kind, String),
    /// It is gone.
    Removed(Kind, String),
    /// The container of this full id has this name now.
    Renamed(String, String),
    /// What the answer lists is gone.
    Pruned(Kind),
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
