//! Rig N: a bridge and two "guests" that are plain namespaces, without Docker. For the iptables
//! baseline and for virtual machines; the daemon knows Docker's guests only.

use std::net::Ipv4Addr;

use anyhow::Result;

use super::{netns::Namespace, run::Run};

/// Bridge of the rig.
pub const BRIDGE: &str = "light0";

/// The rig. Guests are `10.98.0.2` and `10.98.0.3`, the host is `10.98.0.1`.
pub struct Light {
    /// Guests.
    pub guests: [Namespace; 2],
    /// The host with the bridge.
    pub host: Namespace,
    _run: Run,
}

impl Light {
    /// Starts it.
    pub fn start() -> Result<Self> {
        let run = Run::start()?;
        let host = Namespace::create(&run, "host")?;
        host.ip(&format!("link add {BRIDGE} type bridge"))?;
        host.ip(&format!("addr add 10.98.0.1/24 dev {BRIDGE}"))?;
        host.ip(&format!("link set {BRIDGE} up"))?;
        let guest = |number: u8| -> Result<Namespace> {
            let guest = Namespace::create(&run, &format!("guest{number}"))?;
            let veth = format!("vethl{number}");
            host.ip(&format!("link add {veth} type veth peer name eth0 netns {}", guest.pid()))?;
            host.ip(&format!("link set {veth} master {BRIDGE} up"))?;
            guest.ip(&format!("addr add {}/24 dev eth0", address(number)))?;
            guest.ip("link set eth0 up")?;
            guest.ip("route add default via 10.98.0.1")?;
            Ok(guest)
        };
        Ok(Self { guests: [guest(0)?, guest(1)?], host, _run: run })
    }
}

/// Address of a guest.
#[must_use]
pub fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 98, 0, number + 2)
}
