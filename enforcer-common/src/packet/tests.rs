//! The parser: one verdict for each kind of frame, and nothing accepted that another parser would
//! not read the same way.

mod frames;
mod neighbours;
mod properties;

use frames::{ROW_V6, extension, icmp4, icmp6, ip4, ip6, tcp, udp};

use super::*;
use crate::packet::tests::frames::{MAC_A, MAC_B, ROW_V4, ethernet};

fn parsed(frame: &[u8]) -> Result<Payload, DropReason> {
    parse(frame, &mut Packet::default())
}

fn reason(frame: &[u8]) -> Option<DropReason> {
    parsed(frame).err()
}

/// A copy with one byte replaced.
fn with(frame: &[u8], at: usize, value: u8) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[at] = value;
    frame
}

#[test]
fn legal_frames_are_read_field_by_field() {
    for (family, frame) in [
        (IPV4, ip4(TCP, &tcp(40000, 8888, flags::SYN, b"hi"))),
        (IPV6, ip6(TCP, &tcp(40000, 8888, flags::SYN, b"hi"))),
    ] {
        let mut packet = Packet::default();
        assert_eq!(parse(frame.as_slice(), &mut packet), Ok(Payload::Tcp));
        assert_eq!((packet.source_mac, packet.destination_mac), (MAC_A, MAC_B));
        assert_eq!((packet.family, packet.protocol), (family, TCP));
        assert_eq!((packet.source_port, packet.destination_port), (40000, 8888));
        assert_eq!((packet.sequence, packet.acknowledgement), (0x0102_0304, 0x0506_0708));
        assert_eq!((packet.tcp_flags, packet.payload_len, packet.hop_limit), (flags::SYN, 2, 64));
        let (source, destination) =
            if family == IPV4 { (ROW_V4.0, ROW_V4.1) } else { (ROW_V6.0, ROW_V6.1) };
        assert_eq!((packet.source, packet.destination), (source, destination));
    }
    assert_eq!(parsed(&ip4(UDP, &udp(1, 2, b""))), Ok(Payload::Udp));
    assert_eq!(parsed(&ip6(UDP, &udp(1, 2, b"x"))), Ok(Payload::Udp));
    assert_eq!(parsed(&ip4(ICMP, &icmp4(8, 0, b""))), Ok(Payload::EchoRequest));
    assert_eq!(parsed(&ip4(ICMP, &icmp4(0, 0, b""))), Ok(Payload::EchoReply));
    assert_eq!(parsed(&ip6(ICMPV6, &icmp6(128, 0, b""))), Ok(Payload::EchoRequest));
    assert_eq!(parsed(&ip6(ICMPV6, &icmp6(129, 0, b""))), Ok(Payload::EchoReply));
}

#[test]
fn p01_only_ip_and_arp_pass_as_ethertype() {
    for ethertype in 0..=u16::MAX {
        let frame = ethernet(ethertype, &[0; 60]);
        let expected = match ethertype {
            0x0800 | 0x86dd => DropReason::Malformed,
            0x0806 => DropReason::Arp,
            0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300 => DropReason::Vlan,
            _ => DropReason::EtherType,
        };
        assert_eq!(reason(&frame), Some(expected), "ethertype {ethertype:#06x}");
    }
}

/// A frame whose tag the kernel has taken into metadata.
struct Tagged(Vec<u8>);

impl Bytes for Tagged {
    fn len(&self) -> u32 {
        Bytes::len(self.0.as_slice())
    }
    fn has_vlan_tag(&self) -> bool {
        true
    }
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.0.as_slice().read(offset)
    }
}

#[test]
fn p02_a_tag_in_the_frame_or_in_metadata_is_vlan() {
    let legal = ip4(TCP, &tcp(1, 2, flags::SYN, b""));
    assert_eq!(parse(&Tagged(legal.clone()), &mut Packet::default()), Err(DropReason::Vlan));
    for depth in [1, 2, 8] {
        let mut frame = legal[..12].to_vec();
        for _ in 0..depth {
            frame.extend([0x81, 0x00, 0x00, 0x00]);
        }
        frame.extend(&legal[12..]);
        assert_eq!(reason(&frame), Some(DropReason::Vlan));
    }
}

#[test]
fn p09_every_other_protocol_is_denied() {
    for protocol in 0..=u8::MAX {
        let body = [1; 64];
        let v4 = match protocol {
            ICMP => DropReason::IcmpType,
            TCP | UDP => DropReason::Malformed,
            _ => DropReason::Protocol,
        };
        assert_eq!(reason(&ip4(protocol, &body)), Some(v4), "IPv4 protocol {protocol}");
        let v6 = match protocol {
            TCP | UDP => Some(DropReason::Malformed),
            44 => Some(DropReason::Fragment),
            43 | 51 | 135 | 139 | 140 => Some(DropReason::ExtensionHeader),
            // Their next header is 1, ICMP for IPv4.
            0 | 60 => Some(DropReason::Protocol),
            // Type 1 is an error, which says nothing without what it is about.
            ICMPV6 => None,
            _ => Some(DropReason::Protocol),
        };
        assert_eq!(reason(&ip6(protocol, &body)), v6, "IPv6 next header {protocol}");
    }
}

