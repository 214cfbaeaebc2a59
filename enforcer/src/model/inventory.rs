//! What Docker says exists: networks, containers, and who is attached to what.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use super::provenance::Provenance;

/// A MAC address, in transmission order.
pub type Mac = [u8; 6];

/// The link-local address that a kernel gives the interface with this MAC itself (RFC 4291,
/// appendix A).
#[must_use]
pub const fn link_local(mac: Mac) -> Ipv6Addr {
    let [first, b1, b2, b3, b4, b5] = mac;
    Ipv6Addr::from_octets([0xfe, 0x80, 0, 0, 0, 0, 0, 0, first ^ 2, b1, b2, 0xff, 0xfe, b3, b4, b5])
}

/// A versioned snapshot of what Docker said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Grows with each snapshot that differs from the one before.
    pub version: u64,
    /// Bridge networks by Docker's id.
    pub networks: BTreeMap<String, DockerNetwork>,
    /// Networks with other drivers by Docker's id.
    pub other_networks: BTreeMap<String, OtherNetwork>,
    /// Containers attached to a bridge network or running elsewhere, by Docker's id.
    pub containers: BTreeMap<String, Container>,
}

/// A Docker network with a driver other than `bridge`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtherNetwork {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
}

/// A Docker network with the driver `bridge`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerNetwork {
    /// Docker's id of the network.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Name of its bridge interface: `com.docker.network.bridge.name`, else `br-<id, 12 digits>`.
    pub bridge: String,
    /// Subnet and gateway of each address family.
    pub subnets: Vec<Subnet>,
    /// Endpoints by container id. Known before the container's first instruction.
    pub attachments: BTreeMap<String, Attachment>,
}

/// One IPAM pool of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Network address.
    pub address: IpAddr,
    /// Prefix length, bits.
    pub prefix: u8,
    /// The bridge's own address.
    pub gateway: Option<IpAddr>,
}

/// One container's endpoint on one network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// MAC address of the container's interface; never derived, always as Docker reports it.
    pub mac: Option<Mac>,
    /// IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// Global IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Docker's id, 64 digits.
    pub id: String,
    /// Name without the leading slash. May be empty until the container has been inspected.
    pub name: String,
    /// Labels, its image's among them.
    pub labels: BTreeMap<String, String>,
    /// Whom it was started for.
    pub provenance: Arc<Provenance>,
    /// Path of its network namespace, once it has one.
    pub sandbox: Option<String>,
    /// Container ports that Docker publishes on a non-loopback address.
    pub published: Vec<PublishedPort>,
    /// Its first process; 0: it does not run, or is not known yet.
    pub pid: u32,
    /// Whether its processes run, or are paused.
    pub running: bool,
    /// When this life of it began, as Docker writes it.
    pub started: String,
    /// Docker's network mode: `host`, `none`, `container:ID` or the name of a network.
    pub network_mode: String,
    /// Whether it was created with name servers of its own: the engine's resolver asks these from the
    /// container's network namespace.
    pub own_dns: bool,
    /// Networks it is on, whatever their driver: names by Docker's id.
    pub networks: BTreeMap<String, String>,
}

/// A published container port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublishedPort {
    /// Port in the container.
    pub container_port: u16,
    /// IP protocol number.
    pub protocol: u8,
}
