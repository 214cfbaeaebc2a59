//! The verdict on a frame, and the reasons for a denial.

/// What happens to a frame. There is no third outcome.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The frame goes on its way.
    Allow,
    /// The frame is dropped, for this reason.
    Deny(DropReason),
}

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $value:literal, $name:literal;)+) => {
        /// Why a frame was denied. Values are fixed for ever: they are in maps, events and records.
        #[repr(u16)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $variant = $value,)+
        }

        impl DropReason {
            /// Every reason, in order of value.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name that records, tables and documents use.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence for an operator.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii_start(),)+ }
            }

            /// The reason with this ABI value, if there is one.
            #[must_use]
            pub const fn from_value(value: u16) -> Option<Self> {
                match value { $($value => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

drop_reasons! {
    /// The port of the guest bridge has no known endpoint yet.
    UnknownInterface = 1, "unknown_interface";
    /// The port of the guest bridge belongs to neither a guest nor a hub.
    RoleOther = 2, "role_other";
    /// The frame is shorter than the headers it announces.
    Truncated = 3, "truncated";
    /// A header contradicts itself or the length of the frame.
    Malformed = 4, "malformed";
    /// The frame carries a VLAN, QinQ or priority tag.
    Vlan = 5, "vlan";
    /// The ethertype is neither IPv4, IPv6 nor ARP.
    EtherType = 6, "ethertype";
    /// The source MAC address is not the endpoint's own.
    SourceMac = 7, "source_mac";
    /// The source IP address is not one of the endpoint's own.
    SourceAddress = 8, "source_address";
    /// An address can never be part of a conversation: loopback, unspecified, or source equals destination.
    BogusAddress = 9, "bogus_address";
    /// The frame is not addressed to the bridge or to a hub's MAC address.
    L2Destination = 10, "l2_destination";
    /// The ARP packet is malformed, claims another's address, or asks for one that is not needed.
    Arp = 11, "arp";
    /// The neighbour discovery message claims another's address or asks for one that is not needed.
    Ndp = 12, "ndp";
    /// A router advertisement, router solicitation or redirect.
    Router = 13, "router";
    /// The destination is a multicast or broadcast address.
    Multicast = 14, "multicast";
    /// The IPv4 header has options.
    IpOptions = 15, "ip_options";
    /// The packet is an IP fragment.
    Fragment = 16, "fragment";
    /// An IPv6 extension header that is not passed, or too many of them.
    ExtensionHeader = 17, "extension_header";
    /// The transport protocol is neither TCP, UDP nor ICMP.
    Protocol = 18, "protocol";
    /// The TCP flags are a combination that no TCP sends.
    TcpFlags = 19, "tcp_flags";
    /// A TCP segment that belongs to no live flow and does not open one.
    NoFlow = 20, "no_flow";
    /// The segment does not fit the state of its flow.
    FlowState = 21, "flow_state";
    /// No rule allows this new flow.
    Policy = 22, "policy";
    /// The port is not published, so it is closed to sources beyond the bridge.
    NotPublished = 23, "not_published";
    /// One guest addressed another.
    GuestToGuest = 24, "guest_to_guest";
    /// The frame came from a guest bridge and was sent back to one by the host.
    Hairpin = 25, "hairpin";
    /// No program of enforcer passed this frame before.
    Unstamped = 26, "unstamped";
    /// The endpoint has as many half-open flows as it may.
    QuotaHalfOpen = 27, "quota_half_open";
    /// The endpoint has as many established flows as it may.
    QuotaEstablished = 28, "quota_established";
    /// The flow table is full.
    FlowTableFull = 29, "flow_table_full";
    /// The ICMP or ICMPv6 type is not passed.
    IcmpType = 30, "icmp_type";
    /// The ICMP error or reply belongs to no live flow.
    IcmpNoFlow = 31, "icmp_no_flow";
    /// The endpoint has no address of this family.
    NoFamily = 32, "no_family";
    /// A map entry that must exist is missing, or a helper failed.
    Internal = 33, "internal";
    /// A broadcast or multicast of the host or a hub that is not for this endpoint: counted, never recorded.
    NotAddressed = 34, "not_addressed";
    /// The port is published, but no rule lets this source in.
    Source = 35, "source";
    /// The endpoint opens more flows in a second than it may.
    RateNewFlows = 36, "rate_new_flows";
    /// The endpoint sends, or is sent, more packets in a second than it may.
    RatePackets = 37, "rate_packets";
    /// The endpoint sends, or is sent, more bits in a second than it may.
    RateBits = 38, "rate_bits";
    /// The endpoint sends more ARP or neighbour discovery messages in a second than anybody needs.
    RateNeighbours = 39, "rate_neighbours";
}

impl DropReason {
    /// Number of slots an array indexed by reason needs.
    pub const SLOTS: usize = 40;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_round_trip_and_fit_their_slots() {
        for reason in DropReason::ALL {
            let value = *reason as u16;
            assert_eq!(DropReason::from_value(value), Some(*reason));
            assert!(usize::from(value) < DropReason::SLOTS);
        }
        assert_eq!(DropReason::from_value(0), None);
    }
}
