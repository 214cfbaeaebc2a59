//! Whatever the sequence of segments, these hold.

use proptest::prelude::*;

use super::*;

/// The flag sets that the parser accepts.
const SETS: [u8; 9] = [0x02, 0x22, 0x12, 0x04, 0x14, 0x11, 0x31, 0x10, 0x30];

fn segments() -> impl Strategy<Value = Vec<(bool, Packet, u64)>> {
    let number =
        prop::sample::select(vec![0_u32, 999, 1000, 1100, 4999, 5000, 5100, 77_777, u32::MAX]);
    let one = (
        any::<bool>(),
        prop::sample::select(SETS.to_vec()),
        number.clone(),
        number,
        0..3_u32,
        0..70_u64,
    )
        .prop_map(|(side, set, sequence, ack, len, wait)| {
            (side, segment(set, sequence, ack, len), wait)
        });
    prop::collection::vec(one, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4_000) })]

    #[test]
    fn p21_the_initiator_never_changes(outbound: bool, segments in segments()) {
        let mut slot = Slot::open(outbound, Payload::Tcp, &segment(SYN, 999, 0, 0));
        for (side, packet, wait) in segments {
            let _outcome = slot.wait(wait).tcp(side, packet);
            prop_assert_eq!(slot.state().is_outbound(), outbound);
        }
    }

    #[test]
    fn p08_a_responder_alone_establishes_nothing(outbound: bool, segments in segments()) {
        let mut slot = Slot::open(outbound, Payload::Tcp, &segment(SYN, 999, 0, 0));
        for (_, packet, wait) in segments {
            let outcome = slot.wait(wait).tcp(!outbound, packet);
            prop_assert_ne!(slot.state().phase(), Phase::Established);
            let talks = packet.tcp_flags & (SYN | RST) == 0;
            if talks && slot.state().phase() != Phase::Closing {
                prop_assert_ne!(outcome, Outcome::Pass);
            }
        }
    }

    #[test]
    fn p24_a_responder_alone_never_outlives_the_question(gaps in prop::collection::vec(1..20_u64, 0..60)) {
        let datagram = Packet { protocol: UDP, ..Packet::default() };
        let mut slot = Slot::open(INBOUND, Payload::Udp, &datagram);
        for gap in gaps {
            let outcome = slot.wait(gap).send(ENDPOINT, Payload::Udp, &datagram);
            if slot.now >= (30 + 180) * SECOND {
                prop_assert_eq!(outcome, Outcome::Ask);
            }
        }
    }

    #[test]
    fn n6_any_record_is_judged_without_panic(
        state: u32, ends: [u32; 2], acks: [u32; 2], side: bool, set: u8, sequence: u32, ack: u32, len: u32,
    ) {
        let mut record = FlowRecord { state, sequence_end: ends, acknowledged: acks, ..FlowRecord::default() };
        let packet = segment(set, sequence, ack, len);
        let word = FlowState::from_word(state);
        for payload in [Payload::Tcp, Payload::Udp, Payload::EchoRequest, Payload::EchoReply] {
            let outcome = step(&record, word, side, payload, &packet);
            prop_assert_eq!(Step::from_word(outcome.to_word()), outcome);
        }
        track(&mut record, word, side, &packet);
    }
}
