//! Stage *identify*: a frame is held against the endpoint that it claims to come from.

use crate::{
    abi::{
        endpoint::{Endpoint, Network},
        verdict::DropReason,
    },
    packet::{self, IPV4, Packet},
};

const NONE4: [u8; 4] = [0; 4];
const NONE6: [u8; 16] = [0; 16];

/// Every frame of an endpoint carries its own MAC and one of its own addresses.
#[inline(always)]
pub fn source(endpoint: &Endpoint, packet: &Packet) -> Result<(), DropReason> {
    source_mac(endpoint, packet)?;
    if !has_family(endpoint, packet) {
        return Err(DropReason::NoFamily);
    }
    if is_own(endpoint, packet.family, &packet.source) {
        Ok(())
    } else {
        Err(DropReason::SourceAddress)
    }
}

/// Every frame of an endpoint carries its own MAC.
#[inline(always)]
pub fn source_mac(endpoint: &Endpoint, packet: &Packet) -> Result<(), DropReason> {
    if packet.source_mac == endpoint.mac { Ok(()) } else { Err(DropReason::SourceMac) }
}

/// Whether the endpoint has an address of the packet's family.
#[must_use]
#[inline(always)]
pub fn has_family(endpoint: &Endpoint, packet: &Packet) -> bool {
    if packet.family == IPV4 { endpoint.ipv4 != NONE4 } else { endpoint.ipv6 != NONE6 }
}

/// Whether `address` is one of the endpoint's own.
#[must_use]
#[inline(always)]
pub fn is_own(endpoint: &Endpoint, family: packet::Family, address: &[u8; 16]) -> bool {
    if family == IPV4 {
        endpoint.ipv4 != NONE4 && address[..4] == endpoint.ipv4
    } else {
        endpoint.ipv6 != NONE6 && (*address == endpoint.ipv6 || *address == endpoint.link_local)
    }
}

/// Denies destinations that no conversation can have: group, loopback, unspecified, oneself.
#[inline(always)]
pub fn destination(network: &Network, packet: &Packet) -> Result<(), DropReason> {
    let to = &packet.destination;
    if packet::is_multicast(to, packet.family) || is_subnet_broadcast(network, packet.family, to) {
        return Err(DropReason::Multicast);
    }
    if packet.source == *to || is_unroutable(to, packet.family) {
        return Err(DropReason::BogusAddress);
    }
    Ok(())
}

/// Denies sources that no frame for an endpoint can have: its own address, a group, loopback.
#[inline(always)]
pub fn remote_source(endpoint: &Endpoint, packet: &Packet) -> Result<(), DropReason> {
    let from = &packet.source;
    if is_own(endpoint, packet.family, from)
        || packet::is_multicast(from, packet.family)
        || is_unroutable(from, packet.family)
    {
        return Err(DropReason::BogusAddress);
    }
    Ok(())
}

/// Whether the address is in the guest network's own subnet.
#[must_use]
#[inline(always)]
pub fn in_subnet(network: &Network, family: packet::Family, address: &[u8; 16]) -> bool {
    if family == IPV4 {
        network.gateway4 != NONE4
            && word(address, 0) & mask4(network.prefix4) == u32::from_be_bytes(network.subnet4)
    } else {
        network.gateway6 != NONE6 && in_prefix6(address, &network.subnet6, network.prefix6)
            || is_link_local(address)
    }
}

/// Whether the address is one of the bridge's own.
#[must_use]
#[inline(always)]
pub fn is_gateway(network: &Network, family: packet::Family, address: &[u8; 16]) -> bool {
    if family == IPV4 {
        network.gateway4 != NONE4 && address[..4] == network.gateway4
    } else {
        network.gateway6 != NONE6
            && (*address == network.gateway6 || *address == network.gateway_link_local)
    }
}

/// Whether a hub on the network may have the address: whoever is on it has one of its subnet. Where the
/// subnet is not known, any may be.
#[must_use]
#[inline(always)]
pub fn may_be_hubs(network: &Network, family: packet::Family, address: &[u8; 16]) -> bool {
    let is_known =
        if family == IPV4 { network.gateway4 != NONE4 } else { network.gateway6 != NONE6 };
    !is_known || in_subnet(network, family, address)
}

#[inline(always)]
pub(crate) fn is_subnet_broadcast(
    network: &Network,
    family: packet::Family,
    to: &[u8; 16],
) -> bool {
    let host_bits = !mask4(network.prefix4);
    family == IPV4
        && in_subnet(network, IPV4, to)
        && host_bits > 1
        && word(to, 0) & host_bits == host_bits
}

/// Whether nobody beyond the endpoint itself has this address.
#[inline(always)]
pub(crate) fn is_unroutable(address: &[u8; 16], family: packet::Family) -> bool {
    if family == IPV4 {
        address[0] == 0 || address[0] == 127
    } else {
        // `::` and `::1`; IPv4-mapped and -compatible addresses never appear on a wire (RFC 4291).
        let zero = word(address, 0) == 0 && word(address, 4) == 0;
        zero && (word(address, 8) == 0 || word(address, 8) == 0xffff)
    }
}

#[inline(always)]
pub(crate) fn is_link_local(address: &[u8; 16]) -> bool {
    address[0] == 0xfe && address[1] & 0xc0 == 0x80
}

#[inline(always)]
fn in_prefix6(address: &[u8; 16], subnet: &[u8; 16], prefix: u8) -> bool {
    let bits = u32::from(prefix);
    (word(address, 0) ^ word(subnet, 0)) & mask_word(bits, 0) == 0
        && (word(address, 4) ^ word(subnet, 4)) & mask_word(bits, 32) == 0
        && (word(address, 8) ^ word(subnet, 8)) & mask_word(bits, 64) == 0
        && (word(address, 12) ^ word(subnet, 12)) & mask_word(bits, 96) == 0
}

#[inline(always)]
fn mask4(prefix: u8) -> u32 {
    mask_word(u32::from(prefix), 0)
}

/// The part of a prefix mask of `bits` that covers the 32-bit word starting at bit `start`.
#[inline(always)]
fn mask_word(bits: u32, start: u32) -> u32 {
    let covered = bits.saturating_sub(start);
    if covered == 0 {
        0
    } else if covered >= 32 {
        u32::MAX
    } else {
        u32::MAX << (32 - covered)
    }
}

/// The big-endian word at `at` (0, 4, 8 or 12).
#[inline(always)]
fn word(address: &[u8; 16], at: usize) -> u32 {
    u32::from_be_bytes([address[at], address[at + 1], address[at + 2], address[at + 3]])
}

#[cfg(test)]
mod tests;
