//! Stage *flow*: what a packet does to the flow it belongs to. Pure; time is an argument.
//!
//! ```text
//!  (none) --initiator SYN / datagram / echo request--> HalfOpen
//!  HalfOpen --responder SYN-ACK--> Replied --initiator ACK--> Established
//!  HalfOpen --responder datagram / echo reply--> Established
//!  any --RST that fits, or FIN of both--> Closing --linger over--> Dead
//!  Closing (by RST) --segment of the initiator--> Established, suspect until both have spoken
//! ```

mod merge;
mod state;
mod tcp;

pub use merge::{catch_up, merged};
pub use state::{FlowState, Phase, QuotaClass};
pub use tcp::track;

use crate::{
    abi::{
        counter::{CHECKS_PER_PLACE, LEAST_PLACES},
        event::EndCause,
        flow::FlowRecord,
        policy::Quotas,
        verdict::DropReason,
    },
    decide::{Opener, Origin},
    packet::{Packet, Payload, TCP, UDP},
};

const SECOND: u64 = 1_000_000_000;

/// What becomes of a flow with one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The packet belongs to the flow; `refresh` when it keeps the flow alive.
    Pass {
        /// Whether it counts as activity.
        refresh: bool,
    },
    /// It belongs to the flow and moves it to another state.
    Move(FlowState),
    /// It asks for a new flow under the same key. When policy allows that: `replace` says whether
    /// the old flow ends or, still alive, goes on as it was.
    Open {
        /// The old flow is over.
        replace: bool,
    },
    /// It does not fit the flow.
    Deny(DropReason),
}

impl Step {
    /// As one integer, for a call between BPF functions: a payload that a variant lacks would be
    /// an undefined register, which the verifier refuses to see saved.
    #[must_use]
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        match self {
            Self::Pass { refresh } => refresh as u64,
            Self::Open { replace } => 2 | replace as u64,
            Self::Move(state) => 1 << 32 | state.word() as u64,
            Self::Deny(reason) => 2 << 32 | reason as u64,
        }
    }

    /// The step of an integer made by [`Step::to_word`]; any other denies.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the upper half is matched apart")]
    pub const fn from_word(word: u64) -> Self {
        match (word >> 32, word as u32) {
            (0, 0) => Self::Pass { refresh: false },
            (0, 1) => Self::Pass { refresh: true },
            (0, 2) => Self::Open { replace: false },
            (0, 3) => Self::Open { replace: true },
            (1, state) => Self::Move(FlowState::from_word(state)),
            (2, reason) => Self::Deny(match DropReason::from_value(reason as u16) {
                Some(reason) => reason,
                None => DropReason::Internal,
            }),
            _ => Self::Deny(DropReason::Internal),
        }
    }
}

/// Whether a packet without a live flow may ask for one.
#[inline(always)]
pub fn opens(payload: Payload, packet: &Packet) -> Result<(), DropReason> {
    match payload {
        Payload::Tcp if tcp::is_opening(packet.tcp_flags) => Ok(()),
        Payload::Tcp => Err(DropReason::NoFlow),
        Payload::Udp | Payload::EchoRequest => Ok(()),
        Payload::EchoReply => Err(DropReason::IcmpNoFlow),
        Payload::Arp | Payload::IcmpError | Payload::Neighbour => Err(DropReason::Internal),
    }
}

/// What a packet does to the live flow it belongs to.
#[must_use]
#[inline(always)]
pub fn step(
    flow: &FlowRecord,
    state: FlowState,
    from_endpoint: bool,
    payload: Payload,
    packet: &Packet,
) -> Step {
    let from_initiator = state.is_outbound() == from_endpoint;
    match (payload, from_initiator) {
        (Payload::Tcp, _) => tcp::step(flow, state, from_endpoint, packet),
        // Only the initiator keeps a conversation without a handshake alive: one datagram from
        // outside must not open a guest an endless way out.
        (Payload::Udp | Payload::EchoRequest, true) => Step::Pass { refresh: true },
        (Payload::Udp | Payload::EchoReply, false) => {
            if state.phase() == Phase::HalfOpen {
                Step::Move(state.with_phase(Phase::Established))
            } else {
                Step::Pass { refresh: false }
            }
        }
        (Payload::EchoRequest, false) => Step::Open { replace: false },
        (Payload::EchoReply, true) => Step::Deny(DropReason::IcmpNoFlow),
        (Payload::Arp | Payload::IcmpError | Payload::Neighbour, _) => {
            Step::Deny(DropReason::Internal)
        }
    }
}

