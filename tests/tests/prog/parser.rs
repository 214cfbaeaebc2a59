//! P20 and P16: the kernel judges a bent frame as the same code does on the host, and one whose
//! headers are not in linear memory as one whose are.

use anyhow::Result;
use enforcer_common::{
    abi::{
        endpoint::{Endpoint, Role},
        event::Hook,
        policy::{Decision, Policy, Quotas},
        verdict::DropReason,
    },
    decide, flow, guard,
    neighbour::{self, HubFacts},
    packet::{
        self, Arp, IPV4, Packet, Payload, TCP, UDP, embedded_tuple, neighbour_message, widen,
    },
};
use enforcer_tests::frames::{BROADCAST, Ipv4, ethernet, ethertype, icmp};

use crate::{
    frame::{
        A, A_MAC, A6, ALLOWED_PORT, BRIDGE_MAC, GATEWAY, GATEWAY6, HUB, HUB_MAC, WORLD, WORLD6,
        arp, datagram, forbidden, message6, out, ping, segment, syn, v4, v6,
    },
    rig::{ALLOW, GUEST, Meta, POLICY, Rig, can_run, context, network, policy},
};

const FRAMES: u32 = 8_000;

/// xorshift64: the same corpus in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap_or(0)
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let inner = Ipv4::new(WORLD, A, TCP).packet(&[0; 20]);
    let error = Ipv4::new(A, WORLD, 1).packet(&icmp(3, 1, [0; 4], &inner));
    let options = {
        let mut frame = out(&v6(A6, WORLD6), &segment(40000, ALLOWED_PORT, 2, 1, 0));
        let (next, len) = (frame[20], frame.len() - 54 + 16);
        frame[20] = 0;
        frame[19] = u8::try_from(len).unwrap_or(0);
        frame.splice(54..54, [60, 0, 1, 4, 0, 0, 0, 0, next, 0, 1, 4, 0, 0, 0, 0]);
        frame
    };
    vec![
        syn(40000),
        forbidden(),
        out(&v4(A, WORLD), &segment(40000, ALLOWED_PORT, 16, 1, 1)),
        datagram(WORLD, ALLOWED_PORT),
        datagram(GATEWAY, 53),
        ping(8),
        ping(0),
        ethernet(BRIDGE_MAC, A_MAC, ethertype::IPV4, &error),
        out(&v6(A6, WORLD6), &segment(40000, ALLOWED_PORT, 2, 1, 0)),
        out(&v6(A6, GATEWAY6), &segment(40000, 22, 2, 1, 0)),
        options,
        message6(GATEWAY6, 135, GATEWAY6),
        message6(GATEWAY6, 136, A6),
        message6(GATEWAY6, 128, A6),
        arp((BROADCAST, A_MAC), 1, (A_MAC, A), GATEWAY),
        arp((HUB_MAC, A_MAC), 2, (A_MAC, A), HUB),
        arp((BRIDGE_MAC, A_MAC), 2, (A_MAC, A), GATEWAY),
    ]
}

/// A seed with up to three bytes changed, mostly in its headers, perhaps cut or extended.
fn bent(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut frame = seeds[random.below(seeds.len())].clone();
    for _ in 0..random.below(4) {
        let at = random.below(frame.len().min(90));
        frame[at] = match random.below(3) {
            0 => random.byte(),
            1 => frame[at] ^ (1 << random.below(8)),
            _ => [0, 1, 0xff, 0x45, 0x60, 6, 17, 58][random.below(8)],
        };
    }
    match random.below(8) {
        0 => frame.truncate(random.below(frame.len())),
        1 => frame.resize(frame.len() + random.below(80), 0xa5),
        _ => {}
    }
    frame
}

/// The kernel refuses to make a test frame that is shorter than its own headers.
fn can_be_run(frame: &[u8]) -> bool {
    let least = match frame.get(12..14) {
        Some([0x08, 0x00]) => 34,
        Some([0x86, 0xdd]) => 54,
        _ => 15,
    };
    frame.len() >= least
}

