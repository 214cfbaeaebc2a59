//! IPv6 (RFC 8200). Hop-by-hop and destination options are walked, up to [`MAX_EXTENSIONS`] of
//! them; fragments and every other extension header are denied.

use network_types::ip::Ipv6Hdr;

use super::{Bytes, ETHERNET_LEN, IPV6, Packet, headers::Header};
use crate::abi::verdict::DropReason;

/// Length of the fixed header, bytes.
pub(super) const HEADER_LEN: u32 = 40;
/// Most extension headers that are walked.
pub(super) const MAX_EXTENSIONS: u32 = 4;
/// Longest extension header that is walked, bytes; bounds the offset for the verifier too.
const MAX_EXTENSION_LEN: u32 = 256;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HIP: u8 = 139;
const SHIM6: u8 = 140;

/// Parses the header and its extensions; the length of what follows them, bytes.
#[inline(always)]
pub(super) fn parse<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet) -> Result<u32, DropReason> {
    packet.family = IPV6;
    let header = Ipv6Hdr::from_bytes(bytes.read(ETHERNET_LEN).ok_or(DropReason::Truncated)?);
    packet.source = header.src_addr;
    packet.destination = header.dst_addr;
    packet.protocol = header.next_hdr;
    packet.hop_limit = header.hop_limit;
    packet.transport_offset = ETHERNET_LEN + HEADER_LEN;

    if header.vcf[0] >> 4 != 6 {
        return Err(DropReason::Malformed);
    }
    let payload_len = u32::from(u16::from_be_bytes(header.payload_len));
    if payload_len > bytes.len() - ETHERNET_LEN - HEADER_LEN {
        return Err(DropReason::Truncated);
    }
    walk_extensions(bytes, packet, payload_len)
}

#[inline(always)]
fn walk_extensions<B: Bytes + ?Sized>(
    bytes: &B,
    packet: &mut Packet,
    payload_len: u32,
) -> Result<u32, DropReason> {
    let mut left = payload_len;
    for walked in 0..=MAX_EXTENSIONS {
        match packet.protocol {
            // RFC 8200 4.1: hop-by-hop options come first or not at all.
            HOP_BY_HOP if walked == 0 => {}
            DESTINATION_OPTIONS => {}
            FRAGMENT => return Err(DropReason::Fragment),
            HOP_BY_HOP | ROUTING | AUTHENTICATION | MOBILITY | HIP | SHIM6 => {
                return Err(DropReason::ExtensionHeader);
            }
            _ => return Ok(left),
        }
        if walked == MAX_EXTENSIONS {
            return Err(DropReason::ExtensionHeader);
        }
        let [next, units] =
            bytes.read::<2>(packet.transport_offset).ok_or(DropReason::Truncated)?;
        let len = (u32::from(units) + 1) * 8;
        if len > MAX_EXTENSION_LEN {
            return Err(DropReason::ExtensionHeader);
        }
        if len > left {
            return Err(DropReason::Truncated);
        }
        packet.protocol = next;
        packet.transport_offset += len;
        left -= len;
    }
    Err(DropReason::ExtensionHeader)
}
