//! Guests that step outside their policy: what they could do there, and how soon it ends.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bollard::models::{
    EndpointSettings, Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest,
    NetworkDisconnectRequest, SwarmInitRequest,
};
use enforcer_tests::{
    attacks::Point,
    frames::{BROADCAST, ethernet, ethertype},
    harness::{
        capture::Captures,
        client::Actor,
        container::{Container, Spec},
        dockerd::{Dockerd, Network, Options},
        enforcer::{Enforcer, Settings},
        guest::Guest,
        netns::Namespace,
        residue::Snapshot,
        run::wait_for,
        topology::{BANNER, BRIDGE, Base, GATEWAY, HUB_PORT, NETWORK, UPLINK, WORLD},
    },
    hex,
    protocol::{Exchanged, Filter, Request, Send, Serve},
};

use crate::shared::{self, HUB, Shared};

/// A guest outside is stopped within this time; measured here: some tens of milliseconds.
const BOUND: Duration = Duration::from_secs(2);
/// Longest that a test waits for it.
const PATIENCE: Duration = Duration::from_secs(10);
const GUEST: &[&str] = &["enforcer.guest"];
const SLEEP: &[&str] = &["/bin/sleep", "600"];
const MARKER: &[u8] = b"EF@outside";
const REFUSED_MS: u64 = 250;

#[test]
fn d05_host_network_guest_is_stopped() -> Result<()> {
    shared::with(|shared| is_stopped(shared, "host", "host_network", true))
}

#[test]
fn d05_guest_in_another_namespace_is_stopped() -> Result<()> {
    shared::with(|shared| {
        let (run, docker) = (&shared.rig.run, &shared.rig.docker);
        // Another guest's namespace is policed, as that guest's; a foreign one by nobody.
        is_stopped(shared, "container:guest-b", "container_namespace", false)?;
        for (name, network, reaches) in [(HUB, NETWORK, false), ("foreign", "bridge", true)] {
            let host = Spec { name, network, ..Spec::default() };
            let container = Container::start(run, docker, &host)?;
            let mode = format!("container:{}", container.id);
            let result = is_stopped(shared, &mode, "container_namespace", reaches);
            docker.remove(name)?;
            result?;
        }
        shared.ensure_legal()
    })
}

#[test]
fn d05_guest_on_another_bridge_is_stopped() -> Result<()> {
    shared::with(|shared| is_stopped(shared, "bridge", "unpoliced_network", true))
}

#[test]
fn d05_macvlan_guest_is_stopped() -> Result<()> {
    shared::with(|shared| on_the_uplink(shared, "macvlan"))
}

#[test]
fn d05_ipvlan_guest_is_stopped() -> Result<()> {
    shared::with(|shared| on_the_uplink(shared, "ipvlan"))
}

#[test]
fn d05_hubs_are_left_alone() -> Result<()> {
    shared::with(|shared| {
        let (run, docker) = (&shared.rig.run, &shared.rig.docker);
        let spec = Spec { name: HUB, network: "host", labels: GUEST, ..Spec::default() };
        let hub = Container::start(run, docker, &Spec { entrypoint: SLEEP, ..spec })?;
        // A guest in the same place at the same time ends.
        let result = is_stopped(shared, "host", "host_network", true);
        let runs = hub.runs(docker)?;
        docker.remove(HUB)?;
        result?;
        ensure!(runs, "the hub was ended");
        ensure!(shared.daemon.outside("container_id", &hub.id).is_none(), "the hub has a record");
        Ok(())
    })
}

