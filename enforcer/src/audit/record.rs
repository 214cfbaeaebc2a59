//! The records: what an operator and their tools read, one JSON object a line. Versioned; fields are
//! added, never renamed. Names are those of the Elastic Common Schema where it has one that fits; see
//! ADR 8. `docs/schema` is made of these types and their comments.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

#[cfg(test)]
use super::schema::{MAC, SHA256, words};
use super::store::{Erasure, Retention};

mod cut;
mod process;

pub use cut::{CUT, sentence, text};
pub use process::{ConnectRefused, Exec, Process, Unseen};

/// Version of the records.
pub const VERSION: u32 = 1;

/// Version of the Elastic Common Schema that has the fields' names.
pub const ECS_VERSION: &str = "8.17.0";

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Record {
    /// Version of the records.
    #[serde(rename = "enforcer.v")]
    #[cfg_attr(test, schemars(extend("const" = VERSION)))]
    pub v: u32,
    /// Version of the Elastic Common Schema that has the names of the fields.
    #[serde(rename = "ecs.version", default)]
    pub ecs: Cow<'static, str>,
    /// Position in the stream, from 1; a number that is left out is in a `gap`.
    #[serde(rename = "event.sequence")]
    pub seq: u64,
    /// When it happened, RFC 3339, UTC.
    #[serde(rename = "@timestamp")]
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub time: String,
    /// The same on the monotonic clock, ns.
    #[serde(rename = "enforcer.monotonic_ns")]
    pub mono_ns: u64,
    /// A text in it was too long, and ends with `…` where it was cut.
    #[serde(rename = "enforcer.truncated", default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// What happened.
    #[serde(flatten)]
    pub body: Body,
}

impl Body {
    /// Whom it is about, if it is about somebody.
    #[must_use]
    pub fn subject(&self) -> Option<&Subject> {
        match self {
            Self::FlowOpened(traffic) | Self::Denied(traffic) => Some(&traffic.subject),
            Self::FlowClosed(closed) => Some(&closed.subject),
            Self::Loss(loss) => Some(&loss.subject),
            Self::Guest(guest) => Some(&guest.subject),
            Self::Exec(exec) => Some(&exec.subject),
            Self::ConnectRefused(refused) => Some(&refused.subject),
            _ => None,
        }
    }

    /// Its kind, as records have it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::FlowOpened(_) => "flow_opened",
            Self::FlowClosed(_) => "flow_closed",
            Self::Denied(_) => "denied",
            Self::Loss(_) => "loss",
            Self::Gap(_) => "gap",
            Self::Outside(_) => "outside",
            Self::Repair(_) => "repair",
            Self::Takeover(_) => "takeover",
            Self::Stored(_) => "stored",
            Self::Retention(_) => "retention",
            Self::Exec(_) => "exec",
            Self::ConnectRefused(_) => "connect_refused",
            Self::Unseen(_) => "unseen",
            Self::Guest(_) => "guest",
            Self::Docker(_) => "docker",
            Self::Policy(_) => "policy",
            Self::Erased(_) => "erased",
            Self::Config(_) => "config",
            Self::Daemon(_) => "daemon",
        }
    }
}

/// What a record tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "event.action", rename_all = "snake_case")]
pub enum Body {
    /// A flow was opened.
    FlowOpened(Box<Traffic>),
    /// A flow ended.
    FlowClosed(Box<FlowClosed>),
    /// A frame was denied.
    Denied(Box<Traffic>),
    /// A process of a guest began to run a program.
    Exec(Box<Exec>),
    /// A process of a guest was refused a call, before there was a packet.
    ConnectRefused(Box<ConnectRefused>),
    /// What guests' processes do is not seen.
    Unseen(Unseen),
    /// Records that were not written.
    Loss(Loss),
    /// Records that were made and that the sink in which this stands did not get.
    Gap(Gap),
    /// A guest outside its policy, or a port that belongs to no container.
    Outside(Outside),
    /// Something of enforcer's that somebody else changed, and that was put back.
    Repair(Repair),
    /// What an earlier daemon, or nobody, left in the kernel.
    Takeover(Takeover),
    /// How the files of the records were found.
    Stored(Stored),
    /// A file of records that is deleted, as the config has it.
    Retention(Retention),
    /// An endpoint came or went.
    Guest(Box<Guest>),
    /// What the engine said of a guest or of a guest network.
    Docker(Box<Docker>),
    /// A policy that the kernel holds was changed.
    Policy(PolicyChange),
    /// A name that was erased: nobody can tell any more whose pseudonym it was.
    Erased(Erased),
    /// The config file was read.
    Config(ConfigChange),
    /// The daemon itself.
    Daemon(Daemon),
}

