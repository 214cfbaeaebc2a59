//! Frames for the tests of the parser: correct, unless a test bends a byte.

use crate::packet::{ICMPV6, widen};

pub(super) const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
pub(super) const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
const SOURCE4: [u8; 4] = [10, 1, 0, 2];
const DESTINATION4: [u8; 4] = [10, 1, 0, 1];
const SOURCE6: [u8; 16] = [0xfd, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const DESTINATION6: [u8; 16] = [0xfd, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Source and destination of every IPv4 frame, widened.
pub(super) const ROW_V4: ([u8; 16], [u8; 16]) = (
    [10, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [10, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
);
/// Source and destination of every IPv6 frame.
pub(super) const ROW_V6: ([u8; 16], [u8; 16]) = (SOURCE6, DESTINATION6);

fn len16(len: usize) -> [u8; 2] {
    u16::try_from(len).expect("test frames are small").to_be_bytes()
}

pub(super) fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&MAC_B[..], &MAC_A, &ethertype.to_be_bytes(), payload].concat()
}

/// The 20 bytes of an IPv4 header.
pub(super) fn ip4_header(protocol: u8, payload_len: usize) -> Vec<u8> {
    let [high, low] = len16(payload_len + 20);
    [&[0x45, 0, high, low, 0, 1, 0x40, 0, 64, protocol, 0, 0][..], &SOURCE4, &DESTINATION4].concat()
}

/// The 40 bytes of an IPv6 header.
pub(super) fn ip6_header(next: u8, hop_limit: u8, payload_len: usize) -> Vec<u8> {
    let [high, low] = len16(payload_len);
    [&[0x60, 0, 0, 0, high, low, next, hop_limit][..], &SOURCE6, &DESTINATION6].concat()
}

pub(super) fn ip4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(0x0800, &[&ip4_header(protocol, payload.len()), payload].concat())
}

pub(super) fn ip6(next: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(0x86dd, &[&ip6_header(next, 64, payload.len()), payload].concat())
}

/// An IPv6 frame that begins with extension header `first`; each is (next header, its length).
pub(super) fn extension(first: u8, chain: &[(u8, usize)], transport: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (next, len) in chain {
        let mut header = vec![0; *len];
        header[0] = *next;
        header[1] = u8::try_from(len / 8 - 1).expect("test headers are short");
        payload.extend(header);
    }
    payload.extend(transport);
    ip6(first, &payload)
}

pub(super) fn tcp(source: u16, destination: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    segment.extend([1, 2, 3, 4, 5, 6, 7, 8, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    segment
}

pub(super) fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let len = len16(payload.len() + 8);
    [&source.to_be_bytes()[..], &destination.to_be_bytes(), &len, &[0, 0], payload].concat()
}

pub(super) fn icmp4(kind: u8, code: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, code, 0, 0, 0x12, 0x34, 0, 1], payload].concat()
}

pub(super) fn icmp6(kind: u8, code: u8, payload: &[u8]) -> Vec<u8> {
    icmp4(kind, code, payload)
}

/// A neighbour message with hop limit 255; `options` behind its target.
pub(super) fn neighbour(kind: u8, flag_byte: u8, target: [u8; 16], options: &[u8]) -> Vec<u8> {
    let body = [&[kind, 0, 0, 0, flag_byte, 0, 0, 0][..], &target, options].concat();
    ethernet(0x86dd, &[&ip6_header(ICMPV6, 255, body.len())[..], &body].concat())
}

/// The body of an ARP packet.
pub(super) fn arp(operation: u16, sender: ([u8; 6], [u8; 4]), target: [u8; 4]) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4];
    [&head[..], &operation.to_be_bytes(), &sender.0, &sender.1, &[0; 6], &target].concat()
}

#[test]
fn the_constants_agree() {
    assert_eq!(ROW_V4, (widen(SOURCE4), widen(DESTINATION4)));
}
