//! A host of one size: a bridge, guests that are network namespaces with a veth each, an engine that tells the daemon of
//! them, and the daemon.

use std::{
    fmt::Write as _,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use enforcer::{api::client, model::status::StatusReport};
use enforcer_tests::{
    frames::Mac,
    harness::{
        enforcer::Enforcer,
        netns::{Namespace, output, within},
        run::{Run, wait_for},
    },
};
use tokio::runtime::Runtime;

use crate::{engine, flows};

/// The guest network, its bridge and its subnet.
pub const NETWORK: &str = "guests";
pub const BRIDGE: &str = "guests0";
pub const SUBNET: &str = "10.99.0.0/16";
pub const PREFIX: u8 = 16;
/// The host's address on it, and where a hub listens there.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const HUB_PORT: u16 = 8081;
pub const BRIDGE_MAC: Mac = [2, 0, 0, 0, 0, 1];
/// What the last rule opens; nobody is there, and nothing answers.
pub const BEYOND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
pub const BEYOND_PORT: u16 = 443;
/// How long all guests may take to be policed.
const PATIENCE: Duration = Duration::from_mins(5);

/// How much a host has.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub name: &'static str,
    pub guests: u16,
    pub rules: u32,
    /// Live flows, of all guests together.
    pub flows: u32,
    /// Whether the goals of memory and of reload are about it.
    pub has_goals: bool,
}

const fn size(name: &'static str, guests: u16, rules: u32, flows: u32) -> Size {
    Size { name, guests, rules, flows, has_goals: false }
}

/// The first is what the others are multiples of, the second the same once more.
pub const FULL: [Size; 9] = [
    size("1 guest", 1, 1, 0),
    size("the same, again (A/A)", 1, 1, 0),
    size("10 guests", 10, 1, 0),
    size("100 guests", 100, 1, 0),
    size("500 guests", 500, 1, 0),
    size("1,000 guests", 1000, 1, 0),
    size("10,000 rules", 1, 10_000, 0),
    Size {
        has_goals: true,
        ..size("500 guests, 10,000 rules, 100,000 flows", 500, 10_000, 100_000)
    },
    size("100 guests, 1,000,000 flows", 100, 1, 1_000_000),
];
/// A look.
pub const QUICK: [Size; 6] = [
    size("1 guest", 1, 1, 0),
    size("the same, again (A/A)", 1, 1, 0),
    size("10 guests", 10, 1, 0),
    size("100 guests", 100, 1, 0),
    size("10,000 rules", 1, 10_000, 0),
    size("50 guests, 10,000 rules, 100,000 flows", 50, 10_000, 100_000),
];

pub fn name(guest: u16) -> String {
    format!("g{guest}")
}

pub fn mac(guest: u16) -> Mac {
    let [high, low] = guest.to_be_bytes();
    [2, 0, 0, 1, high, low]
}

/// As people and Docker write it.
pub fn colons(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

pub fn address(guest: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(GATEWAY.to_bits() + 1 + u32::from(guest))
}

/// A host. Fields drop in order.
pub struct World {
    pub size: Size,
    /// The first guest and the hub on the host: a connection, and where the hub takes more.
    pub client: TcpStream,
    pub server: TcpStream,
    pub listener: TcpListener,
    pub guest_net: File,
    daemon: Enforcer,
    host: Namespace,
    run: Run,
    runtime: Runtime,
    reloads: u32,
}

/// How long a start took, from the start of the process.
#[derive(Clone, Copy, Debug)]
pub struct Started {
    pub answers: Duration,
    /// Every guest is known, and has its programs.
    pub policed: Duration,
}

impl World {
    /// Makes the host and its guests, starts the daemon, and waits until all are policed.
    pub fn start(size: Size) -> Result<(Self, Started)> {
        let run = Run::start()?;
        let host = Namespace::create(&run, "host")?;
        populate(&run, &host, size.guests)?;
        engine::serve(&run.dir().join("engine.sock"), size.guests)?;
        let began = Instant::now();
        let mut daemon = Enforcer::launch(&run, &host, |dir| config(&run, dir, &size, 0))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let started = wait_policed(&mut daemon, &runtime, &run_dir(&run), size.guests, began)?;
        let guest_net = net(&host, 0)?;
        let host_net = File::open(format!("/proc/{}/ns/net", host.pid()))?;
        let at = SocketAddr::from(Self::HUB);
        let listener = within(&host_net, || Ok(TcpListener::bind(at)?))?;
        let client = within(&guest_net, || Ok(TcpStream::connect(at)?)).context("guest to hub")?;
        let server = listener.accept()?.0;
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
        }
        let mut world = Self {
            size,
            client,
            server,
            listener,
            guest_net,
            daemon,
            host,
            run,
            runtime,
            reloads: 0,
        };
        world.open_flows()?;
        Ok((world, started))
    }

    /// Where the first guest reaches the hub.
    pub const HUB: (Ipv4Addr, u16) = (GATEWAY, HUB_PORT);

    /// Every guest opens its share of the flows; the daemon counts them.
    fn open_flows(&mut self) -> Result<()> {
        let Size { guests, flows, .. } = self.size;
        let each = u16::try_from(flows / u32::from(guests))?;
        if each == 0 {
            return Ok(());
        }
        let host_net = File::open(format!("/proc/{}/ns/net", self.host.pid()))?;
        flows::open(&host_net, guests, each, |guest| net(&self.host, guest))?;
        let status = self.status()?;
        let open: u32 = status.endpoints.iter().map(|one| one.flows.outbound_established).sum();
        // And that of the first guest and the hub.
        ensure!(open == flows + 1, "{open} flows are live, not {}", flows + 1);
        Ok(())
    }

    pub fn status(&self) -> Result<StatusReport> {
        Ok(self.runtime.block_on(client::status(&run_dir(&self.run)))?)
    }

    /// Has the daemon take a config with another last rule; how long that took, until the kernel held it.
    pub fn reload(&mut self) -> Result<Duration> {
        self.reloads += 1;
        let text = config(&self.run, &self.run.dir().join("enforcer"), &self.size, self.reloads);
        fs::write(self.daemon.config(), text)?;
        let began = Instant::now();
        self.runtime.block_on(client::reload(&run_dir(&self.run)))?;
        Ok(began.elapsed())
    }

    /// Stops the daemon and starts the next one, which finds the programs and maps of the last.
    pub fn adopt(self) -> Result<(Self, Started)> {
        let ended = self.daemon.end()?;
        let binary = ended.binary().to_owned();
        let began = Instant::now();
        let mut daemon = ended.relaunch(&self.host, binary)?;
        let dir = run_dir(&self.run);
        let started = wait_policed(&mut daemon, &self.runtime, &dir, self.size.guests, began)?;
        Ok((Self { daemon, ..self }, started))
    }

    pub fn daemon(&self) -> &Enforcer {
        &self.daemon
    }

    /// Takes it down.
    pub fn stop(self) -> Result<()> {
        self.daemon.stop().map(drop)
    }
}

