//! An experiment, for the decision in `docs/adr`: whether a frame that is known to be good can take a way to its guest, or from it,
//! that is so much shorter than over the bridge that a guarded host beats one without any firewall. What would judge frames is left out: what
//! is measured is the most that can be won.
//!
//! ```text
//! world wan0 198.51.100.2 --- 198.51.100.1 up0 host (NAT) light0 10.98.0.1 --- guests 10.98.0.2, 10.98.0.3
//! ```
//!
//! Each configuration is such a host, all of them up at once and measured in turn, in each round in another order.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd as _, OwnedFd},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use enforcer_tests::{
    bench::{
        Growth, Random, Series, kernel, median, pin,
        traffic::{connects, round_trips},
    },
    harness::{
        light::{BRIDGE, Light, address},
        netns::{Namespace, within},
        residue::Snapshot,
        run::{self, Run},
    },
    prog::raw::{self, Hook},
};
use serde::Serialize;

const PORT: u16 = 7000;
const UPLINK: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// Host-side interface of the first guest.
const VETH: &str = "vethl0";

/// What is compared.
#[derive(Clone, Copy, Debug)]
struct Config {
    name: &'static str,
    /// Frames for the guest leave by its veth instead of the bridge.
    to_guest: bool,
    /// The guest's frames come in by the bridge, past its forwarding.
    from_guest: bool,
}

const CONFIGS: [Config; 5] = [
    Config { name: "NAT, no firewall", to_guest: false, from_guest: false },
    Config { name: "the same, again (A/A)", to_guest: false, from_guest: false },
    Config { name: "to the guest past the bridge", to_guest: true, from_guest: false },
    Config { name: "from the guest past the bridge", to_guest: false, from_guest: true },
    Config { name: "both", to_guest: true, from_guest: true },
];

/// What is measured, of whom to the guest.
const METRICS: [(&str, bool, bool); 4] = [
    ("round trip, world to guest", false, false),
    ("round trip, host to guest", true, false),
    ("connect, world to guest", false, true),
    ("connect, host to guest", true, true),
];

struct Effort {
    rounds: usize,
    time: Duration,
    connections: usize,
}

impl Effort {
    const FULL: Self = Self { rounds: 40, time: Duration::from_millis(300), connections: 200 };
    const QUICK: Self = Self { rounds: 8, time: Duration::from_millis(100), connections: 50 };
}

/// A host. Fields drop in order.
struct World {
    /// From the world and from the host to the guest.
    clients: [(TcpStream, TcpStream); 2],
    nets: [File; 2],
    listener: TcpListener,
    _links: Vec<OwnedFd>,
    _outside: Namespace,
    _light: Light,
    _run: Run,
}

/// One metric of one configuration.
#[derive(Serialize)]
struct Row {
    metric: &'static str,
    config: &'static str,
    median_ns: f64,
    /// Times the first configuration: of the second best rounds, and the median of each round's own ratio.
    best: f64,
    median: f64,
}

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench shortcut: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    let (mut json, mut effort) = (false, Effort::FULL);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => json = true,
            "--quick" => effort = Effort::QUICK,
            other => bail!("unknown argument {other}; there are --json and --quick"),
        }
    }
    if let Some(why) = run::obstacle() {
        bail!("cannot measure here: {why}");
    }
    let before = Snapshot::take();
    let rows = rows(&measure(&effort)?);
    before.ensure_nothing_new()?;
    if json {
        let report = serde_json::json!({"kernel": kernel(), "rows": rows});
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    println!("kernel {}, {} rounds\n", kernel(), effort.rounds);
    println!("| metric | configuration | median ns | × best | × median |");
    println!("|---|---|---:|---:|---:|");
    for Row { metric, config, median_ns, best, median } in rows {
        println!("| {metric} | {config} | {median_ns:.0} | {best:.3} | {median:.3} |");
    }
    Ok(())
}

/// Figures by metric, then by configuration.
fn measure(effort: &Effort) -> Result<Vec<Vec<Series>>> {
    let worlds = CONFIGS.iter().map(World::start).collect::<Result<Vec<_>>>()?;
    let mut taken = vec![vec![Series::new(); CONFIGS.len()]; METRICS.len()];
    let mut order: Vec<usize> = (0..METRICS.len() * CONFIGS.len()).collect();
    let mut random = Random::default();
    // The first round warms caches and tables, and counts for nothing.
    for round in 0..=effort.rounds {
        random.shuffle(&mut order);
        for number in &order {
            let (metric, config) = (number / CONFIGS.len(), number % CONFIGS.len());
            let figure = worlds[config].measure(METRICS[metric], effort);
            let figure = figure.with_context(|| CONFIGS[config].name)?;
            if round > 0 {
                taken[metric][config].push(figure);
            }
        }
    }
    Ok(taken)
}