/// What became of what was in the kernel, or live, when the daemon started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Takeover {
    /// `fresh`: nothing was there; `same`: maps and programs of this layout; `migrated`: of another
    /// layout, carried over; `rebuilt`: of one that is not understood; `imported`: connections that
    /// were live at the first installation.
    #[serde(rename = "enforcer.event")]
    #[cfg_attr(test, schemars(extend("enum" = ["fresh", "same", "migrated", "rebuilt", "imported"])))]
    pub event: String,
    /// ABI version of the other layout.
    #[serde(rename = "enforcer.from", default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u32>,
    /// Hooks that went on with this daemon's programs.
    #[serde(rename = "enforcer.hooks", default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<u64>,
    /// Flows that go on.
    #[serde(rename = "enforcer.flows", default, skip_serializing_if = "Option::is_none")]
    pub flows: Option<u64>,
    /// Flows that ended.
    #[serde(rename = "enforcer.cut", default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<u64>,
    /// Why they ended.
    #[serde(rename = "enforcer.why", default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What was found where records are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Stored {
    /// `made`: it is new, and `key` is where its trust begins; `recovered`: so many records stand
    /// behind the last promise; `torn`: so many bytes of an unfinished line were cut; `tampered`:
    /// somebody changed it, and a new file was begun.
    #[serde(rename = "enforcer.event")]
    #[cfg_attr(test, schemars(extend("enum" = ["made", "recovered", "torn", "tampered"])))]
    pub event: String,
    /// The directory.
    #[serde(rename = "enforcer.dir")]
    pub dir: String,
    /// How many.
    #[serde(rename = "enforcer.count", default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The first public key.
    #[serde(rename = "enforcer.key", default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What is wrong.
    #[serde(rename = "enforcer.why", default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

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
    /// `network connect`, …
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
    /// SHA-256 of its limits and rules.
    #[cfg_attr(test, schemars(extend("pattern" = SHA256)))]
    #[serde(rename = "enforcer.digest", default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// A name that was erased on request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Erased {
    /// What earlier records have in its place.
    #[cfg_attr(test, schemars(extend("pattern" = "^p-[0-9a-f]{16}$")))]
    #[serde(rename = "enforcer.pseudonym")]
    pub pseudonym: String,
    /// Names that were erased: its own, and those that went with it.
    #[serde(rename = "enforcer.count")]
    pub count: u64,
    /// When, RFC 3339; the record may be made later, by the next daemon.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    #[serde(rename = "event.start")]
    pub start: String,
}

impl From<Erasure> for Erased {
    fn from(erasure: Erasure) -> Self {
        Self { pseudonym: erasure.pseudonym, count: erasure.count, start: erasure.time }
    }
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

/// What is known of the owner of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Subject {
    /// Name of the guest network.
    #[serde(rename = "network.name", default, skip_serializing_if = "String::is_empty")]
    pub network: String,
    /// The endpoint's or network's id in the kernel; never used again.
    #[serde(rename = "enforcer.endpoint")]
    pub endpoint: u32,
    /// Docker's id of the container.
    #[serde(rename = "container.id", default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// The container's name.
    #[serde(rename = "container.name", default, skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// The user that the container was started for.
    #[serde(rename = "user.name", default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user's group.
    #[serde(rename = "user.group.name", default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The user's server, where a user has several; the default one has no name.
    #[serde(rename = "enforcer.server", default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The container's image, as it was asked for.
    #[serde(rename = "container.image.name", default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Those of the container's labels that the config names, if its creator set them.
    #[serde(rename = "container.labels", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Name of the interface on the host.
    #[serde(rename = "enforcer.interface", default, skip_serializing_if = "String::is_empty")]
    pub interface: String,
    /// `guest`, `hub`, `other` or `unknown`; `network` for a bridge's own programs.
    #[serde(rename = "enforcer.role")]
    #[cfg_attr(test, schemars(extend("enum" = words::roles())))]
    pub role: String,
}

