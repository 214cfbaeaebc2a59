//! Guests that an admin cuts off.

use serde::{Deserialize, Serialize};

/// Whom to cut off, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CutOrder {
    /// Its container's name, or the beginning of its id.
    pub guest: String,
    /// For how long, s: 10 to 604800.
    pub for_s: u64,
    /// Why: one line, which the record has.
    pub reason: String,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Who is cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CutDone {
    /// Container's name.
    pub container: String,
    /// Docker's id of it.
    pub container_id: String,
    /// Until when, RFC 3339.
    pub until: String,
    /// Whether it is done; otherwise it would be.
    pub done: bool,
}
