//! Flows in the kernel's table: life, quotas, epochs, the timers that reap them.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use enforcer_common::{
    abi::{
        counter::{FLOW_OPENED, Usage},
        endpoint::Endpoint,
        event::{EndCause, Hook},
        policy::{Policy, Quotas},
        verdict::DropReason,
    },
    decide::{Opener, Origin},
    flow,
};
use enforcer_tests::frames::Ip;

use crate::{
    frame::{
        A, A6, ALLOWED_PORT, GATEWAY, GATEWAY6, WORLD, WORLD6, datagram, into, out, segment, syn,
        v4, v6,
    },
    rig::{ALLOW, DENY, GUEST, ID, Meta, POLICY, Rig, UPLINK, can_run, policy},
};

const A_ID: u32 = GUEST + ID;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const FIN_ACK: u8 = 17;
const SYN_ACK: u8 = 18;

/// The ends of a conversation of A's: as A sends and as A is sent.
fn ends(family: u8) -> [(Ip, Ip); 2] {
    if family == 4 {
        [(v4(A, WORLD), v4(WORLD, A)), (v4(A, GATEWAY), v4(GATEWAY, A))]
    } else {
        [(v6(A6, WORLD6), v6(WORLD6, A6)), (v6(A6, GATEWAY6), v6(GATEWAY6, A6))]
    }
}

#[test]
fn n1_n4_flows_of_both_families_open_answer_and_close() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for family in [4, 6] {
        let mut rig = Rig::new()?;
        let [(out_ip, in_ip), (host_out, host_in)] = ends(family);
        let mine = |flags, sequence, ack| {
            out(&out_ip, &segment(40000, ALLOWED_PORT, flags, sequence, ack))
        };
        let theirs = |flags, sequence, ack| {
            into(&in_ip, &segment(ALLOWED_PORT, 40000, flags, sequence, ack))
        };
        let half = Usage { outbound_half_open: 1, ..Usage::default() };
        let open = Usage { outbound_established: 1, ..Usage::default() };
        let closing = Usage { closing: 1, ..Usage::default() };

        assert_eq!(rig.sent_to_a(UPLINK, &theirs(ACK, 1, 1))?, DENY, "no flow yet");
        assert_eq!(rig.sent_by_a(&mine(SYN, 99, 0))?, ALLOW);
        assert_eq!(rig.usage(A_ID)?, half);
        assert_eq!(
            rig.sent_to_a(UPLINK, &theirs(ACK, 499, 100))?,
            DENY,
            "data before the handshake"
        );
        assert_eq!(rig.sent_to_a(UPLINK, &theirs(SYN_ACK, 499, 100))?, ALLOW);
        assert_eq!(rig.usage(A_ID)?, half);
        assert_eq!(rig.sent_by_a(&mine(ACK, 100, 500))?, ALLOW);
        assert_eq!(rig.usage(A_ID)?, open);
        assert_eq!(rig.sent_by_a(&mine(FIN_ACK, 100, 500))?, ALLOW);
        assert_eq!(rig.usage(A_ID)?, open, "half closed");
        assert_eq!(rig.sent_to_a(UPLINK, &theirs(FIN_ACK, 500, 101))?, ALLOW);
        assert_eq!(rig.usage(A_ID)?, closing);
        assert_eq!(rig.sent_by_a(&mine(ACK, 101, 501))?, ALLOW, "the last ACK");
        let flow = rig.flows()?[0];
        assert_eq!((flow.packets_out, flow.packets_in, flow.rule), (4, 2, 42));
        assert_eq!(rig.sent_by_a(&mine(SYN, 9000, 0))?, ALLOW, "the port is used again");
        assert_eq!(rig.usage(A_ID)?, half);
        assert_eq!(rig.counter(A_ID, FLOW_OPENED, Hook::FromGuest)?.events, 2);

        // Inbound: the host opens, A answers, and A's own SYN on the tuple is a new flow: denied.
        let host =
            |flags, sequence, ack| into(&host_in, &segment(50000, 8888, flags, sequence, ack));
        let answer =
            |flags, sequence, ack| out(&host_out, &segment(8888, 50000, flags, sequence, ack));
        assert_eq!(rig.sent_by_a(&answer(SYN_ACK, 7, 100))?, DENY);
        assert_eq!(rig.sent_to_a(0, &host(SYN, 99, 0))?, ALLOW);
        assert_eq!(rig.sent_by_a(&answer(ACK, 8, 100))?, DENY);
        assert_eq!(rig.sent_by_a(&answer(SYN_ACK, 7, 100))?, ALLOW);
        assert_eq!(rig.sent_to_a(0, &host(ACK, 100, 8))?, ALLOW);
        assert_eq!(rig.usage(A_ID)?.inbound_established, 1);
        assert_eq!(rig.sent_by_a(&answer(SYN, 7, 0))?, DENY);
        assert_eq!(rig.sent_to_a(0, &host(RST, 100, 0))?, ALLOW);
        assert_eq!((rig.usage(A_ID)?.inbound_established, rig.usage(A_ID)?.closing), (0, 1));
        assert_eq!(rig.sent_by_a(&answer(SYN, 7, 0))?, DENY, "P22");
    }
    Ok(())
}