/// A frame and its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Traffic {
    /// Whose.
    #[serde(flatten)]
    pub subject: Subject,
    /// Program that decided.
    #[serde(rename = "enforcer.hook")]
    #[cfg_attr(test, schemars(extend("enum" = words::hooks())))]
    pub hook: String,
    /// `allow` or `deny`.
    #[serde(rename = "enforcer.verdict")]
    #[cfg_attr(test, schemars(extend("enum" = ["allow", "deny"])))]
    pub verdict: String,
    /// Why, if denied.
    #[serde(rename = "event.reason", default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("enum" = words::reasons())))]
    pub reason: Option<String>,
    /// Number of the rule that allowed; none was needed: absent.
    #[serde(rename = "rule.id", default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// ifindex by which the frame entered the machine; 0: made by the host.
    #[serde(rename = "enforcer.ingress_ifindex")]
    pub ingress_ifindex: u32,
    /// Length of the frame, bytes.
    #[serde(rename = "enforcer.frame_len")]
    pub frame_len: u32,
    /// Ethertype, `0x` and four digits.
    #[serde(rename = "enforcer.ethertype")]
    #[cfg_attr(test, schemars(extend("pattern" = "^0x[0-9a-f]{4}$")))]
    pub ethertype: String,
    /// Source MAC address.
    #[serde(rename = "source.mac")]
    #[cfg_attr(test, schemars(extend("pattern" = MAC)))]
    pub source_mac: String,
    /// Destination MAC address.
    #[serde(rename = "destination.mac")]
    #[cfg_attr(test, schemars(extend("pattern" = MAC)))]
    pub destination_mac: String,
    /// Source IP address.
    #[serde(rename = "source.ip", default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("anyOf" = words::ip_formats())))]
    pub source: Option<String>,
    /// Destination IP address.
    #[serde(rename = "destination.ip", default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("anyOf" = words::ip_formats())))]
    pub destination: Option<String>,
    /// IP protocol number.
    #[serde(rename = "network.iana_number", default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
    /// Source port, or ICMP type.
    #[serde(rename = "source.port", default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Destination port, or ICMP code.
    #[serde(rename = "destination.port", default, skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
    /// TCP flags, as in the header.
    #[serde(rename = "enforcer.tcp_flags", default, skip_serializing_if = "Option::is_none")]
    pub tcp_flags: Option<u8>,
}

impl fmt::Display for Traffic {
    /// From, to, and by which protocol.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |f: &mut fmt::Formatter<'_>, ip: &Option<String>, mac: &str, port| {
            f.write_str(ip.as_deref().unwrap_or(mac))?;
            if let Some(port) = port { write!(f, " port {port}") } else { Ok(()) }
        };
        side(f, &self.source, &self.source_mac, self.source_port)?;
        f.write_str(" > ")?;
        side(f, &self.destination, &self.destination_mac, self.destination_port)?;
        match self.protocol {
            Some(protocol) => write!(f, " protocol {protocol}"),
            None => write!(f, " ethertype {}", self.ethertype),
        }
    }
}

/// A flow that ended, and what it carried. Source is the side that opened it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FlowClosed {
    /// Whose.
    #[serde(flatten)]
    pub subject: Subject,
    /// `closed`, `idle`, `unanswered`, `policy`, `reopened`, `gone` or `no_room`.
    #[serde(rename = "enforcer.cause")]
    #[cfg_attr(test, schemars(extend("enum" = words::causes())))]
    pub cause: String,
    /// Who opened it: `guest` for the endpoint itself, else `host`, `hub`,
    /// `other_guest` or `beyond`.
    #[serde(rename = "enforcer.opener")]
    #[cfg_attr(test, schemars(extend("enum" = words::openers())))]
    pub opener: String,
    /// Number of the rule that allowed; none was needed: absent.
    #[serde(rename = "rule.id", default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// Source IP address.
    #[serde(rename = "source.ip")]
    #[cfg_attr(test, schemars(extend("anyOf" = words::ip_formats())))]
    pub source: String,
    /// Destination IP address.
    #[serde(rename = "destination.ip")]
    #[cfg_attr(test, schemars(extend("anyOf" = words::ip_formats())))]
    pub destination: String,
    /// IP protocol number.
    #[serde(rename = "network.iana_number")]
    pub protocol: u8,
    /// Source port; for ICMP echo the identifier.
    #[serde(rename = "source.port")]
    pub source_port: u16,
    /// Destination port; for ICMP echo the identifier.
    #[serde(rename = "destination.port")]
    pub destination_port: u16,
    /// First packet, RFC 3339, UTC.
    #[serde(rename = "event.start")]
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub start: String,
    /// Last packet that kept it alive, RFC 3339, UTC.
    #[serde(rename = "event.end")]
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub end: String,
    /// From the first to that last packet, ns.
    #[serde(rename = "event.duration")]
    pub duration_ns: u64,
    /// Packets from the one who opened it, segments of an aggregate counted.
    #[serde(rename = "source.packets")]
    pub source_packets: u64,
    /// Packets to the one who opened it.
    #[serde(rename = "destination.packets")]
    pub destination_packets: u64,
    /// Bytes from the one who opened it, Ethernet headers included.
    #[serde(rename = "source.bytes")]
    pub source_bytes: u64,
    /// Bytes to the one who opened it.
    #[serde(rename = "destination.bytes")]
    pub destination_bytes: u64,
}

