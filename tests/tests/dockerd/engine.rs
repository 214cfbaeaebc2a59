//! The engine and its containers in other states than usual: restarted, killed, paused, with
//! namespaces inside namespaces, without its firewall rules.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    attacks::Point,
    frames::{BROADCAST, Ip, Ipv4, Tcp, ethernet, ethertype, flag, udp_packet},
    harness::{
        capture::Captures,
        container::{Container, Spec},
        dockerd::Options,
        enforcer::{Enforcer, Settings},
        guest::Guest,
        netns::{Namespace, run_beside},
        residue::Snapshot,
        run::wait_for,
        topology::{
            Base, GATEWAY, HUB_PORT, NETWORK, NOTEBOOK_PORT, PUBLISHED_PORT, Rig, UPLINK, WORLD,
        },
    },
    hex,
    protocol::{Connected, Filter, Received, Request, Send, Sent, Serve},
};

use crate::{
    flood::{denied, finish},
    shared::{self, Shared},
};

const MARKER: &[u8] = b"EF@engine";
const REFUSED_MS: u64 = 250;
const PATIENCE: Duration = Duration::from_secs(20);

/// A sends frames to B and everybody, and connects; B sees nothing of it.
fn a_does_not_reach_b(rig: &Rig) -> Result<()> {
    let scene = rig.scene()?;
    let ip = Ip::V4(Ipv4::new(scene.a.ipv4, scene.b.ipv4, 0));
    let datagram = udp_packet(&ip, 5000, 5353, MARKER);
    let mut frames = Vec::new();
    for to in [scene.b.mac, BROADCAST, scene.host.mac] {
        frames.push(hex::encode(&ethernet(to, scene.a.mac, ethertype::EXPERIMENT, MARKER)));
        frames.push(hex::encode(&ethernet(to, scene.a.mac, ethertype::IPV4, &datagram)));
    }
    let filter = Filter { marker: hex::encode(MARKER), ..Filter::default() };
    let captures = Captures::start(&[(Point::Peer, &rig.b.actor, "eth0")], &filter)?;
    let expected = frames.len() as u64;
    let all = Send { interface: "eth0".into(), frames, repeat: 1, ..Send::default() };
    let sent = rig.a.actor.send(all)?.sent;
    ensure!(sent == expected, "{sent} sent");
    let answer = rig.a.actor.connect(rig.b.at(22), REFUSED_MS)?;
    ensure!(answer.errno.is_some(), "B answered A: {answer:?}");
    let seen = captures.end()?[&Point::Peer].count;
    ensure!(seen == 0, "B saw {seen} frames");
    Ok(())
}

/// What a guest may do, it can; what it may not, it cannot.
fn is_policed(rig: &Rig) -> Result<()> {
    let hub = rig.a.actor.connect((GATEWAY, HUB_PORT), 2000)?;
    ensure!(hub.errno.is_none(), "the hub does not answer: {hub:?}");
    let world = rig.a.actor.connect((WORLD, 80), REFUSED_MS)?;
    ensure!(world.errno.is_some(), "the world answered: {world:?}");
    let visit = rig.host.actor.connect(rig.a.at(NOTEBOOK_PORT), 2000)?;
    ensure!(visit.errno.is_none(), "the host does not reach A: {visit:?}");
    a_does_not_reach_b(rig)
}

#[test]
fn d14_bridge_nf_call_off() -> Result<()> {
    const CALLS: [&str; 2] =
        ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"];
    shared::with(|shared| {
        for path in CALLS {
            shared.rig.host.sysctl(path, "0")?;
        }
        let result = is_policed(&shared.rig);
        for path in CALLS {
            shared.rig.host.sysctl(path, "1")?;
        }
        result?;
        shared.ensure_legal()
    })
}

