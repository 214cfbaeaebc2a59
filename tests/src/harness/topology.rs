//! The rig: an outside world, a host with a private dockerd, guests A and B, and services to
//! attack, all in namespaces of their own.
//!
//! ```text
//! world wan0 198.51.100.2 --- 198.51.100.1 up0 host guests0 10.99.0.1 --- guest-a, guest-b
//! ```

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{
    client::Actor,
    dockerd::{Dockerd, Network, Options},
    guest::{Guest, Publish},
    image,
    netns::Namespace,
    run::{Run, wait_for},
};
use crate::{
    attacks::{End, Point, Scene},
    hex,
    protocol::{ConnectBy, Connected, Exchanged, Id, Request, Serve},
};

/// The guest network's name in Docker.
pub const NETWORK: &str = "guests";
/// Its bridge.
pub const BRIDGE: &str = "guests0";
/// Its IPv4 subnet.
pub const SUBNET: &str = "10.99.0.0/24";
/// The host's address on it.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// Its IPv6 subnet, where it has one.
pub const SUBNET6: &str = "fd00:99::/64";
/// The host's IPv6 address on it.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x99, 0, 0, 0, 0, 0, 1);
/// The host's address towards the world.
pub const UPLINK: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The world's address.
pub const WORLD: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// The world's IPv6 address.
pub const WORLD6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
/// docker0's address in the rig.
pub const DOCKER0: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
/// Where the hub's API listens, on the gateway.
pub const HUB_PORT: u16 = 8081;
/// Where a guest's notebook listens.
pub const NOTEBOOK_PORT: u16 = 8888;
/// Where Docker publishes A's notebook; B's is the next port.
pub const PUBLISHED_PORT: u16 = 18888;
/// Host ports that no guest may reach.
pub const HOST_PORTS: [u16; 6] = [22, 53, 2375, 8000, 8001, 9090];
/// Where the engine finds its name servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// What the hub says.
pub const HUB_BANNER: &str = "hub";
/// What everything else says.
pub const BANNER: &str = "open";

/// The whole rig. Fields drop in order: guests' engine first, then the namespaces.
pub struct Rig {
    /// The engine.
    pub docker: Dockerd,
    /// The attacker.
    pub a: Guest,
    /// Its neighbour.
    pub b: Guest,
    /// The host.
    pub host: Namespace,
    /// What is beyond the uplink.
    pub world: Namespace,
    /// Tag and directory.
    pub run: Run,
}

/// A rig before its guests, so that a daemon can be there first.
pub struct Base {
    /// The engine.
    pub docker: Dockerd,
    /// The host.
    pub host: Namespace,
    /// What is beyond the uplink.
    pub world: Namespace,
    /// What of the host's listens, by port.
    served: Vec<(u16, Id)>,
    /// Tag and directory.
    pub run: Run,
}

impl Base {
    /// Namespaces, uplink, dockerd, guest network and the host's services.
    pub fn start(options: Options) -> Result<Self> {
        Self::start_with(options, None)
    }

    /// The same with IPv6 on the guest network.
    pub fn start_ipv6(options: Options) -> Result<Self> {
        Self::start_with(options, Some((SUBNET6.into(), GATEWAY6.to_string())))
    }

    fn start_with(options: Options, subnet6: Option<(String, String)>) -> Result<Self> {
        let run = Run::start()?;
        let world = Namespace::create(&run, "world")?;
        let host = Namespace::create(&run, "host")?;
        connect_uplink(&host, &world)?;
        // Whatever the machine's are: no engine, old or new, asks any of them from the host.
        name_servers(&run, &[])?;
        host.run(&format!(
            "mount --bind {} {RESOLV_CONF}",
            run.dir().join("resolv.conf").display()
        ))?;
        let docker = Dockerd::start(&run, &host, options)?;
        docker.load_image(&image::build(&run)?)?;
        docker.create_network(&Network {
            name: NETWORK.into(),
            bridge: BRIDGE.into(),
            subnet4: (SUBNET.into(), GATEWAY.to_string()),
            subnet6,
        })?;
        let served = serve(&host, &world)?;
        Ok(Self { docker, host, world, served, run })
    }

