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
    pub(super) metrics: Option<Spanned<RawMetrics>>,
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
    pub(super) mark_mask: Option<Spanned<Bits>>,
    pub(super) max_flows: Option<Spanned<i64>>,
    pub(super) closed_by: Option<Spanned<String>>,
    pub(super) refuse_at_connect: Option<bool>,
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
}

/// `[metrics]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawMetrics {
    pub(super) listen: Option<Spanned<String>>,
    pub(super) socket: Option<Spanned<String>>,
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
    pub(super) quotas: RawQuotas,
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
    pub(super) presets: Vec<Spanned<String>>,
    pub(super) allow: Vec<Spanned<RawRule>>,
    pub(super) deny: Vec<Spanned<RawRule>>,
}

/// `[[policies.NAME.allow]]` and `[[policies.NAME.deny]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRule {
    /// A text, or a list of them.
    pub(super) to: Option<Spanned<toml::Value>>,
    pub(super) host: Option<Spanned<bool>>,
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
