//! Own networks on their way to the engine, and as it has them.

use std::{net::Ipv4Addr, sync::LazyLock};

use serde::{Deserialize, Serialize};

use super::closure::OWN_BRIDGES;

/// A network that the engine may make now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Its slot.
    pub slot: u32,
    /// Its name at the engine.
    pub name: String,
    /// The name that its bridge is going to have.
    pub bridge: String,
    /// Its subnet, and how many bits that has.
    pub subnet: (Ipv4Addr, u8),
    /// The bridge's address in it.
    pub gateway: Ipv4Addr,
}

/// A network that the engine has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The engine's id of it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Name of its bridge; empty: the engine chose it, or it has none.
    pub bridge: String,
}

/// Whose own networks somebody asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OwnNetworksQuestion {
    /// Of this hub; left out: of a hub that asks its own, else of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// Of this user; left out: of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// An own network that is meant, or that is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WhichNetwork {
    /// The user's hub; left out: users of no hub, or the hub that asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// Whose it is.
    pub user: String,
    /// What its owner calls it.
    pub name: String,
}

/// Own networks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OwnNetworkList {
    /// They.
    pub networks: Vec<OwnNetworkStatus>,
}

/// An own network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OwnNetworkStatus {
    /// Its owner's hub.
    pub hub: String,
    /// Its owner.
    pub user: String,
    /// What its owner calls it.
    pub name: String,
    /// Its name at the engine.
    pub engine_name: String,
    /// Name of its bridge.
    pub bridge: String,
    /// Its subnet.
    pub subnet: String,
    /// The engine's id of it; left out: it is in the making.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_id: Option<String>,
}

impl Prepared {
    /// One that is nowhere made, for judges that are asked what they would say.
    #[must_use]
    pub fn made_up() -> &'static Self {
        static MADE_UP: LazyLock<Prepared> = LazyLock::new(|| Prepared {
            slot: 0,
            name: String::new(),
            bridge: format!("{OWN_BRIDGES}00000000"),
            subnet: (Ipv4Addr::new(192, 0, 2, 0), 26),
            gateway: Ipv4Addr::new(192, 0, 2, 1),
        });
        &MADE_UP
    }
}
