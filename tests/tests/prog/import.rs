//! Flows handed over by user space: the same quotas, the same reaper, and never twice.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use enforcer::kernel::monotonic_ns;
use enforcer_common::{
    abi::{
        counter::Usage,
        flow::{FlowKey, FlowRecord},
        import::{Import, Outcome},
        policy::{Policy, Quotas},
    },
    decide::{Opener, Origin},
    flow::{FlowState, Phase},
    packet::{IPV4, TCP, widen},
};

use crate::{
    frame::{A, ALLOWED_PORT, GATEWAY, WORLD, into, out, segment, syn, v4},
    rig::{ALLOW, DENY, GUEST, ID, POLICY, Rig, UPLINK, can_run, policy},
};

const A_ID: u32 = GUEST + ID;
const SYN: u8 = 2;
const ACK: u8 = 16;
const SYN_ACK: u8 = 18;
const SECOND: u64 = 1_000_000_000;

/// A connection of the host to A's port 8888, as another table knew it.
fn inbound(remote_port: u16, phase: Phase) -> Import {
    let now = monotonic_ns();
    Import {
        key: FlowKey {
            endpoint: A_ID,
            local_port: 8888,
            remote_port,
            local: widen(A.octets()),
            remote: widen(GATEWAY.octets()),
            protocol: TCP,
            family: IPV4,
            reserved: [0; 2],
        },
        ifindex: GUEST,
        record: FlowRecord {
            last_seen_ns: now,
            opened_ns: now - SECOND,
            packets_in: 10,
            bytes_in: 1000,
            state: FlowState::open(false).with_phase(phase).word(),
            epoch: 1,
            opener: Opener::Peer(Origin::Host).value(),
            ..FlowRecord::default()
        },
    }
}

/// A's own connection to the world.
fn outbound(local_port: u16, phase: Phase) -> Import {
    let import = inbound(ALLOWED_PORT, phase);
    Import {
        key: FlowKey { local_port, remote: widen(WORLD.octets()), ..import.key },
        record: FlowRecord {
            state: FlowState::open(true).with_phase(phase).word(),
            rule: 42,
            opener: Opener::Endpoint.value(),
            ..import.record
        },
        ..import
    }
}

#[test]
fn n7_an_imported_flow_goes_on_and_another_stays_closed() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let flows = [inbound(50000, Phase::Established), outbound(40000, Phase::Replied)];
    let (from, to) = (v4(A, GATEWAY), v4(GATEWAY, A));
    let answer = out(&from, &segment(8888, 50000, ACK, 7, 100));
    assert_eq!(rig.sent_by_a(&answer)?, DENY, "nothing is known of it yet");
    let imported = rig.importer.import(flows)?;
    assert_eq!((imported.taken(), imported.refused()), (2, 0));
    let expected = Usage { inbound_established: 1, outbound_half_open: 1, ..Usage::default() };
    assert_eq!((rig.usage(A_ID)?, rig.checks(A_ID)?), (expected, 2));
    assert_eq!(rig.sent_by_a(&answer)?, ALLOW);
    assert_eq!(rig.sent_to_a(0, &into(&to, &segment(50000, 8888, ACK, 100, 7)))?, ALLOW);
    let last_of_handshake = out(&v4(A, WORLD), &segment(40000, ALLOWED_PORT, ACK, 100, 8));
    assert_eq!(rig.sent_by_a(&last_of_handshake)?, ALLOW);
    assert_eq!(rig.usage(A_ID)?.outbound_established, 1);
    // A port beside it is as closed as before.
    let other = into(&v4(WORLD, A), &segment(ALLOWED_PORT, 40001, ACK, 1, 1));
    assert_eq!(rig.sent_to_a(UPLINK, &other)?, DENY);
    let record = rig.flows()?.into_iter().find(|flow| flow.rule == 0);
    let record = record.map(|flow| (flow.packets_in, flow.packets_out, flow.opened_ns));
    assert_eq!(record, Some((11, 1, flows[0].record.opened_ns)), "its counters go on");
    Ok(())
}

