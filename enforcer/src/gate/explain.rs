//! What the gate would decide, and why: the same stages as for a request, without an engine.

use hyper::Method;
use serde_json::{Value, json};

use super::{
    body::Context,
    call::{BodyKind, Call},
    json::{self, Limits},
    judge::judge,
    verdict::{Refusal, Verdict},
    words::Words,
};

/// Judges a request as it would be written: the target with its query, and the body's text.
pub fn explain(
    context: &Context<'_>,
    method: &Method,
    target: &str,
    body: Option<&str>,
) -> Verdict {
    match decide(context, method, target, body) {
        Ok(verdict) => verdict,
        Err(refusal) => Verdict::Deny(refusal),
    }
}

fn decide(
    context: &Context<'_>,
    method: &Method,
    target: &str,
    body: Option<&str>,
) -> Result<Verdict, Refusal> {
    let call = Call::read(context.principal, method, Words::read(target)?)?;
    let limits = match call.body() {
        BodyKind::Json { limit } => Limits { bytes: limit, ..Limits::default() },
        // What is in a context is judged when it is there.
        BodyKind::Empty | BodyKind::Context => Limits { bytes: 16, ..Limits::default() },
    };
    let body = body.map(|text| json::read(text.as_bytes(), limits)).transpose()?;
    Ok(judge(context, &call, body.as_ref()))
}

impl Verdict {
    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Allow(forward) => json!({
                "decision": "allow",
                "method": forward.method.as_str(),
                "target": forward.target,
                "body": forward.shown,
                "answer": format!("{:?}", forward.answer),
            }),
            Self::Deny(refusal) => json!({
                "decision": "deny",
                "status": refusal.status.as_u16(),
                "rule": refusal.rule,
                "message": refusal.message,
            }),
        }
    }
}
