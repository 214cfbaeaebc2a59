//! The answer to a frame that policy denies: a TCP reset, or an ICMP error that says that nobody listens
//! there. Pure. It goes back to the sender, whose address has been checked, and carries of the frame what ICMP
//! asks for: the IP header and eight bytes.

use crate::{
    abi::verdict::DropReason,
    packet::{ETHERNET_LEN, ICMP, ICMPV6, IPV4, IPV6, Packet, TCP, UDP, flags},
};

const IP: usize = ETHERNET_LEN as usize;
const AT_4: usize = IP + 20;
const AT_6: usize = IP + 40;
const TCP_LEN: usize = 20;
const ICMP_LEN: usize = 8;

/// Where an answer quotes the frame that it is about, of IPv4.
pub const QUOTE_AT_4: usize = AT_4 + ICMP_LEN;
/// The same of IPv6.
pub const QUOTE_AT_6: usize = AT_6 + ICMP_LEN;
/// How much of the frame is quoted, from its IP header on, of IPv4.
pub const QUOTE_4: usize = 20 + 8;
/// The same of IPv6.
pub const QUOTE_6: usize = 40 + 8;
/// Room for the longest answer.
pub const ROOM: usize = QUOTE_AT_6 + QUOTE_6;

/// What a denied frame is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A TCP reset over IPv4.
    Reset4,
    /// A TCP reset over IPv6.
    Reset6,
    /// ICMP, port unreachable.
    Unreachable4,
    /// `ICMPv6`, port unreachable.
    Unreachable6,
}

impl Answer {
    /// The answer to a frame that was denied for this reason; `None`: it is dropped in silence.
    ///
    /// Only what asks for a conversation is answered: no reset, no error, no multicast (which has a reason of its
    /// own), nothing behind extension headers, and nothing that may have a forged source.
    #[must_use]
    #[inline(always)]
    pub fn to(reason: DropReason, packet: &Packet) -> Option<Self> {
        if reason as u16 != DropReason::Policy as u16 {
            return None;
        }
        let opening = packet.tcp_flags & (flags::SYN | flags::ACK | flags::RST) == flags::SYN;
        match (packet.family, packet.protocol, packet.transport_offset) {
            (IPV4, TCP, 34) if opening => Some(Self::Reset4),
            (IPV6, TCP, 54) if opening => Some(Self::Reset6),
            (IPV4, UDP, 34) => Some(Self::Unreachable4),
            (IPV6, UDP, 54) => Some(Self::Unreachable6),
            _ => None,
        }
    }

    /// Length of the answer, bytes.
    #[must_use]
    #[inline(always)]
    pub const fn length(self) -> usize {
        match self {
            Self::Reset4 => AT_4 + TCP_LEN,
            Self::Reset6 => AT_6 + TCP_LEN,
            Self::Unreachable4 => QUOTE_AT_4 + QUOTE_4,
            Self::Unreachable6 => ROOM,
        }
    }

    /// Writes the answer to `packet`. `reply` is zero, but for what an error quotes.
    #[inline(always)]
    pub fn write(self, packet: &Packet, reply: &mut [u8; ROOM]) {
        reply[..6].copy_from_slice(&packet.source_mac);
        reply[6..12].copy_from_slice(&packet.destination_mac);
        reply[12..14].copy_from_slice(&packet.ethertype.to_be_bytes());
        match self {
            Self::Reset4 => {
                header4(packet, TCP, TCP_LEN, reply);
                reset::<AT_4, { AT_4 + TCP_LEN }>(packet, reply);
            }
            Self::Reset6 => {
                header6(packet, TCP, TCP_LEN, reply);
                reset::<AT_6, { AT_6 + TCP_LEN }>(packet, reply);
            }
            Self::Unreachable4 => {
                header4(packet, ICMP, ICMP_LEN + QUOTE_4, reply);
                [reply[AT_4], reply[AT_4 + 1]] = [3, 3];
                let sum = fold(sum(&reply[AT_4..QUOTE_AT_4 + QUOTE_4]));
                reply[AT_4 + 2..AT_4 + 4].copy_from_slice(&sum);
            }
            Self::Unreachable6 => {
                header6(packet, ICMPV6, ICMP_LEN + QUOTE_6, reply);
                [reply[AT_6], reply[AT_6 + 1]] = [1, 4];
                let sum = sum(&reply[AT_6..]) + pseudo(packet, ICMPV6, ICMP_LEN + QUOTE_6);
                reply[AT_6 + 2..AT_6 + 4].copy_from_slice(&fold(sum));
            }
        }
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "answers are short")]
fn header4(packet: &Packet, protocol: u8, len: usize, reply: &mut [u8; ROOM]) {
    reply[IP] = 0x45;
    reply[IP + 2..IP + 4].copy_from_slice(&(20 + len as u16).to_be_bytes());
    // Never to be fragmented, 64 hops.
    [reply[IP + 6], reply[IP + 8], reply[IP + 9]] = [0x40, 64, protocol];
    reply[IP + 12..IP + 16].copy_from_slice(&packet.destination[..4]);
    reply[IP + 16..IP + 20].copy_from_slice(&packet.source[..4]);
    let sum = fold(sum(&reply[IP..AT_4]));
    reply[IP + 10..IP + 12].copy_from_slice(&sum);
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "answers are short")]
fn header6(packet: &Packet, protocol: u8, len: usize, reply: &mut [u8; ROOM]) {
    reply[IP] = 0x60;
    reply[IP + 4..IP + 6].copy_from_slice(&(len as u16).to_be_bytes());
    [reply[IP + 6], reply[IP + 7]] = [protocol, 64];
    reply[IP + 8..IP + 24].copy_from_slice(&packet.destination);
    reply[IP + 24..IP + 40].copy_from_slice(&packet.source);
}

/// RFC 9293 3.10.7.1: without an acknowledgement to go by, the reset has sequence 0 and acknowledges all that came.
#[inline(always)]
fn reset<const AT: usize, const END: usize>(packet: &Packet, reply: &mut [u8; ROOM]) {
    let acknowledged = packet.sequence.wrapping_add(1).wrapping_add(packet.payload_len);
    reply[AT..AT + 2].copy_from_slice(&packet.destination_port.to_be_bytes());
    reply[AT + 2..AT + 4].copy_from_slice(&packet.source_port.to_be_bytes());
    reply[AT + 8..AT + 12].copy_from_slice(&acknowledged.to_be_bytes());
    [reply[AT + 12], reply[AT + 13]] = [0x50, flags::RST | flags::ACK];
    let sum = fold(sum(&reply[AT..END]) + pseudo(packet, TCP, TCP_LEN));
    reply[AT + 16..AT + 18].copy_from_slice(&sum);
}

/// Sum of the pseudo-header: it is the same both ways, and for both families but for its addresses.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "answers are short")]
fn pseudo(packet: &Packet, protocol: u8, len: usize) -> u32 {
    sum(&packet.source) + sum(&packet.destination) + u32::from(protocol) + len as u32
}

/// Sum of the 16-bit words.
#[inline(always)]
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum()
}

/// The Internet checksum (RFC 1071) of a sum.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "folded before")]
fn fold(sum: u32) -> [u8; 2] {
    let once = (sum >> 16) + (sum & 0xffff);
    let twice = (once >> 16) + (once & 0xffff);
    (!(twice as u16)).to_be_bytes()
}

#[cfg(test)]
mod tests;
