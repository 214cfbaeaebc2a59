//! Rates in the packet path: of a burst exactly as much passes as the limit says, on any number of CPUs.

use std::{
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use enforcer_common::{
    abi::{
        counter::Usage,
        endpoint::{Endpoint, Role},
        event::Hook,
        policy::{Limits, Policy, Rate},
        verdict::DropReason,
    },
    limit::NEIGHBOURS,
};
use enforcer_tests::frames::{BROADCAST, Ipv4, ethernet, ethertype, icmp, protocol};

use crate::{
    frame::{
        A, A_MAC, ALLOWED_PORT, BRIDGE_MAC, GATEWAY, WORLD, arp, datagram, forbidden, framed, into,
        out, segment, syn, v4,
    },
    rig::{ALLOW, DENY, FROM_HOST, GUEST, ID, Meta, POLICY, Rig, UPLINK, can_run, policy},
};

const A_ID: u32 = GUEST + ID;
const SECOND: u64 = 1_000_000_000;
const SYN: u8 = 2;
const ACK: u8 = 16;
const SYN_ACK: u8 = 18;
const FROM_A: Meta = Meta { ifindex: GUEST, ingress: GUEST, mark: 0, segments: 0 };
const TO_A: Meta = Meta { ifindex: GUEST, ingress: UPLINK, mark: FROM_HOST, segments: 0 };

/// So many at once, and one more each second: none is earned while a test runs.
const fn at_once(count: u64) -> Rate {
    Rate { per_second: 1, burst_ns: count * SECOND }
}

fn limited(limits: Limits) -> Policy {
    Policy { limits, ..policy(1) }
}

/// A rig in which A has a connection to the world, and then these limits.
fn connected(limits: Limits) -> Result<Rig> {
    let mut rig = Rig::new()?;
    let (mine, theirs) = (v4(A, WORLD), v4(WORLD, A));
    let codes = [
        rig.sent_by_a(&out(&mine, &segment(40000, ALLOWED_PORT, SYN, 99, 0)))?,
        rig.sent_to_a(UPLINK, &into(&theirs, &segment(ALLOWED_PORT, 40000, SYN_ACK, 499, 100)))?,
        rig.sent_by_a(&out(&mine, &segment(40000, ALLOWED_PORT, ACK, 100, 500)))?,
    ];
    ensure!(codes == [ALLOW; 3], "the handshake: {codes:?}");
    rig.policy(POLICY, limited(limits))?;
    Ok(rig)
}

/// A's next segment with so much payload.
fn data(payload: usize) -> Vec<u8> {
    let ip = v4(A, WORLD);
    let tcp = segment(40000, ALLOWED_PORT, ACK, 100, 500);
    framed(BRIDGE_MAC, A_MAC, &ip, &tcp.packet(&ip, &vec![0; payload]))
}

/// The world's next segment for A with so much payload.
fn answer(payload: usize) -> Vec<u8> {
    let ip = v4(WORLD, A);
    let tcp = segment(ALLOWED_PORT, 40000, ACK, 500, 100);
    framed(A_MAC, BRIDGE_MAC, &ip, &tcp.packet(&ip, &vec![0; payload]))
}

fn denied(rig: &Rig, reason: DropReason, hook: Hook) -> Result<u64> {
    Ok(rig.counter(A_ID, reason as u16, hook)?.events)
}

#[test]
fn c1_of_packets_at_once_exactly_the_burst_passes_each_way() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let limits =
        Limits { packets_out: at_once(1000), packets_in: at_once(300), ..Limits::default() };
    let mut rig = connected(limits)?;
    rig.repeat(Hook::FromGuest, &data(1), FROM_A, 5000)?;
    // One by one: a run takes the stamp off, which the next would lack.
    let to_a = |rig: &Rig| Ok(rig.run(Hook::ToGuest, &answer(1), TO_A)?.code);
    let codes = (0..500).map(|_| to_a(&rig)).collect::<Result<Vec<_>>>()?;
    assert!(codes[..300].iter().all(|code| *code == ALLOW));
    assert_eq!(denied(&rig, DropReason::RatePackets, Hook::FromGuest)?, 4000);
    assert_eq!(denied(&rig, DropReason::RatePackets, Hook::ToGuest)?, 200);
    // Only what passed is counted as the flow's.
    let flow = rig.flows()?[0];
    assert_eq!((flow.packets_out, flow.packets_in), (2 + 1000, 1 + 300));
    // One limit is not another's: without it everything passes again.
    rig.policy(POLICY, limited(Limits { packets_in: limits.packets_in, ..Limits::default() }))?;
    assert_eq!(rig.repeat(Hook::FromGuest, &data(1), FROM_A, 100)?.code, ALLOW);
    assert_eq!(to_a(&rig)?, DENY);
    Ok(())
}

