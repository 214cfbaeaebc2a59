//! Records of the gate: each request, and who was turned away.

use serde::{Deserialize, Serialize};

#[cfg(test)]
use crate::audit::schema::words;
use crate::model::caller::Caller;

/// A request at a Docker socket of the gate's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GateCall {
    /// `request`: it is over; `begun`: it lasts, and a `request` follows with what came of it; `cut`: it ended
    /// because the grant did, or because its client took longer than 60 s for the answer; `left_out`: so many refusals more, for which there are no records.
    #[serde(rename = "enforcer.event")]
    #[cfg_attr(test, schemars(extend("enum" = words::gate_events())))]
    pub event: String,
    /// The hub whose socket it is, or whose user's.
    #[serde(rename = "enforcer.hub", default, skip_serializing_if = "String::is_empty")]
    pub hub: String,
    /// The user whose socket it is; absent: the hub's own.
    #[serde(rename = "user.name", default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What the user may have at that moment: `none`, `filtered` or `raw`.
    #[serde(rename = "enforcer.grant", default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("enum" = words::grants())))]
    pub grant: Option<String>,
    /// `allow` or `deny`.
    #[serde(rename = "enforcer.verdict")]
    #[cfg_attr(test, schemars(extend("enum" = ["allow", "deny"])))]
    pub verdict: String,
    /// The rule that decided.
    #[serde(rename = "rule.name", default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Method.
    #[serde(rename = "http.request.method", default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Path; of a request that was judged, the canonical one.
    #[serde(rename = "url.path", default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Query; what may be a secret in it is masked.
    #[serde(rename = "url.query", default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// What was judged, as JSON, secrets masked.
    #[serde(rename = "enforcer.request", default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Status of the answer.
    #[serde(
        rename = "http.response.status_code",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub status: Option<u16>,
    /// Bytes that the client sent, the head among them.
    #[serde(rename = "http.request.bytes", default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
    /// Bytes that it was sent.
    #[serde(rename = "http.response.bytes", default, skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
    /// How long it took, ns.
    #[serde(rename = "event.duration", default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<u64>,
    /// Docker's id of the container from which it came; absent: from none.
    #[serde(rename = "container.id", default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// Why it was refused, or cut.
    #[serde(rename = "enforcer.why", default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How many were left out.
    #[serde(rename = "enforcer.count", default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The process that connected.
    #[serde(flatten)]
    pub by: Caller,
    /// Whom a hub's request is about. No record has it: it says what else in one is somebody's name.
    #[serde(skip)]
    pub about: About,
}

/// Names of somebody that are within the words of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The user.
    pub user: Option<String>,
    /// Where the user comes from.
    pub client: Option<String>,
    /// What the user's containers and volumes are called.
    pub names: Vec<String>,
}
