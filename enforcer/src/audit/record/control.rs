//! Records about what control and the engine do: guests, policies, configs, repairs, the daemon.

use serde::{Deserialize, Serialize};

use super::Subject;
#[cfg(test)]
use crate::audit::schema::SHA256;
use crate::model::caller::Caller;

/// An endpoint that came or went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Guest {
    /// Whose.
    #[serde(flatten)]
    pub subject: Subject,
    /// `policed`: its container is known; `gone`.
    #[cfg_attr(test, schemars(extend("enum" = ["policed", "gone"])))]
    #[serde(rename = "enforcer.event")]
    pub event: String,
}

/// An event of the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Docker {
    /// What kind of thing it is about and what happened to it, as the engine says it: `container die`,
    /// `network connect`, …; `engine followed` and `engine lost`: what happens in between nobody hears.
    #[serde(rename = "enforcer.event")]
    pub event: String,
    /// When, by the engine's clock: it may have been told before anybody knew that it is about a guest.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    #[serde(rename = "event.start", default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Name of the network.
    #[serde(rename = "network.name", default, skip_serializing_if = "String::is_empty")]
    pub network: String,
    /// Docker's id of the container.
    #[serde(rename = "container.id", default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// The container's name.
    #[serde(rename = "container.name", default, skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// The container's image, as it was asked for.
    #[serde(rename = "container.image.name", default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How its first process ended.
    #[serde(rename = "process.exit_code", default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Number of the signal that was sent.
    #[serde(rename = "enforcer.signal", default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i64>,
}

/// A policy as the kernel holds it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PolicyChange {
    /// `changed`, or `dropped`: everything under it is denied.
    #[cfg_attr(test, schemars(extend("enum" = ["changed", "dropped"])))]
    #[serde(rename = "enforcer.event")]
    pub event: String,
    /// Network and role that it is for.
    #[serde(rename = "enforcer.policy")]
    pub policy: String,
    /// Rules that it has.
    #[serde(rename = "enforcer.rules")]
    pub rules: u64,
    /// Whether it is in audit mode: what it would deny is let through, but to this host and to guest networks.
    #[serde(rename = "enforcer.audits", default, skip_serializing_if = "std::ops::Not::not")]
    pub audits: bool,
    /// SHA-256 of its limits and rules.
    #[cfg_attr(test, schemars(extend("pattern" = SHA256)))]
    #[serde(rename = "enforcer.digest", default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// What became of a config file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ConfigChange {
    /// `loaded`, `reloaded` or `refused`.
    #[serde(rename = "enforcer.event")]
    #[cfg_attr(test, schemars(extend("enum" = ["loaded", "reloaded", "refused"])))]
    pub event: String,
    /// The file.
    #[serde(rename = "file.path")]
    pub file: String,
    /// SHA-256 of what is in it.
    #[cfg_attr(test, schemars(extend("pattern" = SHA256)))]
    #[serde(rename = "file.hash.sha256", default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Why it was refused.
    #[serde(rename = "enforcer.why", default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Who had it read.
    #[serde(flatten)]
    pub by: Caller,
}

/// What was mended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Repair {
    /// `program from_guest`, `pins`, `endpoint`, `port settings`, …
    #[serde(rename = "enforcer.what")]
    pub what: String,
    /// Name of the interface.
    #[serde(rename = "enforcer.interface", default, skip_serializing_if = "String::is_empty")]
    pub interface: String,
    /// How long it was missing at most, ms: from the last look that found it in place to the step
    /// that put it back.
    #[serde(rename = "enforcer.gap_ms")]
    pub gap_ms: u64,
    /// Whether it is in place again.
    #[serde(rename = "enforcer.mended")]
    pub mended: bool,
}

/// A way past policy, and what was done about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Outside {
    /// Docker's id of the container.
    #[serde(rename = "container.id", default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// The container's name.
    #[serde(rename = "container.name", default, skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// Name of the guest network that the port is on.
    #[serde(rename = "network.name", default, skip_serializing_if = "String::is_empty")]
    pub network: String,
    /// Name of the port.
    #[serde(rename = "enforcer.interface", default, skip_serializing_if = "String::is_empty")]
    pub interface: String,
    /// `host_network`, `container_namespace`, `unpoliced_network`, `engine_resolver` or `no_container`.
    #[serde(rename = "enforcer.why")]
    #[cfg_attr(test, schemars(extend("enum" = ["host_network", "container_namespace", "unpoliced_network", "engine_resolver", "no_container"])))]
    pub why: String,
    /// Which namespace, network or name servers that is.
    #[serde(rename = "enforcer.to", default, skip_serializing_if = "String::is_empty")]
    pub to: String,
    /// `kill`, `disconnect`, `record`, `deny`, or `connect` if the engine could not be asked.
    #[serde(rename = "enforcer.action")]
    #[cfg_attr(test, schemars(extend("enum" = ["kill", "disconnect", "record", "deny", "connect"])))]
    pub action: String,
    /// `done`, `gone` if there was nothing left to do, or `failed`: it is tried again.
    #[serde(rename = "enforcer.outcome")]
    #[cfg_attr(test, schemars(extend("enum" = ["done", "gone", "failed"])))]
    pub outcome: String,
    /// Why it failed.
    #[serde(rename = "error.message", default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// Something about the daemon itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Daemon {
    /// `start`, `stop` or `uninstall`.
    #[serde(rename = "enforcer.event")]
    #[cfg_attr(test, schemars(extend("enum" = ["start", "stop", "uninstall"])))]
    pub event: String,
    /// Version of the daemon.
    #[serde(rename = "service.version")]
    pub version: String,
    /// Its process.
    #[serde(rename = "process.pid")]
    pub pid: u32,
    /// Who had it end.
    #[serde(flatten)]
    pub by: Caller,
}
