//! What `enforcer flows` asks for and is told.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Most flows that one answer has.
pub const MOST: u32 = 10_000;

/// Which flows are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct FlowsQuestion {
    /// Only those of this guest: its container's name, the beginning of its id, or its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest: Option<String>,
    /// How many; above 10000 it is that.
    pub limit: u32,
    /// Which come first.
    pub order: FlowOrder,
}

impl Default for FlowsQuestion {
    fn default() -> Self {
        Self { guest: None, limit: 50, order: FlowOrder::Bytes }
    }
}

/// Which flows come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FlowOrder {
    /// Those with most bytes, both ways.
    #[default]
    Bytes,
    /// Those with most packets, both ways.
    Packets,
    /// Those that were opened first.
    Age,
    /// Those that were used last.
    Recent,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FlowsReport {
    /// The first of them.
    pub flows: Vec<FlowStatus>,
    /// How many more there are.
    pub others: u64,
    /// Whether the table was read to its end; otherwise there may be more.
    pub whole: bool,
}

/// One live flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FlowStatus {
    /// Container's name; empty: not known.
    pub guest: String,
    /// Id of its endpoint in the kernel.
    pub endpoint: u32,
    /// Guest network; empty: not known.
    pub network: String,
    /// The user that the container was started for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Who opened it: `guest` for the endpoint itself, else `host`, `hub`, `other_guest` or `beyond`.
    pub opener: String,
    /// IP protocol number.
    pub protocol: u8,
    /// The guest's address.
    pub local: IpAddr,
    /// The guest's port; for ICMP echo the identifier.
    pub local_port: u16,
    /// The peer's address.
    pub remote: IpAddr,
    /// The peer's port; for ICMP echo the identifier.
    pub remote_port: u16,
    /// `half_open`, `replied`, `established`, `half_closed` or `closing`.
    pub state: String,
    /// Packets that the guest sent.
    pub packets_out: u64,
    /// Packets that the guest got.
    pub packets_in: u64,
    /// Bytes that the guest sent, Ethernet headers included.
    pub bytes_out: u64,
    /// Bytes that the guest got.
    pub bytes_in: u64,
    /// Since its first packet, ms.
    pub age_ms: u64,
    /// Since the last packet that kept it alive, ms.
    pub idle_ms: u64,
    /// Number of the rule that allowed it, or that would have denied it but for audit mode; none: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// Where that rule is written, or its preset, if the flow's policy is the one of now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_name: Option<String>,
    /// Allowed by audit mode only: why it would have been denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_deny: Option<String>,
}
