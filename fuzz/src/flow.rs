//! Any sequence of packets against one flow: what it may never do, it does not.
#![no_main]

use std::hint::black_box;

use enforcer_common::{
    abi::flow::FlowRecord,
    flow::{FlowState, Phase, Step, is_expired, opens, step, timeout_ns, track},
    packet::{Packet, Payload, TCP, UDP, flags},
};
use libfuzzer_sys::fuzz_target;

const SECOND: u64 = 1_000_000_000;
/// Bytes of the input for one packet.
const PACKET: usize = 12;

fuzz_target!(|data: &[u8]| {
    let Some((setup, packets)) = data.split_first() else { return };
    let (outbound, is_tcp) = (setup & 1 != 0, setup & 2 != 0);
    let protocol = if is_tcp { TCP } else { UDP };
    let mut flow = FlowRecord { state: FlowState::open(outbound).word(), ..FlowRecord::default() };
    let (mut now, mut asked_at, mut answered) = (0_u64, 0_u64, false);
    for chunk in packets.chunks_exact(PACKET) {
        let state = FlowState::from_word(flow.state);
        now += u64::from(chunk[1]) * SECOND;
        let from_endpoint = chunk[0] & 1 != 0;
        let from_initiator = from_endpoint == outbound;
        let word = |at: usize| {
            u32::from_be_bytes([chunk[at], chunk[at + 1], chunk[at + 2], chunk[at + 3]])
        };
        let packet = Packet {
            protocol,
            tcp_flags: chunk[2],
            payload_len: u32::from(chunk[3]),
            sequence: word(4),
            acknowledgement: word(8),
            ..Packet::default()
        };
        let payload = if is_tcp { Payload::Tcp } else { Payload::Udp };
        if is_expired(&flow, state, protocol, now) {
            black_box(opens(payload, &packet)).ok();
            return;
        }
        let outcome = step(&flow, state, from_endpoint, payload, &packet);
        assert_eq!(Step::from_word(outcome.to_word()), outcome);
        let refresh = match outcome {
            Step::Pass { refresh } => refresh,
            Step::Move(next) => {
                assert_eq!(next.is_outbound(), outbound, "the initiator changed");
                let established = next.phase() == Phase::Established;
                if is_tcp && established && state.phase() == Phase::Replied {
                    assert!(from_initiator && answered, "established without a handshake");
                }
                flow.state = next.word();
                true
            }
            Step::Open { .. } => {
                assert!(packet.tcp_flags & flags::SYN != 0, "asked without a SYN");
                continue;
            }
            Step::Deny(_) => continue,
        };
        answered |= !from_initiator && packet.tcp_flags & flags::SYN != 0;
        if from_initiator {
            asked_at = now;
        }
        if refresh {
            flow.last_seen_ns = now;
        }
        if is_tcp {
            track(&mut flow, state, from_endpoint, &packet);
        } else {
            // P24: 30 s to answer, 180 s from the first answer on.
            assert!(now - asked_at <= 210 * SECOND, "answers keep the flow alive");
        }
        let left = timeout_ns(FlowState::from_word(flow.state), protocol);
        assert!(left <= 432_000 * SECOND);
    }
});
