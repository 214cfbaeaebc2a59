//! Who a socket of the gate is for.

use std::fmt;

use crate::access::name::{HubName, User};

/// Whose socket it is. Each has one, and nobody else's requests come through it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Principal {
    /// A hub: it starts guests for its users, on its guest networks.
    Hub(HubName),
    /// A user; whether the socket is filtered or raw is what grants say at each request.
    User(User),
}

impl Principal {
    /// The name space of users that it belongs to.
    #[must_use]
    pub const fn hub(&self) -> &HubName {
        match self {
            Self::Hub(hub) => hub,
            Self::User(user) => &user.hub,
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub(hub) => write!(f, "hub {hub}"),
            Self::User(user) => write!(f, "user {} of {}", user.name, user.hub),
        }
    }
}
