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
    /// [`OPENS_NAMES`], [`LIMITS_SOURCES`] and [`BY_RULE_ONLY`].
    pub traits: u32,
    /// How many flows each endpoint may have.
    pub quotas: Quotas,
    /// Padding, 0.
    pub reserved: u32,
    /// How much each endpoint may send and be sent.
    pub limits: Limits,
}

/// Bit of [`Policy::traits`]: some of its rules open names, so leases count.
pub const OPENS_NAMES: u32 = 1;
/// Bit of [`Policy::traits`]: some of its rules say who may come in from beyond the bridge, and nobody else
/// may.
pub const LIMITS_SOURCES: u32 = 2;
/// Bit of [`Policy::traits`]: its endpoints are services, which open nothing but what a rule opens; hubs
/// without it reach their guests.
pub const BY_RULE_ONLY: u32 = 4;

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

/// Limits on what one endpoint sends and is sent in a time. Charged is what rules let pass.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Flows that the endpoint opens.
    pub new_flows: Rate,
    /// Packets that it sends, as on the wire.
    pub packets_out: Rate,
    /// Packets that it is sent.
    pub packets_in: Rate,
    /// Bits that it sends, as on the wire, Ethernet headers included.
    pub bits_out: Rate,
    /// Bits that it is sent.
    pub bits_in: Rate,
}

/// One limit; see [`crate::limit`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// How many in a second; 0: there is no limit.
    pub per_second: u64,
    /// How much may come at once: what the rate would let through in so many ns.
    pub burst_ns: u64,
}

/// Which end of a flow a prefix is about. Values of [`PrefixKey::direction`].
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Destinations of flows that the endpoint opens.
    Out = 0,
    /// Sources of flows to the endpoint.
    In = 1,
}

/// Key of map `PREFIXES`: destinations, or sources, with the same first bits. What a lookup finds is the
/// longest prefix that covers an address ([`crate::longest`]).
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
    /// A [`Direction`].
    pub direction: u8,
    /// Padding, 0.
    pub reserved: u8,
    /// The bits, as a number, from the highest one of the first word on; the others are 0.
    pub bits: [u64; 2],
}

/// Value of map `PREFIXES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    /// Class of the addresses: those of one class have the same rules. 0: no rule is about them.
    pub class: u32,
}

/// Key of map `PORTS`: ports of a class of addresses, or of a name. As with prefixes, the longest match
/// counts.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortKey {
    /// As in [`PrefixKey`].
    pub epoch: u32,
    /// [`Prefix::class`], or that of a name: [`name_class`].
    pub class: u32,
    /// First bits of the port, host order; the others are 0.
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
    /// A [`Decision`].
    pub decision: u32,
}

/// What the rules of a policy say of a flow: one opens it, one denies it, or none is about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision(u32);

impl Decision {
    /// No rule is about it.
    pub const NONE: Self = Self(0);
    /// Nobody can tell what the rules say: denied, by no rule, and neither a name nor audit mode opens it.
    pub const UNKNOWN: Self = Self(Self::DENIES);
    /// Set in the word of what a rule denies.
    pub const DENIES: u32 = 1 << 30;

    /// The rule with this number, from 1, opens it.
    #[must_use]
    pub const fn opens(rule: u32) -> Self {
        Self(rule)
    }

    /// The rule with this number, from 1, denies it.
    #[must_use]
    pub const fn denies(rule: u32) -> Self {
        Self(rule | Self::DENIES)
    }

    /// Audit mode lets it through; the rule with this number would deny it, 0: no rule opens it.
    #[must_use]
    #[inline(always)]
    pub const fn audits(rule: u32) -> Self {
        Self(AUDITED | rule)
    }

    /// Whether a name may open it: no rule is about the address itself, or only audit mode is.
    #[must_use]
    #[inline(always)]
    pub const fn is_left_to_names(self) -> bool {
        self.0 & !AUDITED == 0
    }

