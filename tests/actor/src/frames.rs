//! Builders for frames: correct by default, and wrong in exactly the way a test asks for.
#![expect(
    clippy::cast_possible_truncation,
    reason = "lengths of test frames are small; a header that lies is asked for by its own field"
)]

use std::net::{Ipv4Addr, Ipv6Addr};

/// A MAC address.
pub type Mac = [u8; 6];

/// Everybody on the link.
pub const BROADCAST: Mac = [0xff; 6];

/// Ethertypes.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// For local experiments.
    pub const EXPERIMENT: u16 = 0x88b5;
}

/// IP protocol numbers.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// `ICMPv6`.
    pub const ICMPV6: u8 = 58;
}

/// TCP flags.
pub mod flag {
    /// No more data.
    pub const FIN: u8 = 1;
    /// Opens a connection.
    pub const SYN: u8 = 2;
    /// Ends one at once.
    pub const RST: u8 = 4;
    /// Push.
    pub const PSH: u8 = 8;
    /// Acknowledges.
    pub const ACK: u8 = 16;
}

/// The ones'-complement checksum over the parts; only the last may have an odd length.
#[must_use]
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u32::from(u16::from_be_bytes([pair[0], low]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// An Ethernet frame.
#[must_use]
pub fn ethernet(to: Mac, from: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from[..], &ethertype.to_be_bytes(), payload].concat()
}

/// A frame with VLAN tags (TPID, TCI), outermost first, put before its ethertype.
#[must_use]
pub fn tagged(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    let mut tagged = addresses.to_vec();
    for (tpid, tci) in tags {
        tagged.extend_from_slice(&tpid.to_be_bytes());
        tagged.extend_from_slice(&tci.to_be_bytes());
    }
    tagged.extend_from_slice(rest);
    tagged
}

/// An ARP packet for Ethernet and IPv4.
#[derive(Clone, Copy, Debug)]
pub struct Arp {
    /// 1: request, 2: reply.
    pub operation: u16,
    /// Sender.
    pub sender: (Mac, Ipv4Addr),
    /// Target.
    pub target: (Mac, Ipv4Addr),
}

impl Arp {
    /// Its 28 bytes.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![0, 1, 8, 0, 6, 4];
        bytes.extend_from_slice(&self.operation.to_be_bytes());
        for (mac, address) in [self.sender, self.target] {
            bytes.extend_from_slice(&mac);
            bytes.extend_from_slice(&address.octets());
        }
        bytes
    }
}

/// An IPv4 header; the fields that tests bend are public.
#[derive(Clone, Debug)]
pub struct Ipv4 {
    /// Source.
    pub source: Ipv4Addr,
    /// Destination.
    pub destination: Ipv4Addr,
    /// Protocol.
    pub protocol: u8,
    /// Flags and fragment offset.
    pub fragment: u16,
    /// Identification.
    pub id: u16,
    /// Hops that it may still make.
    pub ttl: u8,
    /// Options; padded to words.
    pub options: Vec<u8>,
    /// Version, if not 4.
    pub version: u8,
    /// Header length in words, if not the right one.
    pub header_words: Option<u8>,
    /// Total length, if not the right one.
    pub total_length: Option<u16>,
}

impl Ipv4 {
    /// A plain header.
    #[must_use]
    pub fn new(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8) -> Self {
        Self {
            source,
            destination,
            protocol,
            fragment: 0x4000,
            id: 0x4546,
            ttl: 64,
            options: Vec::new(),
            version: 4,
            header_words: None,
            total_length: None,
        }
    }

    /// Header and payload.
    #[must_use]
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let mut options = self.options.clone();
        options.resize(options.len().next_multiple_of(4), 0);
        let length = 20 + options.len();
        let words = self.header_words.unwrap_or(length as u8 / 4);
        let total = self.total_length.unwrap_or((length + payload.len()) as u16);
        let mut header = vec![self.version << 4 | words & 15, 0];
        header.extend_from_slice(&total.to_be_bytes());
        header.extend_from_slice(&self.id.to_be_bytes());
        header.extend_from_slice(&self.fragment.to_be_bytes());
        header.extend_from_slice(&[self.ttl, self.protocol, 0, 0]);
        header.extend_from_slice(&self.source.octets());
        header.extend_from_slice(&self.destination.octets());
        header.extend_from_slice(&options);
        let sum = checksum(&[&header]);
        header.splice(10..12, sum.to_be_bytes());
        [header, payload.to_vec()].concat()
    }

    fn pseudo_header(&self, length: usize) -> Vec<u8> {
        let mut bytes = [self.source.octets(), self.destination.octets()].concat();
        bytes.extend_from_slice(&[0, self.protocol]);
        bytes.extend_from_slice(&(length as u16).to_be_bytes());
        bytes
    }
}

/// An IPv6 header.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6 {
    /// Source.
    pub source: Ipv6Addr,
    /// Destination.
    pub destination: Ipv6Addr,
    /// First next header.
    pub next_header: u8,
}

impl Ipv6 {
    /// A header with hop limit 255, as neighbour discovery demands.
    #[must_use]
    pub fn new(source: Ipv6Addr, destination: Ipv6Addr, next_header: u8) -> Self {
        Self { source, destination, next_header }
    }