#[test]
fn n7_a_flow_is_imported_once_and_counted_once() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let first = inbound(50000, Phase::HalfOpen);
    assert_eq!(rig.importer.import([first])?.taken(), 1);
    // The old programs saw the rest of the handshake after the first pass.
    let record = FlowRecord {
        state: FlowState::open(false).with_phase(Phase::Established).word(),
        last_seen_ns: monotonic_ns(),
        packets_in: 1,
        bytes_in: 60,
        sequence_end: [8, 100],
        ..first.record
    };
    let again = Import { record, ..first };
    let imported = rig.importer.import([again])?;
    assert_eq!((imported.taken(), imported.count(Outcome::Merged)), (0, 1));
    assert_eq!(rig.usage(A_ID)?, Usage { inbound_established: 1, ..Usage::default() });
    let flow = rig.flows()?[0];
    assert_eq!((flow.packets_in, flow.bytes_in, flow.sequence_end), (11, 1060, [8, 100]));
    // What lags behind takes nothing back.
    let stale =
        Import { record: FlowRecord { packets_in: 0, bytes_in: 0, ..first.record }, ..first };
    assert_eq!(rig.importer.import([stale])?.count(Outcome::Merged), 1);
    assert_eq!(rig.usage(A_ID)?, Usage { inbound_established: 1, ..Usage::default() });
    assert_eq!(rig.flows()?.len(), 1);
    Ok(())
}

#[test]
fn n7_a_flow_that_the_new_programs_opened_wins() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let old = outbound(40000, Phase::Established);
    assert_eq!(rig.sent_by_a(&syn(40000))?, ALLOW);
    assert_eq!(rig.importer.import([old])?.count(Outcome::Newer), 1);
    assert_eq!(rig.usage(A_ID)?, Usage { outbound_half_open: 1, ..Usage::default() });
    // The other way round: the other table has the later flow.
    let later = FlowRecord { opened_ns: monotonic_ns(), ..old.record };
    let imported = rig.importer.import([Import { record: later, ..old }])?;
    assert_eq!(imported.taken(), 1);
    assert_eq!(rig.usage(A_ID)?, Usage { outbound_established: 1, ..Usage::default() });
    assert_eq!(rig.flows()?.len(), 1);
    Ok(())
}

#[test]
fn f06_imported_flows_stay_within_the_quotas() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let quotas = Quotas {
        inbound_half_open: 3,
        inbound_established: 20,
        outbound_half_open: 0,
        outbound_established: 0,
        closing: 1,
    };
    rig.policy(POLICY, Policy { quotas, ..policy(1) })?;
    let imported = rig.importer.import((1..=50).map(|port| inbound(port, Phase::Established)))?;
    assert_eq!((imported.taken(), imported.refused()), (20, 30));
    assert_eq!(imported.count(Outcome::Quota), 30);
    let imported = rig.importer.import([
        inbound(101, Phase::Replied),
        inbound(102, Phase::Closing),
        inbound(103, Phase::Closing),
        outbound(104, Phase::Established),
    ])?;
    assert_eq!((imported.taken(), imported.refused()), (2, 2));
    let expected =
        Usage { inbound_half_open: 1, inbound_established: 20, closing: 1, ..Usage::default() };
    assert_eq!(rig.usage(A_ID)?, expected);
    assert_eq!(rig.flows()?.len(), 22);
    Ok(())
}

