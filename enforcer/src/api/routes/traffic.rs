//! Calls about what guests may reach, and what they do.

use axum::{Json, Router, extract::State, routing::get};

use super::{ADMIN, Api, Route, Verb};
use crate::{
    api::{asked::Asked, error::ApiError, request::Asking},
    model::{
        flows::{FlowsQuestion, FlowsReport},
        status::{ExplainQuestion, Explained, ExplainedName, NameQuestion},
    },
};

/// Why a guest may, or may not.
pub const EXPLAIN: Route = Route {
    verb: Verb::Get,
    path: "/v1/explain",
    id: "explain",
    summary: "Why a guest may, or may not, begin a conversation",
    roles: ADMIN,
};

/// The same of a name.
pub const EXPLAIN_NAME: Route = Route {
    verb: Verb::Get,
    path: "/v1/explain/name",
    id: "explain_name",
    summary: "Why a guest may, or may not, resolve a name, and what that opens",
    roles: ADMIN,
};

/// Who talks to whom.
pub const FLOWS: Route = Route {
    verb: Verb::Get,
    path: "/v1/flows",
    id: "flows",
    summary: "Live flows, as the kernel holds them now",
    roles: ADMIN,
};

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route(EXPLAIN.path, get(explain))
        .route(EXPLAIN_NAME.path, get(explain_name))
        .route(FLOWS.path, get(flows))
}

async fn explain(
    State(api): State<Api>,
    Asking(question): Asking<ExplainQuestion>,
) -> Result<Json<Explained>, ApiError> {
    Ok(Json(api.put(|reply| Asked::Explain(question, reply)).await??))
}

async fn explain_name(
    State(api): State<Api>,
    Asking(question): Asking<NameQuestion>,
) -> Result<Json<ExplainedName>, ApiError> {
    Ok(Json(api.put(|reply| Asked::ExplainName(question, reply)).await??))
}

async fn flows(
    State(api): State<Api>,
    Asking(question): Asking<FlowsQuestion>,
) -> Result<Json<FlowsReport>, ApiError> {
    Ok(Json(api.put(|reply| Asked::Flows(question, reply)).await??))
}
