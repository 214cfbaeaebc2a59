//! The flow table.

use super::{layout::layout, pod};

/// Key of map `FLOWS`: one key for both directions, seen from the endpoint.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// [`super::endpoint::Endpoint::id`].
    pub endpoint: u32,
    /// The endpoint's port, host order; for ICMP echo the identifier.
    pub local_port: u16,
    /// The peer's port, host order; for ICMP echo the identifier.
    pub remote_port: u16,
    /// The endpoint's address; IPv4 in the first four bytes.
    pub local: [u8; 16],
    /// The peer's address; IPv4 in the first four bytes.
    pub remote: [u8; 16],
    /// IP protocol number.
    pub protocol: u8,
    /// A [`crate::packet::Family`].
    pub family: u8,
    /// Padding, 0.
    pub reserved: [u8; 2],
}

/// Value of map `FLOWS`: what the packet path remembers of a flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowRecord {
    /// Last packet that keeps the flow alive, monotonic ns.
    #[cfg(not(feature = "other-layout"))]
    pub last_seen_ns: u64,
    /// Only in the layout that tests upgrade to.
    #[cfg(feature = "other-layout")]
    pub other: u64,
    /// First packet, monotonic ns.
    pub opened_ns: u64,
    /// When the reaper looks at it next, monotonic ns: [`Check::due_ns`] of the one check that counts.
    pub check_ns: u64,
    /// Packets the endpoint sent, GSO segments counted.
    pub packets_out: u64,
    /// Bytes the endpoint sent, Ethernet headers included.
    pub bytes_out: u64,
    /// Packets the endpoint was sent.
    pub packets_in: u64,
    /// Bytes the endpoint was sent.
    pub bytes_in: u64,
    /// Last packet that keeps the flow alive, monotonic ns.
    #[cfg(feature = "other-layout")]
    pub last_seen_ns: u64,
    /// A packed [`crate::flow::FlowState`]; changed by compare-and-swap only.
    pub state: u32,
    /// Epoch of the policy that allowed it.
    pub epoch: u32,
    /// Rule that allowed it, 0: none needed.
    pub rule: u32,
    /// TCP: the next sequence number each side was seen to send (`[endpoint, peer]`).
    pub sequence_end: [u32; 2],
    /// TCP: the last acknowledgement each side was seen to send (`[endpoint, peer]`).
    pub acknowledged: [u32; 2],
    /// Who opened it: a [`crate::decide::Opener`].
    pub opener: u32,
    /// Class of the name under whose lease it was opened ([`super::policy::name_class`]); 0: none was
    /// needed. The flow outlives the lease.
    pub name: u32,
    /// Padding, 0.
    pub reserved: u32,
}

/// Element of the queues `CHECKS_SOON` and `CHECKS_LATER`: a flow that the reaper is to look at.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// When, monotonic ns. A check whose time is not [`FlowRecord::check_ns`] is out of date.
    pub due_ns: u64,
    /// The flow.
    pub key: FlowKey,
    /// Padding, 0.
    pub reserved: u32,
}

const _: () = assert!(
    size_of::<FlowKey>() == 44
        && size_of::<FlowRecord>() == 96 + if cfg!(feature = "other-layout") { 8 } else { 0 }
);
const _: () = assert!(size_of::<Check>() == 56);
layout!(FlowKey {
    endpoint,
    local_port,
    remote_port,
    local,
    remote,
    protocol,
    family,
} padding reserved);
layout!(FlowRecord {
    last_seen_ns,
    opened_ns,
    packets_out,
    bytes_out,
    packets_in,
    bytes_in,
    state,
    epoch,
    rule,
    opener,
} optional {
    #[cfg(feature = "other-layout")] other,
    check_ns,
    sequence_end,
    acknowledged,
    name,
} padding reserved);
pod!(FlowKey, FlowRecord, Check);
