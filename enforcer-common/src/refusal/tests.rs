use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

use super::*;
use crate::packet::{Payload, TcpFlags, embedded_tuple, parse};

const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
const SIX_A: [u8; 16] = [0xfd, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const SIX_B: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
const PAYLOAD: &[u8] = b"this must never come back";

fn frame(family: u8, protocol: u8) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(MAC_A, MAC_B);
    let builder = if family == IPV4 {
        builder.ipv4([10, 1, 0, 2], [192, 0, 2, 9], 60)
    } else {
        builder.ipv6(SIX_A, SIX_B, 60)
    };
    let mut bytes = Vec::new();
    if protocol == TCP {
        let tcp = builder.tcp(40_000, 443, 0xffff_ffff, 1000).syn();
        tcp.write(&mut bytes, PAYLOAD).expect("writes");
    } else {
        builder.udp(40_000, 443).write(&mut bytes, PAYLOAD).expect("writes");
    }
    bytes
}

fn read(frame: &[u8]) -> (Packet, Result<Payload, DropReason>) {
    let mut packet = Packet::default();
    let payload = parse(frame, &mut packet);
    (packet, payload)
}

/// As the kernel makes it: what an error quotes is there before.
fn answer(frame: &[u8]) -> Option<Vec<u8>> {
    let packet = read(frame).0;
    let answer = Answer::to(DropReason::Policy, &packet)?;
    let mut reply = [0; ROOM];
    match answer {
        Answer::Unreachable4 => {
            reply[QUOTE_AT_4..][..QUOTE_4].copy_from_slice(&frame[IP..][..QUOTE_4]);
        }
        Answer::Unreachable6 => {
            reply[QUOTE_AT_6..][..QUOTE_6].copy_from_slice(&frame[IP..][..QUOTE_6]);
        }
        Answer::Reset4 | Answer::Reset6 => {}
    }
    answer.write(&packet, &mut reply);
    Some(reply[..answer.length()].to_vec())
}

/// Whether the bytes, their checksum among them, sum up as they should.
fn adds_up(parts: &[&[u8]]) -> bool {
    let all = parts.concat();
    let words =
        all.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    (sum >> 16) + (sum & 0xffff) == 0xffff
}

#[test]
fn n8_a_refused_connection_is_reset_towards_its_sender() {
    for family in [IPV4, IPV6] {
        let asked = frame(family, TCP);
        let reply = answer(&asked).expect("is answered");
        let (packet, payload) = read(&reply);
        assert_eq!(payload, Ok(Payload::Tcp));
        let question = read(&asked).0;
        assert_eq!((packet.source, packet.destination), (question.destination, question.source));
        assert_eq!((packet.source_mac, packet.destination_mac), (MAC_B, MAC_A));
        assert_eq!((packet.source_port, packet.destination_port), (443, 40_000));
        let flags: TcpFlags = flags::RST | flags::ACK;
        // The sequence number wraps: what came is the SYN and the payload.
        let came = u32::try_from(PAYLOAD.len()).expect("short");
        assert_eq!((packet.tcp_flags, packet.sequence, packet.acknowledgement), (flags, 0, came));
        assert!(!reply.windows(8).any(|window| PAYLOAD.starts_with(window)));
        let sliced = SlicedPacket::from_ethernet(&reply).expect("is a packet");
        let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { panic!("{sliced:?}") };
        let sum = match &sliced.net {
            Some(NetSlice::Ipv4(ip)) => {
                assert!(adds_up(&[&reply[14..34]]), "the header's own");
                tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination())
            }
            Some(NetSlice::Ipv6(ip)) => {
                tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination())
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(sum.expect("short"), tcp.checksum());
    }
}

#[test]
fn n8_a_refused_datagram_is_answered_without_its_payload() {
    for family in [IPV4, IPV6] {
        let asked = frame(family, UDP);
        let reply = answer(&asked).expect("is answered");
        let (packet, payload) = read(&reply);
        assert_eq!(payload, Ok(Payload::IcmpError));
        let question = read(&asked).0;
        assert_eq!((packet.source, packet.destination), (question.destination, question.source));
        let about = embedded_tuple(&reply[..], &packet).expect("quotes the datagram");
        assert_eq!((about.source, about.destination), (question.source, question.destination));
        assert_eq!((about.source_port, about.destination_port), (40_000, 443));
        assert!(!reply.windows(8).any(|window| PAYLOAD.starts_with(window)));
        let (at, pseudo) = if family == IPV4 {
            (AT_4, Vec::new())
        } else {
            let len = u8::try_from(reply.len() - AT_6).expect("short");
            (AT_6, [&reply[22..54], &[0, len, 0, ICMPV6]].concat())
        };
        assert!(adds_up(&[&pseudo, &reply[at..]]), "{reply:?}");
        assert!(family == IPV6 || adds_up(&[&reply[14..34]]));
        assert_eq!(reply[at..at + 2], if family == IPV4 { [3, 3] } else { [1, 4] });
    }
}

#[test]
fn n8_only_what_asks_for_a_conversation_is_answered() {
    for family in [IPV4, IPV6] {
        let packet = read(&frame(family, TCP)).0;
        for tcp_flags in 0..=u8::MAX {
            let packet = Packet { tcp_flags, ..packet };
            let opens = tcp_flags & (flags::SYN | flags::ACK | flags::RST) == flags::SYN;
            assert_eq!(Answer::to(DropReason::Policy, &packet).is_some(), opens, "{tcp_flags:#x}");
        }
        for reason in DropReason::ALL.iter().filter(|reason| **reason != DropReason::Policy) {
            assert_eq!(Answer::to(*reason, &packet), None, "{reason:?}");
        }
        for protocol in [ICMP, ICMPV6, 47] {
            assert_eq!(Answer::to(DropReason::Policy, &Packet { protocol, ..packet }), None);
        }
        let behind = Packet { transport_offset: packet.transport_offset + 8, ..packet };
        assert_eq!(Answer::to(DropReason::Policy, &behind), None, "an extension header");
    }
}