#[test]
fn d23_pause_unpause_keeps_policy_and_flows() -> Result<()> {
    shared::with(|shared| {
        let rig = &shared.rig;
        let (host, a) = (&rig.host.actor, &rig.a);
        let listener = a.actor.listen(([0, 0, 0, 0], 7100), Serve::Hold)?;
        let ours = host.hold(a.at(7100), 2000)?.id.context("no connection")?;
        let accepted: Connected =
            a.actor.call(&Request::Accept { id: listener.id, timeout_ms: 2000 })?;
        let theirs = accepted.id.context("no connection")?;
        let say = |from: &enforcer_tests::harness::client::Actor, id| {
            from.call::<Sent>(&Request::Write { id, data: hex::encode(MARKER) })
        };
        let hear = |at: &enforcer_tests::harness::client::Actor, id, times: usize| -> Result<()> {
            let length = times * MARKER.len();
            let read: Received = at.call(&Request::Read { id, length, timeout_ms: 3000 })?;
            ensure!(read.data == hex::encode(&MARKER.repeat(times)), "{read:?}");
            Ok(())
        };
        say(host, ours)?;
        rig.docker.call(|client| client.pause_container(&a.name))?;
        // Its kernel side still takes part: what comes now waits in its socket.
        let while_paused = say(host, ours);
        std::thread::sleep(Duration::from_secs(1));
        let identified = shared.daemon.wait_identified(&rig.host, &a.name, "guest");
        rig.docker.call(|client| client.unpause_container(&a.name))?;
        while_paused?;
        identified?;
        hear(&a.actor, theirs, 2)?;
        say(&a.actor, theirs)?;
        hear(host, ours, 1)?;
        for (actor, id) in [(host, ours), (&a.actor, theirs), (&a.actor, listener.id)] {
            actor.call::<()>(&Request::Close { id, reset: false })?;
        }
        is_policed(rig)?;
        shared.ensure_legal()
    })
}

/// What a guest with `CAP_NET_ADMIN` can build is built for it from here: the frames are the same.
#[test]
fn d09_nested_namespaces() -> Result<()> {
    shared::with(|shared| {
        let rig = &shared.rig;
        let spec = Spec {
            name: "nest",
            network: NETWORK,
            capabilities: &["NET_ADMIN"],
            ..Spec::default()
        };
        let outer = Container::start(&rig.run, &rig.docker, &spec)?;
        let inner = Namespace::create(&rig.run, "inner")?;
        let result = nested(shared, &outer, &inner);
        drop(inner);
        rig.docker.remove("nest")?;
        result?;
        shared.ensure_legal()
    })
}

fn nested(shared: &Shared, outer: &Container, inner: &Namespace) -> Result<()> {
    let rig = &shared.rig;
    let pid = outer.pid(&rig.docker)?;
    let own = outer.actor()?.interface("eth0")?;
    shared.daemon.wait_identified(&rig.host, &outer.name, "guest")?;
    let beside = |line: &str| run_beside(pid, line);
    beside(&format!("ip link add in0 type veth peer name in1 netns {}", inner.pid()))?;
    beside("ip addr add 192.168.77.1/24 dev in0")?;
    beside("ip link set in0 up")?;
    // Bridged later, what its own IPv6 says now and then would be counted.
    inner.sysctl("net/ipv6/conf/in1/disable_ipv6", "1")?;
    inner.ip("addr add 192.168.77.2/24 dev in1")?;
    inner.ip("link set in1 up")?;
    inner.ip("route add default via 192.168.77.1")?;
    // A bare machine has no sysctl of its own.
    beside("/bin/busybox sysctl -w net.ipv4.ip_forward=1")?;
    let hub: SocketAddr = (GATEWAY, HUB_PORT).into();

    // Routed, but not translated: an address that is not the guest's.
    shared.denied(1, &["source_address"], || {
        let answer = inner.actor.connect(hub, REFUSED_MS)?;
        ensure!(answer.errno.is_some(), "the hub answered an inner address");
        Ok(())
    })?;

    // Translated, it is the outer guest: the hub answers, the world does not.
    beside("iptables -w -t nat -A POSTROUTING -o eth0 -j MASQUERADE")?;
    let answer = inner.actor.connect(hub, 2000)?;
    ensure!(answer.errno.is_none(), "the hub does not answer: {answer:?}");
    let before = shared.daemon.records().len();
    shared.denied(1, &["policy"], || {
        let answer = inner.actor.connect((WORLD, 80), REFUSED_MS)?;
        ensure!(answer.errno.is_some(), "the world answered");
        Ok(())
    })?;
    wait_for("a record that names the outer guest", PATIENCE, || {
        let records = shared.daemon.records();
        let attributed = records.iter().skip(before).any(|record| {
            record["event.reason"] == "policy" && record["container.name"] == outer.name.as_str()
        });
        Ok(attributed.then_some(()))
    })?;

    // Bridged, it has a MAC address of its own.
    beside("ip link add br0 type bridge")?;
    for line in ["in0 master br0", "eth0 master br0", "br0 up"] {
        beside(&format!("ip link set {line}"))?;
    }
    let inner_mac = inner.actor.interface("in1")?.mac;
    ensure!(own.mac != inner_mac, "the same MAC address");
    // Its address is right: only the MAC address is not the guest's.
    let ip = Ip::V4(Ipv4::new(own.ipv4.context("no address")?, GATEWAY, 0));
    let datagram = udp_packet(&ip, 5000, HUB_PORT, MARKER);
    let frame = ethernet(rig.scene()?.host.mac, inner_mac, ethertype::IPV4, &datagram);
    let filter = Filter { marker: hex::encode(MARKER), ..Filter::default() };
    let captures = Captures::start(&rig.points(), &filter)?;
    shared.denied(10, &["source_mac"], || {
        let frames = vec![hex::encode(&frame)];
        let flood = Send { interface: "in1".into(), frames, repeat: 10, ..Send::default() };
        ensure!(inner.actor.send(flood)?.sent == 10, "not sent");
        Ok(())
    })?;
    for (point, seen) in captures.end()? {
        ensure!(seen.count == 0, "{} frames at {}", seen.count, point.name());
    }
    Ok(())
}

