//! Each reason to deny has a frame that is denied for it: one counter up by one, one record.

use anyhow::{Context as _, Result};
use aya::maps::PerCpuHashMap;
use enforcer_common::abi::{
    counter::{Buckets, Counter, CounterKey, Usage},
    endpoint::{Endpoint, Network},
    event::{EventKind, Hook},
    flow::FlowRecord,
    policy::{LIMITS_SOURCES, Limits, Policy, Quotas, Rate},
    verdict::DropReason,
};
use enforcer_tests::frames::{BROADCAST, Ipv4, ethernet, ethertype, tagged};

use crate::{
    frame::{
        A, A_MAC, A6, B, B_MAC, BRIDGE_MAC, GATEWAY, GATEWAY6, WORLD, WORLD6, arp, datagram,
        forbidden, into, message6, out, patched, ping, segment, syn, v4, v6,
    },
    rig::{
        BRIDGE, DENY, FROM_GUEST, FROM_HOST, GUEST, ID, Meta, NEITHER, OTHER_GUEST, POLICY, Rig,
        UNKNOWN, UPLINK, can_run, policy,
    },
};

/// How to have a frame denied.
struct Case {
    hook: Hook,
    meta: Meta,
    owner: u32,
    frame: Vec<u8>,
    before: fn(&mut Rig) -> Result<()>,
}

#[expect(clippy::unnecessary_wraps, reason = "one of the functions of a case")]
fn nothing(_: &mut Rig) -> Result<()> {
    Ok(())
}

/// A frame of A's.
fn from_a(frame: Vec<u8>) -> Case {
    let meta = Meta { ifindex: GUEST, ingress: GUEST, ..Meta::default() };
    Case { hook: Hook::FromGuest, meta, owner: GUEST + ID, frame, before: nothing }
}

/// A frame of an interface's.
fn from(ifindex: u32, frame: Vec<u8>) -> Case {
    let meta = Meta { ifindex, ingress: ifindex, ..Meta::default() };
    Case { meta, owner: ifindex + ID, ..from_a(frame) }
}

fn to_a(ingress: u32, frame: Vec<u8>) -> Case {
    let meta = Meta { ifindex: GUEST, ingress, mark: FROM_HOST, ..Meta::default() };
    Case { hook: Hook::ToGuest, meta, owner: GUEST + ID, frame, before: nothing }
}

fn bridge(hook: Hook, frame: Vec<u8>) -> Case {
    let meta = Meta { ifindex: BRIDGE, ingress: BRIDGE, ..Meta::default() };
    Case { hook, meta, owner: BRIDGE + ID, frame, before: nothing }
}

fn limited(inbound_half_open: u32, inbound_established: u32) -> Policy {
    let quotas = Quotas { inbound_half_open, inbound_established, ..policy(1).quotas };
    Policy { quotas, ..policy(1) }
}

/// A rate at which nothing passes: there is never room for a whole one.
const NOTHING: Rate = Rate { per_second: 1, burst_ns: 0 };
const UNLIMITED: Limits = Limits {
    new_flows: NO_LIMIT,
    packets_out: NO_LIMIT,
    packets_in: NO_LIMIT,
    bits_out: NO_LIMIT,
    bits_in: NO_LIMIT,
};
const NO_LIMIT: Rate = Rate { per_second: 0, burst_ns: 0 };

fn rated(limits: Limits) -> Policy {
    Policy { limits, ..policy(1) }
}

fn raw4(header: &Ipv4) -> Vec<u8> {
    ethernet(BRIDGE_MAC, A_MAC, ethertype::IPV4, &header.packet(&[0; 40]))
}

