//! A rig for each configuration.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use enforcer_tests::{
    bench::traffic::PacketSocket,
    frames::{Ip, Ipv4, Mac, ethernet, ethertype, udp_packet},
    harness::{
        classic,
        dockerd::Options,
        enforcer::{Enforcer, Settings},
        guest::{Guest, Publish},
        netns::{Namespace, run_beside, within},
        topology::{BRIDGE, Base, NETWORK, UPLINK, WORLD},
    },
    prog::raw::{self, Hook},
};

/// Where guest A is asked for round trips and connections, on the host's published port and in the guest.
const ECHO: Publish = Publish { container: 7000, host: 17000 };
/// Where it takes datagrams and bulk.
const DATAGRAMS: u16 = 7001;
const BULK: u16 = 7002;

/// What protects the guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    Nothing,
    /// The two rules of the recipe, by iptables as nftables has it.
    Recipe,
    /// The same by the kernel's old tables, Docker's own rules too.
    Legacy,
    /// The same by nftables with sets.
    Sets,
    /// A program on both ways of each port that lets everything through.
    Empty,
    /// One that drops what guests send.
    Drop,
    Enforcer {
        files: bool,
    },
}

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub name: &'static str,
    pub guard: Guard,
    /// Guest B sends what is forbidden for as long as A is measured.
    pub flooded: bool,
}

const fn config(name: &'static str, guard: Guard) -> Config {
    Config { name, guard, flooded: false }
}

/// The first is what the others are multiples of, the second the same once more.
pub const CONFIGS: [Config; 10] = [
    config("NAT, no firewall", Guard::Nothing),
    config("the same, again (A/A)", Guard::Nothing),
    config("classic recipe, iptables-nft", Guard::Recipe),
    config("classic recipe, iptables-legacy", Guard::Legacy),
    config("recipe as nftables sets", Guard::Sets),
    config("empty TC programs", Guard::Empty),
    config("empty drop program", Guard::Drop),
    config("enforcer, no sink", Guard::Enforcer { files: false }),
    config("enforcer, audit to files", Guard::Enforcer { files: true }),
    Config {
        flooded: true,
        ..config("the same, a neighbour floods", Guard::Enforcer { files: true })
    },
];

/// Both ends of a connection, the client's first.
pub struct Pair {
    pub client: TcpStream,
    pub server: TcpStream,
}

/// A rig with what is measured on it. Fields drop in order.
pub struct World {
    /// World to guest A, through the published port.
    pub echo: Pair,
    /// Where guest A takes more of them.
    pub listener: TcpListener,
    /// Where guest A takes bulk from the host.
    pub bulk: (SocketAddr, TcpListener),
    /// The host's socket, and guest A's.
    pub datagrams: (UdpSocket, UdpSocket),
    /// What A sends by; a frame for the world, and one for B.
    pub attacker: PacketSocket,
    pub egress: Vec<u8>,
    pub neighbour: Vec<u8>,
    /// B's, and a frame for the world.
    pub flooder: Option<(PacketSocket, Vec<u8>)>,
    /// Network namespaces.
    pub outside: File,
    pub host_net: File,
    pub b_net: File,
    a_pid: u32,
    _links: Vec<OwnedFd>,
    daemon: Option<Enforcer>,
    base: Base,
}

fn net_of(pid: u32) -> Result<File> {
    File::open(format!("/proc/{pid}/ns/net")).context("a network namespace")
}

