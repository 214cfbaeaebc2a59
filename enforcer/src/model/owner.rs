//! Whose events and counters an id in the kernel stands for.

use std::collections::BTreeMap;

use enforcer_common::abi::endpoint::Role;

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
}

impl Owner {
    /// Somebody of whom nothing is known.
    #[must_use]
    pub const fn nobody() -> Self {
        Self {
            network: String::new(),
            ifindex: 0,
            interface: String::new(),
            role: Some(Role::Unknown),
            container: None,
            name: String::new(),
        }
    }
}
