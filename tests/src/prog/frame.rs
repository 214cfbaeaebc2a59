//! Frames of the cast: a guest A with IPv4 and IPv6, a guest B, a hub, the bridge, the world.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::frames::{
    Arp, Ip, Ipv4, Ipv6, Mac, Tcp, ethernet, ethertype, icmp, protocol, udp_packet,
};

/// A's.
pub const A_MAC: Mac = [2, 0, 0, 0, 0, 0xa];
/// B's.
pub const B_MAC: Mac = [2, 0, 0, 0, 0, 0xb];
/// The hub's.
pub const HUB_MAC: Mac = [2, 0, 0, 0, 0, 0xc];
/// The bridge's.
pub const BRIDGE_MAC: Mac = [2, 0, 0, 0, 0, 1];

/// Guest A.
pub const A: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 10);
/// Guest B.
pub const B: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 11);
/// The hub.
pub const HUB: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 12);
/// The host, on the bridge.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);
/// Somebody far away.
pub const WORLD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

/// Guest A.
pub const A6: Ipv6Addr = Ipv6Addr::new(0xfd07, 0, 0, 0, 0, 0, 0, 0xa);
/// The host, on the bridge.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd07, 0, 0, 0, 0, 0, 0, 1);
/// Somebody far away.
pub const WORLD6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);

/// What guests may reach everywhere that a rule names: this port.
pub const ALLOWED_PORT: u16 = 8081;

/// An IPv4 header; the protocol follows from what it carries.
#[must_use]
pub fn v4(from: Ipv4Addr, to: Ipv4Addr) -> Ip {
    Ip::V4(Ipv4::new(from, to, 0))
}

/// An IPv6 header; the protocol follows from what it carries.
#[must_use]
pub fn v6(from: Ipv6Addr, to: Ipv6Addr) -> Ip {
    Ip::V6(Ipv6::new(from, to, 0))
}

/// An Ethernet frame around an IP packet.
#[must_use]
pub fn framed(to: Mac, from: Mac, ip: &Ip, packet: &[u8]) -> Vec<u8> {
    ethernet(to, from, ip.ethertype(), packet)
}

/// A segment of A's to the bridge.
#[must_use]
pub fn out(ip: &Ip, tcp: &Tcp) -> Vec<u8> {
    framed(BRIDGE_MAC, A_MAC, ip, &tcp.packet(ip, &[]))
}

/// A segment for A from the bridge.
#[must_use]
pub fn into(ip: &Ip, tcp: &Tcp) -> Vec<u8> {
    framed(A_MAC, BRIDGE_MAC, ip, &tcp.packet(ip, &[]))
}

/// A segment: ports, flags, sequence and acknowledgement numbers.
#[must_use]
pub fn segment(from: u16, to: u16, flags: u8, sequence: u32, acknowledgement: u32) -> Tcp {
    Tcp { sequence, acknowledgement, ..Tcp::new(from, to, flags) }
}

/// A's SYN to the world, which a rule allows.
#[must_use]
pub fn syn(source_port: u16) -> Vec<u8> {
    out(&v4(A, WORLD), &segment(source_port, ALLOWED_PORT, 2, 999, 0))
}

/// A's SYN to a port that no rule opens.
#[must_use]
pub fn forbidden() -> Vec<u8> {
    out(&v4(A, WORLD), &segment(40000, 22, 2, 999, 0))
}

/// A's datagram.
#[must_use]
pub fn datagram(to: Ipv4Addr, port: u16) -> Vec<u8> {
    let ip = v4(A, to);
    framed(BRIDGE_MAC, A_MAC, &ip, &udp_packet(&ip, 5353, port, b"q"))
}

/// A's ICMP message to the world.
#[must_use]
pub fn ping(kind: u8) -> Vec<u8> {
    let packet = Ipv4::new(A, WORLD, protocol::ICMP).packet(&icmp(kind, 0, [0; 4], &[0; 28]));
    ethernet(BRIDGE_MAC, A_MAC, ethertype::IPV4, &packet)
}

/// An ARP packet in a frame.
#[must_use]
pub fn arp(
    frame: (Mac, Mac),
    operation: u16,
    sender: (Mac, Ipv4Addr),
    target: Ipv4Addr,
) -> Vec<u8> {
    let bytes = Arp { operation, sender, target: ([0; 6], target) }.bytes();
    ethernet(frame.0, frame.1, ethertype::ARP, &bytes)
}

/// An `ICMPv6` message of A's, hop limit 255.
#[must_use]
pub fn message6(to: Ipv6Addr, kind: u8, target: Ipv6Addr) -> Vec<u8> {
    let body = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &target.octets()].concat();
    let packet = Ipv6::new(A6, to, protocol::ICMPV6).icmp(&body);
    ethernet(BRIDGE_MAC, A_MAC, ethertype::IPV6, &packet)
}

/// A copy with some bytes replaced.
#[must_use]
pub fn patched(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame.splice(at..at + bytes.len(), bytes.iter().copied());
    frame
}
