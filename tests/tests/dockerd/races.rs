//! Guests that act before anybody could have noticed them, again and again. CI runs few rounds;
//! `ENFORCER_TEST_LONG` asks for all of them.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bollard::query_parameters::RestartContainerOptions;
use enforcer::control::desired::Closes;
use enforcer_tests::{
    attacks::Point,
    harness::{
        capture::Captures,
        client::Actor,
        closing,
        container::{Container, Spec},
        dockerd::{Dockerd, Options},
        enforcer::{Enforcer, Settings},
        guest::Guest,
        netns::Namespace,
        residue::Snapshot,
        run::{Run, wait_for},
        topology::{BANNER, BRIDGE, Base, GATEWAY, HUB_PORT, NETWORK, WORLD},
    },
    hex,
    protocol::{Filter, Serve},
};

use crate::shared::{self, Shared};

const MARKER: &[u8] = b"EF@race";
const REFUSED_MS: u64 = 250;
/// Longest that one short life may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest that rounds of churn may take in all.
const CHURN: Duration = Duration::from_hours(2);

/// How many rounds: few, or all of them.
fn rounds(few: usize, all: usize) -> usize {
    if std::env::var_os("ENFORCER_TEST_LONG").is_some() { all } else { few }
}

/// Where its frames are looked for.
fn captures(b: &Guest, world: &Actor) -> Result<Captures> {
    let filter = Filter { marker: hex::encode(MARKER), ..Filter::default() };
    Captures::start(&[(Point::Peer, &b.actor, "eth0"), (Point::World, world, "wan0")], &filter)
}

/// Fails if anything of it arrived anywhere.
fn nothing_arrived(captures: Captures) -> Result<()> {
    for (point, seen) in captures.end()? {
        ensure!(seen.count == 0, "{} frames at {}", seen.count, point.name());
    }
    Ok(())
}

/// A guest whose first instructions are a volley.
struct Volley {
    words: Vec<String>,
}

impl Volley {
    fn new(how: &str, host: &Namespace, b: &Guest) -> Result<Self> {
        let gateway = host.actor.interface(BRIDGE)?.mac;
        let [to_b, to_world] = [b.ipv4, WORLD].map(|address| address.to_string());
        let (marker, gateway) = (hex::encode(MARKER), hex::encode(&gateway));
        let words = ["/actor", "volley", how, &marker, &gateway, &to_b, &to_world];
        Ok(Self { words: words.map(Into::into).into() })
    }

    fn start(&self, run: &Run, docker: &Dockerd, name: &str) -> Result<Container> {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let spec = Spec { name, network: NETWORK, entrypoint: &words, ..Spec::default() };
        Container::start(run, docker, &spec)
    }

    /// A whole life; fails if it sent nothing.
    fn fire(&self, run: &Run, docker: &Dockerd) -> Result<()> {
        let container = self.start(run, docker, "volley")?;
        let life = container.wait_end(docker, PATIENCE);
        docker.remove("volley")?;
        let life = life?;
        ensure!(life.exit_code == 0, "the volley sent nothing: {life:?}");
        Ok(())
    }
}

/// A rig in which the volley has reached B and the world, because nothing protected them.
fn open_rig() -> Result<(Base, Guest, Volley)> {
    let base = Base::start(Options::default())?;
    let b = Guest::start(&base.run, &base.docker, NETWORK, "guest-b", &[])?;
    let volley = Volley::new("once", &base.host, &b)?;
    let seen = captures(&b, base.world())?;
    volley.fire(&base.run, &base.docker)?;
    for (point, seen) in seen.end()? {
        println!("without enforcer: {} frames at {}", seen.count, point.name());
        ensure!(seen.count > 0, "the volley does not reach {}", point.name());
    }
    Ok((base, b, volley))
}

