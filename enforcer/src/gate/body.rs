//! The bodies of the engine's requests: a typed reader for each, and what goes to the engine in its place. What a
//! client sends is read, judged and forgotten; the value that goes on is built here, field by field, with what
//! is forced in it (S2, S3).
//!
//! `fields` says which fields there are. A reader that forgot one could not let it through: it writes what it knows.

pub mod create;
pub mod exec;
pub mod fields;
mod host_config;
mod mounts;
pub mod network;
mod networking;
mod object;
mod own;
mod paths;
mod plain;
mod ports;
mod resources;
mod shown;
#[cfg(test)]
mod tests;
mod tmpfs;
pub mod update;
pub mod volume;
pub(super) mod who;

pub(super) use who::PROJECT;

use hyper::StatusCode;
use serde_json::Value;

use super::{
    facts::Facts, networks::Prepared, principal::Principal, rules::Rules, verdict::Refusal,
};

/// What a body is judged against.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Whose request it is.
    pub principal: &'a Principal,
    /// Bounds.
    pub rules: &'a Rules,
    /// What is the principal's.
    pub facts: &'a Facts,
    /// `name` of the query, where the request has one.
    pub name: Option<&'a str>,
    /// For a network's create: what it is going to be.
    pub bridge: Option<&'a Prepared>,
}

/// A body that may go to the engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// What goes to the engine.
    pub body: Value,
    /// The same for the record: secrets masked, and under `enforcer.changed` what the client asked for and did
    /// not get.
    pub shown: Value,
    /// Volumes that the request makes besides, by the name that the engine has them under. They are the
    /// principal's once the engine has said yes.
    pub volumes: Vec<String>,
}

impl Judged {
    fn new(body: Value, notes: Notes) -> Self {
        let shown = shown::mask(&body, &notes.changed);
        Self { body, shown, volumes: notes.volumes }
    }
}

/// What is noted on the way.
#[derive(Debug, Default)]
struct Notes {
    /// What was asked for and is something else now.
    changed: Vec<String>,
    /// New volumes, by their names at the engine.
    volumes: Vec<String>,
}

/// The request cannot mean what it says, whoever asks.
fn malformed(rule: &'static str, message: String) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, rule, message }
}

/// The principal may not.
fn forbidden(rule: &'static str, message: String) -> Refusal {
    Refusal { status: StatusCode::FORBIDDEN, rule, message }
}

/// It is not there, or somebody else's.
fn missing(rule: &'static str, message: String) -> Refusal {
    Refusal { status: StatusCode::NOT_FOUND, rule, message }
}
