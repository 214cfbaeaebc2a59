//! Records about questions to the resolver.

use serde::{Deserialize, Serialize};

use super::Subject;
#[cfg(test)]
use crate::audit::schema::words;

/// A guest asked the resolver for a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DnsQuery {
    /// Who asked.
    #[serde(flatten)]
    pub subject: Subject,
    /// The name as it was asked for; what is no letter, digit or `-` of it is escaped as in zone files.
    /// Absent: the question was not understood.
    #[serde(rename = "dns.question.name", default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The type.
    #[serde(rename = "dns.question.type", default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// `answered`; `refused_name`: nothing allows it; `refused_type`: nobody gets that type of it;
    /// `refused_address`: an address of the answer is forbidden; `refused_rate`: too many questions, or
    /// names; `no_such_name`; `upstream_failed`; `lease_failed`: the addresses could not be opened;
    /// `malformed`.
    #[serde(rename = "enforcer.outcome")]
    #[cfg_attr(test, schemars(extend("enum" = words::query_outcomes())))]
    pub outcome: String,
    /// The pattern of names that allows it, or `any`.
    #[serde(rename = "rule.name", default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Addresses in the answer; of one that was refused for an address, that address.
    #[serde(rename = "dns.resolved_ip", default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Groups of rules that these addresses were opened for.
    #[serde(rename = "enforcer.lease_groups", default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<u32>,
    /// How long the guest may use the answer, s.
    #[serde(rename = "enforcer.ttl", default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// Why there was no answer, or what of it was left out.
    #[serde(rename = "enforcer.why", default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
