//! What a call is asked with: strict JSON in a bounded body that comes in time, strict queries, or nothing.

use std::time::Duration;

use axum::{
    Json,
    body::{Body, HttpBody as _},
    extract::{
        FromRequest, FromRequestParts, Query, Request,
        rejection::{JsonRejection, QueryRejection},
    },
    http::{StatusCode, request::Parts},
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::error::{ApiError, Code};

/// Longest body, bytes.
pub(super) const MAX_BODY: usize = 64 << 10;
/// Longest wait for a body.
const BODY: Duration = Duration::from_secs(5);

/// A body of JSON, and no query.
#[derive(Debug)]
pub(super) struct Strict<T>(pub(super) T);

/// A query, and no body.
#[derive(Debug)]
pub(super) struct Asking<T>(pub(super) T);

/// Neither.
#[derive(Debug)]
pub(super) struct Nothing;

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Strict<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if request.uri().query().is_some() {
            return Err(no_query());
        }
        // By its own word, before any of it comes.
        let most = u64::try_from(MAX_BODY).unwrap_or(u64::MAX);
        if request.body().size_hint().lower() > most {
            return Err(too_large());
        }
        let slow = || ApiError::new(Code::TooSlow, "the body did not come in time");
        match timeout(BODY, Json::from_request(request, state)).await.map_err(|_late| slow())? {
            Ok(Json(asked)) => Ok(Self(asked)),
            Err(rejection) => Err(unreadable(&rejection)),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Asking<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let mut parts = bodiless(request)?;
        let read: Result<Query<T>, QueryRejection> =
            Query::from_request_parts(&mut parts, state).await;
        match read {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejection) => Err(ApiError::new(Code::BadRequest, rejection.body_text())),
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for Nothing {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let parts = bodiless(request)?;
        if parts.uri.query().is_some() { Err(no_query()) } else { Ok(Self) }
    }
}

fn no_query() -> ApiError {
    ApiError::new(Code::BadRequest, "this call has no query")
}

/// A request whose body is empty. One of unknown length has one.
fn bodiless(request: Request<Body>) -> Result<Parts, ApiError> {
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return Ok(parts);
    }
    Err(ApiError::new(Code::TooLarge, "this call has no body"))
}

fn too_large() -> ApiError {
    ApiError::new(Code::TooLarge, format!("the body is longer than {MAX_BODY} bytes"))
}

fn unreadable(rejection: &JsonRejection) -> ApiError {
    let code = match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::NotJson,
        _ => Code::BadRequest,
    };
    match code {
        Code::TooLarge => too_large(),
        Code::NotJson => ApiError::new(code, "the body is not said to be JSON")
            .hint("send the header Content-Type: application/json"),
        _ => ApiError::new(code, rejection.body_text()),
    }
}
