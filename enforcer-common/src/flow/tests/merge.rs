//! What two tables know of one flow.

use proptest::prelude::*;

use super::super::{FlowState, Phase, catch_up, merged};
use crate::abi::flow::FlowRecord;

const PHASES: [Phase; 4] = [Phase::HalfOpen, Phase::Replied, Phase::Established, Phase::Closing];

fn state(phase: Phase) -> FlowState {
    FlowState::open(false).with_phase(phase)
}

#[test]
fn n7_the_further_phase_counts_whichever_table_knows_it() {
    for (a, first) in PHASES.into_iter().enumerate() {
        for (b, second) in PHASES.into_iter().enumerate() {
            let further = PHASES[a.max(b)];
            assert_eq!(merged(state(first), state(second)).phase(), further);
        }
    }
}

#[test]
fn n7_a_fin_seen_by_each_table_closes_the_flow() {
    let open = state(Phase::Established);
    let both = merged(open.with_fin(true), open.with_fin(false));
    assert_eq!(both, open.with_fin(true).with_fin(false));
    assert_eq!(both.phase(), Phase::Closing);
    assert!(merged(open, open.with_fin(true)).is_half_closed());
}

#[test]
fn n7_the_dead_stay_dead_and_an_initiator_stays_the_initiator() {
    assert_eq!(merged(FlowState::DEAD, state(Phase::Established)), FlowState::DEAD);
    let outbound = FlowState::open(true);
    assert_eq!(merged(outbound, state(Phase::Established)), outbound);
    assert_eq!(merged(state(Phase::Replied), FlowState::DEAD), state(Phase::Replied));
}

#[test]
fn n7_sequence_numbers_only_go_forward() {
    let mut flow = FlowRecord {
        last_seen_ns: 10,
        sequence_end: [5, 0],
        acknowledged: [u32::MAX - 1, 9],
        ..FlowRecord::default()
    };
    let other = FlowRecord {
        last_seen_ns: 8,
        sequence_end: [4, 7],
        acknowledged: [3, 0],
        ..FlowRecord::default()
    };
    catch_up(&mut flow, &other);
    assert_eq!(flow.last_seen_ns, 10);
    assert_eq!((flow.sequence_end, flow.acknowledged), ([5, 7], [3, 9]));
}

proptest! {
    #[test]
    fn n7_merging_twice_changes_nothing_more(known in any::<u16>(), other in any::<u16>()) {
        // No state has both FINs and is not closing.
        let state = |word: u16| {
            let state = FlowState::from_word(word.into());
            state.with_fins_of(state)
        };
        let (known, other) = (state(known), state(other));
        let once = merged(known, other);
        prop_assert_eq!(merged(once, other), once);
        prop_assert_eq!(merged(once, once), once);
    }
}
