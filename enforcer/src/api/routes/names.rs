//! Calls about the names that pseudonyms stand for.

use std::path::PathBuf;

use axum::{Extension, Router, extract::State, response::Response, routing::post};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::{ADMIN, Api, Route, Verb};
use crate::{
    api::{
        asked::{Asked, Erase},
        error::ApiError,
        ndjson::{self, Patience},
        request::Strict,
    },
    model::caller::Caller,
};

/// Erases names.
pub const ERASE: Route = Route {
    verb: Verb::Post,
    path: "/v1/erase",
    id: "erase",
    summary: "Erase the names of pseudonyms, and what goes with them",
    roles: ADMIN,
};

/// Words on their way to whoever asked: further ones are left out until they are taken.
const WORDS: usize = 4;

/// Whose names to erase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Names {
    /// The directory of the records: another daemon's are not meant.
    pub dir: PathBuf,
    /// Whose.
    pub pseudonyms: Vec<String>,
}

/// What was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Gone {
    /// How many names.
    pub erased: u64,
}

pub(super) fn router() -> Router<Api> {
    Router::new().route(ERASE.path, post(erase))
}

async fn erase(
    State(api): State<Api>,
    Extension(by): Extension<Caller>,
    Extension(patience): Extension<Patience>,
    Strict(Names { dir, pseudonyms }): Strict<Names>,
) -> Result<Response, ApiError> {
    let (progress, words) = mpsc::channel(WORDS);
    let (reply, answer) = oneshot::channel();
    let asked = Asked::Erase(Erase { dir, pseudonyms, by, progress }, reply);
    api.supervisor.send(asked).await.map_err(|_gone| ApiError::stopping())?;
    let outcome = async {
        let erased = answer.await.map_err(|_gone| ApiError::stopping())??;
        Ok(Gone { erased })
    };
    Ok(ndjson::respond(words, outcome, patience))
}
