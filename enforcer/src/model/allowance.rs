//! What is open to one guest for a while, beyond its policy.

use std::net::{IpAddr, SocketAddr};

use enforcer_common::packet::{TCP, UDP};
use serde::{Deserialize, Serialize};

/// What to open, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AllowOrder {
    /// The guest: its container's name, the beginning of its id, or its address.
    pub guest: String,
    /// Where to: a machine beyond this host.
    pub to: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Port; of no meaning for echo.
    #[serde(default)]
    pub port: u16,
    /// For how long, s: 10 to 604800.
    pub for_s: u64,
    /// Why: one line, which the record has.
    pub reason: String,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Which allowance is to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RevokeOrder {
    /// Its number.
    pub id: u64,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Something that is open to one guest for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AllowanceStatus {
    /// Its number, which no other one ever had; 0: it would get one.
    pub id: u64,
    /// Container's name.
    pub container: String,
    /// Docker's id of it: another container of that name has nothing of it.
    pub container_id: String,
    /// Guest network.
    pub network: String,
    /// Where to.
    pub to: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Port; 0: it has none.
    pub port: u16,
    /// Since when, RFC 3339.
    pub since: String,
    /// Until when, RFC 3339.
    pub until: String,
    /// Why.
    pub reason: String,
    /// Who wanted it.
    pub by: String,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AllowanceList {
    /// By number.
    pub allowances: Vec<AllowanceStatus>,
}

impl AllowanceStatus {
    /// Where to, as the command line takes it.
    #[must_use]
    pub fn to_text(&self) -> String {
        destination(self.to, self.protocol, self.port)
    }
}

/// `192.0.2.1:443`, `[2001:db8::1]:53/udp`, `192.0.2.1/icmp`.
#[must_use]
pub fn destination(address: IpAddr, protocol: u8, port: u16) -> String {
    let at = SocketAddr::from((address, port));
    match protocol {
        TCP => at.to_string(),
        UDP => format!("{at}/udp"),
        _ => format!("{address}/icmp"),
    }
}
