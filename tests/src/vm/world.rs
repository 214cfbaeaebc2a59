//! The world of the test: a host with a guest bridge, guests A and B, and X, a container on the
//! bridge that Docker knows nothing about.
//!
//! ```text
//! host 10.98.0.1 guests0 --- veth-a A 10.98.0.2, veth-b B 10.98.0.3, veth-x X 10.98.0.4
//! ```

use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd as _,
    path::Path,
};

use anyhow::{Context as _, Result};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth};
use tokio::runtime::Runtime;

use super::guest::{Guest, Interface, host_actor};
use crate::{
    frames::Mac,
    harness::{client::Actor, run::Run},
    protocol::{Listening, Serve},
};

/// Name of the guest network.
pub(super) const NETWORK: &str = "guests";
/// Its bridge.
pub(super) const BRIDGE: &str = "guests0";
/// The bridge's MAC address.
pub(super) const BRIDGE_MAC: Mac = [2, 0x98, 0, 0, 0, 1];
/// The host's address on it.
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 1);
/// The hub's port on the host.
pub(super) const HUB_PORT: u16 = 8081;
/// A port of the host that guests may not reach.
pub(super) const OTHER_PORT: u16 = 22;
/// What guests serve: an echo.
pub(super) const NOTEBOOK_PORT: u16 = 8888;
/// What guests serve: they read until the end.
pub(super) const SINK_PORT: u16 = 8889;
/// What guests serve: [`BULK`] bytes.
pub(super) const SOURCE_PORT: u16 = 8890;
/// Size of a bulk transfer.
pub(super) const BULK: u64 = 4 << 20;
/// What the host's services say.
pub(super) const BANNER: &str = "host";

/// One end of a veth on the bridge.
#[derive(Clone, Copy)]
pub(super) struct Port {
    /// Its name on the host.
    pub(super) name: &'static str,
    /// ifindex on the host.
    pub(super) ifindex: u32,
    /// MAC address of the guest.
    pub(super) mac: Mac,
    /// The guest's address.
    pub(super) ipv4: Ipv4Addr,
    /// The guest's IPv6 address, which nobody gave it leave to have.
    pub(super) ipv6: Ipv6Addr,
}

/// A guest and its port.
pub(super) struct Member {
    /// The port.
    pub(super) port: Port,
    /// The guest.
    pub(super) guest: Guest,
    /// Its [`SINK_PORT`].
    pub(super) sink: Listening,
}

/// See the module.
pub(super) struct World {
    /// The host.
    pub(super) host: Actor,
    /// The host's listener that guests may not reach.
    pub(super) forbidden: Listening,
    /// ifindex of the bridge.
    pub(super) bridge: u32,
    /// The attacker.
    pub(super) a: Member,
    /// Its neighbour.
    pub(super) b: Member,
    /// Unknown to Docker.
    pub(super) x: Member,
    /// Requests in the host's namespace.
    pub(super) netlink: Handle,
    _run: Run,
}

impl World {
    /// Makes it, without any protection.
    pub(super) fn create(runtime: &Runtime) -> Result<Self> {
        let run = Run::start()?;
        let _inside = runtime.enter();
        let (connection, netlink, _) = rtnetlink::new_connection()?;
        runtime.spawn(connection);
        let bridge = runtime.block_on(make_bridge(&netlink)).context("the bridge")?;
        let host = host_actor(run.dir())?;
        host.listen((GATEWAY, HUB_PORT), Serve::Banner(BANNER.into()))?;
        let forbidden = host.listen((GATEWAY, OTHER_PORT), Serve::Banner(BANNER.into()))?;
        let member = |name, number| {
            Member::create(runtime, &netlink, run.dir(), bridge, name, number)
                .with_context(|| format!("guest {name}"))
        };
        let (a, b, x) = (member("veth-a", 2)?, member("veth-b", 3)?, member("veth-x", 4)?);
        Ok(Self { host, forbidden, bridge, a, b, x, netlink, _run: run })
    }
}

impl Member {
    fn create(
        runtime: &Runtime,
        netlink: &Handle,
        directory: &Path,
        bridge: u32,
        name: &'static str,
        number: u8,
    ) -> Result<Self> {
        let peer = format!("{name}p");
        let port = runtime.block_on(async {
            netlink.link().add(LinkVeth::new(name, &peer).build()).execute().await?;
            let ifindex = index(name)?;
            let enslaved = LinkUnspec::new_with_index(ifindex);
            netlink.link().set(enslaved.controller(bridge).up().build()).execute().await?;
            Ok::<_, anyhow::Error>(Port {
                name,
                ifindex,
                mac: [2, 0x98, 0, 0, 0, number],
                ipv4: Ipv4Addr::new(10, 98, 0, number),
                ipv6: Ipv6Addr::new(0xfd98, 0, 0, 0, 0, 0, 0, number.into()),
            })
        })?;
        let interface = Interface {
            came_as: peer.clone(),
            name: "eth0".into(),
            mac: port.mac,
            addresses: vec![(IpAddr::V4(port.ipv4), 24), (IpAddr::V6(port.ipv6), 64)],
        };
        let guest = Guest::create(directory, interface, |sandbox| {
            let namespace = File::open(sandbox)?;
            let moved =
                LinkUnspec::new_with_index(index(&peer)?).setns_by_fd(namespace.as_raw_fd());
            Ok(runtime.block_on(netlink.link().set(moved.build()).execute())?)
        })?;
        let any = |port| (Ipv4Addr::UNSPECIFIED, port);
        guest.actor.listen(any(NOTEBOOK_PORT), Serve::Echo)?;
        guest.actor.listen(any(SOURCE_PORT), Serve::Source(BULK))?;
        let sink = guest.actor.listen(any(SINK_PORT), Serve::Sink)?;
        Ok(Self { port, guest, sink })
    }
}

async fn make_bridge(netlink: &Handle) -> Result<u32> {
    let bridge = LinkBridge::new(BRIDGE).address(BRIDGE_MAC.to_vec()).up();
    netlink.link().add(bridge.build()).execute().await?;
    let bridge = index(BRIDGE)?;
    netlink.address().add(bridge, GATEWAY.into(), 24).execute().await?;
    let loopback = LinkUnspec::new_with_index(1).up();
    netlink.link().set(loopback.build()).execute().await?;
    Ok(bridge)
}

/// ifindex of an interface of this thread's namespace.
fn index(name: &str) -> Result<u32> {
    let name = std::ffi::CString::new(name)?;
    // SAFETY: `name` ends with a zero byte and lives through the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 { Err(std::io::Error::last_os_error().into()) } else { Ok(index) }
}