fn run_dir(run: &Run) -> PathBuf {
    run.dir().join("enforcer/run")
}

/// The network namespace of a guest.
fn net(host: &Namespace, guest: u16) -> Result<File> {
    let path = format!("/proc/{}/root/run/netns/{}", host.pid(), name(guest));
    File::open(&path).context(path)
}

fn populate(run: &Run, host: &Namespace, guests: u16) -> Result<()> {
    let mut lines = format!(
        "link add {BRIDGE} address {} type bridge\naddr add {GATEWAY}/{PREFIX} dev {BRIDGE}\n\
         link set {BRIDGE} up\nroute add blackhole {BEYOND}\n",
        colons(BRIDGE_MAC)
    );
    for guest in 0..guests {
        let (name, mac) = (name(guest), colons(mac(guest)));
        writeln!(
            lines,
            "netns add {name}\nlink add v{guest} type veth peer name eth0 address {mac} netns {name}\n\
             link set v{guest} master {BRIDGE} up"
        )?;
    }
    let file = run.dir().join("links");
    fs::write(&file, lines)?;
    host.ip(&format!("-batch {}", file.display()))?;
    host.sysctl("net/ipv4/ip_forward", "1")?;
    for guest in 0..guests {
        within(net(host, guest)?, || {
            // As Docker does it on a network without IPv6.
            fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1")?;
            output(Command::new("ip").args(["link", "set", "eth0", "up"]), "a guest's interface")?;
            if guest == 0 {
                // The others send frames that are made by hand, and answer nothing.
                let address = format!("{}/{PREFIX}", address(guest));
                output(
                    Command::new("ip").args(["addr", "add", &address, "dev", "eth0"]),
                    "address",
                )?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// The config. `variant` is another port in the last rule.
fn config(run: &Run, dir: &Path, size: &Size, variant: u32) -> String {
    let share = size.flows / u32::from(size.guests);
    let max_flows = size.flows.next_power_of_two().max(1 << 18);
    let mut text = format!(
        "[docker]\nsocket = \"{engine}\"\n\n[daemon]\nrun_dir = \"{dir}/run\"\nstate_dir = \"{dir}/state\"\n\
         refuse_at_connect = false\nmax_flows = {max_flows}\n\n[audit]\nstdout = false\n\n\
         [networks.{NETWORK}]\nbridge = \"{BRIDGE}\"\nsubnet = \"{SUBNET}\"\ngateway = \"{GATEWAY}\"\npolicy = \"load\"\n\n\
         [[networks.{NETWORK}.hub]]\ngateway = true\nport = {HUB_PORT}\n\n\
         [networks.{NETWORK}.quotas]\noutbound_established = {}\n\n",
        share.max(2048) + 64,
        engine = run.dir().join("engine.sock").display(),
        dir = dir.display(),
    );
    for rule in 1..size.rules {
        let to = Ipv4Addr::from_bits(0x5000_0000 + (rule << 8));
        // Each has a port of its own: no two are one class.
        text.extend([
            "[[policies.load.allow]]\n".into(),
            format!("to = \"{to}/24\"\nport = {rule}\n\n"),
        ]);
    }
    let last = format!("to = \"{BEYOND}\"\nport = [{BEYOND_PORT}, {}]\n", 20_000 + variant);
    text + "[[policies.load.allow]]\n" + &last
}

/// Waits until it answers, and then until each guest is known and has its programs.
fn wait_policed(
    daemon: &mut Enforcer,
    runtime: &Runtime,
    run_dir: &Path,
    guests: u16,
    began: Instant,
) -> Result<Started> {
    let mut answers = None;
    let policed = wait_for("all guests policed", PATIENCE, || {
        daemon.ensure_alive()?;
        let Ok(status) = runtime.block_on(client::status(run_dir)) else { return Ok(None) };
        answers.get_or_insert_with(|| began.elapsed());
        let known = status.endpoints.iter().filter(|one| one.role == "guest").count();
        let attached = |name: &str| {
            status.programs.iter().filter(|one| one.program == name && one.attached).count()
        };
        let guests = usize::from(guests);
        let all = known == guests
            && status.backlog == 0
            && ["from_guest", "to_guest"].iter().all(|name| attached(name) == guests);
        Ok(all.then(|| began.elapsed()))
    });
    let policed = policed.map_err(|error| error.context(daemon.log_text()))?;
    Ok(Started { answers: answers.unwrap_or(policed), policed })
}