/// How many records of one kind are missing, and why, since the last such record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Loss {
    /// Whose.
    #[serde(flatten)]
    pub subject: Subject,
    /// Program that counted; empty: not a program's.
    #[serde(rename = "enforcer.hook", default, skip_serializing_if = "String::is_empty")]
    #[cfg_attr(test, schemars(extend("enum" = words::hooks())))]
    pub hook: String,
    /// Reason of the denials, `flow_opened`, `flow_closed`, `exec` or `connect_refused`; `reason_` and a
    /// number: not known to this daemon, 0: to nobody.
    #[serde(rename = "event.reason")]
    #[cfg_attr(test, schemars(extend("anyOf" = words::loss_reasons())))]
    pub reason: String,
    /// Why they are missing.
    #[serde(rename = "enforcer.cause")]
    pub cause: Cause,
    /// How many.
    #[serde(rename = "enforcer.count")]
    pub count: u64,
}

/// Why records are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The owner's rate for this reason was used up.
    RateLimit,
    /// The kernel's ring was full.
    Ring,
    /// The daemon's queue was full: the reader of the stream is too slow.
    Queue,
    /// The kernel's table of counters was full: owner and reason are not known.
    Uncounted,
    /// The event was of a version or kind that this daemon does not know.
    Decode,
    /// An earlier daemon read them and ended before it wrote them.
    Killed,
    /// The sink in which this stands was too slow, or failed for too long.
    Sink,
}

/// A hole in one sink's copy of the stream. The record has the number of the last one missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Gap {
    /// Number of the first that is missing.
    #[serde(rename = "enforcer.from_seq")]
    pub from_seq: u64,
    /// Number of the last.
    #[serde(rename = "enforcer.to_seq")]
    pub to_seq: u64,
    /// How many; where the range has more, it is not known which of them.
    #[serde(rename = "enforcer.count")]
    pub count: u64,
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
    /// `host_network`, `container_namespace`, `unpoliced_network` or `no_container`.
    #[serde(rename = "enforcer.why")]
    #[cfg_attr(test, schemars(extend("enum" = ["host_network", "container_namespace", "unpoliced_network", "no_container"])))]
    pub why: String,
    /// Which namespace or network that is.
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
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Wall time.
    pub wall: SystemTime,
    /// Monotonic time, ns.
    pub mono_ns: u64,
}

impl Clock {
    /// Wall time of a monotonic moment.
    #[must_use]
    pub fn rfc3339(&self, mono_ns: u64) -> String {
        let wall = if mono_ns <= self.mono_ns {
            self.wall.checked_sub(Duration::from_nanos(self.mono_ns - mono_ns))
        } else {
            self.wall.checked_add(Duration::from_nanos(mono_ns - self.mono_ns))
        };
        format_time(wall.unwrap_or(self.wall))
    }
}

pub(super) fn format_time(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    // By hand: the formatter of `std` took a tenth of what a record costs.
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    for (place, number) in [
        (0..4, year),
        (5..7, month),
        (8..10, day),
        (11..13, hour),
        (14..16, minute),
        (17..19, second),
        (20..26, u64::from(since.subsec_micros())),
    ] {
        decimal(number, &mut text[place]);
    }
    text.map(char::from).iter().collect()
}

/// Writes a number right-aligned over zeros; what has no room is left out.
fn decimal(mut number: u64, over: &mut [u8]) {
    for digit in over.iter_mut().rev() {
        *digit += (number % 10).to_le_bytes()[0];
        number /= 10;
    }
}

/// Days since 1970-01-01 as a date, by eras of 400 years that begin on 1 March.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (year + era * 400 + next, month, date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_rfc_3339_has_them() {
        let cases = [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000000Z"),
            (4_102_444_800, "2100-01-01T00:00:00.000000Z"),
            (253_402_300_799, "9999-12-31T23:59:59.000000Z"),
        ];
        for (seconds, text) in cases {
            let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(format_time(wall), text);
        }
        let clock = Clock { wall: SystemTime::UNIX_EPOCH, mono_ns: 1_000 };
        assert_eq!(clock.rfc3339(2_001_000), "1970-01-01T00:00:00.002000Z");
    }

    #[test]
    fn a_record_is_one_flat_line_and_reads_back() {
        let subject = Subject { endpoint: 7, role: "guest".to_owned(), ..Subject::default() };
        let loss = Loss {
            subject,
            hook: "from_guest".to_owned(),
            reason: "policy\n\u{1b}[31m".to_owned(),
            cause: Cause::RateLimit,
            count: 3,
        };
        let record = Record {
            v: 1,
            ecs: ECS_VERSION.into(),
            seq: 1,
            time: String::new(),
            mono_ns: 0,
            truncated: false,
            body: Body::Loss(loss),
        };
        let line = serde_json::to_string(&record).expect("serialises");
        assert!(
            line.contains(r#""event.action":"loss","enforcer.endpoint":7"#) && !line.contains('\n'),
            "{line}"
        );
        assert!(!line.contains('\u{1b}'), "{line}");
        assert_eq!(serde_json::from_str::<Record>(&line).expect("reads"), record);
    }
}
