//! Policies, rules and quotas as the packet path sees them.

use super::{layout::layout, pod};

/// Slots of map `POLICIES`.
pub const POLICY_SLOTS: u32 = 512;

/// Value of map `POLICIES` (an array; the key is the policy number).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Names its rules ([`RuleKey::epoch`]): no two policies, and no two versions of one, have the
    /// same. A flow of another epoch is decided anew. 0: the policy does not exist, and everything
    /// under it is denied.
    pub epoch: u32,
    /// How many flows each endpoint may have.
    pub quotas: Quotas,
}

/// Limits on the flows of one endpoint. Closing flows count in none of them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Half-open flows towards the endpoint.
    pub inbound_half_open: u32,
    /// Established flows towards the endpoint.
    pub inbound_established: u32,
    /// Half-open flows that the endpoint opened.
    pub outbound_half_open: u32,
    /// Established flows that the endpoint opened.
    pub outbound_established: u32,
    /// Closed flows that still linger; above it, a closed flow is forgotten at once.
    pub closing: u32,
}

/// Key of map `RULES`: a destination that a policy opens. No entry: denied.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleKey {
    /// [`Policy::epoch`] of the policy that it belongs to: a policy's new rules are put in place beside
    /// the old ones, and one write of the epoch changes over.
    pub epoch: u32,
    /// Destination address; IPv4 in the first four bytes, the rest zero.
    pub address: [u8; 16],
    /// Destination port, host order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// A [`crate::packet::Family`].
    pub family: u8,
}

/// Value of map `RULES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Number of the rule in its policy, from 1; records name it. 0 is no rule.
    pub id: u32,
}

/// Key of map `PUBLISHED`: a container port that Docker publishes on a non-loopback address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublishedKey {
    /// [`super::endpoint::Endpoint::id`].
    pub endpoint: u32,
    /// Container port, host order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Padding, 0.
    pub reserved: u8,
}

const _: () = assert!(size_of::<Policy>() == 24 && size_of::<RuleKey>() == 24);
const _: () = assert!(size_of::<PublishedKey>() == 8);
layout!(Policy {
    epoch,
    quotas.inbound_half_open,
    quotas.inbound_established,
    quotas.outbound_half_open,
    quotas.outbound_established,
    quotas.closing,
});
layout!(RuleKey { epoch, address, port, protocol, family });
layout!(Rule { id });
layout!(PublishedKey { endpoint, port, protocol } padding reserved);
pod!(Policy, Quotas, RuleKey, Rule, PublishedKey);
