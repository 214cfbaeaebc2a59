//! What is denied is answered, where nothing refuses calls: a reset, or an ICMP error, to the sender alone.

use anyhow::{Context as _, Result};
use aya::{TestRun as _, TestRunOptions, programs::SchedClassifier};
use enforcer_common::{
    abi::{
        counter::{Buckets, Usage},
        endpoint::Endpoint,
        event::Hook,
        verdict::DropReason,
    },
    limit::ANSWERS,
    packet::{Packet, Payload, flags, parse},
};
use enforcer_tests::frames::{Mac, udp_packet};

use crate::{
    frame::{
        A, A_MAC, A6, B_MAC, BRIDGE_MAC, WORLD, WORLD6, forbidden, framed, out, patched, ping,
        segment, v4, v6,
    },
    rig::{ALLOW, DENY, FROM_GUEST, GUEST, ID, Meta, Rig, can_run, context},
};

const A_ID: u32 = GUEST + ID;
/// `TCX_REDIRECT`.
const REDIRECT: i32 = 7;
/// The bits of both stamps.
const ANSWER: u32 = 0x3000_0000;
const FROM_A: Meta = Meta { ifindex: GUEST, ingress: GUEST, mark: 0, segments: 0 };
const PAYLOAD: &[u8] = b"this must never come back";

/// A rig in which A's denied packets are answered.
fn answering() -> Result<Rig> {
    let mut rig = Rig::new()?;
    let a: Endpoint = rig.map("ENDPOINTS")?.get(&GUEST, 0)?;
    rig.endpoint(GUEST, Endpoint { answered: 1, ..a })?;
    Ok(rig)
}

/// What became of a frame: the code, the mark, and the frame afterwards.
fn sent(rig: &Rig, frame: &[u8]) -> Result<(i32, u32, Vec<u8>)> {
    let program: &SchedClassifier =
        rig.ebpf.program(Hook::FromGuest.name()).context("from_guest")?.try_into()?;
    let (mut after, mut data) = ([0; 192], vec![0; 4096]);
    let result = program.test_run(TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut data),
        ctx_in: Some(&context(FROM_A)),
        ctx_out: Some(&mut after),
        ..TestRunOptions::default()
    })?;
    data.truncate(result.data_size_out.try_into()?);
    let mark = u32::from_ne_bytes([after[8], after[9], after[10], after[11]]);
    Ok((result.return_value.cast_signed(), mark, data))
}

fn datagram(ip: &enforcer_tests::frames::Ip, payload: &[u8]) -> Vec<u8> {
    framed(BRIDGE_MAC, A_MAC, ip, &udp_packet(ip, 5353, 9999, payload))
}

fn read(frame: &[u8]) -> (Packet, Option<Payload>) {
    let mut packet = Packet::default();
    let payload = parse(frame, &mut packet).ok();
    (packet, payload)
}

