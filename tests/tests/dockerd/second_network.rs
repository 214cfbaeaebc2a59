//! A running guest on a second network: policed like the first one, or left at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bollard::models::{EndpointSettings, NetworkConnectRequest, NetworkDisconnectRequest};
use enforcer_tests::{
    attacks::Point,
    frames::{BROADCAST, ethernet, ethertype},
    harness::{
        capture::Captures,
        dockerd::{Dockerd, Network, Options},
        enforcer::{Enforcer, Settings},
        guest::Guest,
        residue::Snapshot,
        run::wait_for,
        topology::{BANNER, Base, GATEWAY, HUB_PORT, NETWORK},
    },
    hex,
    protocol::{Filter, Send, Serve},
};

use crate::outside::{BOUND, MARKER, PATIENCE, REFUSED_MS};

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
    let record =
        wait_for("the record", PATIENCE, || Ok(daemon.outside("container.name", &a.name)))?;
    let expected = [
        ("enforcer.why", "unpoliced_network"),
        ("enforcer.to", "loose (bridge)"),
        ("enforcer.action", "disconnect"),
        ("enforcer.outcome", "done"),
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
    let record =
        wait_for("the record", PATIENCE, || Ok(daemon.outside("container.name", &a.name)))?;
    ensure!(
        record["enforcer.action"] == "record" && record["enforcer.outcome"] == "done",
        "{record}"
    );
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