impl World {
    pub fn start(config: &Config) -> Result<Self> {
        let legacy = config.guard == Guard::Legacy;
        let base = Base::start(Options { legacy_tables: legacy, ..Options::default() })?;
        let daemon = match config.guard {
            Guard::Enforcer { files } => Some(enforcer(&base, files)?),
            _ => None,
        };
        let a = Guest::start(&base.run, &base.docker, NETWORK, "guest-a", &[ECHO])?;
        let b = Guest::start(&base.run, &base.docker, NETWORK, "guest-b", &[])?;
        if let Some(daemon) = &daemon {
            for guest in [&a, &b] {
                daemon.wait_identified(&base.host, &guest.name, "guest")?;
            }
        }
        let (outside, a_net, b_net) = (net_of(base.world.pid())?, net_of(a.pid)?, net_of(b.pid)?);
        let host_net = net_of(base.host.pid())?;
        let listener =
            within(&a_net, || Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, ECHO.container))?))?;
        let client = within(&outside, || Ok(TcpStream::connect((UPLINK, ECHO.host))?))?;
        let echo = Pair { server: listener.accept()?.0, client };
        let at = SocketAddr::from((a.ipv4, BULK));
        let bulk = (at, within(&a_net, || Ok(TcpListener::bind(at)?))?);
        for stream in [&echo.client, &echo.server] {
            stream.set_nodelay(true)?;
        }
        let taker = within(&a_net, || Ok(UdpSocket::bind((a.ipv4, DATAGRAMS))?))?;
        let sender = within(&host_net, || Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
        sender.connect((a.ipv4, DATAGRAMS))?;
        let host_mac = base.host.actor.interface(BRIDGE)?.mac;
        let egress = |guest: &Guest| datagram(guest, host_mac, WORLD);
        // Connections first: behind the drop program there are none.
        let links = protect(&base, config.guard)?;
        let (attacker, flooder) = (packets(&a_net)?, packets(&b_net)?);
        Ok(Self {
            echo,
            listener,
            bulk,
            datagrams: (sender, taker),
            attacker,
            egress: egress(&a),
            neighbour: datagram(&a, b.mac, b.ipv4),
            flooder: config.flooded.then(|| (flooder, egress(&b))),
            outside,
            host_net,
            b_net,
            a_pid: a.pid,
            _links: links,
            daemon,
            base,
        })
    }

    /// Where A's published port is asked.
    pub const ECHO_AT: (Ipv4Addr, u16) = (UPLINK, ECHO.host);

    /// Whether super-packets go over the host's bridge and A's interface.
    pub fn super_packets(&self, on: bool) -> Result<()> {
        let most = if on { 65_535 } else { 1 };
        self.base.host.ip(&format!("link set dev {BRIDGE} gso_max_segs {most}"))?;
        for port in ports(&self.base.host)? {
            self.base.host.ip(&format!("link set dev {port} gso_max_segs {most}"))?;
        }
        run_beside(self.a_pid, &format!("ip link set dev eth0 gso_max_segs {most}")).map(drop)
    }

    /// Takes everything down.
    pub fn stop(self) -> Result<()> {
        let Self { daemon, mut base, .. } = self;
        if let Some(daemon) = daemon {
            daemon.stop()?;
        }
        for guest in ["guest-a", "guest-b"] {
            base.docker.remove(guest)?;
        }
        base.docker.stop()
    }
}

fn enforcer(base: &Base, files: bool) -> Result<Enforcer> {
    let more = if files {
        format!("\n[audit]\ndir = \"{}\"\n", base.run.dir().join("audit").display())
    } else {
        "\n[audit]\nstdout = false\n".to_owned()
    };
    Enforcer::start(base, &Settings { more, ..Settings::default() })
}

/// A datagram of a guest, to a port that nobody has open.
fn datagram(guest: &Guest, to_mac: Mac, to: Ipv4Addr) -> Vec<u8> {
    const DISCARD: u16 = 9;
    let packet =
        udp_packet(&Ip::V4(Ipv4::new(guest.ipv4, to, 0)), 4000, DISCARD, b"enforcer-bench");
    ethernet(to_mac, guest.mac, ethertype::IPV4, &packet)
}

fn packets(net: &File) -> Result<PacketSocket> {
    within(net, || PacketSocket::on(c"eth0"))
}

/// Interfaces of the guests' bridge.
fn ports(host: &Namespace) -> Result<Vec<String>> {
    let listed = host.ip(&format!("-o link show master {BRIDGE}"))?;
    let names = listed.lines().filter_map(|line| line.split([':', '@']).nth(1));
    Ok(names.map(|name| name.trim().to_owned()).collect())
}

fn protect(base: &Base, guard: Guard) -> Result<Vec<OwnedFd>> {
    let host = &base.host;
    match guard {
        Guard::Nothing | Guard::Enforcer { .. } => {}
        Guard::Recipe | Guard::Legacy => classic::apply(host, BRIDGE)?,
        Guard::Sets => classic::apply_sets(host, BRIDGE)?,
        Guard::Empty => return attach(host, &[Hook::Ingress, Hook::Egress], raw::empty),
        Guard::Drop => return attach(host, &[Hook::Ingress], raw::dropping),
    }
    Ok(Vec::new())
}

/// Attaches a program to each port of the guests' bridge.
fn attach(
    host: &Namespace,
    hooks: &[Hook],
    program: impl Fn() -> Result<OwnedFd> + Sync,
) -> Result<Vec<OwnedFd>> {
    let mut links = Vec::new();
    for port in ports(host)? {
        let index = host.actor.interface(&port)?.ifindex;
        for hook in hooks {
            let attach = || raw::attach(program()?.as_fd(), index, *hook);
            links.push(within(net_of(host.pid())?, attach)?);
        }
    }
    Ok(links)
}
