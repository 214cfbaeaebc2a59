//! Policies, rules and quotas as the packet path sees them.

use super::{layout::layout, pod};

/// Slots of map `POLICIES`.
pub const POLICY_SLOTS: u32 = 512;

/// Most entries of map `PREFIXES`, and of map `PORTS`, for all policies together and, while one changes,
/// for both of its versions.
pub const POLICY_ENTRIES: u32 = 1 << 20;

/// Value of map `POLICIES` (an array; the key is the policy number).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Names its rules ([`PrefixKey::epoch`]): no two policies, and no two versions of one, have the
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

/// Key of map `PREFIXES`: destinations with the same first bits. What a lookup finds is the longest
/// prefix that covers a destination ([`crate::longest`]).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrefixKey {
    /// [`Policy::epoch`] of the policy that it belongs to: a policy's new rules are put in place beside
    /// the old ones, and one write of the epoch changes over.
    pub epoch: u32,
    /// A [`crate::packet::Family`].
    pub family: u8,
    /// Number of bits: at most 32 or 128.
    pub length: u8,
    /// Padding, 0.
    pub reserved: [u8; 2],
    /// The bits, as a number, from the highest one of the first word on; the others are 0.
    pub bits: [u64; 2],
}

/// Value of map `PREFIXES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    /// Class of the destinations: those of one class have the same rules. 0: nothing is open.
    pub class: u32,
}

/// Key of map `PORTS`: ports of a class of destinations. As with prefixes, the longest match counts.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortKey {
    /// As in [`PrefixKey`].
    pub epoch: u32,
    /// [`Prefix::class`].
    pub class: u32,
    /// First bits of the destination port, host order; the others are 0.
    pub port: u16,
    /// Number of bits: at most 16. 0 for a protocol without ports.
    pub length: u8,
    /// IP protocol number.
    pub protocol: u8,
}

/// Value of map `PORTS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Number of the rule in its policy, from 1; records name it. 0 is no rule: denied.
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

const _: () = assert!(size_of::<Policy>() == 24 && size_of::<PrefixKey>() == 24);
const _: () = assert!(size_of::<PublishedKey>() == 8 && size_of::<PortKey>() == 12);
layout!(Policy {
    epoch,
    quotas.inbound_half_open,
    quotas.inbound_established,
    quotas.outbound_half_open,
    quotas.outbound_established,
    quotas.closing,
});
layout!(PrefixKey { epoch, family, length, bits } padding reserved);
layout!(Prefix { class });
layout!(PortKey { epoch, class, port, length, protocol });
layout!(Rule { id });
layout!(PublishedKey { endpoint, port, protocol } padding reserved);
pod!(Policy, Quotas, PrefixKey, Prefix, PortKey, Rule, PublishedKey);