#[test]
fn d19_userns_remap_is_supported() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let before = Snapshot::take();
    let base = Base::start(Options { userns_remap: true, ..Options::default() })?;
    let daemon = Enforcer::start(&base, &Settings::default())?;
    let rig = base.with_guests()?;
    for guest in [&rig.a, &rig.b] {
        daemon.wait_identified(&rig.host, &guest.name, "guest")?;
    }
    let status = daemon.status(&rig.host)?;
    let docker = status["docker"].as_str().context("no engine")?;
    ensure!(docker.ends_with(", userns-remap)"), "{docker}");
    let users = std::fs::read_to_string(format!("/proc/{}/uid_map", rig.a.pid))?;
    ensure!(users.split_whitespace().nth(1) == Some("100000"), "not remapped: {users}");
    is_policed(&rig)?;
    daemon.stop()?;
    rig.stop()?;
    before.ensure_nothing_new()
}

/// Docker writes no rules at all: no isolation, nothing against a neighbour who routes to a guest. Everything
/// holds as with them.
#[test]
fn d11_d13_without_docker_s_own_rules_guests_are_policed_all_the_same() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let before = Snapshot::take();
    let rig = Base::start(Options { iptables: false, ..Options::default() })?.with_guests()?;
    let by_route = |timeout_ms: u64| -> Result<bool> {
        Ok(rig.world.actor.connect(rig.a.at(22), timeout_ms)?.errno.is_none())
    };
    ensure!(by_route(2000)?, "nobody polices, and the world does not reach A by its route");
    let daemon = Enforcer::start_beside(&rig, &Settings::default())?;
    for guest in [&rig.a, &rig.b] {
        daemon.wait_identified(&rig.host, &guest.name, "guest")?;
    }
    is_policed(&rig)?;
    let captures = Captures::start(
        &[(Point::Peer, &rig.a.actor, "eth0")],
        &Filter { port: Some(22), ..Filter::default() },
    )?;
    // Each attempt is one segment.
    denied(&daemon, &rig.host, (3, &["not_published"]), || {
        for _ in 0..3 {
            ensure!(!by_route(REFUSED_MS)?, "the world reaches A by its route");
        }
        Ok(())
    })?;
    let seen = captures.end()?[&Point::Peer].count;
    ensure!(seen == 0, "A saw {seen} frames");
    let published = rig.world.actor.connect((UPLINK, PUBLISHED_PORT), 2000)?;
    ensure!(published.errno.is_none(), "a published port does not answer: {published:?}");
    finish(rig, daemon, &before)
}

/// D17: a link tells a guest its neighbour's name. Without enforcer the neighbour answers; with it the link
/// opens no way.
#[test]
fn d17_a_linked_guest_does_not_reach_its_neighbour() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let before = Snapshot::take();
    let rig = Base::start(Options::default())?.with_guests()?;
    let link = format!("{}:neighbour", rig.b.name);
    let spec = Spec { name: "linked", network: NETWORK, links: &[&link], ..Spec::default() };
    let actor = Container::start(&rig.run, &rig.docker, &spec)?.actor()?;
    let (own, b) = (actor.interface("eth0")?, rig.scene()?.b);
    let filter = Filter { port: Some(22), ..Filter::default() };
    let at_b = [(Point::Peer, &rig.b.actor, "eth0")];
    let captures = Captures::start(&at_b, &filter)?;
    let answer = actor.connect(rig.b.at(22), 2000)?;
    ensure!(answer.errno.is_none(), "nobody polices, and B does not answer: {answer:?}");
    ensure!(captures.end()?[&Point::Peer].count > 0, "B answered what it did not see");

    let daemon = Enforcer::start_beside(&rig, &Settings::default())?;
    daemon.wait_identified(&rig.host, spec.name, "guest")?;
    let captures = Captures::start(&at_b, &filter)?;
    // By name and address, which may not get beyond the question whose it is.
    let answer = actor.connect(rig.b.at(22), REFUSED_MS)?;
    ensure!(answer.errno.is_some(), "B answered: {answer:?}");
    // And by segments to whom it knows from before.
    let ip = Ip::V4(Ipv4::new(own.ipv4.context("no address")?, b.ipv4, 0));
    let syn = Tcp::new(5000, 22, flag::SYN).packet(&ip, MARKER);
    denied(&daemon, &rig.host, (20, &["guest_to_guest", "l2_destination"]), || {
        let frames = vec![hex::encode(&ethernet(b.mac, own.mac, ethertype::IPV4, &syn))];
        let all = Send { interface: "eth0".into(), frames, repeat: 20, ..Send::default() };
        ensure!(actor.send(all)?.sent == 20, "not sent");
        Ok(())
    })?;
    let seen = captures.end()?[&Point::Peer].count;
    ensure!(seen == 0, "B saw {seen} frames");
    let hub = actor.connect((GATEWAY, HUB_PORT), 2000)?;
    ensure!(hub.errno.is_none(), "the hub does not answer: {hub:?}");
    rig.docker.remove(spec.name)?;
    finish(rig, daemon, &before)
}

