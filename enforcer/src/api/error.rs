//! What a call that is not served is told: a status, a code for programs, words for people.

use std::borrow::Cow;

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use crate::model::declined::{Declined, Kind};

/// Codes of errors. Codes are added, never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request is none that this call understands.
    BadRequest,
    /// You may not.
    Forbidden,
    /// There is no such call.
    NoSuchCall,
    /// There is no such thing as the call names.
    NotFound,
    /// The path has other verbs.
    WrongVerb,
    /// The body did not come in time.
    TooSlow,
    /// What there is does not go with it.
    Conflict,
    /// The body is too long.
    TooLarge,
    /// The body is not said to be JSON.
    NotJson,
    /// It failed.
    Failed,
    /// The daemon is stopping, or you have too many connections.
    Unavailable,
    /// It was begun, and is not known to be done.
    NotYet,
    /// Nobody answered in time.
    TimedOut,
    /// A code of another version.
    #[serde(other)]
    #[cfg_attr(test, schemars(skip))]
    Unknown,
}

/// An error as calls are answered with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ApiError {
    /// For programs.
    pub code: Code,
    /// For people.
    pub message: Cow<'static, str>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Cow<'static, str>>,
}

/// The body of an answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Failure {
    /// What is wrong.
    pub error: ApiError,
}

impl Code {
    /// The status that goes with it.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NoSuchCall | Self::NotFound => StatusCode::NOT_FOUND,
            Self::WrongVerb => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Failed | Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotYet | Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

impl ApiError {
    /// An error without a hint.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(self, hint: impl Into<Cow<'static, str>>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The supervisor has gone.
    #[must_use]
    pub fn stopping() -> Self {
        Self::new(Code::Unavailable, "the daemon is stopping")
    }

    /// Nobody answered in time.
    #[must_use]
    pub fn timed_out() -> Self {
        Self::new(Code::TimedOut, "the daemon is busy and did not answer in time")
    }
}

impl From<Declined> for ApiError {
    fn from(declined: Declined) -> Self {
        let code = match declined.kind {
            Kind::Unknown => Code::NotFound,
            Kind::Conflict => Code::Conflict,
            Kind::NotYet => Code::NotYet,
            Kind::Failed => Code::Failed,
        };
        Self::new(code, declined.message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let mut response = (status, Json(Failure { error: self })).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let second = header::HeaderValue::from_static("1");
            response.headers_mut().insert(header::RETRY_AFTER, second);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn errors_have_a_code_a_status_and_words() {
        for (error, status, code) in [
            (ApiError::from(Declined::unknown("no guest")), 404, "not_found"),
            (Declined::conflict("two").into(), 409, "conflict"),
            (Declined::not_yet("later").into(), 504, "not_yet"),
            (Declined::failed("disk").into(), 500, "failed"),
            (ApiError::stopping(), 503, "unavailable"),
            (ApiError::timed_out(), 504, "timed_out"),
            (ApiError::new(Code::TooLarge, "long"), 413, "too_large"),
            (ApiError::new(Code::Forbidden, "you"), 403, "forbidden"),
        ] {
            assert_eq!(error.code.status().as_u16(), status);
            let message = error.message.clone();
            let body = serde_json::to_value(Failure { error }).expect("JSON");
            assert_eq!(body, json!({"error": {"code": code, "message": message}}));
        }
        let hint = ApiError::new(Code::NotFound, "gone").hint("look elsewhere");
        assert_eq!(serde_json::to_value(&hint).expect("JSON")["hint"], "look elsewhere");
        let later = json!({"error": {"code": "of_tomorrow", "message": "?"}});
        let later: Failure = serde_json::from_value(later).expect("read");
        assert_eq!(later.error.code, Code::Unknown);
    }
}
