//! Stage *policy*: may this new flow be opened? Pure: everything it needs is an argument.

use crate::{
    abi::{
        endpoint::{Endpoint, Network, Role},
        verdict::DropReason,
    },
    guard,
    packet::{self, Family, IPV4},
};

/// Where a frame that is delivered to an endpoint entered the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The host made it.
    Host,
    /// A hub's port of the same bridge.
    Hub,
    /// A guest's port of the same bridge.
    Guest,
    /// Forwarded: it came in by an interface that is no port of a guest bridge.
    Beyond,
}

/// Who opened a flow, as [`crate::abi::flow::FlowRecord::opener`] keeps it: a later decision on the
/// same flow must judge the same opener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opener {
    /// The endpoint itself.
    Endpoint,
    /// Its peer, which sent from there.
    Peer(Origin),
}

impl Opener {
    /// The ABI value.
    #[must_use]
    #[inline(always)]
    pub const fn value(self) -> u32 {
        match self {
            Self::Endpoint => 1,
            Self::Peer(Origin::Host) => 2,
            Self::Peer(Origin::Hub) => 3,
            Self::Peer(Origin::Guest) => 4,
            Self::Peer(Origin::Beyond) => 5,
        }
    }

    /// The opener with this ABI value. An unknown one is the peer with the least rights.
    #[must_use]
    #[inline(always)]
    pub const fn from_value(value: u32) -> Self {
        match value {
            1 => Self::Endpoint,
            2 => Self::Peer(Origin::Host),
            3 => Self::Peer(Origin::Hub),
            4 => Self::Peer(Origin::Guest),
            _ => Self::Peer(Origin::Beyond),
        }
    }
}

/// Who allowed a flow: a rule of the policy, or the design itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Number of the rule; 0: none was needed.
    pub rule: u32,
}

/// Allowed by design, not by a rule.
const BY_DESIGN: Allowed = Allowed { rule: 0 };

/// Whether `endpoint` may open a flow to `destination`.
///
/// `rule` is the number of the rule of its policy that opens this destination, if there is one.
#[inline(always)]
pub fn outbound(
    endpoint: &Endpoint,
    network: &Network,
    family: Family,
    destination: &[u8; 16],
    rule: Option<u32>,
) -> Result<Allowed, DropReason> {
    let neighbour = guard::in_subnet(network, family, destination)
        && !guard::is_gateway(network, family, destination);
    match (rule, Role::from_value(endpoint.role)) {
        (_, Role::Unknown) => Err(DropReason::UnknownInterface),
        (_, Role::Other) => Err(DropReason::RoleOther),
        (Some(rule), Role::Guest | Role::Hub) => Ok(Allowed { rule }),
        // A hub reaches any port of its guests.
        (None, Role::Hub) if neighbour => Ok(BY_DESIGN),
        (None, Role::Guest) if neighbour => Err(DropReason::GuestToGuest),
        (None, Role::Guest | Role::Hub) => Err(DropReason::Policy),
    }
}

/// Whether a process's call towards `destination` is left to its packets: it stays within the guest, or
/// may do, or the kernel knows better. A group's packet also goes to listeners in the guest itself.
#[must_use]
#[inline(always)]
pub fn is_left_to_packets(
    endpoint: &Endpoint,
    network: &Network,
    family: Family,
    destination: &[u8; 16],
) -> bool {
    let has_family =
        if family == IPV4 { endpoint.ipv4 != [0; 4] } else { endpoint.ipv6 != [0; 16] };
    endpoint.role != Role::Guest as u8
        || !has_family
        || guard::is_own(endpoint, family, destination)
        || packet::is_multicast(destination, family)
        || guard::is_subnet_broadcast(network, family, destination)
        || guard::is_unroutable(destination, family)
}

/// The address that the endpoint has towards `destination`.
#[must_use]
#[inline(always)]
pub fn own_address(endpoint: &Endpoint, family: Family, destination: &[u8; 16]) -> [u8; 16] {
    if family == IPV4 {
        let mut address = [0; 16];
        address[..4].copy_from_slice(&endpoint.ipv4);
        address
    } else if guard::is_link_local(destination) {
        endpoint.link_local
    } else {
        endpoint.ipv6
    }
}

/// Whether a flow to `endpoint` may be opened from `origin`. What a port of the same bridge sent
/// was already judged as that port's own outbound flow.
#[inline(always)]
pub fn inbound(
    endpoint: &Endpoint,
    origin: Origin,
    published: bool,
) -> Result<Allowed, DropReason> {
    match (Role::from_value(endpoint.role), origin) {
        (Role::Unknown, _) => Err(DropReason::UnknownInterface),
        (Role::Other, _) => Err(DropReason::RoleOther),
        (Role::Guest | Role::Hub, Origin::Host | Origin::Hub) | (Role::Hub, Origin::Guest) => {
            Ok(BY_DESIGN)
        }
        (Role::Guest, Origin::Guest) => Err(DropReason::GuestToGuest),
        (Role::Guest | Role::Hub, Origin::Beyond) if published => Ok(BY_DESIGN),
        (Role::Guest | Role::Hub, Origin::Beyond) => Err(DropReason::NotPublished),
    }
}

#[cfg(test)]
mod tests;
