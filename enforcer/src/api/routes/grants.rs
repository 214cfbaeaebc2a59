//! Calls about grants: what members of groups may have.

use axum::{Extension, Json, Router, extract::State, routing::get};
use serde::{Deserialize, Serialize};

use super::{
    ADMIN, Api, Route, Verb,
    groups::{CHANGED, Changed, Given, OfHub, asked_by, because, end, named, of_hub},
};
use crate::{
    access::{
        grant::{Grant, Kind},
        name::GroupName,
    },
    api::{
        error::ApiError,
        request::{Asking, Strict},
    },
    model::caller::Caller,
};

/// Which grants there are.
pub const LIST: Route = Route {
    verb: Verb::Get,
    path: "/v1/grants",
    id: "grants",
    summary: "Grants of a hub's groups that hold now",
    roles: ADMIN,
};

/// Sets one.
pub const SET: Route = Route {
    verb: Verb::Put,
    path: "/v1/grants",
    id: "grant_set",
    summary: "Say which Docker socket the members of a group may have",
    roles: ADMIN,
};

/// A grant that is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GrantOrder {
    /// The hub's name; left out: users of no hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// The group's name.
    pub group: String,
    /// `none`, `filtered` or `raw`.
    pub kind: String,
    /// When it is over, RFC 3339 in UTC; left out: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Why: one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Grants of a hub's groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Grants {
    /// Them.
    pub grants: Vec<GrantStatus>,
}

/// A grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GrantStatus {
    /// The group's name.
    pub group: String,
    /// `none`, `filtered` or `raw`.
    pub kind: String,
    /// How it was given.
    pub given: Given,
}

impl GrantStatus {
    pub(super) fn new(group: &GroupName, grant: &Grant) -> Self {
        Self {
            group: group.to_string(),
            kind: grant.kind.name().to_owned(),
            given: Given::from(&grant.note),
        }
    }
}

pub(super) fn router() -> Router<Api> {
    Router::new().route(LIST.path, get(list).put(set))
}

async fn list(
    State(api): State<Api>,
    Asking(OfHub { hub }): Asking<OfHub>,
) -> Result<Json<Grants>, ApiError> {
    let grants = api.access.grants(&of_hub(hub)?).await?;
    let grants = grants.iter().map(|(group, grant)| GrantStatus::new(group, grant));
    Ok(Json(Grants { grants: grants.collect() }))
}

async fn set(
    State(api): State<Api>,
    Extension(by): Extension<Caller>,
    Strict(order): Strict<GrantOrder>,
) -> Result<Json<Changed>, ApiError> {
    let (hub, group) = (of_hub(order.hub)?, named::<GroupName>(&order.group)?);
    let what = (named::<Kind>(&order.kind)?, end(order.until.as_deref())?);
    api.access
        .set_grant(&hub, &group, what, (asked_by(&by), because(order.reason.as_deref())?))
        .await?;
    Ok(CHANGED)
}
