//! What is not a guest network is none of enforcer's business: nothing is lost, nothing attached.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    harness::{
        client::Actor,
        dockerd::{Network, Options},
        enforcer::{Enforcer, Settings},
        guest::Guest,
        netns::Namespace,
        residue::Snapshot,
        topology::Base,
    },
    hex,
    protocol::{Exchanged, Request, Serve, Transferred},
};

const BRIDGE: &str = "other0";
/// Longer than the daemon takes to decide that a new veth is not its own.
const SETTLED: Duration = Duration::from_secs(13);
const BYTES: u64 = 128 << 20;
/// Loosely: the machine has other work, too.
const SLOWEST: f64 = 0.4;

#[test]
fn an_unrelated_bridge_and_a_point_to_point_veth_lose_nothing() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let before = Snapshot::take();
    let base = Base::start(Options::default())?;
    base.docker.create_network(&Network {
        name: "other".into(),
        bridge: BRIDGE.into(),
        subnet4: ("10.77.0.0/24".into(), "10.77.0.1".into()),
        subnet6: None,
    })?;
    let x = Guest::start(&base.run, &base.docker, "other", "other-x", &[])?;
    let y = Guest::start(&base.run, &base.docker, "other", "other-y", &[])?;
    let far = Namespace::create(&base.run, "far")?;
    base.host.ip(&format!("link add p2p0 type veth peer name p2p1 netns {}", far.pid()))?;
    base.host.ip("addr add 192.0.2.1/30 dev p2p0")?;
    base.host.ip("link set p2p0 up")?;
    far.ip("addr add 192.0.2.2/30 dev p2p1")?;
    far.ip("link set p2p1 up")?;
    for actor in [&y.actor, &far.actor] {
        actor.udp_echo(([0, 0, 0, 0], 9000))?;
        actor.listen(([0, 0, 0, 0], 9001), Serve::Source(BYTES))?;
    }
    let pairs: [(&Actor, SocketAddr); 2] =
        [(&x.actor, y.at(9000)), (&base.host.actor, ([192, 0, 2, 2], 9000).into())];
    let speed = || pairs.iter().map(|(from, to)| rate(from, *to)).collect::<Result<Vec<_>>>();
    let alone = speed()?;

    let streams = pairs.map(|(from, to)| Stream::start(from.clone(), to));
    let daemon = Enforcer::start(&base, &Settings::default())?;
    thread::sleep(SETTLED);
    let beside = speed()?;
    let programs = ports(&base.host, BRIDGE)?
        .iter()
        .map(String::as_str)
        .chain([BRIDGE, "p2p0"])
        .map(|interface| Ok((interface.to_owned(), programs(&base.host, interface)?)))
        .collect::<Result<Vec<_>>>()?;
    daemon.stop()?;
    thread::sleep(Duration::from_secs(1));
    for (stream, what) in streams.into_iter().zip(["bridge", "veth"]) {
        let Seen { asked, lost, slowest } = stream.end()?;
        println!("{what}: {asked} asked, {lost} lost, slowest {slowest:?}");
        ensure!(lost == 0, "{what}: {lost} of {asked} lost");
        ensure!(asked > 1000, "{what}: only {asked} asked");
    }
    for ((before, now), what) in alone.iter().zip(&beside).zip(["bridge", "veth"]) {
        println!("{what}: {before:.0} MB/s without, {now:.0} MB/s beside enforcer");
        ensure!(now / before > SLOWEST, "{what}: {before:.0} MB/s, then {now:.0}");
    }
    for (interface, programs) in programs {
        ensure!(programs.is_empty(), "{interface} has programs: {programs:?}");
    }
    for name in [&x.name, &y.name] {
        base.docker.remove(name)?;
    }
    drop((far, base));
    before.ensure_nothing_new()
}

/// MB/s from the peer's source.
fn rate(from: &Actor, peer: SocketAddr) -> Result<f64> {
    let to = SocketAddr::new(peer.ip(), 9001);
    let moved: Transferred = from.call(&Request::Transfer { to, send: 0, timeout_ms: 60_000 })?;
    ensure!(moved.bytes == BYTES, "{moved:?}");
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    Ok(moved.bytes as f64 / 1e3 / moved.took_ms.max(1) as f64)
}

fn ports(host: &Namespace, bridge: &str) -> Result<Vec<String>> {
    let text = host.ip(&format!("-o link show master {bridge}"))?;
    let name = |line: &str| Some(line.split(": ").nth(1)?.split('@').next()?.to_owned());
    Ok(text.lines().filter_map(name).collect())
}

/// TC programs of an interface as the kernel lists them.
fn programs(host: &Namespace, interface: &str) -> Result<Vec<String>> {
    let text = host.run(&format!("bpftool net show dev {interface}"))?;
    Ok(text
        .lines()
        .filter(|line| line.contains("tcx/") || line.contains("clsact/"))
        .map(Into::into)
        .collect())
}

struct Seen {
    asked: u64,
    lost: u64,
    slowest: Duration,
}

/// Asks without end, one after the other, and counts what is not answered.
struct Stream {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen>>,
}

impl Stream {
    fn start(from: Actor, to: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut seen = Seen { asked: 0, lost: 0, slowest: Duration::ZERO };
            while !stopped.load(Ordering::Relaxed) {
                let started = Instant::now();
                let exchanged: Exchanged = from.call(&Request::UdpExchange {
                    from_port: 0,
                    to,
                    data: hex::encode(b"are you there"),
                    count: 1,
                    segment: 0,
                    timeout_ms: 2000,
                })?;
                seen.asked += 1;
                seen.lost += u64::from(exchanged.answer.is_none());
                seen.slowest = seen.slowest.max(started.elapsed());
                thread::sleep(Duration::from_millis(4));
            }
            Ok(seen)
        });
        Self { stop, thread }
    }

    fn end(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok().context("a stream panicked")?
    }
}