/// A container in this mode reaches the world and keeps doing so; with a guest's label it is ended.
fn is_stopped(shared: &Shared, mode: &str, why: &str, reaches_world: bool) -> Result<()> {
    let (run, docker) = (&shared.rig.run, &shared.rig.docker);
    let title: String = mode.chars().take(17).filter(|c| *c != ':').collect();
    let names = ["free", "guest"].map(|kind| format!("{kind}-{title}"));
    let spec = Spec { network: mode, ..Spec::default() };
    let free = Container::start(run, docker, &Spec { name: &names[0], ..spec })?;
    let reached = free.actor()?.connect((WORLD, 80), 1000)?.errno.is_none();
    let marked = Spec { name: &names[1], labels: GUEST, entrypoint: SLEEP, ..spec };
    let guest = Container::start(run, docker, &marked)?;
    let ended = guest.wait_end(docker, PATIENCE);
    let free_runs = free.runs(docker)?;
    for name in &names {
        docker.remove(name)?;
    }
    let life = ended?;
    println!("{mode}: ended {} ms after its start", life.length.as_millis());
    ensure!(reached == reaches_world, "without the label it reaches the world: {reached}");
    ensure!(free_runs, "a container that is no guest was ended");
    ensure!(life.length < BOUND && life.exit_code == 137, "{life:?}");
    let record =
        wait_for("the record", PATIENCE, || Ok(shared.daemon.outside("container_id", &guest.id)))?;
    for (key, value) in [("why", why), ("action", "kill"), ("outcome", "done")] {
        ensure!(record[key] == value, "{record}");
    }
    ensure!(record["container"] == names[1].as_str(), "{record}");
    wait_for("calm", PATIENCE, || {
        let reasons = shared.daemon.reasons(&shared.rig.host)?;
        Ok((!reasons.iter().any(|reason| reason.contains("outside"))).then_some(()))
    })
}

/// By a driver that puts the container beside the host on the uplink.
fn on_the_uplink(shared: &Shared, driver: &str) -> Result<()> {
    let (run, docker) = (&shared.rig.run, &shared.rig.docker);
    let pool = IpamConfig {
        subnet: Some("198.51.100.0/24".into()),
        gateway: Some(WORLD.to_string()),
        ip_range: Some("198.51.100.64/26".into()),
        ..IpamConfig::default()
    };
    let name = format!("uplink-{driver}");
    let request = NetworkCreateRequest {
        name: name.clone(),
        driver: Some(driver.into()),
        ipam: Some(Ipam { config: Some(vec![pool]), ..Ipam::default() }),
        options: Some(HashMap::from([("parent".into(), "up0".into())])),
        ..NetworkCreateRequest::default()
    };
    docker.call(|client| client.create_network(request))?;
    let probe = Spec { name: "probe", network: &name, entrypoint: SLEEP, ..Spec::default() };
    let possible = Container::start(run, docker, &probe);
    docker.remove("probe")?;
    let result = match possible {
        Ok(_) => is_stopped(shared, &name, "unpoliced_network", true),
        Err(error) => {
            println!("{driver}: not possible here: {error:#}");
            Ok(())
        }
    };
    docker.call(|client| client.remove_network(&name))?;
    result
}

#[test]
fn d18_tunnels_to_the_host_are_denied_and_overlay_guests_stopped() -> Result<()> {
    shared::with(|shared| {
        const VXLAN: u16 = 4789;
        let rig = &shared.rig;
        let ask = |from: &Actor, to: std::net::Ipv4Addr| {
            from.call::<Exchanged>(&Request::UdpExchange {
                from_port: 0,
                to: (to, VXLAN).into(),
                data: hex::encode(MARKER),
                count: 1,
                segment: 0,
                timeout_ms: REFUSED_MS,
            })
        };
        let mut ids = Vec::new();
        for address in [GATEWAY, UPLINK] {
            ids.push(rig.host.actor.udp_echo((address, VXLAN))?.id);
        }
        shared.denied(2, &["policy"], || {
            for address in [GATEWAY, UPLINK] {
                ensure!(ask(&rig.a.actor, address)?.answer.is_none(), "{address} answered");
            }
            Ok(())
        })?;
        ensure!(ask(&rig.world.actor, UPLINK)?.answer.is_some(), "nobody listens");
        for id in ids {
            rig.host.actor.call::<()>(&Request::Close { id, reset: false })?;
        }
        overlay(shared)
    })
}