    /// The engine's socket.
    #[must_use]
    pub fn docker_socket(&self) -> std::path::PathBuf {
        self.docker.socket()
    }

    /// Ends what of the host's listens on port 53, so that somebody else may.
    pub fn free_dns(&self) -> Result<()> {
        self.free(53)
    }

    /// The same for any of its ports.
    pub fn free(&self, port: u16) -> Result<()> {
        for (_, id) in self.served.iter().filter(|(served, _)| *served == port) {
            self.host.actor.call::<()>(&Request::Close { id: *id, reset: false })?;
        }
        Ok(())
    }

    /// Gives the host other name servers: containers that start from now on have them.
    pub fn name_servers(&self, servers: &[Ipv4Addr]) -> Result<()> {
        name_servers(&self.run, servers)
    }

    /// The actor beyond the uplink.
    #[must_use]
    pub fn world(&self) -> &Actor {
        &self.world.actor
    }

    /// Starts the guests and what they serve.
    pub fn with_guests(self) -> Result<Rig> {
        let Self { docker, host, world, run, .. } = self;
        let notebook = |host| [Publish { container: NOTEBOOK_PORT, host }];
        let (first, second) = (notebook(PUBLISHED_PORT), notebook(PUBLISHED_PORT + 1));
        let both = [("guest-a", &first[..]), ("guest-b", &second[..])];
        let [a, b] = Guest::start_both(&run, &docker, NETWORK, both)?;
        for guest in [&a, &b] {
            guest.actor.listen(any(NOTEBOOK_PORT), Serve::Echo)?;
            guest.actor.listen(any(22), Serve::Banner(BANNER.into()))?;
            guest.actor.udp_echo(any(5353))?;
        }
        // A bridge's addresses are probed for once it has a port, and answer nobody before.
        host.wait_addresses(BRIDGE)?;
        Ok(Rig { docker, a, b, host, world, run })
    }
}

impl Rig {
    /// A rig with dockerd's defaults and without any protection.
    pub fn start() -> Result<Self> {
        Base::start(Options::default())?.with_guests()
    }

    /// The same rig with guests started anew, once the old ones are removed.
    pub fn with_new_guests(self) -> Result<Self> {
        let Self { docker, host, world, run, .. } = self;
        Base { docker, host, world, served: Vec::new(), run }.with_guests()
    }

    /// What an attacker knows.
    pub fn scene(&self) -> Result<Scene> {
        let bridge = self.host.actor.interface(BRIDGE)?;
        Ok(Scene {
            a: End { mac: self.a.mac, ipv4: self.a.ipv4 },
            b: End { mac: self.b.mac, ipv4: self.b.ipv4 },
            host: End { mac: bridge.mac, ipv4: GATEWAY },
            world: WORLD,
        })
    }

    /// Where frames are looked for: who captures, and on which interface.
    #[must_use]
    pub fn points(&self) -> [(Point, &Actor, &str); 3] {
        [
            (Point::Peer, &self.b.actor, "eth0"),
            (Point::Host, &self.host.actor, BRIDGE),
            (Point::World, &self.world.actor, "wan0"),
        ]
    }

    /// Ends everything, and says what could not be ended.
    pub fn stop(self) -> Result<()> {
        let Self { mut docker, host, world, run, .. } = self;
        docker.stop()?;
        drop((host, world, run));
        Ok(())
    }

    /// Undoes what an attack did to the bridge's and the host's tables: each guest speaks once.
    pub fn settle(&self) -> Result<()> {
        self.host.ip(&format!("neigh flush dev {BRIDGE}"))?;
        for guest in [&self.a, &self.b] {
            guest.actor.connect((GATEWAY, HUB_PORT), 1000)?;
        }
        Ok(())
    }

