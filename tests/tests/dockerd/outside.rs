//! Guests that step outside their policy: what they could do there, and how soon it ends.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest, SwarmInitRequest};
use enforcer_tests::{
    frames::{BROADCAST, ethernet, ethertype},
    harness::{
        capture::Captures,
        client::Actor,
        container::{Container, Spec},
        netns::Namespace,
        run::wait_for,
        topology::{BRIDGE, GATEWAY, HUB_PORT, NETWORK, UPLINK, WORLD},
    },
    hex,
    protocol::{Exchanged, Filter, Request, Send},
};

use crate::shared::{self, HUB, Shared};

/// A guest outside is stopped within this time; measured here: some tens of milliseconds.
pub(super) const BOUND: Duration = Duration::from_secs(2);
/// Longest that a test waits for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
const GUEST: &[&str] = &["enforcer.guest"];
const SLEEP: &[&str] = &["/bin/sleep", "600"];
pub(super) const MARKER: &[u8] = b"EF@outside";
pub(super) const REFUSED_MS: u64 = 250;

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
        ensure!(shared.daemon.outside("container.id", &hub.id).is_none(), "the hub has a record");
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
        wait_for("the record", PATIENCE, || Ok(shared.daemon.outside("container.id", &guest.id)))?;
    for (key, value) in
        [("enforcer.why", why), ("enforcer.action", "kill"), ("enforcer.outcome", "done")]
    {
        ensure!(record[key] == value, "{record}");
    }
    ensure!(record["container.name"] == names[1].as_str(), "{record}");
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
    let record = shared.daemon.outside("enforcer.interface", "podman0").context("no record")?;
    for (key, value) in
        [("enforcer.why", "no_container"), ("enforcer.action", "deny"), ("network.name", NETWORK)]
    {
        ensure!(record[key] == value, "{record}");
    }
    Ok(())
}