#[test]
fn n7_the_kernel_reaps_what_is_over() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let (from, to) = (v4(A, GATEWAY), v4(GATEWAY, A));
    for port in 1..=50 {
        rig.sent_to_a(0, &into(&to, &segment(port, 8888, SYN, 99, 0)))?;
        assert_eq!(rig.sent_by_a(&out(&from, &segment(8888, port, RST | ACK, 0, 100)))?, ALLOW);
    }
    assert_eq!(rig.usage(A_ID)?, Usage { closing: 50, ..Usage::default() });
    assert_eq!(rig.checks(A_ID)?, 50);
    let start = Instant::now();
    // Nothing calls the programs meanwhile: the reaper must do it. It looks every 10 s, so the
    // linger of 10 s ends within 20.
    thread::sleep(Duration::from_secs(9));
    assert_eq!(rig.flows()?.len(), 50, "not before its time");
    while !rig.flows()?.is_empty() && start.elapsed() < Duration::from_secs(25) {
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(rig.flows()?.len(), 0);
    assert_eq!(rig.usage(A_ID)?, Usage::default());
    assert!(start.elapsed() < Duration::from_millis(20_600), "{:?}", start.elapsed());
    assert_eq!(rig.checks(A_ID)?, 0);
    // Each end is counted and recorded.
    rig.events()?;
    assert_eq!((rig.closed(A_ID)?.events, rig.ends.len()), (50, 50));
    assert!(rig.ends.iter().all(|end| end.cause == EndCause::Closed as u8), "{:?}", rig.ends);
    Ok(())
}

#[test]
fn f06_flows_of_an_endpoint_that_is_gone_end_at_their_next_check() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    // A half-open flow would live for 60 s.
    rig.sent_to_a(0, &into(&v4(GATEWAY, A), &segment(50000, 8888, SYN, 99, 0)))?;
    assert_eq!(rig.flows()?.len(), 1);
    rig.map::<u32, Usage>("USAGE")?.remove(&A_ID)?;
    let start = Instant::now();
    while !rig.flows()?.is_empty() && start.elapsed() < Duration::from_secs(12) {
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(rig.flows()?.len(), 0, "after {:?}", start.elapsed());
    rig.events()?;
    assert!(matches!(rig.ends[..], [end] if end.cause == EndCause::Gone as u8), "{:?}", rig.ends);
    Ok(())
}

