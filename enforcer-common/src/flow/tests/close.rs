//! How a flow ends: FIN, RST that fits, RST that does not, and time.

use super::*;

#[test]
fn n4_both_fins_close_and_late_segments_pass_for_a_minute() {
    for outbound in [INBOUND, OUTBOUND] {
        for first in [outbound, !outbound] {
            let numbers = |who: bool| if who == outbound { (1100, 5100) } else { (5100, 1100) };
            let mut slot = established(outbound);
            let (sequence, acknowledgement) = numbers(first);
            let fin = segment(FIN | ACK, sequence, acknowledgement, 0);
            assert_eq!(slot.tcp(first, fin), Outcome::Pass);
            assert!(slot.state().is_half_closed() && slot.state().phase() == Phase::Established);
            // Half a connection may go on for an hour between packets.
            let (sequence, acknowledgement) = numbers(!first);
            let more = segment(ACK, sequence, acknowledgement + 1, 10);
            assert_eq!(slot.wait(3599).tcp(!first, more), Outcome::Pass);
            assert_eq!(slot.tcp(first, fin), Outcome::Pass, "FIN again");
            let fin = segment(FIN | ACK, sequence + 10, acknowledgement + 1, 0);
            assert_eq!(slot.tcp(!first, fin), Outcome::Pass);
            assert_eq!(slot.state().phase(), Phase::Closing);
            assert!(!slot.state().is_reset());
            let (sequence, _) = numbers(first);
            let last = segment(ACK, sequence + 1, 0, 0);
            assert_eq!(slot.wait(59).tcp(first, last), Outcome::Pass, "retransmissions");
            assert_eq!(slot.wait(1).tcp(first, last), Outcome::Deny(DropReason::NoFlow));
        }
        let mut slot = established(outbound);
        slot.tcp(outbound, segment(FIN | ACK, 1100, 5100, 0));
        let late = slot.wait(3600).tcp(!outbound, segment(ACK, 5100, 1101, 1));
        assert_eq!(late, Outcome::Deny(DropReason::NoFlow), "half closed for an hour");
    }
}

#[test]
fn p23_a_reset_that_fits_closes_the_flow() {
    // Initiator: next is 1100. Responder: next is 5100.
    for outbound in [INBOUND, OUTBOUND] {
        for (who, sequence) in [(outbound, 1100), (!outbound, 5100)] {
            let mut slot = established(outbound);
            assert_eq!(slot.tcp(who, segment(RST, sequence, 0, 0)), Outcome::Pass);
            assert_eq!(slot.state().phase(), Phase::Closing);
            assert!(slot.state().is_reset());
            let mut later = slot;
            assert!(slot.wait(9).is_live());
            assert!(!later.wait(10).is_live());
        }
    }
}

#[test]
fn p23_a_reset_that_does_not_fit_is_only_a_suspicion() {
    for outbound in [INBOUND, OUTBOUND] {
        for (who, next) in [(outbound, 1100_u32), (!outbound, 5100)] {
            for offset in [1, 2, 65_535, 1 << 20, 1 << 31, u32::MAX] {
                let mut slot = established(outbound);
                let forged = segment(RST, next.wrapping_add(offset), 0, 0);
                assert_eq!(slot.tcp(who, forged), Outcome::Pass, "its receiver judges it too");
                assert_eq!(slot.state().phase(), Phase::Established, "offset {offset}");
                assert!(slot.state().is_suspect());
                let mut silent = slot;
                assert!(slot.wait(299).is_live());
                assert!(!silent.wait(300).is_live());
                assert_eq!(slot.tcp(outbound, segment(ACK, 1100, 5100, 0)), Outcome::Pass);
                assert!(slot.state().is_suspect(), "one side alone proves nothing");
                assert_eq!(slot.tcp(!outbound, segment(ACK, 5100, 1100, 0)), Outcome::Pass);
                assert!(!slot.state().is_suspect(), "both sides take the suspicion off");
            }
        }
    }
}

#[test]
fn p23_a_reset_with_a_fitting_acknowledgement_alone_does_not_close_a_live_flow() {
    for outbound in [INBOUND, OUTBOUND] {
        let mut slot = established(outbound);
        slot.tcp(outbound, segment(RST | ACK, 77_777, 5100, 0));
        assert_eq!(slot.state().phase(), Phase::Established);
        let mut slot = established(outbound);
        slot.tcp(!outbound, segment(RST | ACK, 77_777, 1100, 0));
        assert_eq!(slot.state().phase(), Phase::Established);
    }
}

#[test]
fn p23_a_blind_sender_cannot_make_its_own_reset_fit() {
    for bait in [segment(SYN, 70_000, 0, 0), segment(ACK, 70_000, 0, 1)] {
        let mut slot = established(INBOUND);
        slot.tcp(PEER, bait);
        slot.tcp(PEER, segment(RST, 70_001, 0, 0));
        assert_eq!(slot.state().phase(), Phase::Established, "after {bait:?}");
    }
}

