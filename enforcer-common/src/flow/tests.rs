//! The life of a flow: who may say what in which state, and when it is over.

mod close;
mod flags_table;
mod merge;
mod properties;
mod words;

use super::*;
use crate::packet::flags::{ACK, FIN, RST, SYN};

const OUTBOUND: bool = true;
const INBOUND: bool = false;
const ENDPOINT: bool = true;
const PEER: bool = false;
const DATAGRAM: Payload = Payload::Udp;

/// A flow table with one slot, as the kernel drives it: expiry on lookup, step, tracking, refresh.
#[derive(Clone, Copy, Debug)]
struct Slot {
    record: FlowRecord,
    protocol: u8,
    now: u64,
}

/// What became of a packet in [`Slot::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Pass,
    /// It asks policy for a new flow.
    Ask,
    Deny(DropReason),
}

impl Slot {
    /// A flow with its first packet, which policy allowed.
    fn open(outbound: bool, payload: Payload, packet: &Packet) -> Self {
        assert_eq!(opens(payload, packet), Ok(()));
        let mut record =
            FlowRecord { state: FlowState::open(outbound).word(), ..FlowRecord::default() };
        let protocol = match payload {
            Payload::Tcp => TCP,
            Payload::Udp => UDP,
            _ => crate::packet::ICMP,
        };
        if payload == Payload::Tcp {
            track(&mut record, FlowState::open(outbound), outbound, packet);
        }
        Self { record, protocol, now: 0 }
    }

    fn state(&self) -> FlowState {
        FlowState::from_word(self.record.state)
    }

    fn is_live(&self) -> bool {
        self.state().phase() != Phase::Dead
            && !is_expired(&self.record, self.state(), self.protocol, self.now)
    }

    fn wait(&mut self, seconds: u64) -> &mut Self {
        self.now += seconds * SECOND;
        self
    }

    fn send(&mut self, from_endpoint: bool, payload: Payload, packet: &Packet) -> Outcome {
        if !self.is_live() {
            return opens(payload, packet).map_or_else(Outcome::Deny, |()| Outcome::Ask);
        }
        let before = self.state();
        let refreshed = match step(&self.record, self.state(), from_endpoint, payload, packet) {
            Step::Pass { refresh } => refresh,
            Step::Move(next) => {
                self.record.state = next.word();
                true
            }
            Step::Open { .. } => return Outcome::Ask,
            Step::Deny(reason) => return Outcome::Deny(reason),
        };
        if refreshed {
            self.record.last_seen_ns = self.now;
        }
        if payload == Payload::Tcp {
            track(&mut self.record, before, from_endpoint, packet);
        }
        Outcome::Pass
    }

    fn tcp(&mut self, from_endpoint: bool, packet: Packet) -> Outcome {
        self.send(from_endpoint, Payload::Tcp, &packet)
    }
}

/// A segment: flags, sequence, acknowledgement, payload length.
fn segment(tcp_flags: u8, sequence: u32, acknowledgement: u32, payload_len: u32) -> Packet {
    Packet { tcp_flags, sequence, acknowledgement, payload_len, protocol: TCP, ..Packet::default() }
}

/// An established flow. The initiator began at 1000, the responder at 5000; each sent 100 bytes
/// that the other acknowledged.
fn established(outbound: bool) -> Slot {
    let (initiator, responder) = (outbound, !outbound);
    let mut slot = Slot::open(outbound, Payload::Tcp, &segment(SYN, 999, 0, 0));
    assert_eq!(slot.tcp(responder, segment(SYN | ACK, 4999, 1000, 0)), Outcome::Pass);
    assert_eq!(slot.state().phase(), Phase::Replied);
    assert_eq!(slot.tcp(initiator, segment(ACK, 1000, 5000, 0)), Outcome::Pass);
    assert_eq!(slot.state().phase(), Phase::Established);
    assert_eq!(slot.tcp(initiator, segment(ACK, 1000, 5000, 100)), Outcome::Pass);
    assert_eq!(slot.tcp(responder, segment(ACK, 5000, 1100, 100)), Outcome::Pass);
    assert_eq!(slot.tcp(initiator, segment(ACK, 1100, 5100, 0)), Outcome::Pass);
    slot
}

