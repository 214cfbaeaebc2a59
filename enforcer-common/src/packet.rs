//! Stage *parse*: a frame becomes a [`Packet`], or a reason to deny it.
//!
//! One parser over the [`Bytes`] trait serves the kernel, host tests, property tests and fuzzing.
//! What it cannot classify fully is denied; it never guesses.

mod arp;
mod bytes;
mod ethernet;
mod headers;
mod icmp;
mod ipv4;
mod ipv6;
mod transport;

pub use arp::{Arp, ArpOperation};
pub use bytes::Bytes;
pub use icmp::{Embedded, NeighbourMessage, embedded_tuple, neighbour_message};
pub use transport::{TcpFlags, flags};

use crate::abi::verdict::DropReason;

/// IP version of a packet or key. 0 is none.
pub type Family = u8;
/// [`Family`] of IPv4.
pub const IPV4: Family = 4;
/// [`Family`] of IPv6.
pub const IPV6: Family = 6;

/// IP protocol number of ICMP.
pub const ICMP: u8 = 1;
/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;
/// IP protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;

/// Length of an Ethernet header, bytes.
pub const ETHERNET_LEN: u32 = 14;

/// What a frame is, after [`parse`]. The fields of [`Packet`] that belong to it are filled.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// ARP; read it with [`Arp::read`].
    Arp,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP or ICMPv6 echo request.
    EchoRequest,
    /// ICMP or ICMPv6 echo reply.
    EchoReply,
    /// ICMP or ICMPv6 error about another packet; read it with [`embedded_tuple`].
    IcmpError,
    /// `ICMPv6` neighbour solicitation or advertisement; read it with [`neighbour_message`].
    Neighbour,
}

impl Payload {
    /// The payload with this number, if there is one.
    #[must_use]
    #[inline(always)]
    pub const fn from_value(value: u32) -> Option<Self> {
        match value {
            0 => Some(Self::Arp),
            1 => Some(Self::Tcp),
            2 => Some(Self::Udp),
            3 => Some(Self::EchoRequest),
            4 => Some(Self::EchoReply),
            5 => Some(Self::IcmpError),
            6 => Some(Self::Neighbour),
            _ => None,
        }
    }
}

/// The fields of a frame that a decision or a record needs. Filled as far as parsing came.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Source address; IPv4 and ARP in the first four bytes, the rest zero.
    pub source: [u8; 16],
    /// Destination address; IPv4 and ARP in the first four bytes, the rest zero.
    pub destination: [u8; 16],
    /// Destination MAC address.
    pub destination_mac: [u8; 6],
    /// Ethertype, host order; below 1536 it is an 802.3 length.
    pub ethertype: u16,
    /// Source MAC address.
    pub source_mac: [u8; 6],
    /// IP version.
    pub family: Family,
    /// IP protocol number of the payload, extension headers passed.
    pub protocol: u8,
    /// TCP or UDP source port; ICMP type; host order.
    pub source_port: u16,
    /// TCP or UDP destination port; ICMP code; host order.
    pub destination_port: u16,
    /// TCP sequence number; ICMP echo identifier.
    pub sequence: u32,
    /// TCP acknowledgement number.
    pub acknowledgement: u32,
    /// Bytes behind the transport header.
    pub payload_len: u32,
    /// Offset of the transport header in the frame, bytes.
    pub transport_offset: u32,
    /// TCP flags.
    pub tcp_flags: u8,
    /// IPv4 TTL or IPv6 hop limit.
    pub hop_limit: u8,
}

impl Packet {
    /// The identifier of an echo request or reply.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the parser stored 16 bits")]
    pub const fn echo_identifier(&self) -> u16 {
        self.sequence as u16
    }
}

/// Parses a frame into `packet`.
///
/// On an error `packet` holds what was read until then, for the record of the denial.
#[inline(always)]
pub fn parse<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet) -> Result<Payload, DropReason> {
    ethernet::parse(bytes, packet)?;
    match packet.ethertype {
        ethernet::IPV4 => {
            let transport_len = ipv4::parse(bytes, packet)?;
            transport::parse(bytes, packet, transport_len)
        }
        ethernet::IPV6 => {
            let transport_len = ipv6::parse(bytes, packet)?;
            transport::parse(bytes, packet, transport_len)
        }
        ethernet::ARP => {
            let arp = Arp::read(bytes)?;
            packet.source = ipv4::widen(arp.sender_ip);
            packet.destination = ipv4::widen(arp.target_ip);
            Ok(Payload::Arp)
        }
        _ => Err(DropReason::EtherType),
    }
}

/// An IPv4 address as the first four bytes of a 16-byte field.
#[must_use]
#[inline(always)]
pub fn widen(address: [u8; 4]) -> [u8; 16] {
    ipv4::widen(address)
}

/// Whether the destination is a multicast or broadcast address of its family.
///
/// A subnet's directed broadcast is not known here: see [`crate::guard`].
#[must_use]
#[inline(always)]
pub fn is_multicast(address: &[u8; 16], family: Family) -> bool {
    if family == IPV6 {
        address[0] == 0xff
    } else {
        address[0] >= 224 && (address[0] < 240 || address[..4] == [255; 4])
    }
}

#[cfg(test)]
mod tests;