#[test]
fn n4_a_refused_connection_is_over_and_may_be_tried_again() {
    for outbound in [INBOUND, OUTBOUND] {
        let mut slot = Slot::open(outbound, Payload::Tcp, &segment(SYN, 999, 0, 0));
        assert_eq!(slot.tcp(!outbound, segment(RST | ACK, 0, 1000, 0)), Outcome::Pass);
        assert_eq!(slot.state().phase(), Phase::Closing);
        assert_eq!(slot.tcp(outbound, segment(SYN, 999, 0, 0)), Outcome::Ask);
        // One that refuses another SYN does not.
        let mut slot = Slot::open(outbound, Payload::Tcp, &segment(SYN, 999, 0, 0));
        assert_eq!(slot.tcp(!outbound, segment(RST | ACK, 9, 4242, 0)), Outcome::Pass);
        assert_eq!(slot.state().phase(), Phase::HalfOpen);
        // The initiator gives up.
        assert_eq!(slot.tcp(outbound, segment(RST, 1000, 0, 0)), Outcome::Pass);
        assert_eq!(slot.state().phase(), Phase::Closing);
    }
}

#[test]
fn n4_data_of_the_initiator_after_a_reset_revives() {
    for outbound in [INBOUND, OUTBOUND] {
        let mut slot = established(outbound);
        slot.tcp(outbound, segment(RST, 1100, 0, 0));
        let mut other = slot;
        assert_eq!(other.tcp(!outbound, segment(ACK, 5100, 1100, 9)), Outcome::Pass);
        assert_eq!(other.state().phase(), Phase::Closing, "not by the responder");
        assert_eq!(other.tcp(outbound, segment(ACK, 1100, 5100, 0)), Outcome::Pass);
        assert_eq!(other.state().phase(), Phase::Established, "a download only acknowledges");
        assert!(
            !other.wait(300).is_live(),
            "what was on the way keeps it for five minutes at most"
        );
        assert_eq!(slot.wait(9).tcp(outbound, segment(ACK, 1100, 5100, 9)), Outcome::Pass);
        assert_eq!(slot.state().phase(), Phase::Established);
        slot.tcp(!outbound, segment(ACK, 5100, 1109, 0));
        assert!(!slot.state().is_reset() && slot.wait(86_400).is_live());
        // Both FINs are an end that nothing takes back.
        let mut slot = established(outbound);
        slot.tcp(outbound, segment(FIN | ACK, 1100, 5100, 0));
        slot.tcp(!outbound, segment(FIN | ACK, 5100, 1101, 0));
        slot.tcp(outbound, segment(RST, 1101, 0, 0));
        slot.tcp(outbound, segment(ACK, 1101, 5101, 9));
        assert_eq!(slot.state().phase(), Phase::Closing);
    }
}

#[test]
fn f06_half_open_flows_end_after_their_time_whatever_is_repeated() {
    let mut slot = Slot::open(OUTBOUND, Payload::Tcp, &segment(SYN, 999, 0, 0));
    for _ in 0..59 {
        assert_eq!(slot.wait(1).tcp(ENDPOINT, segment(SYN, 999, 0, 0)), Outcome::Pass);
    }
    assert_eq!(slot.wait(1).tcp(ENDPOINT, segment(SYN, 999, 0, 0)), Outcome::Ask);
}

#[test]
fn f20_time_at_its_edges() {
    let state = FlowState::open(INBOUND);
    let rows = [
        (state, TCP, 60),
        (state.with_phase(Phase::Replied), TCP, 60),
        (state.with_phase(Phase::Established), TCP, 432_000),
        (state.with_phase(Phase::Established).with_suspicion(), TCP, 300),
        (state.with_phase(Phase::Established).with_fin(true), TCP, 3600),
        (state.with_phase(Phase::Established).with_fin(false), TCP, 3600),
        (state.with_phase(Phase::Established).with_fin(false).with_fin(true), TCP, 60),
        (state.with_phase(Phase::Established).with_reset(), TCP, 10),
        (state, UDP, 30),
        (state.with_phase(Phase::Established), UDP, 180),
        (state, 1, 30),
        (state.with_phase(Phase::Established), 58, 30),
        (FlowState::DEAD, TCP, 0),
    ];
    for (state, protocol, seconds) in rows {
        let start = 1_000_000_007;
        let flow = FlowRecord { last_seen_ns: start, ..FlowRecord::default() };
        let end = start + seconds * SECOND;
        assert_eq!(remaining_ns(&flow, state, protocol, start), seconds * SECOND);
        assert!(is_expired(&flow, state, protocol, end));
        assert!(is_expired(&flow, state, protocol, u64::MAX));
        if seconds > 0 {
            assert!(!is_expired(&flow, state, protocol, end - 1));
            assert!(!is_expired(&flow, state, protocol, start - 1), "a clock that is behind");
            assert!(!is_expired(&flow, state, protocol, 0));
        }
    }
}
