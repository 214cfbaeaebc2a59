//! What is flooded: hosts with the real daemon and real guests, and one with a program that only drops.

use std::{
    fs::File,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    frames::{Arp, Ip, Ipv4, Mac, Tcp, ethernet, ethertype, flag, tagged, udp_packet},
    harness::{
        client::Actor,
        dockerd::Options,
        enforcer::{Counters, Enforcer, Settings},
        guest::Guest,
        netns::{Namespace, within},
        run::Run,
        topology::{BRIDGE, Base, GATEWAY, NETWORK, WORLD},
    },
    hex,
    prog::raw,
};

/// An IP protocol that no policy knows.
const GRE: u8 = 47;

/// Which daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Programs {
    /// The one that ships.
    Shipped,
    /// No rate bounds its records.
    EveryRecord,
    /// Events are counted and never recorded.
    NoRecords,
}

impl Programs {
    fn binary(self) -> Result<PathBuf> {
        let variable = match self {
            Self::Shipped => "ENFORCER_BIN",
            Self::EveryRecord => "ENFORCER_EVERY_RECORD_BIN",
            Self::NoRecords => "ENFORCER_NO_RECORDS_BIN",
        };
        let path = std::env::var_os(variable).with_context(|| {
            format!("{variable} names no daemon: start this with ./x bench audit")
        })?;
        Ok(path.into())
    }
}

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub name: &'static str,
    /// `None`: an empty drop program in the place of the daemon.
    pub programs: Option<Programs>,
    /// Records go to files; otherwise to nobody.
    pub files: bool,
}

const fn config(name: &'static str, programs: Programs, files: bool) -> Config {
    Config { name, programs: Some(programs), files }
}

/// The floor comes first.
pub const CONFIGS: [Config; 7] = [
    Config { name: "empty drop program (the floor)", programs: None, files: false },
    config("records off: counted only", Programs::NoRecords, true),
    config("shipped rate, no sink", Programs::Shipped, false),
    config("shipped rate, to files", Programs::Shipped, true),
    config("every denial, no sink", Programs::EveryRecord, false),
    config("every denial, to files", Programs::EveryRecord, true),
    config("the same again (A/A)", Programs::EveryRecord, true),
];

/// One that sends.
pub struct Sender {
    pub name: String,
    pub actor: Actor,
    pub pid: u32,
    mac: Mac,
    ipv4: std::net::Ipv4Addr,
}

/// A host under flood.
pub enum World {
    Policed(Box<Policed>),
    Floor(Box<Dropping>),
}

/// With the daemon. Fields drop in order.
pub struct Policed {
    pub daemon: Enforcer,
    pub senders: Vec<Sender>,
    /// Where its records go.
    pub dir: Option<PathBuf>,
    bridge: Mac,
    base: Base,
}

/// With a program that drops.
pub struct Dropping {
    senders: Vec<Sender>,
    _links: Vec<OwnedFd>,
    _guests: Vec<Namespace>,
    bridge: Mac,
    _host: Namespace,
    _run: Run,
}

impl World {
    /// Starts it, with so many guests.
    pub fn start(config: &Config, guests: u8) -> Result<Self> {
        match config.programs {
            Some(programs) => {
                let policed = Policed::start(programs, config.files, guests);
                Ok(Self::Policed(Box::new(policed?)))
            }
            None => Ok(Self::Floor(Box::new(Dropping::start(guests)?))),
        }
    }

    pub fn senders(&self) -> &[Sender] {
        match self {
            Self::Policed(policed) => &policed.senders,
            Self::Floor(floor) => &floor.senders,
        }
    }

    pub fn policed(&self) -> Option<&Policed> {
        match self {
            Self::Policed(policed) => Some(policed),
            Self::Floor(_) => None,
        }
    }

    fn bridge(&self) -> Mac {
        match self {
            Self::Policed(policed) => policed.bridge,
            Self::Floor(floor) => floor.bridge,
        }
    }

    /// What a sender sends again and again, each frame denied for a reason of its own.
    pub fn forbidden(&self, sender: &Sender, reasons: usize) -> Vec<String> {
        let (host, mac) = (self.bridge(), sender.mac);
        let ip = Ip::V4(Ipv4::new(sender.ipv4, WORLD, 0));
        let policy = udp_packet(&ip, 4000, 53, b"enforcer-bench");
        let elsewhere = Ip::V4(Ipv4::new(WORLD, GATEWAY, 0));
        let other: Mac = [2, 0x42, 0xde, 0xad, 0xbe, 0xef];
        let lie = Arp { operation: 2, sender: (mac, WORLD), target: (host, GATEWAY) };
        let frames = [
            ethernet(host, mac, ethertype::IPV4, &policy),
            ethernet(host, mac, ethertype::EXPERIMENT, &[0; 50]),
            ethernet(host, other, ethertype::IPV4, &policy),
            ethernet(host, mac, ethertype::IPV4, &udp_packet(&elsewhere, 4000, 53, b"bench")),
            tagged(&ethernet(host, mac, ethertype::IPV4, &policy), &[(0x8100, 5)]),
            ethernet(
                host,
                mac,
                ethertype::IPV4,
                &Ipv4::new(sender.ipv4, WORLD, GRE).packet(&[0; 24]),
            ),
            ethernet(host, mac, ethertype::IPV4, &Tcp::new(4000, 80, flag::ACK).packet(&ip, &[])),
            ethernet(host, mac, ethertype::ARP, &lie.bytes()),
        ];
        frames.iter().take(reasons).map(|frame| hex::encode(frame)).collect()
    }
}