#[test]
fn n4_an_established_flow_may_idle_for_five_days() {
    const FIVE_DAYS: u64 = 5 * 24 * 3600;
    for outbound in [INBOUND, OUTBOUND] {
        for who in [ENDPOINT, PEER] {
            let (sequence, acknowledgement) =
                if who == outbound { (1100, 5100) } else { (5100, 1100) };
            let data = segment(ACK, sequence, acknowledgement, 5);
            assert_eq!(established(outbound).wait(FIVE_DAYS - 1).tcp(who, data), Outcome::Pass);
            let mut slot = established(outbound);
            assert_eq!(slot.wait(FIVE_DAYS).tcp(who, data), Outcome::Deny(DropReason::NoFlow));
        }
        let mut slot = established(outbound);
        for _ in 0..3 {
            let keepalive = segment(ACK, 1099, 5100, 0);
            assert_eq!(slot.wait(FIVE_DAYS - 1).tcp(outbound, keepalive), Outcome::Pass);
        }
    }
}

#[test]
fn p08_a_responder_says_nothing_before_its_handshake() {
    for outbound in [INBOUND, OUTBOUND] {
        let mut slot = Slot::open(outbound, Payload::Tcp, &segment(SYN, 999, 0, 0));
        let denied = Outcome::Deny(DropReason::FlowState);
        assert_eq!(slot.tcp(!outbound, segment(ACK, 5000, 1000, 10)), denied);
        assert_eq!(slot.tcp(!outbound, segment(FIN | ACK, 5000, 1000, 0)), denied);
        assert_eq!(slot.tcp(outbound, segment(ACK, 1000, 1, 10)), denied, "nor the initiator");
        assert_eq!(slot.tcp(!outbound, segment(SYN | ACK, 4999, 1000, 0)), Outcome::Pass);
        assert_eq!(slot.tcp(!outbound, segment(ACK, 5000, 1000, 10)), denied);
        assert_eq!(slot.tcp(!outbound, segment(SYN | ACK, 4999, 1000, 0)), Outcome::Pass, "again");
    }
}

#[test]
fn p21_crossing_syns_give_no_new_right() {
    // The endpoint's allowed SYN is answered with a bare SYN: policy is asked for the inbound one.
    let mut slot = Slot::open(OUTBOUND, Payload::Tcp, &segment(SYN, 999, 0, 0));
    assert_eq!(slot.tcp(PEER, segment(SYN, 4999, 0, 0)), Outcome::Ask);
    assert!(slot.state().is_outbound());
    let crossed = slot.tcp(ENDPOINT, segment(SYN | ACK, 999, 5000, 0));
    assert_eq!(crossed, Outcome::Deny(DropReason::FlowState));
    // The other way round: an inbound SYN is no permission for the endpoint's own.
    let mut slot = Slot::open(INBOUND, Payload::Tcp, &segment(SYN, 4999, 0, 0));
    assert_eq!(slot.tcp(ENDPOINT, segment(SYN, 999, 0, 0)), Outcome::Ask);
    assert!(!slot.state().is_outbound());
}

#[test]
fn p22_the_tuple_of_a_closed_inbound_flow_opens_nothing() {
    type Close = fn(&mut Slot);
    let close: [(&str, Close); 3] = [
        ("FIN", |slot| {
            assert_eq!(slot.tcp(PEER, segment(FIN | ACK, 1100, 5100, 0)), Outcome::Pass);
            assert_eq!(slot.tcp(ENDPOINT, segment(FIN | ACK, 5100, 1101, 0)), Outcome::Pass);
        }),
        ("RST", |slot| {
            assert_eq!(slot.tcp(PEER, segment(RST, 1100, 0, 0)), Outcome::Pass);
        }),
        ("time", |slot| {
            slot.wait(432_000);
        }),
    ];
    for (name, close) in close {
        for seconds in [0, 1, 10, 60, 300] {
            let mut slot = established(INBOUND);
            close(&mut slot);
            let asked = slot.wait(seconds).tcp(ENDPOINT, segment(SYN, 7000, 0, 0));
            assert_eq!(asked, Outcome::Ask, "{name} +{seconds} s");
        }
    }
    // Live, too.
    assert_eq!(established(INBOUND).tcp(ENDPOINT, segment(SYN, 7000, 0, 0)), Outcome::Ask);
}

