//! Why there is no own network.

use std::net::Ipv4Addr;

use hyper::StatusCode;

use crate::{
    access::name::User,
    config::{OWNED_PREFIX, OWNED_SLOTS},
    database::FileError,
    gate::verdict::Refusal,
    model::declined::{Declined, Kind},
    netlink::NetlinkError,
};

/// Why an own network is not made, or not told of.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// The config has no room for any.
    #[error("nobody makes networks here: the host's operator has no own_networks in [gate]")]
    Off,
    /// The store could not be opened.
    #[error("nobody makes networks now: what is kept of them cannot be read; see the daemon's log")]
    NoStore,
    /// Its file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The database.
    #[error("what is kept of own networks cannot be read or written")]
    Database(#[from] Box<redb::Error>),
    /// A row that is none.
    #[error("row {slot} of own networks is not understood")]
    Row {
        /// Its slot.
        slot: u32,
    },
    /// There is one of that name, of the file or an own one.
    #[error("network with name {name} already exists")]
    Exists {
        /// The name at the engine.
        name: String,
    },
    /// Each slot has a network.
    #[error("all {OWNED_SLOTS} own networks of this host are in use: remove one first")]
    NoSlot,
    /// The owner has as many as the rules give.
    #[error(
        "{owner} has {count} networks, those in the making included; at most {count}: remove one first"
    )]
    Full {
        /// Who.
        owner: User,
        /// How many.
        count: usize,
    },
    /// Each subnet is taken.
    #[error(
        "no /{OWNED_PREFIX} of {}/{} is free: {own} are of own networks, the others of routes and other networks", .pool.0, .pool.1
    )]
    NoSubnet {
        /// Which pool is exhausted.
        pool: (Ipv4Addr, u8),
        /// How many of them own networks have.
        own: usize,
    },
    /// Nobody knows which subnets are taken.
    #[error("it is not known which subnets are free")]
    Routes(#[from] NetlinkError),
    /// Bridges are not closed before they are policed.
    #[error(
        "own networks need bridges that are closed before they are policed, and nothing closes them now: see \
         `enforcer status`"
    )]
    Open,
    /// The control loop is late.
    #[error("the network is not policed yet, and is not made: try again")]
    Late,
    /// It was removed meanwhile.
    #[error("network {name} was forgotten before it was made")]
    Gone {
        /// The name at the engine.
        name: String,
    },
    /// A task of the daemon's ended.
    #[error("the daemon is stopping")]
    Stopping,
}

impl OwnError {
    /// As the gate answers it.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        let (status, rule) = match self {
            Self::Off => (StatusCode::FORBIDDEN, "network.pool"),
            Self::Exists { .. } => (StatusCode::CONFLICT, "network.name"),
            Self::Full { .. } => (StatusCode::FORBIDDEN, "quota.networks"),
            Self::NoSlot | Self::NoSubnet { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "network.room")
            }
            Self::Open | Self::Late => (StatusCode::SERVICE_UNAVAILABLE, "network.policed"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "network.failed"),
        };
        Refusal { status, rule, message: self.to_string() }
    }

    /// As the control API answers it.
    #[must_use]
    pub fn declined(&self) -> Declined {
        let kind = match self {
            Self::Off
            | Self::Exists { .. }
            | Self::Full { .. }
            | Self::NoSlot
            | Self::NoSubnet { .. } => Kind::Conflict,
            Self::Late => Kind::NotYet,
            _ => Kind::Failed,
        };
        Declined { kind, message: crate::causes::causes(self) }
    }
}

/// Errors of the database are large, and there are many kinds.
pub(super) fn boxed(error: impl Into<redb::Error>) -> OwnError {
    OwnError::Database(Box::new(error.into()))
}
