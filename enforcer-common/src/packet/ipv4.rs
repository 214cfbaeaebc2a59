//! IPv4 (RFC 791). Options and fragments are denied, each with its own reason.

use core::mem;

use network_types::ip::Ipv4Hdr;

use super::{Bytes, ETHERNET_LEN, IPV4, Packet, headers::Header};
use crate::abi::verdict::DropReason;

/// Length of a header without options, bytes.
pub(super) const HEADER_LEN: u32 = 20;
const RESERVED_FLAG: u16 = 0x8000;
const MORE_FRAGMENTS_AND_OFFSET: u16 = 0x3fff;

/// Parses the header; the length of what follows it, bytes.
#[inline(always)]
pub(super) fn parse<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet) -> Result<u32, DropReason> {
    packet.family = IPV4;
    let header = Ipv4Hdr::from_bytes(bytes.read(ETHERNET_LEN).ok_or(DropReason::Truncated)?);
    packet.source = widen(header.src_addr);
    packet.destination = widen(header.dst_addr);
    packet.protocol = header.proto;
    packet.hop_limit = header.ttl;
    packet.transport_offset = ETHERNET_LEN + HEADER_LEN;

    let fragment = u16::from_be_bytes(header.frags);
    let total_len = u32::from(u16::from_be_bytes(header.tot_len));
    match header.vihl {
        0x45 => {}
        0x46..=0x4f => return Err(DropReason::IpOptions),
        _ => return Err(DropReason::Malformed),
    }
    if total_len < HEADER_LEN || fragment & RESERVED_FLAG != 0 {
        return Err(DropReason::Malformed);
    }
    if total_len > bytes.len() - ETHERNET_LEN {
        return Err(DropReason::Truncated);
    }
    if fragment & MORE_FRAGMENTS_AND_OFFSET != 0 {
        return Err(DropReason::Fragment);
    }
    Ok(total_len - HEADER_LEN)
}

#[inline(always)]
pub(super) fn widen(address: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = address;
    // Two words, which is what is stored; sixteen bytes would be as many stores.
    let words = [u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0]), 0];
    // SAFETY: any bytes are bytes.
    unsafe { mem::transmute::<[u64; 2], [u8; 16]>(words) }
}
