//! What netlink says exists: the links of the host's network namespace.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::inventory::Mac;

/// Links by ifindex.
pub type Links = BTreeMap<u32, Link>;

/// One network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Kernel's interface index.
    pub ifindex: u32,
    /// Name.
    pub name: String,
    /// Kind, as far as it matters here.
    pub kind: LinkKind,
    /// ifindex of the bridge it is enslaved to.
    pub master: Option<u32>,
    /// MAC address.
    pub mac: Mac,
    /// veth: ifindex of the peer, in the peer's namespace.
    pub peer: Option<u32>,
    /// veth: id of the peer's network namespace; `None` when it is this one.
    pub peer_netns: Option<i32>,
    /// veth: MAC address of the peer, as the kernel says, wherever the peer is now.
    pub peer_mac: Option<Mac>,
    /// Port of a bridge: its settings there.
    pub port: Option<PortSettings>,
    /// Whether it is a loopback interface.
    pub loopback: bool,
    /// IPv4 addresses.
    pub ipv4: Vec<Ipv4Addr>,
    /// IPv6 addresses, link-local ones included.
    pub ipv6: Vec<Ipv6Addr>,
    /// What these addresses say of the networks that it is on, for each of them.
    pub on: Vec<OnNet>,
}

/// A network that an address puts a link on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OnNet {
    /// An address within: the link's own, or its peer's.
    pub address: IpAddr,
    /// Prefix length, bits.
    pub prefix: u8,
    /// The broadcast address that somebody gave the link there.
    pub broadcast: Option<Ipv4Addr>,
}

/// Kind of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// A bridge.
    Bridge,
    /// One end of a veth pair.
    Veth,
    /// Anything else.
    Other,
}

impl PortSettings {
    /// What the kernel gives a new port.
    pub const KERNELS: Self =
        Self { isolated: false, learning: true, unicast_flood: true, multicast_flood: true };
}

/// What a bridge does with a port: the second layer under the packet path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortSettings {
    /// Forwards nothing to other isolated ports.
    pub isolated: bool,
    /// Learns MAC addresses from frames.
    pub learning: bool,
    /// Is sent frames to MAC addresses that the bridge does not know.
    pub unicast_flood: bool,
    /// Is sent multicast frames.
    pub multicast_flood: bool,
}
