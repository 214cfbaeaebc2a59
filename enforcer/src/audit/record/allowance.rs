//! Records of what is opened to single guests for a while.

use serde::{Deserialize, Serialize};

use super::Subject;
#[cfg(test)]
use crate::audit::schema::words;
use crate::model::caller::Caller;

/// Something is open to one guest for a while, or is no longer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AllowanceChange {
    /// `allowed`, `revoked` by somebody, or `expired`.
    #[serde(rename = "enforcer.event")]
    #[cfg_attr(test, schemars(extend("enum" = ["allowed", "revoked", "expired"])))]
    pub event: String,
    /// Whose.
    #[serde(flatten)]
    pub subject: Subject,
    /// Number of the allowance.
    #[serde(rename = "enforcer.allowance")]
    pub id: u64,
    /// Destination IP address.
    #[serde(rename = "destination.ip")]
    #[cfg_attr(test, schemars(extend("anyOf" = words::ip_formats())))]
    pub destination: String,
    /// Destination port; 0: it has none.
    #[serde(rename = "destination.port")]
    pub destination_port: u16,
    /// IP protocol number.
    #[serde(rename = "network.iana_number")]
    pub protocol: u8,
    /// Until when, or until when it would have been.
    #[serde(rename = "enforcer.until")]
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub until: String,
    /// Why it was opened.
    #[serde(rename = "enforcer.why")]
    pub why: String,
    /// Who opened or closed it; nobody where it expired.
    #[serde(flatten)]
    pub by: Caller,
}