/// How long a flow in this state lives after its last activity, ns.
#[must_use]
#[inline(always)]
pub fn timeout_ns(state: FlowState, protocol: u8) -> u64 {
    match (state.phase(), protocol) {
        (Phase::Dead, _) => 0,
        (Phase::HalfOpen | Phase::Replied, TCP) => 60 * SECOND,
        // As long as conntrack keeps it: nf_conntrack_tcp_timeout_established.
        (Phase::Established, TCP) if state.is_suspect() => 300 * SECOND,
        (Phase::Established, TCP) if state.is_half_closed() => 3600 * SECOND,
        (Phase::Established, TCP) => 432_000 * SECOND,
        (Phase::Closing, _) if state.is_reset() => 10 * SECOND,
        (Phase::Closing, _) => 60 * SECOND,
        (Phase::HalfOpen | Phase::Replied, _) => 30 * SECOND,
        (Phase::Established, UDP) => 180 * SECOND,
        (Phase::Established, _) => 30 * SECOND,
    }
}

/// Whether a flow is over at `now_ns`, whether or not it has been reaped.
#[must_use]
#[inline(always)]
pub fn is_expired(flow: &FlowRecord, state: FlowState, protocol: u8, now_ns: u64) -> bool {
    remaining_ns(flow, state, protocol, now_ns) == 0
}

/// How long until the flow is over, ns; 0: it is.
#[must_use]
#[inline(always)]
pub fn remaining_ns(flow: &FlowRecord, state: FlowState, protocol: u8, now_ns: u64) -> u64 {
    // Another CPU's clock reading may be a tick ahead of ours.
    let idle = now_ns.saturating_sub(flow.last_seen_ns);
    timeout_ns(state, protocol).saturating_sub(idle)
}

/// Why a flow that is over in this state ended, if time ended it.
#[must_use]
#[inline(always)]
pub const fn end_cause(state: FlowState) -> EndCause {
    match state.phase() {
        Phase::Closing => EndCause::Closed,
        Phase::HalfOpen | Phase::Replied => EndCause::Unanswered,
        Phase::Established | Phase::Dead => EndCause::Idle,
    }
}

/// The limit that the quotas set for a class of flows.
#[must_use]
#[inline(always)]
pub fn limit(quotas: &Quotas, class: QuotaClass, outbound: bool) -> u32 {
    match (class, outbound) {
        (QuotaClass::HalfOpen, false) => quotas.inbound_half_open,
        (QuotaClass::HalfOpen, true) => quotas.outbound_half_open,
        (QuotaClass::Established, false) => quotas.inbound_established,
        (QuotaClass::Established, true) => quotas.outbound_established,
        (QuotaClass::Closing, _) => quotas.closing,
        (QuotaClass::None, _) => 0,
    }
}

/// How many half-open flows there may be for `opener` to open one more. Sources beyond the bridge get
/// half: a flood of theirs on a published port must leave the host and the hubs their way in.
#[must_use]
#[inline(always)]
pub fn opening_limit(quotas: &Quotas, opener: Opener) -> u32 {
    match opener {
        Opener::Endpoint => quotas.outbound_half_open,
        Opener::Peer(Origin::Beyond) => quotas.inbound_half_open.div_ceil(2),
        Opener::Peer(Origin::Host | Origin::Hub | Origin::Guest | Origin::Service) => {
            quotas.inbound_half_open
        }
    }
}

/// How many checks of an endpoint may be in the reaper's queues for `opener` to open one more flow. Checks of flows that
/// ended stay for seconds, so this bounds how fast flows come and go: without it one endpoint could fill the queues for
/// all. A hub has room for many guests, as its quotas do; sources beyond the bridge get half, as of its half-open flows.
#[must_use]
#[inline(always)]
pub fn checks_limit(quotas: &Quotas, opener: Opener) -> u32 {
    let all = quotas.inbound_half_open.max(LEAST_PLACES).saturating_mul(CHECKS_PER_PLACE);
    if matches!(opener, Opener::Peer(Origin::Beyond)) { all.div_ceil(2) } else { all }
}

#[cfg(test)]
mod tests;