fn overlay(shared: &Shared) -> Result<()> {
    let docker = &shared.rig.docker;
    let address = UPLINK.to_string();
    let init = SwarmInitRequest {
        listen_addr: Some(format!("{address}:2377")),
        advertise_addr: Some(address),
        ..SwarmInitRequest::default()
    };
    if let Err(error) = docker.call(|client| client.init_swarm(init)) {
        println!("overlay: no swarm here: {error:#}");
        return Ok(());
    }
    let request = NetworkCreateRequest {
        name: "over".into(),
        driver: Some("overlay".into()),
        attachable: Some(true),
        ..NetworkCreateRequest::default()
    };
    let made = docker.call(|client| client.create_network(request));
    let result = made.and_then(|_| {
        let probe = Spec { name: "probe", network: "over", entrypoint: SLEEP, ..Spec::default() };
        let possible = Container::start(&shared.rig.run, docker, &probe);
        docker.remove("probe")?;
        match possible {
            // Its other leg is docker_gwbridge, so it reaches the world.
            Ok(_) => is_stopped(shared, "over", "unpoliced_network", true),
            Err(error) => {
                println!("overlay: not possible here: {error:#}");
                Ok(())
            }
        }
    });
    let options = bollard::query_parameters::LeaveSwarmOptions { force: true };
    docker.call(|client| client.leave_swarm(Some(options)))?;
    result
}

#[test]
fn d20_port_without_a_container_is_denied_and_reported() -> Result<()> {
    shared::with(|shared| {
        let rig = &shared.rig;
        let stranger = Namespace::create(&rig.run, "podman")?;
        rig.host
            .ip(&format!("link add podman0 type veth peer name eth0 netns {}", stranger.pid()))?;
        let result = reported(shared, &stranger);
        rig.host.ip("link del podman0")?;
        result?;
        wait_for("calm", PATIENCE, || Ok(stranger_reason(shared)?.is_none().then_some(())))?;
        shared.ensure_legal()
    })
}

fn stranger_reason(shared: &Shared) -> Result<Option<String>> {
    let reasons = shared.daemon.reasons(&shared.rig.host)?;
    let about = "a port of a guest bridge belongs to no container: podman0";
    Ok(reasons.into_iter().find(|reason| reason.starts_with(about)))
}

fn reported(shared: &Shared, stranger: &Namespace) -> Result<()> {
    let rig = &shared.rig;
    rig.host.ip(&format!("link set podman0 master {BRIDGE} up"))?;
    stranger.ip("addr add 10.99.0.78/24 dev eth0")?;
    stranger.ip("link set eth0 up")?;
    let frame =
        hex::encode(&ethernet(BROADCAST, [2, 0, 0, 0, 0, 8], ethertype::EXPERIMENT, MARKER));
    let filter = Filter { marker: hex::encode(MARKER), ..Filter::default() };
    let captures = Captures::start(&rig.points(), &filter)?;
    let counts = shared.counting(|| {
        let flood =
            Send { interface: "eth0".into(), frames: vec![frame], repeat: 20, ..Send::default() };
        stranger.actor.send(flood)?;
        let answer = stranger.actor.connect((GATEWAY, HUB_PORT), REFUSED_MS)?;
        ensure!(answer.errno.is_some(), "the hub answered a stranger");
        Ok(())
    })?;
    for (point, seen) in captures.end()? {
        ensure!(seen.count == 0, "{} frames at {}", seen.count, point.name());
    }
    let reasons = ["unknown_interface", "role_other", "unstamped"];
    let denied: u64 = reasons.iter().filter_map(|r| counts.get(*r)).map(|c| c.events).sum();
    ensure!(denied >= 20, "only {denied} counted: {counts:?}");
    wait_for("the reason", PATIENCE, || stranger_reason(shared))?;
    let record = shared.daemon.outside("interface", "podman0").context("no record")?;
    for (key, value) in [("why", "no_container"), ("action", "deny"), ("network", NETWORK)] {
        ensure!(record[key] == value, "{record}");
    }
    Ok(())
}

const SECOND: &str = "[networks.second]\nbridge = \"second0\"\nsubnet = \"10.98.0.0/24\"\n\
                      gateway = \"10.98.0.1\"\n";