fn case(reason: DropReason) -> Case {
    let tcp = Ipv4::new(A, WORLD, 6);
    let inbound = into(&v4(GATEWAY, A), &segment(50000, 8888, 2, 99, 0));
    match reason {
        DropReason::UnknownInterface => from(UNKNOWN, syn(1)),
        DropReason::RoleOther => from(NEITHER, syn(1)),
        DropReason::Truncated => from_a(raw4(&Ipv4 { total_length: Some(900), ..tcp })),
        DropReason::Malformed => from_a(raw4(&Ipv4 { total_length: Some(19), ..tcp })),
        DropReason::Vlan => from_a(tagged(&syn(1), &[(0x8100, 1)])),
        DropReason::EtherType => {
            from_a(ethernet(BRIDGE_MAC, A_MAC, ethertype::EXPERIMENT, &[0; 50]))
        }
        DropReason::SourceMac => from_a(patched(syn(1), 6, &B_MAC)),
        DropReason::SourceAddress => from_a(out(&v4(B, WORLD), &segment(1, 80, 2, 1, 0))),
        DropReason::BogusAddress => from_a(datagram([127, 0, 0, 1].into(), 53)),
        DropReason::L2Destination => from_a(patched(syn(1), 0, &B_MAC)),
        DropReason::Arp => from_a(arp((BROADCAST, A_MAC), 2, (A_MAC, GATEWAY), B)),
        DropReason::Ndp => from_a(message6(GATEWAY6, 136, GATEWAY6)),
        DropReason::Router => from_a(message6(GATEWAY6, 134, GATEWAY6)),
        DropReason::Multicast => from_a(datagram([224, 0, 0, 251].into(), 5353)),
        DropReason::IpOptions => from_a(raw4(&Ipv4 { options: vec![131, 4, 0, 0], ..tcp })),
        DropReason::Fragment => from_a(raw4(&Ipv4 { fragment: 0x2000, ..tcp })),
        DropReason::ExtensionHeader => {
            from_a(patched(out(&v6(A6, GATEWAY6), &segment(1, 80, 2, 1, 0)), 20, &[43]))
        }
        DropReason::Protocol => from_a(raw4(&Ipv4 { protocol: 47, ..tcp })),
        DropReason::TcpFlags => from_a(out(&v4(A, WORLD), &segment(1, 8081, 0, 1, 0))),
        DropReason::NoFlow => from_a(out(&v4(A, WORLD), &segment(1, 8081, 16, 1, 0))),
        DropReason::FlowState => Case {
            before: |rig| rig.sent_by_a(&syn(1)).map(drop),
            ..from_a(out(&v4(A, WORLD), &segment(1, 8081, 16, 1000, 1)))
        },
        DropReason::Policy => from_a(forbidden()),
        DropReason::NotPublished => to_a(UPLINK, into(&v4(WORLD, A), &segment(9, 22, 2, 1, 0))),
        DropReason::Source => Case {
            before: |rig| rig.policy(POLICY, Policy { traits: LIMITS_SOURCES, ..policy(1) }),
            ..to_a(UPLINK, into(&v4(WORLD, A), &segment(9, 8888, 2, 1, 0)))
        },
        DropReason::GuestToGuest => from_a(out(&v4(A, B), &segment(1, 8081, 2, 1, 0))),
        DropReason::Hairpin => bridge(Hook::ToBridge, inbound),
        DropReason::Unstamped => bridge(Hook::FromBridge, syn(1)),
        DropReason::QuotaHalfOpen => {
            Case { before: |rig| rig.policy(POLICY, limited(0, 9)), ..to_a(0, inbound) }
        }
        DropReason::QuotaEstablished => Case {
            before: |rig| {
                rig.policy(POLICY, limited(9, 0))?;
                rig.sent_to_a(0, &into(&v4(GATEWAY, A), &segment(50000, 8888, 2, 99, 0)))?;
                rig.sent_by_a(&out(&v4(A, GATEWAY), &segment(8888, 50000, 18, 7, 100))).map(drop)
            },
            ..to_a(0, into(&v4(GATEWAY, A), &segment(50000, 8888, 16, 100, 8)))
        },
        DropReason::FlowTableFull => Case {
            before: |rig| {
                for port in 1..=16 {
                    rig.sent_by_a(&syn(port))?;
                }
                Ok(())
            },
            ..from_a(syn(20))
        },
        DropReason::IcmpType => from_a(ping(13)),
        DropReason::IcmpNoFlow => from_a(ping(0)),
        DropReason::NoFamily => {
            from(OTHER_GUEST, patched(out(&v6(A6, GATEWAY6), &segment(1, 80, 2, 1, 0)), 6, &B_MAC))
        }
        DropReason::Internal => Case {
            before: |rig| Ok(rig.map::<u32, Network>("NETWORKS")?.remove(&BRIDGE)?),
            ..from_a(syn(1))
        },
        DropReason::NotAddressed => {
            to_a(0, arp((BROADCAST, BRIDGE_MAC), 1, (BRIDGE_MAC, GATEWAY), B))
        }
        DropReason::RateNewFlows => Case {
            before: |rig| rig.policy(POLICY, rated(Limits { new_flows: NOTHING, ..UNLIMITED })),
            ..from_a(syn(1))
        },
        DropReason::RatePackets => Case {
            before: |rig| rig.policy(POLICY, rated(Limits { packets_out: NOTHING, ..UNLIMITED })),
            ..from_a(syn(1))
        },
        DropReason::RateBits => Case {
            before: |rig| rig.policy(POLICY, rated(Limits { bits_in: NOTHING, ..UNLIMITED })),
            ..to_a(0, inbound)
        },
        DropReason::RateNeighbours => Case {
            before: |rig| {
                let buckets = Buckets { neighbours: u64::MAX, ..Buckets::default() };
                let spent = Usage { buckets, ..Usage::default() };
                Ok(rig.map("USAGE")?.insert(GUEST + ID, spent, 0)?)
            },
            ..from_a(arp((BROADCAST, A_MAC), 1, (A_MAC, A), GATEWAY))
        },
    }
}