/// Beside a daemon that runs, and beside one that is frozen, which sees nothing start.
#[test]
fn d01_start_race() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let before = Snapshot::take();
    let (base, b, volley) = open_rig()?;
    let open = between_new_guests(&base)?;
    ensure!(open > 0, "without enforcer the volley does not reach a new guest");
    let daemon = Enforcer::start(&base, &Settings::default())?;
    daemon.wait_identified(&base.host, &b.name, "guest")?;

    let runs = rounds(10, 500);
    starts(&base, &b, &volley, runs).context("beside a daemon")?;
    let denied = |record: &&serde_json::Value| record["event.action"] == "denied";
    let records = daemon.records().iter().filter(denied).count();
    println!("{records} records");
    ensure!(records >= runs, "only {records} records of {runs} volleys");

    daemon.freeze()?;
    let frozen = starts(&base, &b, &volley, rounds(5, 500));
    let between = between_new_guests(&base);
    daemon.thaw()?;
    frozen.context("beside a frozen daemon")?;
    let between = between?;
    println!(
        "between two new guests: {open} frames without enforcer, {between} beside a frozen one"
    );
    if closing::ability() == Closes::Not {
        println!("not closed on this kernel: skipped");
    } else {
        ensure!(between == 0, "{between} frames between two new guests beside a frozen daemon");
    }
    daemon.stop()?;
    base.docker.remove(&b.name)?;
    drop(base);
    before.ensure_nothing_new()
}

/// Guests that start, send and end, one after the other; nothing of it arrives.
fn starts(base: &Base, b: &Guest, volley: &Volley, runs: usize) -> Result<()> {
    let started = Instant::now();
    let seen = captures(b, base.world())?;
    let fired = (0..runs).try_for_each(|_| volley.fire(&base.run, &base.docker));
    let arrived = nothing_arrived(seen);
    fired?;
    println!("{runs} starts in {:.1} s", started.elapsed().as_secs_f64());
    arrived
}

/// Links and maps outlive a daemon that is killed: what starts then is on a bridge that it closed.
#[test]
fn d15_guests_started_beside_a_dead_daemon_reach_nobody_and_are_found() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let before = Snapshot::take();
    let (base, b, volley) = open_rig()?;
    b.actor.listen(([0, 0, 0, 0], 22), Serve::Banner(BANNER.into()))?;
    let daemon = Enforcer::start(&base, &Settings::default())?;
    daemon.wait_identified(&base.host, &b.name, "guest")?;
    daemon.kill()?;

    let seen = captures(&b, base.world())?;
    for _ in 0..3 {
        volley.fire(&base.run, &base.docker)?;
    }
    let late = Guest::start(&base.run, &base.docker, NETWORK, "late", &[])?;
    for to in [(GATEWAY, HUB_PORT), (b.ipv4, 22), (WORLD, 80)] {
        let answer = late.actor.connect(to, REFUSED_MS)?;
        ensure!(answer.errno.is_some(), "{to:?} answered a guest that nobody identified");
    }
    nothing_arrived(seen)?;
    // A guest from before goes on as it was.
    let hub = b.actor.connect((GATEWAY, HUB_PORT), 2000)?;
    ensure!(hub.errno.is_none(), "the hub does not answer B: {hub:?}");
    let sleep = ["/bin/sleep", "600"];
    let outside = Spec {
        name: "outside",
        network: "host",
        labels: &["enforcer.guest"],
        entrypoint: &sleep,
        ..Spec::default()
    };
    let outside = Container::start(&base.run, &base.docker, &outside)?;

    let daemon = Enforcer::start(&base, &Settings::default())?;
    daemon.wait_identified(&base.host, &late.name, "guest")?;
    // Its neighbour table remembers for a moment that nobody answered.
    wait_for("the hub's answer to the late guest", PATIENCE, || {
        Ok(late.actor.connect((GATEWAY, HUB_PORT), 2000)?.errno.is_none().then_some(()))
    })?;
    let world = late.actor.connect((WORLD, 80), REFUSED_MS)?;
    ensure!(world.errno.is_some(), "the world answered the late guest");
    let life = outside.wait_end(&base.docker, PATIENCE)?;
    ensure!(life.exit_code == 137, "{life:?}");
    ensure!(daemon.outside("container.id", &outside.id).is_some(), "no record");
    daemon.stop()?;
    for name in ["outside", "late", "guest-b"] {
        base.docker.remove(name)?;
    }
    drop(base);
    before.ensure_nothing_new()
}

