//! What `enforcer status` tells: measured by the daemon when it is asked, never remembered.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::limits::LimitsInForce;
use crate::policy::explain::{Explanation, Judged};

/// The daemon's answer to "status".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StatusReport {
    /// Version of the daemon.
    pub version: String,
    /// Version of the layouts it shares with the kernel.
    pub abi: u32,
    /// Its process.
    pub pid: u32,
    /// Whether policy is enforced.
    pub health: Health,
    /// The engine, in one line: its version, or why it cannot be asked.
    pub docker: String,
    /// Whether it can be asked.
    #[serde(default)]
    pub docker_connected: bool,
    /// Ports of guest bridges that wait for their programs; denied until then.
    #[serde(default)]
    pub backlog: u32,
    /// What keeps guest bridges closed where no program sits.
    pub closure: ClosureStatus,
    /// Guest networks of the config.
    pub networks: Vec<NetworkStatus>,
    /// Ports of guest bridges.
    pub endpoints: Vec<EndpointStatus>,
    /// Programs as the kernel reports them.
    pub programs: Vec<ProgramStatus>,
    /// What was denied, and what became of the records of it.
    pub counters: Vec<CounterStatus>,
    /// What guests' processes do that is not seen, and why. The packet path does without.
    #[serde(default)]
    pub unseen: Vec<String>,
    /// Whether the kernel refuses guests unix sockets that are not theirs.
    #[serde(default)]
    pub kernel_proof: KernelProofStatus,
    /// Records that this daemon lost itself: its queue was full, or they were not understood.
    #[serde(default)]
    pub queue_lost: u64,
    /// Where records go.
    #[serde(default)]
    pub sinks: Vec<SinkStatus>,
    /// Questions of guests to the resolver since the daemon started, by outcome; empty: there is no
    /// resolver.
    #[serde(default)]
    pub dns: BTreeMap<String, u64>,
    /// Guests that are slowed, cut off or paused for abuse.
    #[serde(default)]
    pub restrained: Vec<RestraintStatus>,
    /// Things that guests did and that no signal of abuse saw, since there was no room for them.
    #[serde(default)]
    pub abuse_missed: u64,
    /// Calls at the control socket that were refused, since the daemon started: from users without a role, or
    /// not for theirs.
    #[serde(default)]
    pub calls_refused: u64,
    /// Docker sockets that enforcer serves.
    #[serde(default)]
    pub gate: GateStatus,
}

/// Docker sockets that enforcer serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct GateStatus {
    /// Sockets of hubs.
    pub hubs: u64,
    /// Sockets of users.
    pub users: u64,
    /// Of these, ones that no service manager kept when the daemon was started anew: containers that ran then need a
    /// restart to have theirs back.
    pub renewed: u64,
    /// Connections at this moment.
    pub connections: u64,
    /// Requests that were allowed, since the daemon started.
    pub allowed: u64,
    /// Requests that were refused.
    pub denied: u64,
}

/// A guest that is slowed, cut off or paused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RestraintStatus {
    /// Container's name.
    pub container: String,
    /// Docker's id of it.
    pub container_id: String,
    /// Guest network.
    pub network: String,
    /// `cut` or `pause`.
    pub answer: String,
    /// The signal that it is the answer to.
    pub signal: String,
    /// Until when, RFC 3339; absent: until `enforcer pardon`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// What became of the records of one sink since the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SinkStatus {
    /// Its name.
    pub name: String,
    /// Records that it took.
    pub taken: u64,
    /// Records that it missed, or that were refused for good.
    pub missed: u64,
    /// Why it does not go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
}

/// Whether the kernel refuses guests unix sockets that are not theirs: measured by a connection that it
/// must refuse.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KernelProofStatus {
    /// Whether it does.
    pub active: bool,
    /// Why not; empty: it does.
    #[serde(default)]
    pub why: String,
}

/// What keeps guest bridges closed where no program sits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ClosureStatus {
    /// Whether the config wants it.
    pub wanted: bool,
    /// Whether the kernel holds it, as it was written.
    pub closed: bool,
    /// What tells a guest bridge's frames from others: `bridge`, or `ports` on kernels that do not
    /// tell the bridge.
    #[serde(default)]
    pub by: String,
    /// Frames that it dropped since it was written, by hook of the bridge.
    pub drops: BTreeMap<String, u64>,
}

/// Whether policy is enforced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Health {
    /// The worst of everything.
    pub state: HealthState,
    /// Why it is not better; empty when everything is enforced.
    pub reasons: Vec<String>,
}

/// Grades of [`Health`], from worst to best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// A guest could do what policy forbids, or nobody knows.
    #[default]
    NotEnforcing,
    /// Policy holds, but something is missing: the engine, a network, a second layer, records.
    Degraded,
    /// Everything is as the config has it.
    Enforcing,
}

impl HealthState {
    /// The word that tables and JSON use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotEnforcing => "not_enforcing",
            Self::Degraded => "degraded",
            Self::Enforcing => "enforcing",
        }
    }
}

/// One guest network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NetworkStatus {
    /// Name in the config and in Docker.
    pub name: String,
    /// Name of its bridge.
    pub bridge: String,
    /// The bridge's ifindex; `None`: there is no such bridge.
    pub ifindex: Option<u32>,
    /// Whose own network it is: user and hub; left out: one of the config file. `nobody`: a bridge with the name of an own
    /// network's that enforcer has not made, or has forgotten; closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Guests on it.
    pub guests: u32,
    /// Whether policy is enforced on it.
    pub state: HealthState,
}

