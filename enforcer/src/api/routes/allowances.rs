//! Calls about what is open to single guests for a while.

use axum::{
    Extension, Json, Router,
    extract::State,
    routing::{delete, get, post},
};

use super::{ADMIN, Api, Route, Verb};
use crate::{
    api::{
        asked::{AllowanceAsked, Asked},
        error::ApiError,
        request::{Nothing, Strict},
    },
    model::{
        allowance::{AllowOrder, AllowanceList, AllowanceStatus, RevokeOrder},
        caller::Caller,
    },
};

/// Opens something to a guest.
pub const ALLOW: Route = Route {
    verb: Verb::Post,
    path: "/v1/allowances",
    id: "allow",
    summary: "Open a destination to one guest for a while, beyond its policy",
    roles: ADMIN,
};

/// What is open.
pub const LIST: Route = Route {
    verb: Verb::Get,
    path: "/v1/allowances",
    id: "allowances",
    summary: "What is open to single guests for a while",
    roles: ADMIN,
};

/// Closes it again.
pub const REVOKE: Route = Route {
    verb: Verb::Delete,
    path: "/v1/allowances",
    id: "allowance_revoke",
    summary: "Close what is open to a guest for a while",
    roles: ADMIN,
};

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route(ALLOW.path, post(allow))
        .route(LIST.path, get(list))
        .route(REVOKE.path, delete(revoke))
}

async fn allow(
    State(api): State<Api>,
    Extension(by): Extension<Caller>,
    Strict(order): Strict<AllowOrder>,
) -> Result<Json<AllowanceStatus>, ApiError> {
    let asked = |reply| Asked::Allowance(AllowanceAsked::Allow(order, by, reply));
    Ok(Json(api.put(asked).await??))
}

async fn list(State(api): State<Api>, _: Nothing) -> Result<Json<AllowanceList>, ApiError> {
    let allowances = api.put(|reply| Asked::Allowance(AllowanceAsked::List(reply))).await??;
    Ok(Json(AllowanceList { allowances }))
}

async fn revoke(
    State(api): State<Api>,
    Extension(by): Extension<Caller>,
    Strict(order): Strict<RevokeOrder>,
) -> Result<Json<AllowanceStatus>, ApiError> {
    let asked = |reply| Asked::Allowance(AllowanceAsked::Revoke(order, by, reply));
    Ok(Json(api.put(asked).await??))
}
