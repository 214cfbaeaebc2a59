//! Ends of flows: what each carried, why it ended, and that none goes uncounted.

use anyhow::Result;
use enforcer_common::{
    abi::{
        event::{EVENT_ABI, EndCause, EventKind, FlowEnd},
        verdict::DropReason,
    },
    decide::{Opener, Origin},
    packet::{IPV4, TCP, widen},
};

use crate::{
    frame::{A, ALLOWED_PORT, GATEWAY, WORLD, into, out, segment, syn, v4},
    rig::{ALLOW, DENY, GUEST, ID, POLICY, Rig, can_run, policy},
};

const A_ID: u32 = GUEST + ID;
const SYN: u8 = 2;
const ACK: u8 = 16;
const FIN_ACK: u8 = 17;
const SYN_ACK: u8 = 18;

/// Ends so far, taken out of the ring.
fn ends(rig: &mut Rig) -> Result<Vec<FlowEnd>> {
    rig.events()?;
    Ok(std::mem::take(&mut rig.ends))
}

#[test]
fn a1_the_end_of_a_flow_tells_what_it_carried() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let (mine, theirs) = (v4(A, GATEWAY), v4(GATEWAY, A));
    let host = |flags, sequence, ack| into(&theirs, &segment(50000, 8888, flags, sequence, ack));
    let guest = |flags, sequence, ack| out(&mine, &segment(8888, 50000, flags, sequence, ack));
    let mut bytes = (0, 0);
    for (from_guest, frame) in [
        (false, host(SYN, 99, 0)),
        (true, guest(SYN_ACK, 7, 100)),
        (false, host(ACK, 100, 8)),
        (false, host(FIN_ACK, 100, 8)),
        (true, guest(FIN_ACK, 8, 101)),
    ] {
        let length = frame.len() as u64;
        if from_guest {
            assert_eq!(rig.sent_by_a(&frame)?, ALLOW);
            bytes.0 += length;
        } else {
            assert_eq!(rig.sent_to_a(0, &frame)?, ALLOW);
            bytes.1 += length;
        }
    }
    assert_eq!(ends(&mut rig)?, [], "it lingers");
    assert_eq!(rig.sent_to_a(0, &host(SYN, 9000, 0))?, ALLOW, "the ports are used again");
    let [end] = ends(&mut rig)?[..] else { panic!("not one end") };
    assert_eq!((end.abi, end.kind, end.owner), (EVENT_ABI, EventKind::FlowClosed as u16, A_ID));
    assert_eq!((end.packets_out, end.packets_in, end.rule), (2, 3, 0));
    assert_eq!((end.bytes_out, end.bytes_in), bytes);
    assert_eq!((end.local, end.remote), (widen(A.octets()), widen(GATEWAY.octets())));
    assert_eq!((end.local_port, end.remote_port), (8888, 50000));
    assert_eq!((end.protocol, end.family, end.reserved), (TCP, IPV4, 0));
    assert_eq!(end.opener, Opener::Peer(Origin::Host).value());
    assert_eq!(end.cause, EndCause::Reopened as u8);
    assert!(end.opened_ns <= end.last_seen_ns && end.last_seen_ns <= end.time_ns, "{end:?}");
    let closed = rig.closed(A_ID)?;
    assert_eq!((closed.events, closed.packets, closed.bytes), (1, 5, bytes.0 + bytes.1));
    Ok(())
}

#[test]
fn a1_f07_ends_beyond_the_rate_are_counted_and_policy_is_named() -> Result<()> {
    const FLOWS: u16 = 90;
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    for port in 1..=FLOWS {
        assert_eq!(rig.sent_by_a(&syn(port))?, ALLOW);
    }
    ends(&mut rig)?;
    // No rule of this epoch opens anything.
    rig.policy(POLICY, policy(2))?;
    let again = |port| out(&v4(A, WORLD), &segment(port, ALLOWED_PORT, SYN, 99, 0));
    for port in 1..=FLOWS {
        assert_eq!(rig.sent_by_a(&again(port))?, DENY);
        // Once more: it is no flow's any longer.
        assert_eq!(rig.sent_by_a(&again(port))?, DENY);
    }
    let ends = ends(&mut rig)?;
    let closed = rig.closed(A_ID)?;
    assert_eq!(closed.events, u64::from(FLOWS), "each flow ends once");
    assert_eq!(closed.recorded, ends.len() as u64);
    assert!(closed.suppressed > 0 && closed.lost == 0, "{closed:?}");
    assert!(ends.iter().all(|end| end.cause == EndCause::Policy as u8), "{ends:?}");
    let denied =
        rig.counter(A_ID, DropReason::Policy as u16, enforcer_common::abi::event::Hook::FromGuest)?;
    assert_eq!(denied.events, 2 * u64::from(FLOWS));
    Ok(())
}
