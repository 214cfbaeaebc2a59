//! ARP for IPv4 over Ethernet (RFC 826); any other kind of ARP is denied.

use network_types::arp::ArpHdr;

use super::{Bytes, ETHERNET_LEN, headers::Header};
use crate::abi::verdict::DropReason;

/// What an ARP packet does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArpOperation {
    /// Asks who has the target address.
    Request,
    /// Tells who has the sender address.
    Reply,
}

/// An ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Request or reply.
    pub operation: ArpOperation,
    /// Sender's MAC address, as claimed in the packet.
    pub sender_mac: [u8; 6],
    /// Sender's IPv4 address, as claimed.
    pub sender_ip: [u8; 4],
    /// Target's IPv4 address.
    pub target_ip: [u8; 4],
}

impl Arp {
    /// Reads the ARP packet behind the Ethernet header.
    #[inline(always)]
    pub fn read<B: Bytes + ?Sized>(bytes: &B) -> Result<Self, DropReason> {
        let header = ArpHdr::from_bytes(bytes.read(ETHERNET_LEN).ok_or(DropReason::Truncated)?);
        let ethernet_ipv4 = header.htype == [0, 1]
            && header.ptype == [8, 0]
            && header.hlen == 6
            && header.plen == 4;
        let operation = match header.oper {
            [0, 1] => ArpOperation::Request,
            [0, 2] => ArpOperation::Reply,
            _ => return Err(DropReason::Arp),
        };
        if !ethernet_ipv4 {
            return Err(DropReason::Arp);
        }
        Ok(Self { operation, sender_mac: header.sha, sender_ip: header.spa, target_ip: header.tpa })
    }
}
