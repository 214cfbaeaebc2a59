//! Counters: what was denied, and what became of the records of it.

use super::{layout::layout, pod};

/// Key of map `COUNTERS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CounterKey {
    /// [`super::endpoint::Endpoint::id`] or [`super::endpoint::Network::id`].
    pub owner: u32,
    /// A [`super::verdict::DropReason`], [`FLOW_OPENED`], [`FLOW_CLOSED`], [`EXEC`],
    /// [`CONNECT_REFUSED`] or [`SOCKET_REFUSED`].
    pub reason: u16,
    /// A [`super::event::Hook`]; 0 for the last four, which no frame is behind.
    pub hook: u8,
    /// Padding, 0.
    pub reserved: u8,
}

/// [`CounterKey::reason`] of flows opened; reasons of denials start at 1.
pub const FLOW_OPENED: u16 = 0;
/// [`CounterKey::reason`] of flows that ended.
pub const FLOW_CLOSED: u16 = u16::MAX;
/// [`CounterKey::reason`] of programs that a process of the owner began to run.
pub const EXEC: u16 = u16::MAX - 1;
/// [`CounterKey::reason`] of calls that were refused before there was a packet. Why is in the records:
/// what is refused here is never added to the frames that are denied.
pub const CONNECT_REFUSED: u16 = u16::MAX - 2;
/// [`CounterKey::reason`] of unix sockets that were refused to a process of the owner.
pub const SOCKET_REFUSED: u16 = u16::MAX - 3;

/// Value of map `COUNTERS`, one for each CPU.
///
/// `events = recorded + suppressed + lost` holds for each CPU's own value and so for their sum.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Frames (super-packets count once) denied, flows opened or closed, programs begun, calls
    /// refused.
    pub events: u64,
    /// Packets as on the wire: a GSO super-packet counts its segments. Of closed flows: all of both
    /// directions.
    pub packets: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Records written to the ring.
    pub recorded: u64,
    /// Records not written because the owner's rate for this reason was used up.
    pub suppressed: u64,
    /// Records not written because the ring was full.
    pub lost: u64,
    /// Rate limit: time of the last refill, monotonic ns.
    pub refilled_ns: u64,
    /// Rate limit: records that may be written now.
    pub tokens: u64,
}

impl Counter {
    /// The sum of both. Times and tokens are left out: they have none.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            events: self.events + other.events,
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
            recorded: self.recorded + other.recorded,
            suppressed: self.suppressed + other.suppressed,
            lost: self.lost + other.lost,
            refilled_ns: 0,
            tokens: 0,
        }
    }
}

/// Value of map `TOLD`; the key is that of `COUNTERS`. Losses that were told in a loss record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Of [`Counter::suppressed`].
    pub suppressed: u64,
    /// Of [`Counter::lost`].
    pub lost: u64,
}

/// Value of map `USAGE`; the key is the endpoint's id. What it has of its quotas, and took of its limits.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Half-open flows towards the endpoint.
    pub inbound_half_open: u32,
    /// Established flows towards the endpoint.
    pub inbound_established: u32,
    /// Half-open flows that the endpoint opened.
    pub outbound_half_open: u32,
    /// Established flows that the endpoint opened.
    pub outbound_established: u32,
    /// Closed flows that linger.
    pub closing: u32,
    /// Checks in the reaper's queues, also those of flows that ended meanwhile.
    pub checks: u32,
    /// What it took of its limits.
    pub buckets: Buckets,
}

/// What an endpoint took of each limit: the time by which it is paid for, monotonic ns
/// ([`crate::limit`]). Changed by compare-and-swap only.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buckets {
    /// Of [`super::policy::Limits::new_flows`].
    pub new_flows: u64,
    /// Of [`super::policy::Limits::packets_out`].
    pub packets_out: u64,
    /// Of [`super::policy::Limits::packets_in`].
    pub packets_in: u64,
    /// Of [`super::policy::Limits::bits_out`].
    pub bits_out: u64,
    /// Of [`super::policy::Limits::bits_in`].
    pub bits_in: u64,
    /// Of [`crate::limit::NEIGHBOURS`].
    pub neighbours: u64,
    /// Of [`crate::limit::ANSWERS`].
    pub answers: u64,
}

/// Checks of one endpoint in the reaper's queues, for each half-open flow that may be towards it; see
/// [`crate::flow::checks_limit`]. By default a guest has a sixteenth of a queue that all endpoints use.
pub const CHECKS_PER_PLACE: u32 = 32;
/// An endpoint with fewer half-open flows than these has the checks of so many.
pub const LEAST_PLACES: u32 = 64;

/// Records of one kind that an owner may write at once, on each CPU.
pub const RECORD_BURST: u64 = 64;
/// Records of one kind that an owner may write in a second once the burst is used, on each CPU.
pub const RECORDS_PER_SECOND: u64 = 32;

const _: () = assert!(size_of::<CounterKey>() == 8 && size_of::<Counter>() == 64);
const _: () = assert!(size_of::<Usage>() == 80 && size_of::<Told>() == 16);
layout!(CounterKey { owner, reason, hook } padding reserved);
layout!(Counter { events, packets, bytes, recorded, suppressed, lost } optional { refilled_ns, tokens });
layout!(Usage {
    inbound_half_open,
    inbound_established,
    outbound_half_open,
    outbound_established,
    closing,
    checks,
} optional {
    buckets.new_flows,
    buckets.packets_out,
    buckets.packets_in,
    buckets.bits_out,
    buckets.bits_in,
    buckets.neighbours,
    buckets.answers,
});
layout!(Told { suppressed, lost });
pod!(CounterKey, Counter, Told, Usage, Buckets);
