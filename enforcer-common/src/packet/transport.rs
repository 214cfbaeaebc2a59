//! TCP (RFC 9293), UDP (RFC 768), ICMP (RFC 792) and ICMPv6 (RFC 4443); nothing else passes.

use network_types::{tcp::TcpHdr, udp::UdpHdr};

use super::{Bytes, ICMP, ICMPV6, IPV4, IPV6, Packet, Payload, TCP, UDP, headers::Header, icmp};
use crate::abi::verdict::DropReason;

/// TCP flags, as in byte 13 of the header.
pub type TcpFlags = u8;

/// The [`TcpFlags`].
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
}

const TCP_HEADER_LEN: u32 = 20;
const UDP_HEADER_LEN: u32 = 8;

#[inline(always)]
pub(super) fn parse<B: Bytes + ?Sized>(
    bytes: &B,
    packet: &mut Packet,
    transport_len: u32,
) -> Result<Payload, DropReason> {
    match (packet.protocol, packet.family) {
        (TCP, _) => tcp(bytes, packet, transport_len),
        (UDP, _) => udp(bytes, packet, transport_len),
        (ICMP, IPV4) => icmp::parse_v4(bytes, packet, transport_len),
        (ICMPV6, IPV6) => icmp::parse_v6(bytes, packet, transport_len),
        _ => Err(DropReason::Protocol),
    }
}

#[inline(always)]
fn tcp<B: Bytes + ?Sized>(
    bytes: &B,
    packet: &mut Packet,
    transport_len: u32,
) -> Result<Payload, DropReason> {
    let raw: [u8; 20] = bytes.read(packet.transport_offset).ok_or(DropReason::Truncated)?;
    let (offset_byte, flag_byte) = (raw[12], raw[13]);
    let header = TcpHdr::from_bytes(raw);
    packet.source_port = u16::from_be_bytes(header.source);
    packet.destination_port = u16::from_be_bytes(header.dest);
    packet.sequence = u32::from_be_bytes(header.seq);
    packet.acknowledgement = u32::from_be_bytes(header.ack_seq);
    packet.tcp_flags = flag_byte;

    let header_len = u32::from(offset_byte >> 4) * 4;
    if transport_len < TCP_HEADER_LEN {
        return Err(DropReason::Truncated);
    }
    if header_len < TCP_HEADER_LEN || header_len > transport_len {
        return Err(DropReason::Malformed);
    }
    packet.payload_len = transport_len - header_len;
    check_ports(packet)?;
    check_flags(flag_byte)?;
    Ok(Payload::Tcp)
}

#[inline(always)]
fn udp<B: Bytes + ?Sized>(
    bytes: &B,
    packet: &mut Packet,
    transport_len: u32,
) -> Result<Payload, DropReason> {
    let header =
        UdpHdr::from_bytes(bytes.read(packet.transport_offset).ok_or(DropReason::Truncated)?);
    packet.source_port = u16::from_be_bytes(header.src);
    packet.destination_port = u16::from_be_bytes(header.dst);
    if transport_len < UDP_HEADER_LEN {
        return Err(DropReason::Truncated);
    }
    // Both lengths say where the datagram ends; one that lies is a covert channel or a bug.
    if u32::from(u16::from_be_bytes(header.len)) != transport_len {
        return Err(DropReason::Malformed);
    }
    packet.payload_len = transport_len - UDP_HEADER_LEN;
    check_ports(packet)?;
    Ok(Payload::Udp)
}

/// Port 0 is reserved (RFC 6335 6): nothing can answer it.
#[inline(always)]
fn check_ports(packet: &Packet) -> Result<(), DropReason> {
    if packet.source_port == 0 || packet.destination_port == 0 {
        return Err(DropReason::BogusAddress);
    }
    Ok(())
}

/// The combinations that conntrack calls valid (`tcp_valid_flags`, `nf_conntrack_proto_tcp.c`);
/// PSH and the ECN bits do not matter.
#[inline(always)]
fn check_flags(all: TcpFlags) -> Result<(), DropReason> {
    use flags::{ACK, FIN, RST, SYN, URG};
    match all & (FIN | SYN | RST | ACK | URG) {
        f if f == SYN || f == SYN | URG || f == SYN | ACK => Ok(()),
        f if f == RST || f == RST | ACK => Ok(()),
        f if f == FIN | ACK || f == FIN | ACK | URG => Ok(()),
        f if f == ACK || f == ACK | URG => Ok(()),
        _ => Err(DropReason::TcpFlags),
    }
}