#[test]
fn d15_dockerd_restart_and_kill_with_live_restore() -> Result<()> {
    engine_ends(true)
}

#[test]
fn d15_dockerd_restart_and_kill_without_live_restore() -> Result<()> {
    engine_ends(false)
}

fn engine_ends(live_restore: bool) -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let before = Snapshot::take();
    let base = Base::start(Options { live_restore, ..Options::default() })?;
    let daemon = Enforcer::start(&base, &Settings::default())?;
    let mut rig = base.with_guests()?;
    for guest in [&rig.a, &rig.b] {
        daemon.wait_identified(&rig.host, &guest.name, "guest")?;
    }
    is_policed(&rig)?;
    let told = |event: &str| {
        let is =
            |r: &serde_json::Value| r["event.action"] == "docker" && r["enforcer.event"] == event;
        daemon.records().into_iter().filter(is).count()
    };
    for (times, signal, name) in [(1, libc::SIGTERM, "restart"), (2, libc::SIGKILL, "kill")] {
        rig.docker.end(signal)?;
        wait_for("that the engine is lost", PATIENCE, || {
            Ok((told("engine lost") >= times).then_some(()))
        })?;
        // Without live restore an orderly end takes the guests with it, a kill does not.
        if live_restore || signal == libc::SIGKILL {
            wait_for("the engine's absence", PATIENCE, || {
                let reasons = daemon.reasons(&rig.host)?;
                Ok(reasons.iter().any(|reason| reason.starts_with("Docker: ")).then_some(()))
            })?;
            is_policed(&rig).with_context(|| format!("{name}: without an engine"))?;
        }
        rig.docker.resume(&rig.host)?;
        if !live_restore {
            for name in [&rig.a.name, &rig.b.name] {
                rig.docker.remove(name)?;
            }
            rig = rig.with_new_guests()?;
        }
        for guest in [&rig.a, &rig.b] {
            daemon.wait_identified(&rig.host, &guest.name, "guest")?;
        }
        wait_for("the engine", PATIENCE, || {
            Ok(daemon.reasons(&rig.host)?.is_empty().then_some(()))
        })?;
        // It may have been followed and lost again while it came up.
        wait_for("that the engine is followed", PATIENCE, || {
            Ok((told("engine followed") > times).then_some(()))
        })?;
        is_policed(&rig).with_context(|| format!("{name}: with the engine back"))?;
        is_policed_from_its_start(&rig, &daemon).with_context(|| format!("{name}: a new guest"))?;
    }
    // Started while nobody watched: found by listing.
    daemon.stop()?;
    let late = Guest::start(&rig.run, &rig.docker, NETWORK, "late", &[])?;
    let daemon = Enforcer::start_beside(&rig, &Settings::default())?;
    for guest in [&rig.a, &rig.b, &late] {
        daemon.wait_identified(&rig.host, &guest.name, "guest")?;
    }
    is_policed(&rig)?;
    daemon.stop()?;
    rig.docker.remove("late")?;
    rig.stop()?;
    before.ensure_nothing_new()
}

fn is_policed_from_its_start(rig: &Rig, daemon: &Enforcer) -> Result<()> {
    let guest = Guest::start(&rig.run, &rig.docker, NETWORK, "guest-new", &[])?;
    let identified = daemon.wait_identified(&rig.host, &guest.name, "guest");
    let hub = guest.actor.connect((GATEWAY, HUB_PORT), 2000);
    let world = guest.actor.connect((WORLD, 80), REFUSED_MS);
    rig.docker.remove(&guest.name)?;
    identified?;
    ensure!(hub?.errno.is_none() && world?.errno.is_some(), "not policed");
    Ok(())
}