/// Frames that reach one new guest from another.
fn between_new_guests(base: &Base) -> Result<u64> {
    let listener = Guest::start(&base.run, &base.docker, NETWORK, "listener", &[])?;
    let volley = Volley::new("once", &base.host, &listener)?;
    let filter = Filter { marker: hex::encode(MARKER), ..Filter::default() };
    let captures = Captures::start(&[(Point::Peer, &listener.actor, "eth0")], &filter)?;
    let fired = volley.fire(&base.run, &base.docker);
    let seen = captures.end()?[&Point::Peer].count;
    base.docker.remove(&listener.name)?;
    fired?;
    Ok(seen)
}

#[test]
fn d03_restart_race() -> Result<()> {
    shared::with(|shared| {
        let rig = &shared.rig;
        let volley = Volley::new("forever", &rig.host, &rig.b)?;
        let seen = captures(&rig.b, &rig.world.actor)?;
        let container = volley.start(&rig.run, &rig.docker, "planted")?;
        let restarted = restart(shared, &container);
        rig.docker.remove("planted")?;
        restarted?;
        nothing_arrived(seen)?;
        shared.ensure_legal()
    })
}

fn restart(shared: &Shared, container: &Container) -> Result<()> {
    let (rig, restarts) = (&shared.rig, rounds(10, 200));
    let started = Instant::now();
    let options = || RestartContainerOptions { t: Some(0), ..RestartContainerOptions::default() };
    for _ in 0..restarts {
        rig.docker.call(|client| client.restart_container(&container.name, Some(options())))?;
    }
    println!("{restarts} restarts in {:.1} s", started.elapsed().as_secs_f64());
    // It is a guest like any other, and as a guest it is denied.
    shared.daemon.wait_identified(&rig.host, &container.name, "guest")?;
    let denied = shared.counting(|| {
        std::thread::sleep(Duration::from_millis(100));
        Ok(())
    })?;
    let events: u64 = denied.values().map(|count| count.events).sum();
    ensure!(events > 0, "the volley is silent: {denied:?}");
    Ok(())
}

/// What would grow if anything leaked.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    links: usize,
    endpoints: usize,
    pins: usize,
}

fn held(shared: &Shared) -> Result<Held> {
    let status = shared.daemon.status(&shared.rig.host)?;
    let endpoints = status["endpoints"].as_array().context("no endpoints")?.len();
    let descriptors = fs::read_dir(format!("/proc/{}/fd", shared.daemon.pid()))?.count();
    let links = shared.rig.host.ip("-o link show")?.lines().count();
    let pins = shared.rig.host.run("find /sys/fs/bpf")?.lines().count();
    Ok(Held { descriptors, links, endpoints, pins })
}

#[test]
fn d22_churn() -> Result<()> {
    shared::with(|shared| {
        let (rig, most) = (&shared.rig, rounds(20, usize::MAX));
        let before = held(shared)?;
        let started = Instant::now();
        let mut lives = 0;
        while lives < most && started.elapsed() < CHURN {
            let sleep = ["/bin/sleep", "600"];
            let spec =
                Spec { name: "churn", network: NETWORK, entrypoint: &sleep, ..Spec::default() };
            Container::start(&rig.run, &rig.docker, &spec)?;
            rig.docker.remove("churn")?;
            lives += 1;
        }
        let seconds = started.elapsed().as_secs_f64();
        println!("{lives} lives in {seconds:.1} s; before {before:?}");
        let after = wait_for("the same as before", PATIENCE, || {
            let now = held(shared)?;
            // A connection of the engine's or of status may be open or not.
            let calm = now.descriptors <= before.descriptors + 2;
            // Programs on a veth without a bridge are let go after a while.
            let same = now.links == before.links
                && now.endpoints == before.endpoints
                && now.pins <= before.pins;
            ensure!(calm && same, "{now:?} instead of {before:?}");
            Ok(Some(now))
        })?;
        println!("after {after:?}");
        shared.ensure_legal()
    })
}