impl Policed {
    fn start(programs: Programs, files: bool, guests: u8) -> Result<Self> {
        let base = Base::start(Options::default())?;
        let dir = files.then(|| base.run.dir().join("audit"));
        let more = match &dir {
            Some(dir) => format!("\n[audit]\ndir = \"{}\"\n", dir.display()),
            None => "\n[audit]\nstdout = false\n".to_owned(),
        };
        let settings = Settings { more, binary: Some(programs.binary()?), ..Settings::default() };
        let daemon = Enforcer::start(&base, &settings)?;
        let mut senders = Vec::new();
        for number in 0..guests {
            let name = format!("guest-{number}");
            let guest = Guest::start(&base.run, &base.docker, NETWORK, &name, &[])?;
            daemon.wait_identified(&base.host, &name, "guest")?;
            let Guest { name, pid, mac, ipv4, actor } = guest;
            senders.push(Sender { name, actor, pid, mac, ipv4 });
        }
        let bridge = base.host.actor.interface(BRIDGE)?.mac;
        Ok(Self { daemon, senders, dir, bridge, base })
    }

    /// The kernel's counters of the guests.
    pub fn counts(&self) -> Result<Counters> {
        let mut counts = self.daemon.counts(&self.base.host)?;
        counts.retain(|key, _| self.senders.iter().any(|sender| sender.name == key.endpoint));
        Ok(counts)
    }

    /// Records that the daemon lost itself so far.
    pub fn queue_lost(&self) -> Result<u64> {
        let status = self.daemon.status(&self.base.host)?;
        status["queue_lost"].as_u64().context("status has no queue_lost")
    }

    /// Lets the daemon say its last words; everything else stays.
    pub fn stop_daemon(self) -> Result<Stopped> {
        let Self { daemon, senders, dir, base, .. } = self;
        daemon.stop()?;
        Ok(Stopped { senders, dir, base })
    }
}

/// What is left when the daemon has ended.
pub struct Stopped {
    pub senders: Vec<Sender>,
    pub dir: Option<PathBuf>,
    base: Base,
}

impl Stopped {
    /// Runs `enforcer audit` over what was written.
    pub fn audit(&self, arguments: &[&str]) -> Result<String> {
        audit(&Programs::Shipped.binary()?, self.dir.as_deref().context("no files")?, arguments)
    }

    /// Takes everything down.
    pub fn end(self) -> Result<()> {
        let Self { senders, mut base, .. } = self;
        for sender in senders {
            base.docker.remove(&sender.name)?;
        }
        base.docker.stop()
    }
}

fn audit(binary: &Path, dir: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = std::process::Command::new(binary);
    command.arg("audit").args(arguments).arg("--dir").arg(dir);
    let output = command.output().context("enforcer audit")?;
    ensure!(
        output.status.success(),
        "enforcer audit {arguments:?}: {}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Dropping {
    fn start(guests: u8) -> Result<Self> {
        let run = Run::start()?;
        let host = Namespace::create(&run, "host")?;
        host.ip(&format!("link add {BRIDGE} type bridge"))?;
        host.ip(&format!("addr add {GATEWAY}/24 dev {BRIDGE}"))?;
        host.ip(&format!("link set {BRIDGE} up"))?;
        let (mut senders, mut namespaces, mut ports) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..guests {
            let name = format!("guest-{number}");
            let guest = Namespace::create(&run, &name)?;
            let port = format!("veth{number}");
            host.ip(&format!("link add {port} type veth peer name eth0 netns {}", guest.pid()))?;
            host.ip(&format!("link set {port} master {BRIDGE} up"))?;
            let ipv4 = std::net::Ipv4Addr::new(10, 99, 0, number + 2);
            // Nobody but us speaks: what is sent is what was asked for.
            guest.sysctl("net/ipv6/conf/all/disable_ipv6", "1")?;
            guest.ip(&format!("addr add {ipv4}/24 dev eth0"))?;
            guest.ip("link set eth0 up")?;
            ports.push(host.actor.interface(&port)?.ifindex);
            let (pid, actor) = (guest.pid(), guest.actor.clone());
            let mac = actor.interface("eth0")?.mac;
            senders.push(Sender { name, actor, pid, mac, ipv4 });
            namespaces.push(guest);
        }
        let bridge = host.actor.interface(BRIDGE)?.mac;
        let links = drop_all(host.pid(), ports)?;
        Ok(Self { senders, _links: links, _guests: namespaces, bridge, _host: host, _run: run })
    }
}

/// Attaches the empty drop program in the network namespace of a process.
fn drop_all(pid: u32, ports: Vec<u32>) -> Result<Vec<OwnedFd>> {
    within(File::open(format!("/proc/{pid}/ns/net"))?, || {
        let program = raw::dropping()?;
        let attach = |port| raw::attach(program.as_fd(), port, raw::Hook::Ingress);
        ports.into_iter().map(attach).collect()
    })
}