#[test]
fn n6_what_cannot_be_a_live_flow_of_an_endpoint_is_not_imported() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let flow = inbound(50000, Phase::Established);
    let with = |record| Import { record, ..flow };
    let cases = [
        (Outcome::NoEndpoint, Import { ifindex: UPLINK, ..flow }),
        (Outcome::NoEndpoint, Import { key: FlowKey { endpoint: A_ID + 1, ..flow.key }, ..flow }),
        (Outcome::Over, with(FlowRecord { state: 0, ..flow.record })),
        (Outcome::Over, with(FlowRecord { state: 0x77, ..flow.record })),
        (Outcome::Over, inbound_idle(61)),
    ];
    for (outcome, import) in cases {
        assert_eq!(rig.importer.import([import])?.count(outcome), 1, "{outcome:?} {import:?}");
    }
    rig.policy(POLICY, policy(0))?;
    assert_eq!(rig.importer.import([flow])?.count(Outcome::NoEndpoint), 1, "no policy");
    assert_eq!((rig.usage(A_ID)?, rig.flows()?.len()), (Usage::default(), 0));
    // A time in the future gives no longer life.
    rig.policy(POLICY, policy(1))?;
    let future = with(FlowRecord { last_seen_ns: u64::MAX, ..flow.record });
    assert_eq!(rig.importer.import([future])?.taken(), 1);
    assert!(rig.flows()?[0].last_seen_ns <= monotonic_ns());
    Ok(())
}

/// A half-open flow that was idle for so many seconds.
fn inbound_idle(seconds: u64) -> Import {
    let flow = inbound(50001, Phase::HalfOpen);
    let idle = monotonic_ns().saturating_sub(seconds * SECOND);
    Import { record: FlowRecord { last_seen_ns: idle, ..flow.record }, ..flow }
}

#[test]
fn n7_the_kernel_reaps_imported_flows_too() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let imported = rig.importer.import([inbound_idle(55), inbound(1, Phase::Established)])?;
    assert_eq!(imported.taken(), 2);
    let start = Instant::now();
    while rig.flows()?.len() > 1 && start.elapsed() < Duration::from_secs(12) {
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(rig.usage(A_ID)?, Usage { inbound_established: 1, ..Usage::default() });
    assert_eq!((rig.flows()?.len(), rig.checks(A_ID)?), (1, 1));
    // The long-lived one is on its way to the reaper too: it closes, and then it goes.
    let fin = |from, to, sequence| segment(from, to, 17, sequence, 100);
    let (from, to) = (v4(A, GATEWAY), v4(GATEWAY, A));
    assert_eq!(rig.sent_by_a(&out(&from, &fin(8888, 1, 7)))?, ALLOW);
    assert_eq!(rig.sent_to_a(0, &into(&to, &fin(1, 8888, 100)))?, ALLOW);
    assert_eq!(rig.usage(A_ID)?, Usage { closing: 1, ..Usage::default() });
    assert_eq!(rig.checks(A_ID)?, 2, "hastened");
    Ok(())
}

#[test]
fn n7_a_full_table_refuses_and_gives_the_places_back() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::with_flows(16)?;
    let imported = rig.importer.import((1..=40).map(|port| inbound(port, Phase::Established)))?;
    let taken = u32::try_from(imported.taken())?;
    assert!((16..40).contains(&taken), "{imported:?}");
    assert_eq!(imported.count(Outcome::Full), 40 - u64::from(taken));
    assert_eq!(rig.usage(A_ID)?.inbound_established, taken);
    assert_eq!(rig.flows()?.len(), usize::try_from(taken)?);
    Ok(())
}

#[test]
fn n7_a_handshake_goes_on_after_its_import() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    rig.importer.import([inbound(50000, Phase::HalfOpen)])?;
    let (from, to) = (v4(A, GATEWAY), v4(GATEWAY, A));
    assert_eq!(rig.sent_to_a(0, &into(&to, &segment(50000, 8888, SYN, 99, 0)))?, ALLOW);
    assert_eq!(rig.sent_by_a(&out(&from, &segment(8888, 50000, SYN_ACK, 7, 100)))?, ALLOW);
    assert_eq!(rig.sent_to_a(0, &into(&to, &segment(50000, 8888, ACK, 100, 8)))?, ALLOW);
    assert_eq!(rig.usage(A_ID)?, Usage { inbound_established: 1, ..Usage::default() });
    Ok(())
}