#[test]
fn p17_every_fragment_is_denied() {
    let legal = ip4(TCP, &tcp(1, 2, flags::SYN, b""));
    let fragment = |field: u16| {
        let [high, low] = field.to_be_bytes();
        reason(&with(&with(&legal, 20, high), 21, low))
    };
    assert_eq!(fragment(0x4000), None, "don't fragment is no fragment");
    for bit in 0..13 {
        assert_eq!(fragment(1 << bit), Some(DropReason::Fragment));
    }
    assert_eq!(fragment(0x2000), Some(DropReason::Fragment));
    assert_eq!(fragment(0x8000), Some(DropReason::Malformed), "reserved bit");
    // An atomic fragment of IPv6 is one too.
    let atomic = extension(44, &[(TCP, 8)], &tcp(1, 2, flags::SYN, b""));
    assert_eq!(reason(&atomic), Some(DropReason::Fragment));
}

#[test]
fn p18_extension_headers_are_walked_to_the_true_transport_or_denied() {
    const HOP: u8 = 0;
    const OPTIONS: u8 = 60;
    let syn = tcp(1, 2, flags::SYN, b"");
    let rows: &[(&str, Vec<u8>, Result<Payload, DropReason>)] = &[
        ("hop-by-hop", extension(HOP, &[(TCP, 8)], &syn), Ok(Payload::Tcp)),
        ("destination options", extension(OPTIONS, &[(TCP, 8)], &syn), Ok(Payload::Tcp)),
        ("both", extension(HOP, &[(OPTIONS, 8), (TCP, 16)], &syn), Ok(Payload::Tcp)),
        (
            "four, the most",
            extension(HOP, &[(OPTIONS, 8), (OPTIONS, 8), (OPTIONS, 8), (TCP, 8)], &syn),
            Ok(Payload::Tcp),
        ),
        (
            "five",
            extension(
                OPTIONS,
                &[(OPTIONS, 8), (OPTIONS, 8), (OPTIONS, 8), (OPTIONS, 8), (TCP, 8)],
                &syn,
            ),
            Err(DropReason::ExtensionHeader),
        ),
        (
            "20 of them",
            extension(OPTIONS, &[(OPTIONS, 8); 20], &syn),
            Err(DropReason::ExtensionHeader),
        ),
        (
            "hop-by-hop second",
            extension(OPTIONS, &[(HOP, 8), (TCP, 8)], &syn),
            Err(DropReason::ExtensionHeader),
        ),
        (
            "hop-by-hop twice",
            extension(HOP, &[(HOP, 8), (TCP, 8)], &syn),
            Err(DropReason::ExtensionHeader),
        ),
        ("routing", extension(43, &[(TCP, 8)], &syn), Err(DropReason::ExtensionHeader)),
        ("authentication", extension(51, &[(TCP, 8)], &syn), Err(DropReason::ExtensionHeader)),
        (
            "routing behind options",
            extension(OPTIONS, &[(43, 8), (TCP, 8)], &syn),
            Err(DropReason::ExtensionHeader),
        ),
        (
            "fragment behind options",
            extension(OPTIONS, &[(44, 8), (TCP, 8)], &syn),
            Err(DropReason::Fragment),
        ),
        ("no next header", extension(OPTIONS, &[(59, 8)], &syn), Err(DropReason::Protocol)),
        ("longest", extension(OPTIONS, &[(TCP, 256)], &syn), Ok(Payload::Tcp)),
        ("too long", extension(OPTIONS, &[(TCP, 264)], &syn), Err(DropReason::ExtensionHeader)),
        ("ICMP for IPv4", ip6(ICMP, &icmp4(8, 0, b"")), Err(DropReason::Protocol)),
        (
            "cut inside the chain",
            extension(OPTIONS, &[(TCP, 248)], &[])[..100].to_vec(),
            Err(DropReason::Truncated),
        ),
    ];
    for (name, frame, expected) in rows {
        assert_eq!(parsed(frame), *expected, "{name}");
    }
    // A header that reaches beyond the payload though not beyond the frame.
    let mut lying = extension(OPTIONS, &[(TCP, 8)], &syn);
    lying[55] = 10;
    lying.extend([0; 200]);
    assert_eq!(reason(&lying), Some(DropReason::Truncated));
}

