//! Calls about the daemon itself.

use axum::{
    Extension, Json, Router,
    extract::State,
    http::{HeaderValue, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::{get, post},
};
use enforcer_common::abi::ABI_VERSION;
use serde::{Deserialize, Serialize};

use super::{ADMIN, ALL, Api, Route, Verb};
use crate::{
    api::{asked::Asked, error::ApiError, request::Nothing},
    model::{caller::Caller, status::StatusReport},
};

/// Which daemon it is.
pub const VERSION: Route = Route {
    verb: Verb::Get,
    path: "/v1/version",
    id: "version",
    summary: "Which daemon this is",
    roles: ALL,
};

/// What there is to call.
pub const DOCUMENT: Route = Route {
    verb: Verb::Get,
    path: "/v1/openapi.json",
    id: "openapi",
    summary: "This document",
    roles: ALL,
};

/// What is enforced.
pub const STATUS: Route = Route {
    verb: Verb::Get,
    path: "/v1/status",
    id: "status",
    summary: "What is enforced now, as the kernel reports it",
    roles: ADMIN,
};

/// Reads the config again.
pub const RELOAD: Route = Route {
    verb: Verb::Post,
    path: "/v1/reload",
    id: "reload",
    summary: "Read the config file again, and police by it; answered when the kernel holds it",
    roles: ADMIN,
};

/// Ends the daemon.
pub const STOP: Route = Route {
    verb: Verb::Post,
    path: "/v1/stop",
    id: "stop",
    summary: "End the daemon; policy stays",
    roles: ADMIN,
};

/// The document of all calls, made of the types by a test.
pub const OPENAPI: &str = include_str!("../../../../docs/openapi.json");

/// Which daemon it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Version {
    /// Version of the daemon.
    pub version: String,
    /// Version of the layouts it shares with the kernel.
    pub abi: u32,
    /// Its process.
    pub pid: u32,
}

/// What was asked for is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Done {
    /// Always true.
    pub done: bool,
}

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route(VERSION.path, get(version))
        .route(DOCUMENT.path, get(document))
        .route(STATUS.path, get(status))
        .route(RELOAD.path, post(reload))
        .route(STOP.path, post(stop))
}

async fn version(_: Nothing) -> Json<Version> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Json(Version { version, abi: ABI_VERSION, pid: std::process::id() })
}

async fn document(_: Nothing) -> impl IntoResponse {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], OPENAPI)
}

async fn status(State(api): State<Api>, _: Nothing) -> Result<Json<StatusReport>, ApiError> {
    api.put(Asked::Status).await.map(Json)
}

async fn reload(
    State(api): State<Api>,
    Extension(by): Extension<Caller>,
    _: Nothing,
) -> Result<Json<Done>, ApiError> {
    api.put(|reply| Asked::Reload(by, reply)).await??;
    Ok(Json(Done { done: true }))
}

async fn stop(
    State(api): State<Api>,
    Extension(by): Extension<Caller>,
    _: Nothing,
) -> Result<Json<Done>, ApiError> {
    api.put(|reply| Asked::Stop(by, reply)).await?;
    Ok(Json(Done { done: true }))
}
