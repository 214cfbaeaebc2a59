//! Stage *policy*: may this new flow be opened? Pure: everything it needs is an argument.

use crate::{
    abi::{
        endpoint::{Endpoint, Network, Role},
        policy::Decision,
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
    /// A port of the same bridge whose policy is by rule only: it answers and opens nothing.
    Service,
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
            Self::Peer(Origin::Service) => 6,
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
            6 => Self::Peer(Origin::Service),
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

/// Why a flow may not be opened, and which rule says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Why.
    pub reason: DropReason,
    /// Number of the rule that denies it; 0: no rule opens it.
    pub rule: u32,
}

impl From<DropReason> for Denied {
    #[inline(always)]
    fn from(reason: DropReason) -> Self {
        Self { reason, rule: 0 }
    }
}

/// Allowed by design, not by a rule.
const BY_DESIGN: Allowed = Allowed { rule: 0 };

/// Whether `endpoint` may open a flow to `destination`, of which the rules of its policy say `decision`.
#[inline(always)]
pub fn outbound(
    endpoint: &Endpoint,
    network: &Network,
    family: Family,
    destination: &[u8; 16],
    decision: Decision,
) -> Result<Allowed, Denied> {
    let denied = |reason| Err(Denied { reason, rule: decision.denied_by() });
    let neighbour = guard::in_subnet(network, family, destination)
        && !guard::is_gateway(network, family, destination);
    match (decision.opened_by(), Role::from_value(endpoint.role)) {
        (_, Role::Unknown) => Err(DropReason::UnknownInterface.into()),
        (_, Role::Other) => Err(DropReason::RoleOther.into()),
        (Some(rule), Role::Guest | Role::Hub) => Ok(Allowed { rule }),
        // A hub reaches any port of its guests.
        (None, Role::Hub) if neighbour => Ok(BY_DESIGN),
        (None, Role::Guest) if neighbour => denied(DropReason::GuestToGuest),
        (None, Role::Guest | Role::Hub) => denied(DropReason::Policy),
    }
}

/// What [`outbound`] allows a service: nothing by design, not even its guests.
#[inline(always)]
pub fn by_rule(allowed: Allowed) -> Result<Allowed, Denied> {
    if allowed == BY_DESIGN { Err(DropReason::GuestToGuest.into()) } else { Ok(allowed) }
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
///
/// `sources` is what the rules say of the source; `None`: they say nothing of who may come in.
#[inline(always)]
pub fn inbound(
    endpoint: &Endpoint,
    origin: Origin,
    published: bool,
    sources: Option<Decision>,
) -> Result<Allowed, Denied> {
    match (Role::from_value(endpoint.role), origin) {
        (Role::Unknown, _) => Err(DropReason::UnknownInterface.into()),
        (Role::Other, _) => Err(DropReason::RoleOther.into()),
        (Role::Guest | Role::Hub, Origin::Host | Origin::Hub) | (Role::Hub, Origin::Guest) => {
            Ok(BY_DESIGN)
        }
        (Role::Guest, Origin::Guest) => Err(DropReason::GuestToGuest.into()),
        // Its own side of an answer may outlive the guest's, where the guest was cut off meanwhile.
        (Role::Guest | Role::Hub, Origin::Service) => Err(DropReason::GuestToGuest.into()),
        (Role::Guest | Role::Hub, Origin::Beyond) if !published => {
            Err(DropReason::NotPublished.into())
        }
        (Role::Guest | Role::Hub, Origin::Beyond) => match sources.map(|of| (of, of.opened_by())) {
            None => Ok(BY_DESIGN),
            Some((_, Some(rule))) => Ok(Allowed { rule }),
            Some((of, None)) => Err(Denied { reason: DropReason::Source, rule: of.denied_by() }),
        },
    }
}

#[cfg(test)]
mod tests;
