//! Whose events and counters an id in the kernel stands for.

use std::{collections::BTreeMap, sync::Arc};

use enforcer_common::abi::endpoint::Role;

use super::provenance::Provenance;

/// Owners by id: endpoints and networks share one number space.
pub type Owners = BTreeMap<u32, Owner>;

/// An endpoint or a network, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Name of the guest network.
    pub network: String,
    /// ifindex of the port or of the bridge.
    pub ifindex: u32,
    /// Name of that interface.
    pub interface: String,
    /// `None`: the network itself.
    pub role: Option<Role>,
    /// Docker's id of the container.
    pub container: Option<String>,
    /// The container's name; may be empty.
    pub name: String,
    /// Whom the container was started for.
    pub provenance: Arc<Provenance>,
}

impl Owner {
    /// Somebody of whom nothing is known.
    #[must_use]
    pub fn nobody() -> Self {
        Self {
            network: String::new(),
            ifindex: 0,
            interface: String::new(),
            role: Some(Role::Unknown),
            container: None,
            name: String::new(),
            provenance: Arc::default(),
        }
    }
}