/// The verdict on a frame of A's that has no flow: the stages of `from_guest`, on the host.
fn expected(endpoint: &Endpoint, frame: &[u8], packet: &mut Packet) -> Result<(), DropReason> {
    let network = network();
    let is_hub = |family: u8, address: &[u8; 16]| family == IPV4 && *address == widen(HUB.octets());
    let facts = |family, address: &[u8; 16], to| HubFacts {
        target_is_hub: is_hub(family, address),
        to_hub_mac: is_hub(family, address) && to == HUB_MAC,
    };
    let payload = packet::parse(frame, packet)?;
    match payload {
        Payload::Arp => {
            let arp = Arp::read(frame)?;
            let hub = facts(IPV4, &widen(arp.target_ip), packet.destination_mac);
            return neighbour::arp_from_endpoint(endpoint, &network, packet, &arp, hub);
        }
        Payload::Neighbour => {
            let message = neighbour_message(frame, packet)?;
            let named = if message.solicitation { message.target } else { packet.destination };
            let hub = facts(packet.family, &named, packet.destination_mac);
            return neighbour::ndp_from_endpoint(endpoint, &network, packet, &message, hub);
        }
        _ => {}
    }
    guard::source(endpoint, packet)?;
    guard::destination(&network, packet)?;
    let to_hub = is_hub(packet.family, &packet.destination) && packet.destination_mac == HUB_MAC;
    if packet.destination_mac != BRIDGE_MAC && !to_hub {
        return Err(DropReason::L2Destination);
    }
    if payload == Payload::IcmpError {
        embedded_tuple(frame, packet)?;
        return Err(DropReason::IcmpNoFlow);
    }
    flow::opens(payload, packet)?;
    let transport = packet.protocol == TCP || packet.protocol == UDP;
    let world = packet.destination == widen(WORLD.octets());
    let known = world
        || is_hub(packet.family, &packet.destination)
        || packet.destination == WORLD6.octets();
    let opened = transport && known && packet.destination_port == ALLOWED_PORT;
    let decision = if opened { Decision::opens(42) } else { Decision::NONE };
    decide::outbound(endpoint, &network, packet.family, &packet.destination, decision)
        .map_err(|denied| denied.reason)?;
    // The quota of the test: flows would only fill the kernel's memory here.
    Err(DropReason::QuotaHalfOpen)
}

#[test]
fn p20_the_kernel_and_the_host_judge_bent_frames_alike() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let quotas = Quotas { outbound_half_open: 0, ..policy(1).quotas };
    rig.policy(POLICY, Policy { quotas, ..policy(1) })?;
    let a: Endpoint = rig.map("ENDPOINTS")?.get(&GUEST, 0)?;
    let (mut random, seeds) = (Random(0x2545_f491_4f6c_dd1d), seeds());
    let meta = Meta { ifindex: GUEST, ingress: GUEST, ..Meta::default() };
    let (mut run, mut allowed) = (0, 0);
    let mut reasons = std::collections::BTreeMap::new();
    while run < FRAMES {
        let frame = bent(&mut random, &seeds);
        if !can_be_run(&frame) {
            continue;
        }
        run += 1;
        // A new identity each time: no flow, no usage, a full burst of records.
        let endpoint = Endpoint { id: 10_000 + run, role: Role::Guest as u8, ..a };
        rig.endpoint_as(GUEST, endpoint)?;
        let mut packet = Packet::default();
        let verdict = expected(&endpoint, &frame, &mut packet);
        let seen = rig.run(Hook::FromGuest, &frame, meta)?;
        let events = rig.events()?;
        let found = events.first().and_then(|event| DropReason::from_value(event.reason));
        assert_eq!(found, verdict.err(), "{frame:02x?}");
        assert_eq!(seen.code == ALLOW, verdict.is_ok(), "{frame:02x?}");
        if let Some(event) = events.first() {
            assert_eq!((event.source, event.destination), (packet.source, packet.destination));
            assert_eq!(
                (event.source_port, event.destination_port, event.protocol, event.tcp_flags),
                (packet.source_port, packet.destination_port, packet.protocol, packet.tcp_flags)
            );
        }
        allowed += u32::from(matches!(verdict, Ok(()) | Err(DropReason::QuotaHalfOpen)));
        *reasons.entry(verdict.err().map_or("allow", DropReason::name)).or_insert(0_u32) += 1;
        // Keep the table of usage small.
        rig.map::<u32, enforcer_common::abi::counter::Usage>("USAGE")?.remove(&endpoint.id)?;
    }
    eprintln!("{run} frames: {reasons:?}");
    assert!(allowed > FRAMES / 50 && reasons.len() > 15, "the corpus is too tame");
    Ok(())
}

#[test]
fn p16_headers_outside_linear_memory_are_judged_alike() -> Result<()> {
    /// Offset of `data_end` in `__sk_buff`: newer kernels take the linear length from there.
    const DATA_END: usize = 80;
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let meta = Meta { ifindex: GUEST, ingress: GUEST, ..Meta::default() };
    for seed in seeds() {
        let mut frame = seed;
        frame.resize(frame.len().max(300), 0);
        let seen = |rig: &mut Rig, linear: u32| -> Result<_> {
            let mut context = context(meta);
            context[DATA_END..DATA_END + 4].copy_from_slice(&linear.to_ne_bytes());
            let seen = rig.raw(Hook::FromGuest, &frame, &context, 1)?;
            Ok((seen, rig.only_reason()?))
        };
        let whole = seen(&mut rig, 0)?;
        for linear in [14, 34, 40, 54, 60, 74, 100] {
            match seen(&mut rig, linear) {
                Ok(split) => assert_eq!(split, whole, "{linear} bytes linear of {frame:02x?}"),
                Err(error) => eprintln!("skipped: {linear} bytes linear: {error:#}"),
            }
        }
    }
    Ok(())
}
