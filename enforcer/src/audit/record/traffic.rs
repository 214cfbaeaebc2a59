//! Records about packets, and whom a record is about.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

#[cfg(test)]
use crate::{
    audit::schema::{MAC, words},
    model::provenance::MOST_GROUPS,
};

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
    /// The hub that the container was started by.
    #[serde(rename = "enforcer.hub", default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// Groups that the user was in when the container was started, at most 16.
    #[serde(rename = "enforcer.groups", default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(length(max = MOST_GROUPS)))]
    pub groups: Vec<String>,
    /// Where the user came from, as the hub said; nobody has looked whether it is so.
    #[serde(rename = "enforcer.client", default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
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
    /// Number of the rule that allowed or denied, or that would have denied but for audit mode; none: absent.
    #[serde(rename = "rule.id", default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// Allowed by audit mode only: why it would have been denied.
    #[serde(rename = "enforcer.would_deny", default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("enum" = ["policy"])))]
    pub would_deny: Option<String>,
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
    /// Number of the rule that allowed, or that would have denied but for audit mode; none: absent.
    #[serde(rename = "rule.id", default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// Allowed by audit mode only: why it would have been denied.
    #[serde(rename = "enforcer.would_deny", default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("enum" = ["policy"])))]
    pub would_deny: Option<String>,
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