#[test]
fn p19_options_and_bad_header_lengths_are_denied() {
    let legal = ip4(TCP, &tcp(1, 2, flags::SYN, &[0; 60]));
    for ihl in 0..16 {
        let expected = match ihl {
            5 => None,
            6.. => Some(DropReason::IpOptions),
            _ => Some(DropReason::Malformed),
        };
        assert_eq!(reason(&with(&legal, 14, 0x40 | ihl)), expected, "IHL {ihl}");
    }
}

#[test]
fn p20_lengths_and_versions_that_lie_are_denied() {
    let segment = tcp(1, 2, flags::SYN, b"");
    let (v4, v6) = (ip4(TCP, &segment), ip6(TCP, &segment));
    let datagram = ip4(UDP, &udp(1, 2, b"abc"));
    let rows: &[(&str, Vec<u8>, DropReason)] = &[
        ("total length beyond the frame", with(&v4, 17, 41), DropReason::Truncated),
        ("total length below its header", with(&v4, 17, 19), DropReason::Malformed),
        ("total length cuts TCP", with(&v4, 17, 39), DropReason::Truncated),
        ("IPv6 in an IPv4 frame", with(&v4, 14, 0x65), DropReason::Malformed),
        ("IPv4 in an IPv6 frame", with(&v6, 14, 0x45), DropReason::Malformed),
        ("payload length beyond the frame", with(&v6, 19, 21), DropReason::Truncated),
        ("payload length cuts TCP", with(&v6, 19, 19), DropReason::Truncated),
        ("TCP header below 20", with(&v4, 46, 0x40), DropReason::Malformed),
        ("TCP header beyond the packet", with(&v4, 46, 0x60), DropReason::Malformed),
        ("UDP length short", with(&datagram, 39, 10), DropReason::Malformed),
        ("UDP length long", with(&datagram, 39, 12), DropReason::Malformed),
        ("UDP length zero", with(&datagram, 39, 0), DropReason::Malformed),
        ("UDP cut", ip4(UDP, &[0, 1, 0, 2, 0, 7, 0]), DropReason::Truncated),
        ("ICMP cut", ip4(ICMP, &[8, 0, 0, 0]), DropReason::Truncated),
        ("source port 0", ip4(TCP, &tcp(0, 2, flags::SYN, b"")), DropReason::BogusAddress),
        ("destination port 0", ip4(UDP, &udp(1, 0, b"")), DropReason::BogusAddress),
    ];
    for (name, frame, expected) in rows {
        assert_eq!(reason(frame), Some(*expected), "{name}");
    }
    for frame in [&v4, &v6, &datagram] {
        assert_eq!(reason(frame), None, "positive control");
        for len in 0..frame.len() {
            assert_eq!(reason(&frame[..len]), Some(DropReason::Truncated), "cut at {len}");
        }
    }
}

#[test]
fn p25_icmp_types_beyond_echo_and_errors_are_denied() {
    for kind in 0..=u8::MAX {
        for code in [0, 1, 255] {
            let expected = match (kind, code) {
                (8, 0) => Ok(Payload::EchoRequest),
                (0, 0) => Ok(Payload::EchoReply),
                (3 | 11 | 12, _) => Ok(Payload::IcmpError),
                _ => Err(DropReason::IcmpType),
            };
            assert_eq!(
                parsed(&ip4(ICMP, &icmp4(kind, code, &[0; 8]))),
                expected,
                "v4 {kind}/{code}"
            );
            let expected = match (kind, code) {
                (128, 0) => Ok(Payload::EchoRequest),
                (129, 0) => Ok(Payload::EchoReply),
                (1..=4, _) => Ok(Payload::IcmpError),
                // The hop limit of this frame is 64: it came through a router.
                (135 | 136, 0) => Err(DropReason::Ndp),
                (133 | 134 | 137, _) => Err(DropReason::Router),
                _ => Err(DropReason::IcmpType),
            };
            assert_eq!(
                parsed(&ip6(ICMPV6, &icmp6(kind, code, &[0; 8]))),
                expected,
                "v6 {kind}/{code}"
            );
        }
    }
}

#[test]
fn p08_only_flags_that_a_tcp_sends_are_accepted() {
    let accepted = |set: u8| {
        let core = set & !flags::PSH;
        [0x02, 0x22, 0x12, 0x04, 0x14, 0x11, 0x31, 0x10, 0x30].contains(&core)
    };
    for set in 0..64 {
        for ecn in [0, 0x40, 0x80, 0xc0] {
            let expected = if accepted(set) { None } else { Some(DropReason::TcpFlags) };
            assert_eq!(reason(&ip4(TCP, &tcp(1, 2, set | ecn, b""))), expected, "flags {set:#x}");
            assert_eq!(reason(&ip6(TCP, &tcp(1, 2, set | ecn, b""))), expected, "flags {set:#x}");
        }
    }
}
