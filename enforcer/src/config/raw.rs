//! The shape of the file as serde sees it: keys and types, but no meaning. Never used beyond
//! [`super::parse`].

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawConfig {
    pub(super) docker: RawDocker,
    pub(super) daemon: RawDaemon,
    pub(super) audit: RawAudit,
    pub(super) outside: RawOutside,
    pub(super) abuse: RawAbuse,
    pub(super) metrics: Option<Spanned<RawMetrics>>,
    pub(super) dns: Option<Spanned<RawDns>>,
    pub(super) access: RawAccess,
    pub(super) guests: RawGuests,
    pub(super) gate: RawGate,
    pub(super) hubs: BTreeMap<Spanned<String>, Spanned<RawNamedHub>>,
    pub(super) policies: BTreeMap<Spanned<String>, RawPolicy>,
    pub(super) networks: BTreeMap<Spanned<String>, RawNetwork>,
}

/// `[docker]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDocker {
    pub(super) socket: Option<Spanned<String>>,
}

/// `[daemon]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDaemon {
    pub(super) run_dir: Option<Spanned<String>>,
    pub(super) pin_dir: Option<Spanned<String>>,
    pub(super) state_dir: Option<Spanned<String>>,
    pub(super) mark_mask: Option<Spanned<Bits>>,
    pub(super) max_flows: Option<Spanned<i64>>,
    pub(super) closed_by: Option<Spanned<String>>,
    pub(super) refuse_at_connect: Option<bool>,
    pub(super) admins: Vec<Spanned<String>>,
}

/// `[audit]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAudit {
    pub(super) dir: Option<Spanned<String>>,
    pub(super) fsync: Option<Spanned<String>>,
    pub(super) segment_mib: Option<Spanned<i64>>,
    pub(super) segment_hours: Option<Spanned<i64>>,
    pub(super) keep_mib: Option<Spanned<i64>>,
    pub(super) keep_days: Option<Spanned<i64>>,
    pub(super) labels: Vec<Spanned<String>>,
    pub(super) pseudonyms: Option<Spanned<bool>>,
    pub(super) stdout: Option<bool>,
    pub(super) journald: Option<bool>,
    pub(super) otlp: Option<Spanned<RawOtlp>>,
}

/// `[audit.otlp]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawOtlp {
    pub(super) endpoint: Option<Spanned<String>>,
    pub(super) insecure: Option<bool>,
    pub(super) headers: Option<Spanned<BTreeMap<Spanned<String>, Spanned<String>>>>,
    pub(super) headers_file: Option<Spanned<String>>,
    pub(super) timeout: Option<Spanned<String>>,
}

/// `[outside]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawOutside {
    pub(super) guest_labels: Option<Vec<Spanned<String>>>,
    pub(super) action: Option<Spanned<String>>,
    pub(super) engine_resolver: Option<Spanned<String>>,
}

/// `[guests]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawGuests {
    pub(super) max_per_user: Option<Spanned<i64>>,
    pub(super) max_in_all: Option<Spanned<i64>>,
    pub(super) memory_mib: Option<Spanned<i64>>,
    pub(super) cpus: Option<Spanned<f64>>,
    pub(super) pids: Option<Spanned<i64>>,
    pub(super) disk_mib: Option<Spanned<i64>>,
    pub(super) idle_after: Option<Spanned<String>>,
    pub(super) max_age: Option<Spanned<String>>,
    pub(super) cull: Option<Spanned<String>>,
    pub(super) images: Option<Vec<Spanned<String>>>,
}

/// `[abuse]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAbuse {
    pub(super) window: Option<Spanned<String>>,
    pub(super) cut_for: Option<Spanned<String>>,
    pub(super) slow_for: Option<Spanned<String>>,
    pub(super) slow: Option<Spanned<RawLimits>>,
    pub(super) except_labels: Vec<Spanned<String>>,
    pub(super) destinations: Option<Spanned<RawSignal>>,
    pub(super) failed_connects: Option<Spanned<RawSignal>>,
    pub(super) port_sweep: Option<Spanned<RawSignal>>,
    pub(super) address_sweep: Option<Spanned<RawSignal>>,
    pub(super) smtp: Option<Spanned<RawSignal>>,
    pub(super) stratum: Option<Spanned<RawSignal>>,
    pub(super) denied_rate: Option<Spanned<RawSignal>>,
}

/// `[abuse.SIGNAL]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSignal {
    pub(super) more_than: Option<Spanned<i64>>,
    pub(super) at_least: Option<Spanned<i64>>,
    pub(super) ports: Option<Spanned<Vec<Spanned<i64>>>>,
    pub(super) answer: Option<Spanned<String>>,
    pub(super) answers: Option<Spanned<Vec<Spanned<String>>>>,
}

/// `[metrics]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawMetrics {
    pub(super) listen: Option<Spanned<String>>,
    pub(super) socket: Option<Spanned<String>>,
}

/// `[dns]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDns {
    pub(super) upstream: Option<Vec<Spanned<String>>>,
    pub(super) min_ttl: Option<Spanned<String>>,
    pub(super) max_ttl: Option<Spanned<String>>,
    pub(super) lease_grace: Option<Spanned<String>>,
    pub(super) queries_per_second: Option<Spanned<i64>>,
    pub(super) burst: Option<Spanned<i64>>,
    pub(super) names_per_10min: Option<Spanned<i64>>,
    pub(super) tcp_connections: Option<Spanned<i64>>,
}