#[test]
fn c1_bits_are_charged_as_on_the_wire_and_super_packets_by_their_segments() -> Result<()> {
    const SEGMENT: usize = 1448;
    if !can_run() {
        return Ok(());
    }
    // 54 bytes of headers, with each of two segments.
    let wire = 8 * 2 * (54 + SEGMENT as u64);
    let rig = connected(Limits { bits_out: at_once(10 * wire), ..Limits::default() })?;
    let double = Meta { segments: 2, ..FROM_A };
    rig.repeat(Hook::FromGuest, &data(2 * SEGMENT), double, 50)?;
    assert_eq!(denied(&rig, DropReason::RateBits, Hook::FromGuest)?, 40);
    assert_eq!(rig.sent_by_a(&data(1))?, DENY, "not even a small one");

    // The same as single packets: as many bits, and so as many of them.
    let rig = connected(Limits { bits_out: at_once(10 * wire), ..Limits::default() })?;
    rig.repeat(Hook::FromGuest, &data(SEGMENT), FROM_A, 50)?;
    assert_eq!(denied(&rig, DropReason::RateBits, Hook::FromGuest)?, 30);

    // And of packets it takes two places.
    let mut rig = connected(Limits { packets_out: at_once(21), ..Limits::default() })?;
    rig.repeat(Hook::FromGuest, &data(2 * SEGMENT), double, 50)?;
    assert_eq!(denied(&rig, DropReason::RatePackets, Hook::FromGuest)?, 40);
    assert_eq!(rig.sent_by_a(&data(1))?, ALLOW, "the odd one");
    assert_eq!(rig.sent_by_a(&data(1))?, DENY);
    assert_eq!(rig.flows()?[0].packets_out, 2 + 21);
    Ok(())
}

#[test]
fn f06_new_flows_beyond_the_rate_are_denied_and_old_ones_go_on() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let rig = connected(Limits { new_flows: at_once(20), ..Limits::default() })?;
    let passed = (1..=50)
        .map(|port| Ok(u32::from(rig.sent_by_a(&syn(port))? == ALLOW)))
        .sum::<Result<u32>>()?;
    assert_eq!(passed, 20);
    assert_eq!(denied(&rig, DropReason::RateNewFlows, Hook::FromGuest)?, 30);
    assert_eq!(rig.sent_by_a(&syn(20))?, ALLOW, "the SYN of a flow that is there, once more");
    assert_eq!(rig.repeat(Hook::FromGuest, &data(1), FROM_A, 100)?.code, ALLOW);
    // What others open to the guest is theirs.
    let theirs = into(&v4(GATEWAY, A), &segment(50000, 8888, SYN, 99, 0));
    assert_eq!(rig.sent_to_a(0, &theirs)?, ALLOW);
    assert_eq!(rig.sent_by_a(&datagram(WORLD, ALLOWED_PORT))?, DENY, "UDP opens flows, too");
    Ok(())
}

#[test]
fn c1_what_is_denied_is_not_charged() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let limits = Limits { packets_out: at_once(5), new_flows: at_once(5), ..Limits::default() };
    let rig = connected(limits)?;
    rig.repeat(Hook::FromGuest, &forbidden(), FROM_A, 1000)?;
    let no_flow = out(&v4(A, WORLD), &segment(40001, ALLOWED_PORT, ACK, 100, 500));
    assert_eq!(rig.repeat(Hook::FromGuest, &no_flow, FROM_A, 100)?.code, DENY);
    assert_eq!(denied(&rig, DropReason::RatePackets, Hook::FromGuest)?, 0);
    for _ in 0..4 {
        assert_eq!(rig.sent_by_a(&data(1))?, ALLOW);
    }
    assert_eq!(rig.sent_by_a(&syn(9))?, ALLOW);
    assert_eq!(rig.sent_by_a(&data(1))?, DENY);
    Ok(())
}

