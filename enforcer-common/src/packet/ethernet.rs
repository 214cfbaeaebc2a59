//! Ethernet II. Tags, 802.3/LLC and everything that is not IP or ARP is denied.

use network_types::eth::EthHdr;

use super::{Bytes, Packet, headers::Header};
use crate::abi::verdict::DropReason;

pub(super) const IPV4: u16 = 0x0800;
pub(super) const ARP: u16 = 0x0806;
pub(super) const IPV6: u16 = 0x86dd;
/// 802.1Q, 802.1ad, and the three QinQ types that were used before it was a standard.
const TAGS: [u16; 5] = [0x8100, 0x88a8, 0x9100, 0x9200, 0x9300];

#[inline(always)]
pub(super) fn parse<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet) -> Result<(), DropReason> {
    let header = EthHdr::from_bytes(bytes.read(0).ok_or(DropReason::Truncated)?);
    packet.destination_mac = header.dst_addr;
    packet.source_mac = header.src_addr;
    // The crate keeps the two bytes on the wire as a native-order integer.
    packet.ethertype = u16::from_be(header.ether_type);
    if bytes.has_vlan_tag() || TAGS.contains(&packet.ethertype) {
        return Err(DropReason::Vlan);
    }
    Ok(())
}