/// `[access]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAccess {
    pub(super) builtin_groups: Option<Vec<Spanned<String>>>,
    pub(super) docker_socket: Option<bool>,
    pub(super) kernel_proof: Option<Spanned<String>>,
}

/// `[hubs.NAME]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawNamedHub {
    pub(super) networks: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) user: Option<Spanned<String>>,
    pub(super) groups_from: Option<Spanned<String>>,
    pub(super) api: Option<Spanned<String>>,
    pub(super) insecure: Option<bool>,
    pub(super) token_file: Option<Spanned<String>>,
    pub(super) timeout: Option<Spanned<String>>,
    pub(super) gate: Option<RawGate>,
}

/// `[gate]` and `[hubs.NAME.gate]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawGate {
    pub(super) images: Option<Vec<Spanned<String>>>,
    pub(super) max_containers: Option<Spanned<i64>>,
    pub(super) max_volumes: Option<Spanned<i64>>,
    pub(super) max_networks: Option<Spanned<i64>>,
    pub(super) memory: Option<Spanned<String>>,
    /// A number, whole or not.
    pub(super) cpus: Option<Spanned<toml::Value>>,
    pub(super) pids: Option<Spanned<i64>>,
    pub(super) host_ports: Option<Spanned<String>>,
    /// Of this host: not in a hub's table.
    pub(super) own_networks: Option<Spanned<String>>,
    pub(super) build_context: Option<Spanned<String>>,
}

/// `[networks.NAME]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawNetwork {
    pub(super) bridge: Option<Spanned<String>>,
    pub(super) create: Option<bool>,
    pub(super) subnet: Option<Spanned<String>>,
    pub(super) gateway: Option<Spanned<String>>,
    pub(super) subnet6: Option<Spanned<String>>,
    pub(super) policy: Option<Spanned<String>>,
    #[serde(rename = "override")]
    pub(super) overrides: Vec<Spanned<RawOverride>>,
    pub(super) hub: Vec<Spanned<RawHub>>,
    pub(super) service: Vec<Spanned<RawService>>,
    pub(super) quotas: RawQuotas,
    pub(super) limits: RawLimits,
}

/// `[[networks.NAME.hub]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawHub {
    pub(super) gateway: Option<Spanned<bool>>,
    pub(super) address: Option<Spanned<String>>,
    pub(super) container: Option<Spanned<String>>,
    pub(super) port: Option<Spanned<i64>>,
    pub(super) protocol: Option<Spanned<String>>,
}

/// `[[networks.NAME.service]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawService {
    pub(super) container: Option<Spanned<String>>,
    pub(super) label: Option<Spanned<String>>,
}

/// `[[networks.NAME.override]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawOverride {
    pub(super) user: Option<Spanned<String>>,
    pub(super) group: Option<Spanned<String>>,
    pub(super) label: Option<Spanned<String>>,
    pub(super) policy: Option<Spanned<String>>,
}

/// `[networks.NAME.quotas]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawQuotas {
    pub(super) inbound_half_open: Option<Spanned<i64>>,
    pub(super) inbound_established: Option<Spanned<i64>>,
    pub(super) outbound_half_open: Option<Spanned<i64>>,
    pub(super) outbound_established: Option<Spanned<i64>>,
    pub(super) closing: Option<Spanned<i64>>,
}

/// `[policies.NAME]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPolicy {
    pub(super) mode: Option<Spanned<String>>,
    pub(super) presets: Vec<Spanned<String>>,
    pub(super) allow: Vec<Spanned<RawRule>>,
    pub(super) deny: Vec<Spanned<RawRule>>,
    pub(super) limits: RawLimits,
}

/// `[policies.NAME.limits]` and `[networks.NAME.limits]`: numbers, or texts with a unit.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLimits {
    pub(super) new_flows_per_second: Option<Spanned<toml::Value>>,
    pub(super) packets_per_second_out: Option<Spanned<toml::Value>>,
    pub(super) packets_per_second_in: Option<Spanned<toml::Value>>,
    pub(super) bits_per_second_out: Option<Spanned<toml::Value>>,
    pub(super) bits_per_second_in: Option<Spanned<toml::Value>>,
    pub(super) burst: Option<Spanned<toml::Value>>,
}

/// `[[policies.NAME.allow]]` and `[[policies.NAME.deny]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRule {
    /// A text, or a list of them.
    pub(super) to: Option<Spanned<toml::Value>>,
    pub(super) host: Option<Spanned<bool>>,
    pub(super) hub: Option<Spanned<bool>>,
    /// A text, or a list of them.
    pub(super) name: Option<Spanned<toml::Value>>,
    pub(super) private: Option<Spanned<bool>>,
    /// A text, or a list of them.
    pub(super) container: Option<Spanned<toml::Value>>,
    /// A text, or a list of them.
    pub(super) label: Option<Spanned<toml::Value>>,
    /// A text, or a list of them.
    pub(super) from: Option<Spanned<toml::Value>>,
    /// A number or a text, or a list of them.
    pub(super) port: Option<Spanned<toml::Value>>,
    pub(super) protocol: Option<Spanned<String>>,
}

/// A bit mask: a TOML integer, or a string because people copy masks from other tools.
#[derive(Debug)]
pub(super) enum Bits {
    Integer(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for Bits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BitsVisitor;

        impl de::Visitor<'_> for BitsVisitor {
            type Value = Bits;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an integer such as 0x30000000, or the same in quotes")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Bits, E> {
                Ok(Bits::Integer(value))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Bits, E> {
                Ok(Bits::Text(value.to_owned()))
            }
        }

        deserializer.deserialize_any(BitsVisitor)
    }
}