#[test]
fn f06_an_endpoint_with_its_share_of_checks_opens_no_more_flows() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let of_guest = flow::checks_limit(&policy(1).quotas, Opener::Peer(Origin::Host));
    let with = |checks| Usage { checks, ..Usage::default() };
    rig.map::<u32, Usage>("USAGE")?.insert(A_ID, with(of_guest), 0)?;
    let host = into(&v4(GATEWAY, A), &segment(50000, 8888, SYN, 99, 0));
    assert_eq!(rig.sent_to_a(0, &host)?, DENY);
    assert_eq!(rig.only_reason()?, Some(DropReason::QuotaHalfOpen));
    rig.map::<u32, Usage>("USAGE")?.insert(A_ID, with(of_guest - 1), 0)?;
    assert_eq!(rig.sent_to_a(0, &host)?, ALLOW);
    Ok(())
}

fn quotas(quotas: Quotas) -> Policy {
    Policy { quotas, ..policy(1) }
}

#[test]
fn f06_quotas_are_exact() -> Result<()> {
    const N: u32 = 7;
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let all = Quotas {
        inbound_half_open: N + 1,
        inbound_established: N,
        outbound_half_open: N,
        outbound_established: N,
        closing: N,
    };
    rig.policy(POLICY, quotas(all))?;
    let ports = |count: u32| (1..=count).map(|port| u16::try_from(port).unwrap_or(0));
    for port in ports(N) {
        assert_eq!(rig.sent_by_a(&syn(port))?, ALLOW);
    }
    rig.events()?;
    assert_eq!(rig.sent_by_a(&syn(100))?, DENY);
    assert_eq!(rig.only_reason()?, Some(DropReason::QuotaHalfOpen));
    assert_eq!(rig.sent_by_a(&syn(1))?, ALLOW, "one that is open already");
    // Inbound has its own.
    let (from, to) = (v4(A, GATEWAY), v4(GATEWAY, A));
    for port in ports(N + 1) {
        assert_eq!(rig.sent_to_a(0, &into(&to, &segment(port, 8888, SYN, 99, 0)))?, ALLOW);
        rig.sent_by_a(&out(&from, &segment(8888, port, SYN_ACK, 7, 100)))?;
    }
    assert_eq!(rig.sent_to_a(0, &into(&to, &segment(100, 8888, SYN, 99, 0)))?, DENY);
    for port in ports(N) {
        assert_eq!(rig.sent_to_a(0, &into(&to, &segment(port, 8888, ACK, 100, 8)))?, ALLOW);
    }
    rig.events()?;
    assert_eq!(rig.sent_to_a(0, &into(&to, &segment(8, 8888, ACK, 100, 8)))?, DENY);
    assert_eq!(rig.only_reason()?, Some(DropReason::QuotaEstablished));
    let usage = rig.usage(A_ID)?;
    assert_eq!((usage.inbound_half_open, usage.inbound_established), (1, N));
    assert_eq!((usage.outbound_half_open, usage.outbound_established, usage.closing), (N, 0, 0));
    // Above its quota a closed flow is forgotten at once.
    rig.policy(POLICY, quotas(Quotas { closing: 2, ..all }))?;
    for port in ports(N) {
        assert_eq!(rig.sent_to_a(0, &into(&to, &segment(port, 8888, RST, 100, 0)))?, ALLOW);
    }
    let usage = rig.usage(A_ID)?;
    assert_eq!((usage.inbound_established, usage.closing), (0, 2));
    assert_eq!(rig.flows()?.len(), usize::try_from(N + 1 + 2)?);
    Ok(())
}

/// Opens the world's port by another rule.
fn open(rig: &mut Rig, epoch: u32, rule: u32) -> Result<()> {
    let world = enforcer_common::packet::widen(WORLD.octets());
    rig.open(epoch, (4, world), (17, ALLOWED_PORT), rule)
}