    /// What must work whatever protects the guests; the name of the first that does not.
    pub fn legal_traffic(&self) -> Result<Vec<(&'static str, bool)>> {
        let hub = self.a.actor.connect((GATEWAY, HUB_PORT), 2000)?;
        Ok(vec![
            ("guest to hub", hub.answer == hex::encode(HUB_BANNER.as_bytes())),
            ("host to guest", echoes(&self.host.actor, self.a.at(NOTEBOOK_PORT))?),
            (
                "world to published port",
                echoes(&self.world.actor, (UPLINK, PUBLISHED_PORT).into())?,
            ),
        ])
    }
}

/// Whether a connection to an echo service gives back what was sent.
fn echoes(from: &Actor, to: SocketAddr) -> Result<bool> {
    let data = hex::encode(b"notebook");
    let connected: Connected = from.call(&Request::Connect {
        to,
        by: ConnectBy::Plain,
        data: data.clone(),
        timeout_ms: 2000,
        hold: false,
    })?;
    Ok(connected.answer == data)
}

/// The same file all the time: only the host's namespace sees it in the machine's place.
fn name_servers(run: &Run, servers: &[Ipv4Addr]) -> Result<()> {
    let lines: Vec<String> = servers.iter().map(|server| format!("nameserver {server}")).collect();
    std::fs::write(run.dir().join("resolv.conf"), lines.join("\n") + "\n").context("resolv.conf")
}

fn any(port: u16) -> SocketAddr {
    (Ipv6Addr::UNSPECIFIED, port).into()
}

fn connect_uplink(host: &Namespace, world: &Namespace) -> Result<()> {
    host.ip(&format!("link add up0 type veth peer name wan0 netns {}", world.pid()))?;
    host.ip(&format!("addr add {UPLINK}/24 dev up0"))?;
    host.ip("addr add 2001:db8::1/64 dev up0 nodad")?;
    host.ip("link set up0 up")?;
    world.ip(&format!("addr add {WORLD}/24 dev wan0"))?;
    world.ip(&format!("addr add {WORLD6}/64 dev wan0 nodad"))?;
    world.ip("link set wan0 up")?;
    // An attacker's source address is no secret to the world: it can answer, if it is asked.
    world.ip(&format!("route add 10.99.0.0/24 via {UPLINK}"))?;
    host.ip(&format!("route add default via {WORLD}"))?;
    host.sysctl("net/ipv4/ip_forward", "1")?;
    host.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    let echo = Request::Echo {
        to: WORLD.into(),
        interface: String::new(),
        data: String::new(),
        timeout_ms: 500,
    };
    wait_for("the uplink", Duration::from_secs(5), || {
        let exchanged: Exchanged = host.actor.call(&echo)?;
        Ok(exchanged.answer.map(drop))
    })
}

/// Starts what hosts serve; what of this one's listens, by port.
fn serve(host: &Namespace, world: &Namespace) -> Result<Vec<(u16, Id)>> {
    let banner = Serve::Banner(HUB_BANNER.into());
    let hub = host.actor.listen((GATEWAY, HUB_PORT), banner).context("hub")?;
    let mut served = vec![(HUB_PORT, hub.id)];
    for port in HOST_PORTS {
        let listening = host.actor.listen(any(port), Serve::Banner(BANNER.into()))?;
        served.push((port, listening.id));
    }
    for port in [80, 443] {
        world.actor.listen(any(port), Serve::Banner(BANNER.into()))?;
    }
    // One socket for each address: an answer must come from the address that was asked.
    for address in [GATEWAY, UPLINK, DOCKER0] {
        served.push((53, host.actor.udp_echo((address, 53))?.id));
    }
    world.actor.udp_echo(any(53))?;
    Ok(served)
}