    /// The decision with this ABI value.
    #[must_use]
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        Self(word)
    }

    /// The ABI value.
    #[must_use]
    #[inline(always)]
    pub const fn word(self) -> u32 {
        self.0
    }

    /// The rule that opens it, if one does and none denies it; or [`AUDITED`], with the rule that would.
    #[must_use]
    #[inline(always)]
    pub const fn opened_by(self) -> Option<u32> {
        if self.0 == 0 || self.0 & Self::DENIES != 0 { None } else { Some(self.0) }
    }

    /// The rule that denies it; 0: none does.
    #[must_use]
    #[inline(always)]
    pub const fn denied_by(self) -> u32 {
        if self.0 & Self::DENIES == 0 { 0 } else { self.0 & !Self::DENIES }
    }
}

/// Bit of a class that is a name's.
const OF_NAME: u32 = 1 << 31;

/// The class of a name as rules write it, in lower case: FNV-1a of its bytes. So a name has the same class
/// in every version of every policy, and leases need not know which one holds. Two names of one class in
/// one policy are refused before it gets here.
///
/// Source: draft-eastlake-fnv, 32 bits.
#[must_use]
pub const fn name_class(name: &[u8]) -> u32 {
    let (mut hash, mut index) = (0x811c_9dc5_u32, 0);
    while index < name.len() {
        hash = (hash ^ name[index] as u32).wrapping_mul(0x0100_0193);
        index += 1;
    }
    hash | OF_NAME
}

/// Names that an address may be leased for at once.
pub const LEASED_NAMES: usize = 4;

/// Key of map `LEASES`: an address that the resolver told an endpoint.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseKey {
    /// [`super::endpoint::Endpoint::id`].
    pub endpoint: u32,
    /// The address; IPv4 in the first four bytes, the rest zero.
    pub address: [u8; 16],
    /// A [`crate::packet::Family`].
    pub family: u8,
    /// Padding, 0.
    pub reserved: [u8; 3],
}

/// Value of map `LEASES`: under which names the address is open, and until when.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// End of the lease of each name, monotonic ns: from then on it opens no new flow.
    pub until_ns: [u64; LEASED_NAMES],
    /// [`name_class`] of each name; 0: none.
    pub names: [u32; LEASED_NAMES],
}

/// Set in [`Rule::decision`] where audit mode lets a destination through that the policy does not open. The other
/// bits are the number of the first rule that denies it; 0: no rule opens it. To the packet path it is a rule like
/// any other.
pub const AUDITED: u32 = 1 << 31;

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

const _: () = assert!(size_of::<Policy>() == 112 && size_of::<PrefixKey>() == 24);
const _: () = assert!(size_of::<LeaseKey>() == 24 && size_of::<Lease>() == 48);
const _: () = assert!(size_of::<PublishedKey>() == 8 && size_of::<PortKey>() == 12);
layout!(Policy {
    epoch,
    traits,
    quotas.inbound_half_open,
    quotas.inbound_established,
    quotas.outbound_half_open,
    quotas.outbound_established,
    quotas.closing,
} optional {
    limits.new_flows.per_second,
    limits.new_flows.burst_ns,
    limits.packets_out.per_second,
    limits.packets_out.burst_ns,
    limits.packets_in.per_second,
    limits.packets_in.burst_ns,
    limits.bits_out.per_second,
    limits.bits_out.burst_ns,
    limits.bits_in.per_second,
    limits.bits_in.burst_ns,
} padding reserved);
layout!(PrefixKey { epoch, family, length, direction, bits } padding reserved);
layout!(Prefix { class });
layout!(PortKey { epoch, class, port, length, protocol });
layout!(Rule { decision });
layout!(LeaseKey { endpoint, address, family } padding reserved);
layout!(Lease { until_ns, names });
layout!(PublishedKey { endpoint, port, protocol } padding reserved);
pod!(Policy, Quotas, Limits, Rate, PrefixKey, Prefix, PortKey, Rule, PublishedKey, LeaseKey, Lease);
