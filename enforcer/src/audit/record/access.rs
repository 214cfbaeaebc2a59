//! Records about who may have a Docker socket: groups, memberships, grants.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::format_time;
#[cfg(test)]
use crate::audit::schema::words;

/// A group or a membership that changed, or groups that nobody knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GroupChange {
    /// `created`, `deleted`: with its members and its grant; `recreated`: it is built in and was missing; `added`,
    /// `removed`: a user; `expired`: a user's time in it; `unavailable`: who knows the groups does not answer, and
    /// gives nobody a grant.
    #[serde(rename = "enforcer.event")]
    #[cfg_attr(test, schemars(extend("enum" = words::group_events())))]
    pub event: String,
    /// What it is about, who did it and why.
    #[serde(flatten)]
    pub about: AccessChange,
}

/// A grant that changed, or grants that nobody knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GrantChange {
    /// `set`, `expired`, or `unavailable`: the store cannot be used, and nobody has a grant.
    #[serde(rename = "enforcer.event")]
    #[cfg_attr(test, schemars(extend("enum" = words::grant_events())))]
    pub event: String,
    /// `none`, `filtered` or `raw`.
    #[serde(rename = "enforcer.grant", default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("enum" = words::grants())))]
    pub kind: Option<String>,
    /// What it is about, who did it and why.
    #[serde(flatten)]
    pub about: AccessChange,
}

/// What both have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AccessChange {
    /// Number of the change: one that is told twice, after a crash, has the same.
    #[serde(rename = "enforcer.change", default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// When it was made: it may be told after a restart.
    #[serde(rename = "event.start", default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub start: Option<String>,
    /// The hub whose group it is; `local`: of this host's own users.
    #[serde(rename = "enforcer.hub", default, skip_serializing_if = "String::is_empty")]
    pub hub: String,
    /// Name of the group.
    #[serde(rename = "user.group.name", default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The user whose membership it is about, or for whom somebody asked.
    #[serde(rename = "user.name", default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Until when it holds.
    #[serde(rename = "enforcer.until", default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub until: Option<String>,
    /// Who did it: number of the user of this host.
    #[serde(rename = "enforcer.by.uid", default, skip_serializing_if = "Option::is_none")]
    pub by_uid: Option<u32>,
    /// Who did it: `enforcer` for what the config asks, or for what time did.
    #[serde(rename = "enforcer.by.name", default, skip_serializing_if = "String::is_empty")]
    pub by_name: String,
    /// By what way: `control`, `config`, …
    #[serde(rename = "enforcer.by.via", default, skip_serializing_if = "String::is_empty")]
    pub by_via: String,
    /// Why, in the words of who did it.
    #[serde(rename = "enforcer.why", default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What failed.
    #[serde(rename = "error.message", default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// A time as records have it. `seconds` are those since 1970; what a date cannot say is told as its latest.
#[must_use]
pub fn time_of(seconds: u64) -> String {
    const LAST: u64 = 253_402_300_799;
    format_time(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(LAST)))
}
