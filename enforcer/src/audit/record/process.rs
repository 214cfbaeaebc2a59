//! Records that know the process.

use serde::{Deserialize, Serialize};

use super::Subject;
#[cfg(test)]
use crate::audit::schema::words;

/// Who did something. Numbers are those of the machine, not those that a container sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Process {
    /// Process id.
    #[serde(rename = "process.pid")]
    pub pid: u32,
    /// Process id of its parent.
    #[serde(rename = "process.parent.pid", default, skip_serializing_if = "Option::is_none")]
    pub parent_pid: Option<u32>,
    /// Its name. The process may choose any.
    #[serde(rename = "process.name")]
    pub name: String,
    /// User id; where containers' users are remapped, the remapped one.
    #[serde(rename = "process.user.id")]
    pub user: String,
    /// Group id, likewise.
    #[serde(rename = "process.group.id")]
    pub group: String,
    /// Id of its cgroup: the container's, or one within it.
    #[serde(rename = "enforcer.cgroup")]
    pub cgroup: u64,
}

/// A process of a guest began to run a program. Its arguments are not recorded: they hold passwords.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Exec {
    /// Whose.
    #[serde(flatten)]
    pub subject: Subject,
    /// Which; its name is the new program's.
    #[serde(flatten)]
    pub process: Process,
    /// The program, as the caller named it: a path, perhaps a relative one, or a script.
    #[serde(rename = "process.executable")]
    pub executable: String,
    /// The kernel has cut `executable`.
    #[serde(skip)]
    pub cut: bool,
}

/// A process of a guest was refused a connection, or a datagram, before there was a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ConnectRefused {
    /// Whose.
    #[serde(flatten)]
    pub subject: Subject,
    /// Which.
    #[serde(flatten)]
    pub process: Process,
    /// `deny`.
    #[serde(rename = "enforcer.verdict")]
    #[cfg_attr(test, schemars(extend("enum" = ["deny"])))]
    pub verdict: String,
    /// Why its packet would have been denied.
    #[serde(rename = "event.reason")]
    #[cfg_attr(test, schemars(extend("enum" = words::reasons())))]
    pub reason: String,
    /// Number of the rule that denies it; none opens it: absent.
    #[serde(rename = "rule.id", default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// `connect` or `sendmsg`.
    #[serde(rename = "enforcer.call")]
    #[cfg_attr(test, schemars(extend("enum" = words::calls())))]
    pub call: String,
    /// Destination IP address.
    #[serde(rename = "destination.ip")]
    #[cfg_attr(test, schemars(extend("anyOf" = words::ip_formats())))]
    pub destination: String,
    /// Destination port.
    #[serde(rename = "destination.port")]
    pub destination_port: u16,
    /// IP protocol number.
    #[serde(rename = "network.iana_number")]
    pub protocol: u8,
}

/// A process of a guest was refused a unix socket that was made outside its container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SocketRefused {
    /// Whose.
    #[serde(flatten)]
    pub subject: Subject,
    /// Which.
    #[serde(flatten)]
    pub process: Process,
    /// `deny`.
    #[serde(rename = "enforcer.verdict")]
    #[cfg_attr(test, schemars(extend("enum" = ["deny"])))]
    pub verdict: String,
    /// Why: `foreign_socket`.
    #[serde(rename = "event.reason")]
    #[cfg_attr(test, schemars(extend("enum" = ["foreign_socket"])))]
    pub reason: String,
    /// What it wanted: to `connect` to it, to `send` it a datagram, to `receive` what is connected to it.
    #[serde(rename = "enforcer.socket.call")]
    #[cfg_attr(test, schemars(extend("enum" = words::socket_calls())))]
    pub call: String,
    /// The socket's path as it was bound, or `@` and its abstract name; absent: it has none.
    #[serde(rename = "enforcer.socket.name", default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// Id of the cgroup in which it was made; 0: not known.
    #[serde(rename = "enforcer.socket.cgroup")]
    pub maker: u64,
}

/// Something that guests' processes do is not seen on this host, or is seen again. The packet path does
/// not depend on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Unseen {
    /// A program that does not run, `process_exec` or `guest_…`; `processes` of one container; or
    /// `kernel_proof`: nothing in the kernel refuses guests a unix socket.
    #[serde(rename = "enforcer.what")]
    #[cfg_attr(test, schemars(extend("pattern" = "^(process_exec|guest_[a-z0-9]+|processes|kernel_proof)$")))]
    pub what: String,
    /// Docker's id of the container, if it is about one.
    #[serde(rename = "container.id", default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// The container's name.
    #[serde(rename = "container.name", default, skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// Why.
    #[serde(rename = "enforcer.why")]
    pub why: String,
}