#[test]
fn n8_each_reason_has_a_frame_a_counter_and_a_record() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    // One object for all that may share one: to load it takes longer than to run every case.
    let mut rig = Rig::new()?;
    for reason in DropReason::ALL {
        if *reason == DropReason::FlowTableFull {
            denied_for(*reason, &mut Rig::with_flows(16)?)?;
        } else {
            denied_for(*reason, &mut rig)?;
            anew(&mut rig)?;
        }
    }
    Ok(())
}

/// Makes the maps what they were before a case.
fn anew(rig: &mut Rig) -> Result<()> {
    let mut counters = PerCpuHashMap::<_, CounterKey, Counter>::try_from(
        rig.ebpf.map_mut("COUNTERS").context("COUNTERS")?,
    )?;
    for key in counters.keys().collect::<Result<Vec<_>, _>>()? {
        counters.remove(&key)?;
    }
    let mut flows = rig.map::<[u8; 44], FlowRecord>("FLOWS")?;
    for key in flows.keys().collect::<Result<Vec<_>, _>>()? {
        flows.remove(&key)?;
    }
    rig.events()?;
    rig.fill()
}

fn denied_for(reason: DropReason, rig: &mut Rig) -> Result<()> {
    let case = case(reason);
    (case.before)(rig)?;
    let denied = |rig: &Rig| -> Result<Vec<_>> {
        Ok(rig.counters()?.into_iter().filter(|(key, _)| key.reason != 0).collect())
    };
    assert_eq!(denied(rig)?, [], "{reason:?}: nothing is denied beforehand");
    rig.events()?;

    let seen = rig.run(case.hook, &case.frame, case.meta)?;
    assert_eq!(seen.code, DENY, "{reason:?}");
    let counters = denied(rig)?;
    assert_eq!(counters.len(), 1, "{reason:?}: {counters:?}");
    let (key, counter) = counters[0];
    let name = DropReason::from_value(key.reason).map(DropReason::name);
    assert_eq!(name, Some(reason.name()));
    assert_eq!((key.owner, key.hook), (case.owner, case.hook as u8), "{reason:?}");
    assert_eq!((counter.events, counter.packets), (1, 1), "{reason:?}");
    assert_eq!(counter.bytes, case.frame.len() as u64, "{reason:?}");

    let events = rig.events()?;
    if reason == DropReason::NotAddressed {
        assert_eq!((events.len(), counter.suppressed), (0, 1), "counted, never recorded");
        return Ok(());
    }
    assert_eq!((events.len(), counter.recorded), (1, 1), "{reason:?}");
    let event = events[0];
    assert_eq!(event.kind, EventKind::Denied as u16);
    assert_eq!((event.reason, event.owner), (reason as u16, case.owner), "{reason:?}");
    assert_eq!((event.hook, event.ifindex), (case.hook as u8, case.meta.ifindex));
    assert_eq!(event.ingress_ifindex, case.meta.ingress);
    assert_eq!(event.frame_len as usize, case.frame.len());
    assert_eq!(event.source_mac[..], case.frame[6..12]);
    Ok(())
}