/// One port of a guest bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EndpointStatus {
    /// Container's name; empty: not identified.
    pub container: String,
    /// Guest network.
    pub network: String,
    /// Host-side interface.
    pub interface: String,
    /// Its ifindex.
    pub ifindex: u32,
    /// `guest`, `hub`, `other` or `unknown`.
    pub role: String,
    /// Name of the policy that it is held to: network, role and, of an override, the policy's own; empty: none, and
    /// everything is denied.
    #[serde(default)]
    pub policy: String,
    /// Whether that policy is in audit mode: what it would deny beyond this host and guest networks is let through.
    #[serde(default)]
    pub audits: bool,
    /// MAC address of the container's interface.
    pub mac: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Id of the guest's cgroup, whose processes are seen; 0: none is.
    #[serde(default)]
    pub cgroup: u64,
    /// Flows by state, as the kernel counts them.
    pub flows: FlowCounts,
    /// Limits that the kernel holds it to.
    #[serde(default, skip_serializing_if = "LimitsInForce::is_empty")]
    pub limits: LimitsInForce,
}

/// Flows of an endpoint by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FlowCounts {
    /// Half-open, towards the endpoint.
    pub inbound_half_open: u32,
    /// Established, towards the endpoint.
    pub inbound_established: u32,
    /// Half-open, opened by the endpoint.
    pub outbound_half_open: u32,
    /// Established, opened by the endpoint.
    pub outbound_established: u32,
    /// Closed and lingering.
    pub closing: u32,
}

/// One program on one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProgramStatus {
    /// Name of the program: `from_guest`, `to_guest`, `from_bridge`, `to_bridge`, `process_exec`,
    /// `guest_connect4`, …
    pub program: String,
    /// Interface that it belongs on; empty: it is the whole machine's.
    pub interface: String,
    /// The kernel's id of the program, 0 when it is not loaded.
    pub id: u32,
    /// Kind of hook: `tcx`, `clsact`, `tracepoint` or `cgroup`.
    pub hook: String,
    /// Whether the kernel has it there now.
    pub attached: bool,
}

/// One counter of denials, or of flows opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CounterStatus {
    /// Container or network that it is about.
    pub endpoint: String,
    /// Its id, which no other endpoint or network ever had or gets.
    #[serde(default)]
    pub id: u32,
    /// Container; empty: a network's, or not known.
    #[serde(default)]
    pub container: String,
    /// Guest network; empty: not known.
    #[serde(default)]
    pub network: String,
    /// Program that counted.
    pub hook: String,
    /// Reason of the denial, `flow_opened`, `flow_closed`, `exec`, `connect_refused` or
    /// `socket_refused`.
    pub reason: String,
    /// Frames denied, flows opened or ended, programs begun, calls refused.
    pub events: u64,
    /// Packets as on the wire.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records written.
    pub recorded: u64,
    /// Records withheld by the rate limit.
    pub suppressed: u64,
    /// Records lost because the ring was full.
    pub lost: u64,
}

/// A conversation that somebody asks about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ExplainQuestion {
    /// The guest: a container's name, the beginning of its id, or its address.
    pub from: String,
    /// Where to.
    pub to: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port; of no meaning for echo.
    #[serde(default)]
    pub port: u16,
}

/// A conversation with whatever a name leads to, that somebody asks about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NameQuestion {
    /// The guest, as in [`ExplainQuestion`].
    pub from: String,
    /// The name.
    pub name: String,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port; of no meaning for echo.
    pub port: u16,
}

/// Why a guest may, or may not, resolve a name and begin a conversation with what it leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExplainedName {
    /// Name of the guest's container.
    pub guest: String,
    /// Docker's id of it.
    pub container_id: Option<String>,
    /// Name of the guest network.
    pub network: String,
    /// Name of the policy.
    pub policy: Option<String>,
    /// The answer.
    #[serde(flatten)]
    pub explanation: NameExplanation,
}

/// What becomes of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NameExplanation {
    /// `allow`, `deny`, or `by_address`: rules about its addresses decide.
    pub verdict: String,
    /// Number of the rule that opens the name at the port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// What was decided about the port, in a sentence.
    pub so: String,
    /// Whether the resolver asks for it.
    pub resolved: bool,
    /// What becomes of the question, as records have it.
    pub outcome: String,
    /// Why, in a sentence.
    pub because: String,
    /// Rules that open what it leads to.
    pub opens: Vec<Opening>,
    /// Every rule of the policy, in order.
    pub rules: Vec<Judged>,
}

/// Ports that a rule opens for a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Opening {
    /// Number of the rule, as records have it.
    pub number: u32,
    /// Where it is written.
    pub name: String,
    /// The ports.
    pub ports: String,
}

/// Why a guest may, or may not, begin a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Explained {
    /// Name of the guest's container.
    pub guest: String,
    /// Docker's id of it.
    pub container_id: Option<String>,
    /// Name of the guest network.
    pub network: String,
    /// Name of the policy.
    pub policy: Option<String>,
    /// Whether the kernel's tables say the same.
    pub is_held: bool,
    /// Limits that the kernel holds the guest to.
    #[serde(default, skip_serializing_if = "LimitsInForce::is_empty")]
    pub limits: LimitsInForce,
    /// The decision.
    #[serde(flatten)]
    pub explanation: Explanation,
}