#[test]
fn c1_icmp_errors_are_within_the_limits_too() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let rig = connected(Limits { packets_out: at_once(7), ..Limits::default() })?;
    let about = segment(ALLOWED_PORT, 40000, ACK, 500, 100).packet(&v4(WORLD, A), &[]);
    let error = icmp(3, 3, [0; 4], &about);
    let packet = Ipv4::new(A, WORLD, protocol::ICMP).packet(&error);
    let frame = ethernet(BRIDGE_MAC, A_MAC, ethertype::IPV4, &packet);
    rig.repeat(Hook::FromGuest, &frame, FROM_A, 50)?;
    assert_eq!(denied(&rig, DropReason::RatePackets, Hook::FromGuest)?, 43);
    Ok(())
}

#[test]
fn c1_two_cpus_at_once_pass_no_more_than_one() -> Result<()> {
    const EACH: u32 = 100_000;
    const BURST: u64 = 60_000;
    if !can_run() {
        return Ok(());
    }
    let mut rig = connected(Limits { packets_out: at_once(BURST), ..Limits::default() })?;
    let start = Barrier::new(2);
    let began = Instant::now();
    thread::scope(|scope| -> Result<()> {
        let (rig, start) = (&rig, &start);
        let senders = [0, 1].map(|cpu| {
            scope.spawn(move || -> Result<()> {
                stay_on(cpu);
                start.wait();
                rig.repeat(Hook::FromGuest, &data(1), FROM_A, EACH)?;
                Ok(())
            })
        });
        senders.into_iter().try_for_each(|sender| sender.join().expect("a sender"))
    })?;
    let earned = began.elapsed().as_secs() + 1;
    let passed = 2 * u64::from(EACH) - denied(&rig, DropReason::RatePackets, Hook::FromGuest)?;
    assert!((BURST..=BURST + earned).contains(&passed), "{passed} passed, {earned} were earned");
    assert_eq!(rig.flows()?[0].packets_out, 2 + passed);
    Ok(())
}

/// Keeps this thread on a CPU; on a machine with one it stays where it is.
fn stay_on(cpu: usize) {
    // SAFETY: a set of CPUs is plain bits.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number is within the set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: only this thread is moved, and the set lives as long as the call.
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
}

#[test]
fn c1_a_limit_holds_over_time_by_the_clock_of_the_kernel() -> Result<()> {
    const RATE: u64 = 20_000;
    if !can_run() {
        return Ok(());
    }
    let rate = Rate { per_second: RATE, burst_ns: SECOND / 20 };
    let mut rig = connected(Limits { packets_out: rate, ..Limits::default() })?;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        rig.repeat(Hook::FromGuest, &data(1), FROM_A, 500)?;
    }
    // Runs of 500 come more often than the rate lets any of them through.
    let most = u128::from(RATE) * (began.elapsed().as_millis() + 50 + 8) / 1000;
    let passed = u128::from(rig.flows()?[0].packets_out - 2);
    assert!(denied(&rig, DropReason::RatePackets, Hook::FromGuest)? > 0, "it was never reached");
    assert!((most * 9 / 10..=most).contains(&passed), "{passed} passed, {most} at most");
    Ok(())
}

#[test]
fn n3_a_guest_cannot_flood_the_host_with_legal_neighbour_messages() -> Result<()> {
    const FRAMES: u32 = 20_000;
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let ask = arp((BROADCAST, A_MAC), 1, (A_MAC, A), GATEWAY);
    let began = Instant::now();
    rig.repeat(Hook::FromGuest, &ask, FROM_A, FRAMES)?;
    let passed = u64::from(FRAMES) - denied(&rig, DropReason::RateNeighbours, Hook::FromGuest)?;
    let burst = NEIGHBOURS.per_second * NEIGHBOURS.burst_ns / SECOND;
    let earned = NEIGHBOURS.per_second * (began.elapsed().as_secs() + 1);
    assert!((burst..=burst + earned).contains(&passed), "{passed}");
    // Nobody else pays: a hub is not limited, and the guest's conversations go on.
    assert_eq!(rig.sent_by_a(&syn(1))?, ALLOW);
    let a: Endpoint = rig.map("ENDPOINTS")?.get(&GUEST, 0)?;
    rig.map("ENDPOINTS")?.insert(GUEST, Endpoint { role: Role::Hub as u8, ..a }, 0)?;
    assert_eq!(rig.repeat(Hook::FromGuest, &ask, FROM_A, 1000)?.code, ALLOW);
    let usage: Usage = rig.map("USAGE")?.get(&A_ID, 0)?;
    assert!(usage.buckets.neighbours > 0 && usage.buckets.packets_out == 0);
    Ok(())
}
