//! Calls about guests that are cut off or paused for abuse.

use axum::{Extension, Json, Router, extract::State, routing::post};
use serde::{Deserialize, Serialize};

use super::{ADMIN, Api, Route, Verb};
use crate::{
    api::{asked::Asked, error::ApiError, request::Strict},
    model::{
        caller::Caller,
        restraint::{CutDone, CutOrder},
    },
};

/// Lets a guest go.
pub const PARDON: Route = Route {
    verb: Verb::Post,
    path: "/v1/pardon",
    id: "pardon",
    summary: "Let a guest go that is cut off or paused for abuse",
    roles: ADMIN,
};

/// Cuts a guest off.
pub const CUT: Route = Route {
    verb: Verb::Post,
    path: "/v1/cut",
    id: "cut",
    summary: "Cut a guest off for a while: it opens nothing but to its hubs, and visitors still come in",
    roles: ADMIN,
};

/// Whom to let go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Pardon {
    /// Its container's name, or the beginning of its id.
    pub guest: String,
}

/// What was ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Pardoned {
    /// For people.
    pub ended: Vec<String>,
}

pub(super) fn router() -> Router<Api> {
    Router::new().route(PARDON.path, post(pardon)).route(CUT.path, post(cut))
}

async fn pardon(
    State(api): State<Api>,
    Extension(by): Extension<Caller>,
    Strict(Pardon { guest }): Strict<Pardon>,
) -> Result<Json<Pardoned>, ApiError> {
    let ended = api.put(|reply| Asked::Pardon { guest, by, reply }).await??;
    Ok(Json(Pardoned { ended }))
}

async fn cut(
    State(api): State<Api>,
    Extension(by): Extension<Caller>,
    Strict(order): Strict<CutOrder>,
) -> Result<Json<CutDone>, ApiError> {
    Ok(Json(api.put(|reply| Asked::Cut(order, by, reply)).await??))
}
