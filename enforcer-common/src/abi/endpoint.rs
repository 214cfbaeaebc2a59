//! Endpoints and networks as the packet path sees them.

use super::{layout::layout, pod};

/// What an interface on a guest bridge is. Values of [`Endpoint::role`].
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// On a guest bridge, but not identified yet: denied.
    Unknown = 0,
    /// A guest's interface.
    Guest = 1,
    /// An interface of a hub's container.
    Hub = 2,
    /// Neither: denied.
    Other = 3,
}

impl Role {
    /// The role with this ABI value; an unknown value is [`Role::Unknown`], which is denied.
    #[must_use]
    #[inline(always)]
    pub const fn from_value(value: u8) -> Self {
        match value {
            1 => Self::Guest,
            2 => Self::Hub,
            3 => Self::Other,
            _ => Self::Unknown,
        }
    }
}

/// Value of map `ENDPOINTS`; the key is the ifindex (`u32`) of the host-side veth.
///
/// Only ports of guest bridges are in the map: an interface that is not there is not ours.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Identity of the endpoint; never reused while the daemon lives, unlike an ifindex. Not 0.
    pub id: u32,
    /// ifindex of the guest bridge: key of map `NETWORKS`.
    pub network: u32,
    /// Index in map `POLICIES`.
    pub policy: u32,
    /// IPv4 address, network order; all zero: none.
    pub ipv4: [u8; 4],
    /// Global IPv6 address; all zero: none.
    pub ipv6: [u8; 16],
    /// Link-local IPv6 address; all zero: none. Set only when `ipv6` is.
    pub link_local: [u8; 16],
    /// MAC address of the container's interface.
    pub mac: [u8; 6],
    /// A [`Role`].
    pub role: u8,
    /// 1: what policy denies is answered by the packet path, as far as something asks for an answer
    /// ([`crate::refusal`]); 0: it is dropped in silence.
    pub answered: u8,
    /// The container: Docker's id of 64 hexadecimal digits, as 32 bytes; all zero: none. The packet
    /// path does not read it; it tells the next daemon whose this endpoint is.
    pub container: [u8; 32],
    /// Only in the layout that tests upgrade to.
    #[cfg(feature = "other-layout")]
    pub other: u32,
}

/// Value of map `NETWORKS`; the key is the ifindex (`u32`) of the guest bridge.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Identity of the network; shares its number space with [`Endpoint::id`]. Counters and events
    /// of the bridge's own programs carry it.
    pub id: u32,
    /// The bridge's IPv4 address (the guests' gateway), network order; all zero: none.
    pub gateway4: [u8; 4],
    /// The bridge's global IPv6 address; all zero: none.
    pub gateway6: [u8; 16],
    /// The bridge's link-local IPv6 address; all zero: none.
    pub gateway_link_local: [u8; 16],
    /// Network part of the IPv4 subnet.
    pub subnet4: [u8; 4],
    /// Network part of the IPv6 subnet.
    pub subnet6: [u8; 16],
    /// MAC address of the bridge.
    pub mac: [u8; 6],
    /// IPv4 prefix length, bits; meaningless without `gateway4`.
    pub prefix4: u8,
    /// IPv6 prefix length, bits; meaningless without `gateway6`.
    pub prefix6: u8,
}

/// Key of map `HUBS`: an address of a hub's container on a guest network.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HubKey {
    /// ifindex of the guest bridge.
    pub network: u32,
    /// The address; IPv4 in the first four bytes, the rest zero.
    pub address: [u8; 16],
    /// A [`crate::packet::Family`].
    pub family: u8,
    /// Padding, 0.
    pub reserved: [u8; 3],
}

/// Value of map `HUBS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hub {
    /// MAC address of the hub's interface.
    pub mac: [u8; 6],
    /// Padding, 0.
    pub reserved: [u8; 2],
}

const _: () = assert!(
    size_of::<Endpoint>() == 88 + if cfg!(feature = "other-layout") { 4 } else { 0 }
        && size_of::<Network>() == 68
);
const _: () = assert!(size_of::<HubKey>() == 24 && size_of::<Hub>() == 8);
layout!(Endpoint { id, network, policy, ipv4, ipv6, link_local, mac, role } optional {
    answered,
    container,
    #[cfg(feature = "other-layout")] other,
});
layout!(Network {
    id,
    gateway4,
    gateway6,
    gateway_link_local,
    subnet4,
    subnet6,
    mac,
    prefix4,
    prefix6,
});
layout!(HubKey { network, address, family } padding reserved);
layout!(Hub { mac } padding reserved);
pod!(Endpoint, Network, HubKey, Hub);