#[test]
fn n8_what_policy_denies_is_answered_to_its_sender_and_counted_all_the_same() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = answering()?;
    let syn = |ip| out(ip, &segment(40000, 22, flags::SYN, 999, 0));
    let macs = |frame: &[u8]| -> Result<(Mac, Mac)> {
        Ok((frame[..6].try_into()?, frame[6..12].try_into()?))
    };
    let (four, six) = (v4(A, WORLD), v6(A6, WORLD6));
    // A short datagram grows, and a long one shrinks.
    let long = [PAYLOAD; 40].concat();
    let rows = [
        (syn(&four), Payload::Tcp, 54),
        (syn(&six), Payload::Tcp, 74),
        (datagram(&four, b"q"), Payload::IcmpError, 70),
        (datagram(&four, &long), Payload::IcmpError, 70),
        (datagram(&six, b"q"), Payload::IcmpError, 110),
        (datagram(&six, &long), Payload::IcmpError, 110),
    ];
    let mut denied = 0;
    for (frame, expected, len) in rows {
        let (code, mark, reply) = sent(&rig, &frame)?;
        assert_eq!((code, mark, reply.len()), (REDIRECT, ANSWER, len));
        assert_eq!(macs(&reply)?, (A_MAC, BRIDGE_MAC));
        let (question, (answer, payload)) = (read(&frame).0, read(&reply));
        assert_eq!(payload, Some(expected));
        assert_eq!((answer.source, answer.destination), (question.destination, question.source));
        if expected == Payload::Tcp {
            assert_eq!((answer.tcp_flags, answer.acknowledgement), (flags::RST | flags::ACK, 1000));
        }
        assert!(!reply.windows(8).any(|window| PAYLOAD.starts_with(window)), "{reply:?}");
        denied += 1;
        let counter = rig.counter(A_ID, DropReason::Policy as u16, Hook::FromGuest)?;
        assert_eq!((counter.events, counter.recorded), (denied, denied));
        let events = rig.events()?;
        assert_eq!((events.len(), events[0].frame_len as usize), (1, frame.len()));

        // It comes by to_guest of the same port, which lets it pass, and no other port does.
        let back = Meta { ifindex: GUEST, ingress: GUEST, mark, segments: 0 };
        let seen = rig.run(Hook::ToGuest, &reply, back)?;
        assert_eq!((seen.code, seen.mark), (ALLOW, 0));
        let elsewhere = Meta { ifindex: crate::rig::OTHER_GUEST, ..back };
        assert_eq!(rig.run(Hook::ToGuest, &reply, elsewhere)?.code, DENY);
        let forged = Meta { mark: FROM_GUEST, ..back };
        assert_eq!(rig.run(Hook::ToGuest, &reply, forged)?.code, DENY);
        rig.events()?;
    }
    Ok(())
}

#[test]
fn n8_n5_what_is_forged_or_asks_for_no_answer_has_none() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let rig = answering()?;
    let four = v4(A, WORLD);
    let tcp = |flags| out(&four, &segment(40000, 22, flags, 999, 7));
    for frame in [
        patched(forbidden(), 6, &B_MAC),
        // Another's address: the source guard denies it first.
        patched(forbidden(), 26, &[10, 7, 0, 11]),
        tcp(flags::RST),
        tcp(flags::ACK),
        tcp(flags::SYN | flags::ACK),
        ping(8),
        crate::frame::datagram([224, 0, 0, 251].into(), 5353),
        crate::frame::datagram([10, 7, 0, 255].into(), 5353),
        crate::frame::datagram([255; 4].into(), 67),
    ] {
        let (code, mark, after) = sent(&rig, &frame)?;
        assert_eq!((code, mark), (DENY, 0), "{frame:?}");
        assert_eq!(after, frame, "and it is left as it was");
    }
    // Where calls are refused before there is a packet, packets are dropped in silence.
    let silent = Rig::new()?;
    assert_eq!(sent(&silent, &forbidden())?.0, DENY);
    Ok(())
}

#[test]
fn n8_answers_have_a_rate_and_denials_are_counted_beyond_it() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = answering()?;
    let burst = ANSWERS.per_second * ANSWERS.burst_ns / 1_000_000_000;
    let began = std::time::Instant::now();
    let mut answered = 0;
    for _ in 0..4 * burst {
        answered += u64::from(sent(&rig, &forbidden())?.0 == REDIRECT);
    }
    let earned = ANSWERS.per_second * (began.elapsed().as_secs() + 1);
    assert!((burst..=burst + earned).contains(&answered), "{answered}");
    let spent =
        Usage { buckets: Buckets { answers: u64::MAX, ..Buckets::default() }, ..Usage::default() };
    rig.map("USAGE")?.insert(A_ID, spent, 0)?;
    assert_eq!(sent(&rig, &forbidden())?.0, DENY);
    let denied = rig.counter(A_ID, DropReason::Policy as u16, Hook::FromGuest)?;
    assert_eq!(denied.events, 4 * burst + 1);
    Ok(())
}