fn datagram() -> Packet {
    Packet { protocol: UDP, ..Packet::default() }
}

#[test]
fn p24_answers_do_not_keep_a_udp_flow_alive() {
    let mut slot = Slot::open(INBOUND, DATAGRAM, &datagram());
    assert_eq!(slot.wait(29).send(ENDPOINT, DATAGRAM, &datagram()), Outcome::Pass);
    assert_eq!(slot.state().phase(), Phase::Established);
    for _ in 0..179 {
        assert_eq!(slot.wait(1).send(ENDPOINT, DATAGRAM, &datagram()), Outcome::Pass);
    }
    let late = slot.wait(1).send(ENDPOINT, DATAGRAM, &datagram());
    assert_eq!(late, Outcome::Ask, "209 s after the only question: policy decides");
    // The one who asked keeps it alive.
    let mut slot = Slot::open(INBOUND, DATAGRAM, &datagram());
    assert_eq!(slot.send(ENDPOINT, DATAGRAM, &datagram()), Outcome::Pass);
    for _ in 0..50 {
        assert_eq!(slot.wait(179).send(PEER, DATAGRAM, &datagram()), Outcome::Pass);
    }
    assert!(slot.is_live());
}

#[test]
fn p25_echo_replies_pass_only_to_a_request() {
    let echo = Packet::default();
    assert_eq!(opens(Payload::EchoReply, &echo), Err(DropReason::IcmpNoFlow));
    for outbound in [INBOUND, OUTBOUND] {
        let mut slot = Slot::open(outbound, Payload::EchoRequest, &echo);
        let forged = slot.send(outbound, Payload::EchoReply, &echo);
        assert_eq!(forged, Outcome::Deny(DropReason::IcmpNoFlow));
        assert_eq!(slot.send(!outbound, Payload::EchoRequest, &echo), Outcome::Ask);
        assert_eq!(slot.wait(29).send(!outbound, Payload::EchoReply, &echo), Outcome::Pass);
        assert_eq!(slot.wait(29).send(!outbound, Payload::EchoReply, &echo), Outcome::Pass);
        let late = slot.wait(1).send(!outbound, Payload::EchoReply, &echo);
        assert_eq!(late, Outcome::Deny(DropReason::IcmpNoFlow), "replies do not refresh");
    }
}

#[test]
fn n6_payloads_without_flows_never_have_one() {
    let flow = established(INBOUND);
    for payload in [Payload::Arp, Payload::IcmpError, Payload::Neighbour] {
        assert_eq!(opens(payload, &Packet::default()), Err(DropReason::Internal));
        for side in [ENDPOINT, PEER] {
            let outcome = step(&flow.record, flow.state(), side, payload, &Packet::default());
            assert_eq!(outcome, Step::Deny(DropReason::Internal));
        }
    }
}

#[test]
fn f06_sources_beyond_the_bridge_leave_half_of_the_places() {
    let quotas = Quotas { inbound_half_open: 9, outbound_half_open: 4, ..Quotas::default() };
    for (opener, limit) in [
        (Opener::Endpoint, 4),
        (Opener::Peer(Origin::Host), 9),
        (Opener::Peer(Origin::Hub), 9),
        (Opener::Peer(Origin::Guest), 9),
        (Opener::Peer(Origin::Beyond), 5),
    ] {
        assert_eq!(opening_limit(&quotas, opener), limit, "{opener:?}");
    }
}

#[test]
fn f06_checks_are_shared_as_half_open_flows_are() {
    let guest = Quotas { inbound_half_open: 1024, outbound_half_open: 256, ..Quotas::default() };
    let hub = Quotas { inbound_half_open: 16 * 1024, ..guest };
    let small = Quotas { inbound_half_open: 1, ..guest };
    for (quotas, opener, limit) in [
        (guest, Opener::Endpoint, 32_768),
        (guest, Opener::Peer(Origin::Host), 32_768),
        (guest, Opener::Peer(Origin::Beyond), 16_384),
        (hub, Opener::Peer(Origin::Guest), 524_288),
        (hub, Opener::Peer(Origin::Beyond), 262_144),
        (small, Opener::Endpoint, 2_048),
    ] {
        assert_eq!(checks_limit(&quotas, opener), limit, "{opener:?}");
    }
}
