//! What `enforcer guest` asks for and is told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A guest that somebody wants started. What is left out is as the config has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GuestOrder {
    /// The user's hub; left out: the caller's, or `local` for users of no hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// The user that it is for.
    pub user: String,
    /// Which of the user's servers, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The image; it is pulled if it is not there.
    pub image: String,
    /// What it runs; left out: what the image says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Variables, `NAME=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The user inside, by number or name, also with a group: `1000:100`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as: Option<String>,
    /// Group whose policy it has, where the network has an override for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The guest network; left out: the only one that the hub has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Bytes of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Thousandths of a processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u64>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
    /// Bytes that it may write beside its volumes, where the engine's storage can limit them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
    /// The user's volumes that it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeOrder>,
    /// Ports that are published, `[ADDRESS:]PORT_OF_HOST:PORT[/udp]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// When the engine starts it again: `no`, `on-failure`, `on-failure:5`, `unless-stopped` or `always`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<String>,
    /// Further labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// One of a user's volumes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct VolumeOrder {
    /// `home`, `workspace` or `cache`.
    pub volume: String,
    /// Where it is inside.
    pub path: String,
}

/// One guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WhichGuest {
    /// The user's hub; left out: the caller's, or `local` for users of no hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// The user that it was started for.
    pub user: String,
    /// Which of the user's servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

/// Some guests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GuestsQuestion {
    /// Of this hub; left out: of all, or of the caller's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// Of this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// What a guest has written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LogsQuestion {
    /// The user's hub; left out: the caller's, or `local` for users of no hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// The user that it was started for.
    pub user: String,
    /// Which of the user's servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// How many lines, the last ones [default: 100].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<u32>,
}

/// A command that somebody wants run in a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ExecOrder {
    /// The user's hub; left out: the caller's, or `local` for users of no hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// The user that the guest was started for.
    pub user: String,
    /// Which of the user's servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The command.
    pub command: Vec<String>,
    /// The user inside; left out: the guest's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as: Option<String>,
}

/// Volumes that somebody wants emptied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ResetOrder {
    /// The user's hub; left out: the caller's, or `local` for users of no hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// The user.
    pub user: String,
    /// `home`, `workspace`, `cache`; left out: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
}

/// Guests that enforcer started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GuestList {
    /// Them.
    pub guests: Vec<GuestStatus>,
}

/// A guest that enforcer started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GuestStatus {
    /// The user's hub.
    pub hub: String,
    /// The user.
    pub user: String,
    /// Which of the user's servers; absent: the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The container's name.
    pub container: String,
    /// Docker's id of the container.
    pub container_id: String,
    /// Its image, as it was asked for.
    pub image: String,
    /// What the engine says of it: `running`, `exited`, …
    pub state: String,
    /// Its guest network.
    pub network: String,
    /// Whether the kernel holds its policy.
    pub policed: bool,
    /// The Docker socket that it has: `none`, `filtered` or `raw`.
    pub socket: String,
    /// Whether it would have another one if it were started now; absent: nobody knows, or it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_needed: Option<bool>,
    /// When it was made, RFC 3339.
    pub created: String,
}

/// All that there is to know of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GuestDetail {
    /// In short.
    pub guest: GuestStatus,
    /// The order that it was made for; absent: it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<GuestOrder>,
    /// Docker's names of its volumes, by their paths.
    pub volumes: BTreeMap<String, String>,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// How it ended last, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
}

/// What a guest wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GuestLogs {
    /// Both outputs, in the order in which the engine has them. What is not UTF-8 is shown as `�`.
    pub text: String,
    /// Whether there was more than is shown.
    pub cut: bool,
}

/// How a command ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Executed {
    /// Its exit code; absent: the engine does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// Whether there was more than is shown.
    pub cut: bool,
}

/// Volumes that are gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ResetDone {
    /// Docker's names of them.
    pub removed: Vec<String>,
}