#[test]
fn f04_what_is_missing_denies() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let inbound = into(&v4(GATEWAY, A), &segment(50000, 8888, 2, 99, 0));
    for epoch in [0, 1] {
        rig.policy(POLICY, policy(epoch))?;
        let code = if epoch == 0 { DENY } else { -1 };
        assert_eq!(rig.sent_by_a(&syn(7))?, code);
        assert_eq!(rig.sent_to_a(0, &inbound)?, code);
    }
    // A policy number beyond the array.
    let a: Endpoint = rig.map("ENDPOINTS")?.get(&GUEST, 0)?;
    rig.endpoint(GUEST, Endpoint { policy: u32::MAX, ..a })?;
    assert_eq!((rig.sent_by_a(&syn(8))?, rig.sent_to_a(0, &inbound)?), (DENY, DENY));
    rig.endpoint(GUEST, a)?;
    assert_eq!(rig.sent_by_a(&syn(8))?, -1, "positive control");
    rig.map::<u32, Usage>("USAGE")?.remove(&(GUEST + ID))?;
    assert_eq!(rig.sent_by_a(&syn(9))?, DENY, "no usage entry");
    rig.map("USAGE")?.insert(GUEST + ID, Usage::default(), 0)?;
    rig.map::<u32, Network>("NETWORKS")?.remove(&BRIDGE)?;
    assert_eq!(rig.sent_by_a(&syn(10))?, DENY, "no network");
    assert_eq!(rig.sent_by_a(&arp((BROADCAST, A_MAC), 1, (A_MAC, A), GATEWAY))?, DENY);
    let bridge = Meta { ifindex: BRIDGE, ingress: BRIDGE, ..Meta::default() };
    assert_eq!(rig.run(Hook::FromBridge, &syn(1), bridge)?.code, DENY);
    Ok(())
}

#[test]
fn n1_only_the_protocol_that_a_rule_names_passes() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let rows = [
        (datagram(WORLD, 8081), None),
        (datagram(WORLD, 8082), Some(DropReason::Policy)),
        (datagram(GATEWAY, 8081), Some(DropReason::Policy)),
        (datagram(GATEWAY, 53), Some(DropReason::Policy)),
        (datagram([169, 254, 169, 254].into(), 80), Some(DropReason::Policy)),
        (ping(8), Some(DropReason::Policy)),
        (syn(3), None),
    ];
    for (frame, expected) in rows {
        let code = rig.sent_by_a(&frame)?;
        assert_eq!(code, if expected.is_none() { -1 } else { DENY });
        assert_eq!(rig.only_reason()?, expected);
    }
    Ok(())
}

#[test]
fn n1_a_neighbour_message_to_the_world_is_denied() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let rig = Rig::new()?;
    assert_eq!(rig.sent_by_a(&message6(GATEWAY6, 135, GATEWAY6))?, -1, "positive control");
    assert_eq!(rig.sent_by_a(&message6(WORLD6, 135, GATEWAY6))?, DENY);
    assert_eq!(rig.sent_by_a(&message6(WORLD6, 136, A6))?, DENY);
    Ok(())
}

#[test]
fn a1_a_legal_broadcast_is_no_attack_on_others() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let frame = arp((BROADCAST, B_MAC), 1, (B_MAC, B), GATEWAY);
    let meta = Meta { ifindex: GUEST, ingress: OTHER_GUEST, mark: FROM_GUEST, ..Meta::default() };
    assert_eq!(rig.run(Hook::ToGuest, &frame, meta)?.code, DENY);
    assert_eq!(rig.events()?, [], "counted, not recorded");
    Ok(())
}