#[test]
fn d04_network_connect_at_runtime() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let before = Snapshot::take();
    let base = Base::start(Options::default())?;
    for (name, third) in [("second", 98), ("loose", 97)] {
        base.docker.create_network(&Network {
            name: name.into(),
            bridge: format!("{name}0"),
            subnet4: (format!("10.{third}.0.0/24"), format!("10.{third}.0.1")),
            subnet6: None,
        })?;
    }
    let start = |network: &str, name: &str| {
        let guest = Guest::start(&base.run, &base.docker, network, name, &[])?;
        guest.actor.listen(([0, 0, 0, 0], 22), Serve::Banner(BANNER.into()))?;
        Ok::<_, anyhow::Error>(guest)
    };
    let (a, second, loose) =
        (start(NETWORK, "guest-a")?, start("second", "victim-2")?, start("loose", "victim-3")?);

    // Without enforcer a second network is a way to everybody on it.
    for (network, victim) in [("second", &second), ("loose", &loose)] {
        connect(&base.docker, network, &a.name)?;
        let answer = a.actor.connect(victim.at(22), 2000)?;
        ensure!(answer.errno.is_none(), "{network}: {answer:?}");
        disconnect(&base.docker, network, &a.name)?;
    }

    let settings = |more: String| Settings { more, ..Settings::default() };
    let daemon = Enforcer::start(&base, &settings(SECOND.into()))?;
    for guest in [&a, &second] {
        daemon.wait_identified(&base.host, &guest.name, "guest")?;
    }
    joins_a_policed_network(&base, &daemon, &a, &second)?;
    joins_an_unpoliced_network(&base, &daemon, &a, &loose)?;
    daemon.stop()?;

    let record = format!("[outside]\naction = \"record\"\n{SECOND}");
    let daemon = Enforcer::start(&base, &settings(record))?;
    daemon.wait_identified(&base.host, &a.name, "guest")?;
    is_only_recorded(&base, &daemon, &a, &loose)?;
    daemon.stop()?;

    for guest in [&a, &second, &loose] {
        base.docker.remove(&guest.name)?;
    }
    drop(base);
    before.ensure_nothing_new()
}

fn joins_a_policed_network(
    base: &Base,
    daemon: &Enforcer,
    a: &Guest,
    victim: &Guest,
) -> Result<()> {
    let ports = || -> Result<usize> {
        let status = daemon.status(&base.host)?;
        let endpoints = status["endpoints"].as_array().context("no endpoints")?;
        Ok(endpoints.iter().filter(|endpoint| endpoint["network"] == "second").count())
    };
    ensure!(ports()? == 1, "{} ports", ports()?);
    let seen = flooding(a, victim, || {
        connect(&base.docker, "second", &a.name)?;
        wait_for("the second port", PATIENCE, || Ok((ports()? == 2).then_some(())))?;
        thread::sleep(Duration::from_millis(300));
        let answer = a.actor.connect(victim.at(22), REFUSED_MS)?;
        ensure!(answer.errno.is_some(), "the victim answered");
        Ok(())
    })?;
    println!("guest network: {} frames sent, {} seen", seen.sent, seen.captured);
    ensure!(seen.sent > 0 && seen.captured == 0, "{seen:?}");
    disconnect(&base.docker, "second", &a.name)?;
    wait_for("its state's end", PATIENCE, || Ok((ports()? == 1).then_some(())))?;
    is_at_home(a)
}

fn joins_an_unpoliced_network(
    base: &Base,
    daemon: &Enforcer,
    a: &Guest,
    victim: &Guest,
) -> Result<()> {
    let mut took = Duration::ZERO;
    let seen = flooding(a, victim, || {
        let started = Instant::now();
        connect(&base.docker, "loose", &a.name)?;
        wait_for("the network's loss", PATIENCE, || {
            Ok((!networks(&base.docker, &a.name)?.contains(&"loose".to_owned())).then_some(()))
        })?;
        took = started.elapsed();
        Ok(())
    })?;
    println!(
        "unpoliced network: taken away {} ms after the call; {} frames sent, {} seen",
        took.as_millis(),
        seen.sent,
        seen.captured
    );
    ensure!(took < BOUND, "{took:?}");
    let record = wait_for("the record", PATIENCE, || Ok(daemon.outside("container", &a.name)))?;
    let expected = [
        ("why", "unpoliced_network"),
        ("to", "loose (bridge)"),
        ("action", "disconnect"),
        ("outcome", "done"),
    ];
    for (key, value) in expected {
        ensure!(record[key] == value, "{record}");
    }
    let answer = a.actor.connect(victim.at(22), REFUSED_MS)?;
    ensure!(answer.errno.is_some(), "the victim answered");
    is_at_home(a)
}

