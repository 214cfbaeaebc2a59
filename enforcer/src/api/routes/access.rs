//! The call about everybody's access to a container engine of this host: by a grant, and past it.

use axum::{Json, Router, extract::State, routing::get};
use serde::{Deserialize, Serialize};

use super::{ADMIN, Api, Route, Verb, groups::Given};
use crate::{
    api::{asked::Asked, error::ApiError, request::Nothing},
    model::way::Way,
};

/// Who has a Docker socket, and who needs none.
pub const REPORT: Route = Route {
    verb: Verb::Get,
    path: "/v1/access/report",
    id: "access_report",
    summary: "Who has a Docker socket and why, and every other way to an engine of this host",
    roles: ADMIN,
};

/// Who has access to an engine of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AccessReport {
    /// Whether anybody may have a socket, by the config.
    pub enabled: bool,
    /// Users who may have one now.
    pub holders: Vec<HolderStatus>,
    /// Running containers with the socket of a user who may have none: the gate refuses what they ask.
    pub refused: Vec<RefusedStatus>,
    /// Ways past the gate.
    pub ways: Vec<Way>,
    /// What could not be looked at, and why: there may be more.
    pub unknown: Vec<String>,
}

/// A user who may have a Docker socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HolderStatus {
    /// The user's hub.
    pub hub: String,
    /// The user's name.
    pub user: String,
    /// `filtered` or `raw`.
    pub socket: String,
    /// The group that gives it.
    pub group: String,
    /// When it is over, RFC 3339; absent: not before somebody changes something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// How the group was given the grant.
    pub grant: Given,
    /// How the user came into the group; absent: the hub knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<Given>,
    /// Names of running containers that have the user's socket mounted.
    pub containers: Vec<String>,
}

/// A running container with a socket that serves nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RefusedStatus {
    /// The container's name.
    pub container: String,
    /// The hub of the socket's user.
    pub hub: String,
    /// The socket's user.
    pub user: String,
}

pub(super) fn router() -> Router<Api> {
    Router::new().route(REPORT.path, get(report))
}

async fn report(State(api): State<Api>, _: Nothing) -> Result<Json<AccessReport>, ApiError> {
    Ok(Json(api.put(Asked::Access).await??))
}