    /// Header and payload.
    #[must_use]
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&[self.next_header, 255]);
        bytes.extend_from_slice(&self.source.octets());
        bytes.extend_from_slice(&self.destination.octets());
        bytes.extend_from_slice(payload);
        bytes
    }

    fn pseudo_header(&self, protocol: u8, length: usize) -> Vec<u8> {
        let mut bytes = [self.source.octets(), self.destination.octets()].concat();
        bytes.extend_from_slice(&(length as u32).to_be_bytes());
        bytes.extend_from_slice(&[0, 0, 0, protocol]);
        bytes
    }

    /// An `ICMPv6` packet; the checksum of `message` is filled in.
    #[must_use]
    pub fn icmp(self, message: &[u8]) -> Vec<u8> {
        let mut message = message.to_vec();
        let sum = checksum(&[&self.pseudo_header(protocol::ICMPV6, message.len()), &message]);
        message.splice(2..4, sum.to_be_bytes());
        Self { next_header: protocol::ICMPV6, ..self }.packet(&message)
    }
}

/// The ends of a packet, of one family.
#[derive(Clone, Debug)]
pub enum Ip {
    /// IPv4.
    V4(Ipv4),
    /// IPv6.
    V6(Ipv6),
}

impl Ip {
    /// Its ethertype.
    #[must_use]
    pub fn ethertype(&self) -> u16 {
        match self {
            Self::V4(_) => ethertype::IPV4,
            Self::V6(_) => ethertype::IPV6,
        }
    }

    fn pseudo_header(&self, protocol: u8, length: usize) -> Vec<u8> {
        match self {
            Self::V4(ip) => Ipv4 { protocol, ..ip.clone() }.pseudo_header(length),
            Self::V6(ip) => ip.pseudo_header(protocol, length),
        }
    }

    fn packet(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        match self {
            Self::V4(ip) => Ipv4 { protocol, ..ip.clone() }.packet(payload),
            Self::V6(ip) => Ipv6 { next_header: protocol, ..*ip }.packet(payload),
        }
    }
}

/// A TCP segment.
#[derive(Clone, Debug)]
pub struct Tcp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Flags.
    pub flags: u8,
    /// Options; padded to words.
    pub options: Vec<u8>,
    /// Urgent pointer.
    pub urgent: u16,
    /// Window.
    pub window: u16,
}

impl Tcp {
    /// A segment with these flags.
    #[must_use]
    pub fn new(source: u16, destination: u16, flags: u8) -> Self {
        Self {
            source,
            destination,
            sequence: 0x0145_4631,
            acknowledgement: 0,
            flags,
            options: Vec::new(),
            urgent: 0,
            window: 65535,
        }
    }

    /// Header and payload, with the checksum.
    #[must_use]
    pub fn segment(&self, ip: &Ip, payload: &[u8]) -> Vec<u8> {
        let mut options = self.options.clone();
        options.resize(options.len().next_multiple_of(4), 0);
        let words = (20 + options.len()) as u8 / 4;
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&self.source.to_be_bytes());
        bytes.extend_from_slice(&self.destination.to_be_bytes());
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.acknowledgement.to_be_bytes());
        bytes.extend_from_slice(&[words << 4, self.flags]);
        bytes.extend_from_slice(&self.window.to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&self.urgent.to_be_bytes());
        bytes.extend_from_slice(&options);
        bytes.extend_from_slice(payload);
        let sum = checksum(&[&ip.pseudo_header(protocol::TCP, bytes.len()), &bytes]);
        bytes.splice(16..18, sum.to_be_bytes());
        bytes
    }

    /// The whole IP packet.
    #[must_use]
    pub fn packet(&self, ip: &Ip, payload: &[u8]) -> Vec<u8> {
        ip.packet(protocol::TCP, &self.segment(ip, payload))
    }
}

/// A UDP datagram with its checksum.
#[must_use]
pub fn udp(ip: &Ip, source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let mut bytes = Vec::new();
    for word in [source, destination, length, 0] {
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    bytes.extend_from_slice(payload);
    let sum = checksum(&[&ip.pseudo_header(protocol::UDP, bytes.len()), &bytes]);
    bytes.splice(6..8, if sum == 0 { [0xff; 2] } else { sum.to_be_bytes() });
    bytes
}

/// The whole IP packet around a UDP datagram.
#[must_use]
pub fn udp_packet(ip: &Ip, source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    ip.packet(protocol::UDP, &udp(ip, source, destination, payload))
}

/// An ICMP message, type and code first; the checksum is filled in.
#[must_use]
pub fn icmp(kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend_from_slice(&rest);
    message.extend_from_slice(payload);
    let sum = checksum(&[&message]);
    message.splice(2..4, sum.to_be_bytes());
    message
}

/// An `ICMPv6` message, type and code first, without checksum ([`Ipv6::icmp`] fills it in).
#[must_use]
pub fn icmp6(kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    [&[kind, code, 0, 0], rest].concat()
}

/// The link-local address that a MAC address gives (EUI-64).
#[must_use]
pub fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// The multicast MAC address of an IPv6 multicast address.
#[must_use]
pub fn multicast_mac(address: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = address.octets();
    [0x33, 0x33, a, b, c, d]
}

/// The solicited-node multicast address.
#[must_use]
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correct_header_sums_to_zero() {
        let packet =
            Ipv4::new(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2), 6).packet(&[]);
        assert_eq!(checksum(&[&packet]), 0);
    }

    #[test]
    fn tags_go_before_the_ethertype() {
        let frame = ethernet(BROADCAST, [2; 6], ethertype::IPV4, &[1]);
        let tagged = tagged(&frame, &[(0x8100, 5)]);
        assert_eq!(tagged.get(12..18), Some(&[0x81, 0, 0, 5, 8, 0][..]));
    }
}