#[test]
fn n1_a_new_epoch_decides_live_flows_anew() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let frame = datagram(WORLD, ALLOWED_PORT);
    assert_eq!(rig.sent_by_a(&frame)?, ALLOW);
    open(&mut rig, 2, 42)?;
    rig.policy(POLICY, policy(2))?;
    assert_eq!(rig.sent_by_a(&frame)?, ALLOW, "still allowed");
    assert_eq!(rig.flows()?[0].epoch, 2);
    open(&mut rig, 3, 77)?;
    // Beside the old one: it counts when the epoch says so.
    assert_eq!((rig.sent_by_a(&frame)?, rig.flows()?[0].rule), (ALLOW, 42));
    rig.policy(POLICY, policy(3))?;
    assert_eq!((rig.sent_by_a(&frame)?, rig.flows()?[0].rule), (ALLOW, 77));
    rig.policy(POLICY, policy(4))?;
    rig.events()?;
    assert_eq!(rig.sent_by_a(&frame)?, DENY);
    assert_eq!(rig.only_reason()?, Some(DropReason::Policy));
    assert_eq!(rig.usage(A_ID)?, Usage::default());
    assert!(rig.flows()?.is_empty());
    // What the host opened needs no rule: it goes on.
    let host = into(&v4(GATEWAY, A), &segment(50000, 8888, SYN, 99, 0));
    assert_eq!(rig.sent_to_a(0, &host)?, ALLOW);
    rig.policy(POLICY, policy(5))?;
    let answer = out(&v4(A, GATEWAY), &segment(8888, 50000, SYN_ACK, 7, 100));
    assert_eq!((rig.sent_by_a(&answer)?, rig.flows()?[0].epoch), (ALLOW, 5));
    Ok(())
}

#[test]
fn f03_another_policy_decides_live_flows_anew() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let frame = datagram(WORLD, ALLOWED_PORT);
    assert_eq!(rig.sent_by_a(&frame)?, ALLOW);
    // Policy 6 allows nothing. Epochs come from one counter for all policies, so its is newer.
    rig.policy(6, policy(2))?;
    let a: Endpoint = rig.map("ENDPOINTS")?.get(&GUEST, 0)?;
    rig.map("ENDPOINTS")?.insert(GUEST, Endpoint { policy: 6, ..a }, 0)?;
    assert_eq!(rig.sent_by_a(&frame)?, DENY);
    Ok(())
}

#[test]
fn p32_super_packets_count_their_segments() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let meta = Meta { ifindex: GUEST, ingress: GUEST, mark: 0, segments: 45 };
    let denied = datagram(WORLD, 9);
    assert_eq!(rig.run(Hook::FromGuest, &denied, meta)?.code, DENY);
    let counter = rig.counter(A_ID, DropReason::Policy as u16, Hook::FromGuest)?;
    assert_eq!((counter.events, counter.packets), (1, 45));
    assert_eq!(counter.bytes, denied.len() as u64);
    let frame = datagram(WORLD, ALLOWED_PORT);
    for _ in 0..2 {
        assert_eq!(rig.run(Hook::FromGuest, &frame, meta)?.code, ALLOW);
    }
    let flow = rig.flows()?[0];
    assert_eq!((flow.packets_out, flow.bytes_out), (90, 2 * frame.len() as u64));
    Ok(())
}

#[test]
fn n4_every_flow_that_policy_allows_opens() -> Result<()> {
    const FLOWS: u16 = 20_000;
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::with_flows(u32::from(FLOWS) * 2)?;
    let flows = u32::from(FLOWS);
    let quotas = Quotas { inbound_half_open: flows, outbound_half_open: flows, ..policy(1).quotas };
    rig.policy(POLICY, Policy { quotas, ..policy(1) })?;
    let mut denied = 0;
    for port in 1..=FLOWS {
        denied += u32::from(rig.sent_by_a(&syn(port))? != ALLOW);
    }
    let internal = rig.counter(A_ID, DropReason::Internal as u16, Hook::FromGuest)?.events;
    assert_eq!((denied, internal), (0, 0), "denied, and of these internal");
    Ok(())
}