fn is_only_recorded(base: &Base, daemon: &Enforcer, a: &Guest, victim: &Guest) -> Result<()> {
    connect(&base.docker, "loose", &a.name)?;
    let outside = || -> Result<bool> {
        let reasons = daemon.reasons(&base.host)?;
        Ok(reasons.iter().any(|reason| reason.contains("guest-a") && reason.contains("loose")))
    };
    wait_for("the reason", PATIENCE, || Ok(outside()?.then_some(())))?;
    let record = wait_for("the record", PATIENCE, || Ok(daemon.outside("container", &a.name)))?;
    ensure!(record["action"] == "record" && record["outcome"] == "done", "{record}");
    thread::sleep(Duration::from_secs(1));
    let answer = a.actor.connect(victim.at(22), 2000)?;
    ensure!(answer.errno.is_none(), "it was stopped: {answer:?}");
    ensure!(outside()?, "the reason did not last");
    disconnect(&base.docker, "loose", &a.name)?;
    wait_for("calm", PATIENCE, || Ok((!outside()?).then_some(())))
}

/// Its own network still works.
fn is_at_home(a: &Guest) -> Result<()> {
    let answer = a.actor.connect((GATEWAY, HUB_PORT), 2000)?;
    ensure!(answer.errno.is_none(), "the hub does not answer: {answer:?}");
    Ok(())
}

#[derive(Debug)]
struct Seen {
    sent: u64,
    captured: u64,
}

/// Does something while A sends frames by its second interface from its first moment on.
fn flooding(a: &Guest, victim: &Guest, work: impl FnOnce() -> Result<()>) -> Result<Seen> {
    let filter = Filter { marker: hex::encode(MARKER), ..Filter::default() };
    let captures = Captures::start(&[(Point::Peer, &victim.actor, "eth0")], &filter)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, actor) = (Arc::clone(&stop), a.actor.clone());
    let flood = thread::spawn(move || {
        let frame =
            hex::encode(&ethernet(BROADCAST, [2, 0, 0, 0, 0, 9], ethertype::EXPERIMENT, MARKER));
        // The engine counts on: which name the interface gets depends on those that were before.
        let by = |interface: &str| Send {
            interface: interface.into(),
            frames: vec![frame.clone()],
            repeat: 20,
            ..Send::default()
        };
        let doors = ["eth1", "eth2", "eth3", "eth4", "eth5"].map(by);
        let mut sent = 0;
        while !stopped.load(Ordering::Relaxed) {
            for door in &doors {
                // There is no such interface most of the time.
                sent += actor.send(door.clone()).map_or(0, |sent| sent.sent);
            }
        }
        sent
    });
    let worked = work();
    stop.store(true, Ordering::Relaxed);
    let sent = flood.join().ok().context("the flood panicked")?;
    let seen = captures.end()?[&Point::Peer].count;
    worked?;
    Ok(Seen { sent, captured: seen })
}

fn connect(docker: &Dockerd, network: &str, container: &str) -> Result<()> {
    let request = NetworkConnectRequest {
        container: container.into(),
        endpoint_config: Some(EndpointSettings::default()),
    };
    docker.call(|client| client.connect_network(network, request))
}

fn disconnect(docker: &Dockerd, network: &str, container: &str) -> Result<()> {
    let request = NetworkDisconnectRequest { container: container.into(), force: Some(false) };
    docker.call(|client| client.disconnect_network(network, request))
}

/// Names of the networks that a container is on.
fn networks(docker: &Dockerd, container: &str) -> Result<Vec<String>> {
    let inspected = docker.call(|client| client.inspect_container(container, None))?;
    let settings = inspected.network_settings.and_then(|settings| settings.networks);
    Ok(settings.unwrap_or_default().into_keys().collect())
}
