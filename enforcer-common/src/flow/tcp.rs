//! TCP: handshake, close, and which RST to believe.

use super::{FlowState, Phase, Step};
use crate::{
    abi::{flow::FlowRecord, verdict::DropReason},
    packet::{
        Packet, TcpFlags,
        flags::{ACK, FIN, RST, SYN},
    },
};

/// How far ahead of the last acknowledgement sequence numbers are remembered, bytes.
const TRACKED_WINDOW: u32 = 1 << 16;

/// Whether a segment with these flags opens a connection: SYN without ACK.
#[inline(always)]
pub(super) fn is_opening(flags: TcpFlags) -> bool {
    flags & (SYN | ACK | RST | FIN) == SYN
}

#[inline(always)]
pub(super) fn step(
    flow: &FlowRecord,
    state: FlowState,
    from_endpoint: bool,
    packet: &Packet,
) -> Step {
    let flags = packet.tcp_flags;
    let from_initiator = state.is_outbound() == from_endpoint;
    if is_opening(flags) {
        return opening(state, from_initiator);
    }
    if flags & SYN != 0 {
        return syn_ack(state, from_initiator);
    }
    if flags & RST != 0 {
        return reset(flow, state, from_endpoint, packet);
    }
    segment(state, from_initiator, packet)
}

/// SYN without ACK: of the initiator a retransmission, of the responder always a new flow.
#[inline(always)]
fn opening(state: FlowState, from_initiator: bool) -> Step {
    match (state.phase(), from_initiator) {
        (Phase::Closing | Phase::Dead, _) => Step::Open { replace: true },
        (Phase::HalfOpen | Phase::Replied | Phase::Established, true) => {
            Step::Pass { refresh: false }
        }
        (Phase::HalfOpen | Phase::Replied | Phase::Established, false) => {
            Step::Open { replace: false }
        }
    }
}

#[inline(always)]
fn syn_ack(state: FlowState, from_initiator: bool) -> Step {
    match (state.phase(), from_initiator) {
        (Phase::HalfOpen, false) => Step::Move(state.with_phase(Phase::Replied)),
        (Phase::Replied | Phase::Established, false) => Step::Pass { refresh: false },
        (Phase::Closing | Phase::Dead, _) | (_, true) => Step::Deny(DropReason::FlowState),
    }
}

/// A RST always passes, its receiver judges it too; it closes the flow only when it fits.
#[inline(always)]
fn reset(flow: &FlowRecord, state: FlowState, from_endpoint: bool, packet: &Packet) -> Step {
    let fits = reset_fits(flow, state, from_endpoint, packet);
    match state.phase() {
        Phase::Dead => Step::Deny(DropReason::NoFlow),
        Phase::Closing => Step::Pass { refresh: false },
        Phase::HalfOpen | Phase::Replied | Phase::Established if fits => {
            Step::Move(state.with_reset())
        }
        Phase::Established => Step::Move(state.with_suspicion()),
        Phase::HalfOpen | Phase::Replied => Step::Pass { refresh: false },
    }
}

/// RFC 5961 3.2: a receiver believes a RST with exactly the sequence number it expects, which is
/// the last it acknowledged or the end of what was sent to it. RFC 9293 3.10.7.3: before the
/// handshake it believes one that acknowledges its SYN.
#[inline(always)]
fn reset_fits(flow: &FlowRecord, state: FlowState, from_endpoint: bool, packet: &Packet) -> bool {
    let (own, other) = sides(from_endpoint);
    let from_initiator = state.is_outbound() == from_endpoint;
    if state.phase() == Phase::HalfOpen && !from_initiator {
        return packet.tcp_flags & ACK != 0 && packet.acknowledgement == flow.sequence_end[other];
    }
    // 0 stands for "not seen yet"; that a real number is 0 is rare and only delays the end.
    let is = |known: u32| known != 0 && packet.sequence == known;
    is(flow.acknowledged[other]) || is(flow.sequence_end[own])
}

/// A segment with neither SYN nor RST.
#[inline(always)]
fn segment(state: FlowState, from_initiator: bool, packet: &Packet) -> Step {
    let fin = packet.tcp_flags & FIN != 0;
    match (state.phase(), from_initiator) {
        (Phase::Dead, _) => Step::Deny(DropReason::NoFlow),
        // Before its handshake a responder sends nothing but SYN-ACK or RST, and an initiator
        // nothing but its SYN.
        (Phase::HalfOpen, _) | (Phase::Replied, false) => Step::Deny(DropReason::FlowState),
        (Phase::Replied, true) => {
            let open = state.with_phase(Phase::Established);
            Step::Move(if fin { open.with_fin(true) } else { open })
        }
        (Phase::Established, _) if fin => Step::Move(state.with_fin(from_initiator)),
        (Phase::Established, _) if state.is_suspect() => {
            Step::Move(state.with_sign_of_life(from_initiator))
        }
        (Phase::Established, _) => Step::Pass { refresh: true },
        // The side that opened it goes on: it did not believe the RST, or they crossed.
        (Phase::Closing, true) if state.is_reset() => Step::Move(state.revived()),
        (Phase::Closing, _) => Step::Pass { refresh: false },
    }
}

/// Remembers the sequence numbers of a segment that passed, in a flow that was in `state`.
#[inline(always)]
pub fn track(flow: &mut FlowRecord, state: FlowState, from_endpoint: bool, packet: &Packet) {
    let (own, other) = sides(from_endpoint);
    let flags = packet.tcp_flags;
    let controls = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    let end = packet.sequence.wrapping_add(packet.payload_len).wrapping_add(controls);
    let shaking_hands = matches!(state.phase(), Phase::HalfOpen | Phase::Replied);
    // Once the handshake is over a SYN is a stray one or a lie.
    if flags & RST != 0 || (flags & SYN != 0 && !shaking_hands) {
        return;
    }
    // Numbers far ahead of what the other side acknowledged are no base to believe a RST on.
    let near = flow.acknowledged[other] == 0
        || end.wrapping_sub(flow.acknowledged[other]) <= TRACKED_WINDOW;
    if flags & SYN != 0 || (near && is_after(end, flow.sequence_end[own])) {
        flow.sequence_end[own] = end;
    }
    let acknowledgement = packet.acknowledgement;
    if flags & ACK != 0
        && (flow.acknowledged[own] == 0 || is_after(acknowledgement, flow.acknowledged[own]))
    {
        flow.acknowledged[own] = acknowledgement;
    }
}

/// Indices of the sender's and of the other side's numbers in a record.
#[inline(always)]
fn sides(from_endpoint: bool) -> (usize, usize) {
    if from_endpoint { (0, 1) } else { (1, 0) }
}

/// RFC 1982 serial number arithmetic.
#[inline(always)]
#[expect(clippy::cast_possible_wrap, reason = "serial number arithmetic is defined by the wrap")]
pub(super) fn is_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 > 0
}
