//! ICMP and ICMPv6: echo, errors with the tuple they are about, and neighbour discovery.

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::{
    Bytes, Family, ICMP, ICMPV6, IPV4, Packet, Payload, TCP, UDP, headers::Header, ipv4, ipv6,
};
use crate::abi::verdict::DropReason;

const HEADER_LEN: u32 = 8;

mod v4 {
    pub(super) const ECHO_REPLY: u8 = 0;
    pub(super) const UNREACHABLE: u8 = 3;
    pub(super) const ECHO_REQUEST: u8 = 8;
    pub(super) const TIME_EXCEEDED: u8 = 11;
    pub(super) const PARAMETER_PROBLEM: u8 = 12;
}

mod v6 {
    pub(super) const UNREACHABLE: u8 = 1;
    pub(super) const PARAMETER_PROBLEM: u8 = 4;
    pub(super) const ECHO_REQUEST: u8 = 128;
    pub(super) const ECHO_REPLY: u8 = 129;
    pub(super) const ROUTER_SOLICITATION: u8 = 133;
    pub(super) const ROUTER_ADVERTISEMENT: u8 = 134;
    pub(super) const NEIGHBOUR_SOLICITATION: u8 = 135;
    pub(super) const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    pub(super) const REDIRECT: u8 = 137;
}

#[inline(always)]
pub(super) fn parse_v4<B: Bytes + ?Sized>(
    bytes: &B,
    packet: &mut Packet,
    transport_len: u32,
) -> Result<Payload, DropReason> {
    match read_header(bytes, packet, transport_len)? {
        (v4::ECHO_REQUEST, 0) => Ok(Payload::EchoRequest),
        (v4::ECHO_REPLY, 0) => Ok(Payload::EchoReply),
        (v4::UNREACHABLE | v4::TIME_EXCEEDED | v4::PARAMETER_PROBLEM, _) => Ok(Payload::IcmpError),
        _ => Err(DropReason::IcmpType),
    }
}

#[inline(always)]
pub(super) fn parse_v6<B: Bytes + ?Sized>(
    bytes: &B,
    packet: &mut Packet,
    transport_len: u32,
) -> Result<Payload, DropReason> {
    match read_header(bytes, packet, transport_len)? {
        (v6::ECHO_REQUEST, 0) => Ok(Payload::EchoRequest),
        (v6::ECHO_REPLY, 0) => Ok(Payload::EchoReply),
        (v6::UNREACHABLE..=v6::PARAMETER_PROBLEM, _) => Ok(Payload::IcmpError),
        (v6::NEIGHBOUR_SOLICITATION | v6::NEIGHBOUR_ADVERTISEMENT, 0) => {
            // RFC 4861 7.1: a hop limit below 255 came through a router. Extension headers have no
            // place in neighbour discovery.
            let direct = packet.hop_limit == 255
                && packet.transport_offset == super::ETHERNET_LEN + ipv6::HEADER_LEN;
            if direct { Ok(Payload::Neighbour) } else { Err(DropReason::Ndp) }
        }
        (v6::ROUTER_SOLICITATION | v6::ROUTER_ADVERTISEMENT | v6::REDIRECT, _) => {
            Err(DropReason::Router)
        }
        _ => Err(DropReason::IcmpType),
    }
}

/// Type and code; echo identifier into `packet.sequence`.
#[inline(always)]
fn read_header<B: Bytes + ?Sized>(
    bytes: &B,
    packet: &mut Packet,
    transport_len: u32,
) -> Result<(u8, u8), DropReason> {
    let raw: [u8; 8] = bytes.read(packet.transport_offset).ok_or(DropReason::Truncated)?;
    let [kind, code, _, _, id_high, id_low, ..] = raw;
    packet.source_port = u16::from(kind);
    packet.destination_port = u16::from(code);
    packet.sequence = u32::from(u16::from_be_bytes([id_high, id_low]));
    if transport_len < HEADER_LEN {
        return Err(DropReason::Truncated);
    }
    packet.payload_len = transport_len - HEADER_LEN;
    Ok((kind, code))
}

/// The packet that an ICMP error is about, as its sender sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedded {
    /// Source address of that packet; IPv4 in the first four bytes.
    pub source: [u8; 16],
    /// Its destination address.
    pub destination: [u8; 16],
    /// Its source port, or ICMP echo identifier; host order.
    pub source_port: u16,
    /// Its destination port, or ICMP echo identifier; host order.
    pub destination_port: u16,
    /// Its IP protocol number.
    pub protocol: u8,
    /// Its IP version: that of the error.
    pub family: Family,
}

