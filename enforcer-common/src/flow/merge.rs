//! One flow, seen by two tables: while programs are replaced one by one, some of its packets pass
//! the old ones and some the new ones.

use super::{FlowState, Phase, tcp::is_after};
use crate::abi::flow::FlowRecord;

/// The state of a flow of which one table knows `known` and another `other`: neither forgets a step
/// that the other saw.
#[must_use]
#[inline(always)]
pub fn merged(known: FlowState, other: FlowState) -> FlowState {
    if known.phase() == Phase::Dead || known.is_outbound() != other.is_outbound() {
        return known;
    }
    let further = if other.phase() as u8 > known.phase() as u8 { other } else { known };
    further.with_fins_of(known).with_fins_of(other)
}

/// Brings sequence numbers and the time of the last packet up to those of `other`. The packet path
/// may write them meanwhile; it loses no more than to a reordered packet.
#[inline(always)]
pub fn catch_up(flow: &mut FlowRecord, other: &FlowRecord) {
    if other.last_seen_ns > flow.last_seen_ns {
        flow.last_seen_ns = other.last_seen_ns;
    }
    for side in [0, 1] {
        follow(&mut flow.sequence_end[side], other.sequence_end[side]);
        follow(&mut flow.acknowledged[side], other.acknowledged[side]);
    }
}

#[inline(always)]
fn follow(known: &mut u32, other: u32) {
    // 0 stands for "not seen yet".
    if other != 0 && (*known == 0 || is_after(other, *known)) {
        *known = other;
    }
}
