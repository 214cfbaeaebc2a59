//! Calls about own networks. A hub has its own users' networks, and no others.

use axum::{
    Extension, Json, Router,
    extract::State,
    response::Response,
    routing::{get, post},
};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::{
    ALL, Api, Route, Verb,
    groups::named,
    guests::{Who, done, hub_of},
};
use crate::{
    access::name::{User, UserName},
    api::{
        asked::{Asked, NetworkAsked, Reply},
        error::{ApiError, Code},
        ndjson::{self, Patience},
        request::{Asking, Strict},
        roles::Role,
    },
    gate::names::is_name,
    model::owned::{OwnNetworkList, OwnNetworksQuestion, WhichNetwork},
};

/// Which there are.
pub const LIST: Route = Route {
    verb: Verb::Get,
    path: "/v1/networks",
    id: "networks",
    summary: "Networks that users made, or that were made for them",
    roles: ALL,
};

/// Makes one.
pub const CREATE: Route = Route {
    verb: Verb::Post,
    path: "/v1/networks",
    id: "network_create",
    summary: "Make a network for a user: done when the kernel holds its policy; nothing is left of one that fails",
    roles: ALL,
};

/// Removes one.
pub const REMOVE: Route = Route {
    verb: Verb::Post,
    path: "/v1/networks/remove",
    id: "network_remove",
    summary: "Remove a user's network that no container is on",
    roles: ALL,
};

pub(super) fn router() -> Router<Api> {
    Router::new().route(LIST.path, get(list).post(create)).route(REMOVE.path, post(remove))
}

async fn list(
    State(api): State<Api>,
    Extension(role): Extension<Role>,
    Asking(OwnNetworksQuestion { hub, user }): Asking<OwnNetworksQuestion>,
) -> Result<Json<OwnNetworkList>, ApiError> {
    let hub = match (&role, hub) {
        (Role::Admin, None) => None,
        (_, hub) => Some(hub_of(&role, hub)?),
    };
    let user = user.as_deref().map(named::<UserName>).transpose()?;
    let asked = |reply| Asked::Network(Box::new(NetworkAsked::List(hub, user, reply)));
    Ok(Json(OwnNetworkList { networks: api.put(asked).await?? }))
}

async fn create(
    State(api): State<Api>,
    Who { role, by, patience }: Who,
    Strict(which): Strict<WhichNetwork>,
) -> Result<Response, ApiError> {
    let (user, name) = meant(&role, which)?;
    begin(&api, patience, |made| made, |reply| NetworkAsked::Create(user, name, by, reply)).await
}

async fn remove(
    State(api): State<Api>,
    Who { role, by, patience }: Who,
    Strict(which): Strict<WhichNetwork>,
) -> Result<Response, ApiError> {
    let (user, name) = meant(&role, which)?;
    begin(&api, patience, done, |reply| NetworkAsked::Remove(user, name, by, reply)).await
}

fn meant(
    role: &Role,
    WhichNetwork { hub, user, name }: WhichNetwork,
) -> Result<(User, String), ApiError> {
    if !is_name(&name) {
        let message = format!("\"{name}\" is no name of a network");
        return Err(ApiError::new(Code::BadRequest, message));
    }
    Ok((User { hub: hub_of(role, hub)?, name: named::<UserName>(&user)? }, name))
}

/// Puts an order to the supervisor, and answers in lines: it is carried out whether or not anybody listens.
async fn begin<T: Send + 'static, A: Serialize + Send + 'static>(
    api: &Api,
    patience: Patience,
    told: impl FnOnce(T) -> A + Send + 'static,
    order: impl FnOnce(Reply<T>) -> NetworkAsked,
) -> Result<Response, ApiError> {
    let (_silent, words) = mpsc::channel(1);
    let (reply, answer) = oneshot::channel();
    let asked = api.supervisor.send(Asked::Network(Box::new(order(reply)))).await;
    asked.map_err(|_gone| ApiError::stopping())?;
    let outcome = async {
        let answer = answer.await.map_err(|_gone| ApiError::stopping())??;
        Ok(told(answer))
    };
    Ok(ndjson::respond(words, outcome, patience))
}
