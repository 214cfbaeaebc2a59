//! Records about guests that enforcer starts: what was asked for, and what became of it.

use serde::{Deserialize, Serialize};

#[cfg(test)]
use crate::audit::schema::words;
use crate::model::caller::Caller;

/// What was done to a guest that enforcer started, or was to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Life {
    /// `started`, `restarted`, `stopped`, `removed`; `culled`: it was idle or old; `executed`: a command, in it; `reset`:
    /// its user's volumes were removed; `cleared`: what a start had left behind that did not come to an end; `refused`: an
    /// order to start it; `failed`: anything else.
    #[serde(rename = "enforcer.event")]
    #[cfg_attr(test, schemars(extend("enum" = words::life_events())))]
    pub event: String,
    /// The user's hub; `local`: none.
    #[serde(rename = "enforcer.hub", default, skip_serializing_if = "String::is_empty")]
    pub hub: String,
    /// The user that it is for.
    #[serde(rename = "user.name", default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Which of the user's servers.
    #[serde(rename = "enforcer.server", default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Docker's id of the container.
    #[serde(rename = "container.id", default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// The container's name.
    #[serde(rename = "container.name", default, skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// Its image, as it was asked for.
    #[serde(rename = "container.image.name", default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The Docker socket that it was started with: `none`, `filtered` or `raw`.
    #[serde(rename = "enforcer.grant", default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("enum" = words::grants())))]
    pub grant: Option<String>,
    /// The group that gives the user that socket.
    #[serde(rename = "user.group.name", default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Why, for people: of a guest without a socket, why it has none; of one that was culled, for how long it was idle, or
    /// how old it was.
    #[serde(rename = "enforcer.why", default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What failed.
    #[serde(rename = "error.message", default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Who wanted it.
    #[serde(flatten)]
    pub by: Caller,
}

/// What happened to a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifeEvent {
    /// It was started.
    Started,
    /// Another one took its place.
    Restarted,
    /// It was ended.
    Stopped,
    /// It was removed.
    Removed,
    /// It was idle or old, and was ended.
    Culled,
    /// A command was run in it.
    Executed,
    /// Its user's volumes were removed.
    Reset,
    /// What a start had left behind was removed.
    Cleared,
    /// It may not be started.
    Refused,
    /// Something did not work.
    Failed,
}

impl LifeEvent {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Started,
        Self::Restarted,
        Self::Stopped,
        Self::Removed,
        Self::Culled,
        Self::Executed,
        Self::Reset,
        Self::Cleared,
        Self::Refused,
        Self::Failed,
    ];

    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Restarted => "restarted",
            Self::Stopped => "stopped",
            Self::Removed => "removed",
            Self::Culled => "culled",
            Self::Executed => "executed",
            Self::Reset => "reset",
            Self::Cleared => "cleared",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}
