//! Records about signals of abuse, and what was done about them.

use serde::{Deserialize, Serialize};

use super::Subject;
#[cfg(test)]
use crate::audit::schema::words;
use crate::model::caller::Caller;

/// A guest does too much of something, and this is the answer; or an answer came to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Abuse {
    /// Whose.
    #[serde(flatten)]
    pub subject: Subject,
    /// What it does too much of; `asked`: nothing, but an admin wants it cut off.
    #[serde(rename = "enforcer.abuse")]
    #[cfg_attr(test, schemars(extend("enum" = words::signals())))]
    pub signal: String,
    /// How much there was of it within the window: a number of things, percent of attempts for
    /// `failed_connects`, a second for `denied_rate`. Absent where an answer ends.
    #[serde(rename = "enforcer.measured", default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<u64>,
    /// How much there may be.
    #[serde(rename = "enforcer.threshold", default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u64>,
    /// Length of the window, s.
    #[serde(rename = "enforcer.window_s", default, skip_serializing_if = "Option::is_none")]
    pub window_s: Option<u64>,
    /// `record`, `cut`, `pause` or `stop`; `expire` if a cut has lasted its time, `pardon` if somebody ended a cut
    /// or a pause.
    #[serde(rename = "enforcer.answer")]
    #[cfg_attr(test, schemars(extend("enum" = words::answers())))]
    pub answer: String,
    /// `done`, `gone` if there was nothing left to do, or `failed`: it is tried again.
    #[serde(rename = "enforcer.outcome")]
    #[cfg_attr(test, schemars(extend("enum" = ["done", "gone", "failed"])))]
    pub outcome: String,
    /// Until when it is cut off.
    #[serde(rename = "enforcer.until", default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub until: Option<String>,
    /// Why it failed.
    #[serde(rename = "error.message", default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Why an admin wanted it.
    #[serde(rename = "enforcer.why", default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Who wanted a `pardon`, or a `cut` that no signal raised.
    #[serde(flatten)]
    pub by: Caller,
}