/// Reads the tuple inside an ICMP error. Options, extension headers and fragments in there cannot
/// belong to a flow of ours, so they match none.
#[inline(always)]
pub fn embedded_tuple<B: Bytes + ?Sized>(
    bytes: &B,
    packet: &Packet,
) -> Result<Embedded, DropReason> {
    let inner = packet.transport_offset + HEADER_LEN;
    // What lies behind the end of the packet is Ethernet padding.
    let inner_header = if packet.family == IPV4 { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
    if packet.payload_len < inner_header + 8 {
        return Err(DropReason::Truncated);
    }
    let (source, destination, protocol, transport) = if packet.family == IPV4 {
        let header = Ipv4Hdr::from_bytes(bytes.read(inner).ok_or(DropReason::Truncated)?);
        if header.vihl != 0x45 || u16::from_be_bytes(header.frags) & 0x1fff != 0 {
            return Err(DropReason::IcmpNoFlow);
        }
        let (source, destination) = (ipv4::widen(header.src_addr), ipv4::widen(header.dst_addr));
        (source, destination, header.proto, inner + ipv4::HEADER_LEN)
    } else {
        let header = Ipv6Hdr::from_bytes(bytes.read(inner).ok_or(DropReason::Truncated)?);
        if header.vcf[0] >> 4 != 6 {
            return Err(DropReason::IcmpNoFlow);
        }
        (header.src_addr, header.dst_addr, header.next_hdr, inner + ipv6::HEADER_LEN)
    };
    let raw: [u8; 8] = bytes.read(transport).ok_or(DropReason::Truncated)?;
    let [a, b, c, d, id_high, id_low, ..] = raw;
    let (source_port, destination_port) = match protocol {
        TCP | UDP => (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
        ICMP | ICMPV6 => {
            let id = u16::from_be_bytes([id_high, id_low]);
            (id, id)
        }
        _ => return Err(DropReason::IcmpNoFlow),
    };
    Ok(Embedded {
        source,
        destination,
        source_port,
        destination_port,
        protocol,
        family: packet.family,
    })
}

/// A neighbour solicitation or advertisement (RFC 4861 4.3, 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourMessage {
    /// It is a solicitation; else an advertisement.
    pub solicitation: bool,
    /// The sender says that it is a router (advertisement only).
    pub router: bool,
    /// Target address.
    pub target: [u8; 16],
    /// Whether it has a link-layer address option.
    pub has_link_layer: bool,
    /// The address in that option: the source's in a solicitation, the target's in an
    /// advertisement; zero without the option. Not an `Option`: on BPF its undefined half is an
    /// undefined register, which the verifier refuses to see saved.
    pub link_layer: [u8; 6],
}

/// Reads a neighbour message. At most one option is understood, the link-layer address or a nonce;
/// a message with anything else is denied.
#[inline(always)]
pub fn neighbour_message<B: Bytes + ?Sized>(
    bytes: &B,
    packet: &Packet,
) -> Result<NeighbourMessage, DropReason> {
    const OPTION_OFFSET: u32 = 24;
    const OPTION_LEN: u32 = 8;
    const SOURCE_LINK_LAYER: u8 = 1;
    const TARGET_LINK_LAYER: u8 = 2;
    /// RFC 7527: Linux puts it into duplicate address detection.
    const NONCE: u8 = 14;
    let body: [u8; 24] = bytes.read(packet.transport_offset).ok_or(DropReason::Truncated)?;
    let solicitation = body[0] == v6::NEIGHBOUR_SOLICITATION;
    let mut target = [0; 16];
    target.copy_from_slice(&body[8..24]);

    let message_len = packet.payload_len + HEADER_LEN;
    if message_len < OPTION_OFFSET {
        return Err(DropReason::Truncated);
    }
    let options_len = message_len - OPTION_OFFSET;
    let (has_link_layer, link_layer) = if options_len == 0 {
        (false, [0; 6])
    } else {
        let option: [u8; 8] =
            bytes.read(packet.transport_offset + OPTION_OFFSET).ok_or(DropReason::Truncated)?;
        let [kind, units, mac @ ..] = option;
        if options_len != OPTION_LEN || units != 1 {
            return Err(DropReason::Ndp);
        }
        match (kind, solicitation) {
            (SOURCE_LINK_LAYER, true) | (TARGET_LINK_LAYER, false) => (true, mac),
            (NONCE, true) => (false, [0; 6]),
            _ => return Err(DropReason::Ndp),
        }
    };
    Ok(NeighbourMessage {
        solicitation,
        router: !solicitation && body[4] & 0x80 != 0,
        target,
        has_link_layer,
        link_layer,
    })
}