fn rows(taken: &[Vec<Series>]) -> Vec<Row> {
    let metrics = METRICS.iter().zip(taken);
    let each = metrics.flat_map(|((metric, ..), configs)| {
        CONFIGS.iter().zip(configs).map(move |(config, series)| {
            let growth = Growth::between(&configs[0], series);
            let (best, median_ns) = (growth.best, median(series.clone()));
            Row { metric, config: config.name, median_ns, best, median: growth.median }
        })
    });
    each.collect()
}

impl World {
    fn start(config: &Config) -> Result<Self> {
        let light = Light::start()?;
        let run = Run::start()?;
        let world = Namespace::create(&run, "world")?;
        let (host, guest) = (&light.host, &light.guests[0]);
        host.ip(&format!("link add up0 type veth peer name wan0 netns {}", world.pid()))?;
        host.ip(&format!("addr add {UPLINK}/24 dev up0"))?;
        host.ip("link set up0 up")?;
        world.ip("addr add 198.51.100.2/24 dev wan0")?;
        world.ip("link set wan0 up")?;
        host.sysctl("net/ipv4/ip_forward", "1")?;
        let to = address(0);
        host.run(&format!(
            "iptables -t nat -A PREROUTING -d {UPLINK} -p tcp --dport {PORT} -j DNAT --to {to}:{PORT}"
        ))?;
        host.run(&format!(
            "iptables -t nat -A POSTROUTING -s 10.98.0.0/24 ! -o {BRIDGE} -j MASQUERADE"
        ))?;
        let net = |pid: u32| File::open(format!("/proc/{pid}/ns/net"));
        let (outside, host_net, guest_net) =
            (net(world.pid())?, net(host.pid())?, net(guest.pid())?);
        let listener =
            within(&guest_net, || Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?))?;
        let links = shorten(config, host, &host_net)?;
        let nets = [outside, host_net];
        let connect = |number: usize| -> Result<(TcpStream, TcpStream)> {
            let client = within(&nets[number], || Ok(TcpStream::connect(at(number == 1))?));
            let client = client.with_context(|| format!("{}: no way to the guest", config.name))?;
            let server = listener.accept()?.0;
            for stream in [&client, &server] {
                stream.set_nodelay(true)?;
            }
            Ok((client, server))
        };
        let from_world = connect(0)?;
        // Addresses are resolved by now: what passes is what is redirected.
        let before = passed(host)?;
        let clients = [from_world, connect(1)?];
        let after = passed(host)?;
        let is_passed = [after[0] > before[0], after[1] > before[1]];
        ensure!(
            is_passed == [!config.to_guest, !config.from_guest],
            "{}: over the bridge, to and from the guest: {is_passed:?}",
            config.name
        );
        Ok(Self {
            clients,
            nets,
            listener,
            _links: links,
            _outside: world,
            _light: light,
            _run: run,
        })
    }

    fn measure(&self, (_, host, connections): (&str, bool, bool), effort: &Effort) -> Result<f64> {
        let number = usize::from(host);
        within(&self.nets[number], || {
            pin()?;
            if connections {
                return connects(&self.listener, at(host), effort.connections);
            }
            let (client, server) = &self.clients[number];
            round_trips(client, server, effort.time)
        })
    }
}

/// Packets that the bridge sent and took itself, to and from its ports.
fn passed(host: &Namespace) -> Result<[u64; 2]> {
    let count = |name: &str| -> Result<u64> {
        let file = format!("/sys/class/net/{BRIDGE}/statistics/{name}_packets");
        Ok(host.run(&format!("cat {file}"))?.trim().parse()?)
    };
    Ok([count("tx")?, count("rx")?])
}

/// Where the guest is reached from the host, and from the world.
fn at(host: bool) -> SocketAddr {
    (if host { address(0) } else { UPLINK }, PORT).into()
}

/// Attaches what leads past the bridge.
fn shorten(config: &Config, host: &Namespace, net: &File) -> Result<Vec<OwnedFd>> {
    let veth = host.actor.interface(VETH)?.ifindex;
    let bridge = host.actor.interface(BRIDGE)?.ifindex;
    let mut links = Vec::new();
    if config.to_guest {
        let attach = || raw::attach(raw::redirecting(veth, false)?.as_fd(), bridge, Hook::Egress);
        links.push(within(net, attach)?);
    }
    if config.from_guest {
        let attach = || raw::attach(raw::redirecting(bridge, true)?.as_fd(), veth, Hook::Ingress);
        links.push(within(net, attach)?);
    }
    Ok(links)
}
