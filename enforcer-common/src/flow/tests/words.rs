//! Integers between BPF functions and in maps.

use super::*;
use crate::abi::policy::Quotas;

#[test]
fn n6_steps_round_trip_and_unknown_words_deny() {
    let states = (0..=4_u32).flat_map(|phase| (0..32_u32).map(move |bits| phase | bits << 8));
    let steps = [
        Step::Pass { refresh: false },
        Step::Pass { refresh: true },
        Step::Open { replace: false },
        Step::Open { replace: true },
    ]
    .into_iter()
    .chain(states.map(|word| Step::Move(FlowState::from_word(word))))
    .chain(DropReason::ALL.iter().map(|reason| Step::Deny(*reason)));
    let mut words = std::collections::HashSet::new();
    for step in steps {
        assert_eq!(Step::from_word(step.to_word()), step);
        assert!(words.insert(step.to_word()), "two steps have one word");
    }
    for word in [4, 5, 3 << 32, u64::MAX, 2 << 32, (2 << 32) | 0xffff] {
        assert_eq!(Step::from_word(word), Step::Deny(DropReason::Internal), "{word:#x}");
    }
}

#[test]
fn n6_unknown_phases_are_dead() {
    for phase in 5..=255 {
        let state = FlowState::from_word(phase);
        assert_eq!(state.phase(), Phase::Dead);
        assert_eq!(state.quota_class(), QuotaClass::None);
        assert_eq!(timeout_ns(state, TCP), 0);
    }
}

#[test]
fn f06_each_class_has_its_own_limit() {
    let quotas = Quotas {
        inbound_half_open: 1,
        inbound_established: 2,
        outbound_half_open: 3,
        outbound_established: 4,
        closing: 5,
    };
    let state = |outbound, phase| FlowState::open(outbound).with_phase(phase);
    for (state, expected) in [
        (state(INBOUND, Phase::HalfOpen), 1),
        (state(INBOUND, Phase::Replied), 1),
        (state(INBOUND, Phase::Established), 2),
        (state(OUTBOUND, Phase::HalfOpen), 3),
        (state(OUTBOUND, Phase::Replied), 3),
        (state(OUTBOUND, Phase::Established), 4),
        (state(INBOUND, Phase::Closing), 5),
        (state(OUTBOUND, Phase::Closing), 5),
        (FlowState::DEAD, 0),
    ] {
        assert_eq!(limit(&quotas, state.quota_class(), state.is_outbound()), expected);
    }
}
