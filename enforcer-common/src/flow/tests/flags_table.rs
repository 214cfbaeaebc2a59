//! Every TCP flag set, in every state, from each side.

use super::*;
use crate::packet::flags::{PSH, URG};

/// What a flag set is to TCP, if it is anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Syn,
    SynAck,
    Rst,
    Fin,
    Plain,
}

/// As `tcp_valid_flags` of conntrack, written out anew.
fn kind(set: u8) -> Option<Kind> {
    match set & !PSH {
        f if f & !URG == SYN => Some(Kind::Syn),
        f if f == SYN | ACK => Some(Kind::SynAck),
        f if f & !ACK == RST => Some(Kind::Rst),
        f if f & !URG == FIN | ACK => Some(Kind::Fin),
        f if f & !URG == ACK => Some(Kind::Plain),
        _ => None,
    }
}

fn in_phase(outbound: bool, phase: Phase) -> Slot {
    let mut slot = Slot::open(outbound, Payload::Tcp, &segment(SYN, 999, 0, 0));
    match phase {
        Phase::HalfOpen => {}
        Phase::Replied => {
            slot.tcp(!outbound, segment(SYN | ACK, 4999, 1000, 0));
        }
        Phase::Established => slot = established(outbound),
        Phase::Closing => {
            slot = established(outbound);
            slot.tcp(outbound, segment(FIN | ACK, 1100, 5100, 0));
            slot.tcp(!outbound, segment(FIN | ACK, 5100, 1101, 0));
        }
        Phase::Dead => slot.record.state = FlowState::DEAD.word(),
    }
    assert_eq!(slot.state().phase(), phase);
    slot
}

const PHASES: [Phase; 5] =
    [Phase::Dead, Phase::HalfOpen, Phase::Replied, Phase::Established, Phase::Closing];

#[test]
fn p08_p21_p22_p23_all_flags_in_all_states_from_both_sides() {
    let mut rows = 0;
    for set in 0..64 {
        let Some(kind) = kind(set) else { continue };
        for phase in PHASES {
            for outbound in [INBOUND, OUTBOUND] {
                for from_endpoint in [ENDPOINT, PEER] {
                    let from_initiator = outbound == from_endpoint;
                    let mut slot = in_phase(outbound, phase);
                    let outcome = slot.tcp(from_endpoint, segment(set, 31_337, 31_337, 0));
                    let expected = expected(kind, phase, from_initiator);
                    assert_eq!(
                        outcome, expected,
                        "{kind:?} {set:#x} in {phase:?}, outbound {outbound}, endpoint {from_endpoint}"
                    );
                    assert_eq!(slot.state().is_outbound(), outbound && phase != Phase::Dead);
                    rows += 1;
                }
            }
        }
    }
    assert_eq!(rows, 18 * 5 * 4, "nine sets, each with and without PSH");
}

#[expect(clippy::match_same_arms, reason = "the arms are the rules, in order")]
fn expected(kind: Kind, phase: Phase, from_initiator: bool) -> Outcome {
    use Outcome::{Ask, Deny, Pass};
    match (phase, kind, from_initiator) {
        // No flow: a SYN asks policy, nothing else passes.
        (Phase::Dead, Kind::Syn, _) => Ask,
        (Phase::Dead, ..) => Deny(DropReason::NoFlow),
        // A SYN repeats the initiator's own; from the responder, or after the end, it is new.
        (Phase::HalfOpen | Phase::Replied | Phase::Established, Kind::Syn, true) => Pass,
        (_, Kind::Syn, _) => Ask,
        (_, Kind::Rst, _) => Pass,
        // Only a responder answers a SYN, and only while the flow lives.
        (Phase::Closing, Kind::SynAck, _) | (_, Kind::SynAck, true) => Deny(DropReason::FlowState),
        (_, Kind::SynAck, false) => Pass,
        (Phase::HalfOpen, ..) | (Phase::Replied, _, false) => Deny(DropReason::FlowState),
        (Phase::Replied, _, true) | (Phase::Established | Phase::Closing, ..) => Pass,
    }
}

#[test]
fn p08_without_a_flow_only_a_syn_asks_for_one() {
    for set in 0..=u8::MAX {
        let outcome = opens(Payload::Tcp, &segment(set, 0, 0, 0));
        let syn = set & (SYN | ACK | RST | FIN) == SYN;
        assert_eq!(outcome, if syn { Ok(()) } else { Err(DropReason::NoFlow) }, "flags {set:#x}");
    }
}
