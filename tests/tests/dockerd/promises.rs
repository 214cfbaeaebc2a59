//! A test for each promise to operators, N1 to N6, with ordinary sockets and a few frames.

use std::{net::SocketAddr, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    attacks::Point,
    frames::{BROADCAST, Ipv4, Tcp, ethernet, ethertype, flag, icmp, udp_packet},
    harness::{
        capture::Captures,
        client::Actor,
        guest::Guest,
        netns::Namespace,
        run::wait_for,
        topology::{
            BANNER, BRIDGE, DOCKER0, GATEWAY, HOST_PORTS, HUB_BANNER, HUB_PORT, NETWORK,
            NOTEBOOK_PORT, PUBLISHED_PORT, UPLINK, WORLD,
        },
    },
    hex,
    protocol::{
        Connected, Exchanged, Filter, Received, Request, Send, Sent, Serve, Served, Transferred,
    },
};

use crate::{
    outside::PATIENCE,
    shared::{self, HUB, HUB_API, Shared},
};

/// Shorter than the kernel's first retransmission: one attempt is one SYN.
const REFUSED_MS: u64 = 250;
const MARKER: &[u8] = b"EF@promise";

#[test]
fn n1_no_new_egress() -> Result<()> {
    shared::with(|shared| {
        let a = &shared.rig.a.actor;
        let world = || -> [SocketAddr; 2] { [(WORLD, 80).into(), (WORLD, 443).into()] };
        let points = [(Point::World, &shared.rig.world.actor, "wan0")];
        let only_ip = Filter { ethertype: Some(ethertype::IPV4), ..Filter::default() };
        let captures = Captures::start(&points, &only_ip)?;
        shared.denied(5, &["policy"], || {
            for to in world() {
                ensure!(a.connect(to, REFUSED_MS)?.errno.is_some(), "{to} answered");
            }
            for port in [53, 4444] {
                let answer = ask(a, (WORLD, port).into())?.answer;
                ensure!(answer.is_none(), "UDP {port} answered");
            }
            ensure!(ping(a, WORLD)?.answer.is_none(), "the world answered a ping");
            Ok(())
        })?;
        let seen = captures.end()?;
        ensure!(seen[&Point::World].count == 0, "seen in the world: {seen:?}");
        // The same packets from the host arrive.
        for to in world() {
            ensure!(shared.rig.host.actor.connect(to, 2000)?.errno.is_none(), "{to} is down");
        }
        ensure!(ask(&shared.rig.host.actor, (WORLD, 53).into())?.answer.is_some(), "no UDP");
        shared.ensure_legal()
    })
}

#[test]
fn n2_no_guest_to_guest() -> Result<()> {
    shared::with(|shared| {
        let scene = shared.rig.scene()?;
        let (a, b, host) = (scene.a, scene.b, scene.host);
        let to_b = |to| {
            let ip = Ipv4::new(a.ipv4, b.ipv4, 0);
            let ends = enforcer_tests::frames::Ip::V4(ip.clone());
            let ping = Ipv4 { protocol: 1, ..ip }.packet(&icmp(8, 0, [0, 1, 0, 1], MARKER));
            [
                Tcp::new(5000, NOTEBOOK_PORT, flag::SYN).packet(&ends, MARKER),
                udp_packet(&ends, 5000, 5353, MARKER),
                ping,
            ]
            .map(|packet| ethernet(to, a.mac, ethertype::IPV4, &packet))
        };
        let raw = |to| ethernet(to, a.mac, ethertype::EXPERIMENT, MARKER);
        let mut frames = vec![raw(b.mac), raw(BROADCAST)];
        frames.extend(to_b(b.mac));
        frames.extend(to_b(host.mac));
        let reasons = ["ethertype", "l2_destination", "guest_to_guest"];
        unseen_by_b(shared, &reasons, &frames)?;
        // Over the host's addresses to B's published port.
        shared.denied(2, &["policy"], || {
            for address in [GATEWAY, UPLINK] {
                let to = (address, PUBLISHED_PORT + 1);
                ensure!(
                    shared.rig.a.actor.connect(to, REFUSED_MS)?.errno.is_some(),
                    "{to:?} answered"
                );
            }
            Ok(())
        })?;
        shared.ensure_legal()
    })
}

#[test]
fn n3_no_guest_to_host() -> Result<()> {
    shared::with(|shared| {
        let a = &shared.rig.a.actor;
        let addresses = [GATEWAY, UPLINK, DOCKER0];
        let ports = addresses.iter().flat_map(|address| {
            HOST_PORTS.iter().chain(&[HUB_PORT, PUBLISHED_PORT]).map(|port| (*address, *port))
        });
        let closed: Vec<_> = ports.filter(|to| *to != (GATEWAY, HUB_PORT)).collect();
        shared.denied(closed.len() as u64, &["policy"], || {
            for to in &closed {
                ensure!(a.connect(*to, REFUSED_MS)?.errno.is_some(), "{to:?} answered");
            }
            Ok(())
        })?;
        shared.denied(2 * addresses.len() as u64, &["policy"], || {
            for address in addresses {
                ensure!(ask(a, (address, 53).into())?.answer.is_none(), "{address} answered UDP");
                ensure!(ping(a, address)?.answer.is_none(), "{address} answered a ping");
            }
            Ok(())
        })?;
        // The one that is allowed, and all of them from the host itself.
        let hub = a.connect((GATEWAY, HUB_PORT), 2000)?;
        ensure!(hub.answer == hex::encode(HUB_BANNER.as_bytes()), "hub: {hub:?}");
        for to in HOST_PORTS.map(|port| (GATEWAY, port)) {
            ensure!(shared.rig.host.actor.connect(to, 2000)?.errno.is_none(), "{to:?} is down");
        }
        shared.ensure_legal()
    })
}

#[test]
fn n4_host_reaches_any_port_of_a_guest() -> Result<()> {
    shared::with(|shared| {
        let (host, a) = (&shared.rig.host.actor, &shared.rig.a);
        let denials = shared.counting(|| {
            for port in [1, 1234, 65535] {
                let listener =
                    a.actor.listen(([0, 0, 0, 0], port), Serve::Banner(BANNER.into()))?;
                let answer = host.connect(a.at(port), 2000)?;
                ensure!(answer.answer == hex::encode(BANNER.as_bytes()), "{port}: {answer:?}");
                a.actor.call::<()>(&Request::Close { id: listener.id, reset: false })?;
            }
            ensure!(ask(host, a.at(5353))?.answer.is_some(), "UDP");
            ensure!(ping(host, a.ipv4)?.answer.is_some(), "ping");
            // A closed port is refused by the guest itself, at once.
            let closed = host.connect(a.at(4321), 2000)?;
            ensure!(closed.errno == Some(libc::ECONNREFUSED), "closed port: {closed:?}");
            Ok(())
        })?;
        ensure!(!denials.contains_key("policy"), "denied: {denials:?}");
        shared.ensure_legal()
    })
}

#[test]
fn n4_published_port_answers_the_world_and_nothing_else_does() -> Result<()> {
    shared::with(|shared| {
        let (world, a) = (&shared.rig.world.actor, &shared.rig.a);
        for (port, name) in [(PUBLISHED_PORT, "A"), (PUBLISHED_PORT + 1, "B")] {
            let answer = world.call::<Connected>(&Request::Connect {
                to: (UPLINK, port).into(),
                by: enforcer_tests::protocol::ConnectBy::Plain,
                data: hex::encode(MARKER),
                timeout_ms: 2000,
                hold: false,
            })?;
            ensure!(answer.answer == hex::encode(MARKER), "{name}: {answer:?}");
        }
        // The world routes to the guests' subnet: what is not published is closed to it.
        shared.denied(1, &["not_published"], || {
            let answer = world.connect(a.at(22), REFUSED_MS)?;
            ensure!(answer.errno.is_some(), "port 22 of A answered the world: {answer:?}");
            Ok(())
        })?;
        shared.ensure_legal()
    })
}

#[test]
fn n4_large_answers_arrive() -> Result<()> {
    shared::with(|shared| {
        const BYTES: u64 = 32 << 20;
        let a = &shared.rig.a;
        let source = a.actor.listen(([0, 0, 0, 0], 7001), Serve::Source(BYTES))?;
        let moved: Transferred = shared.rig.host.actor.call(&Request::Transfer {
            to: a.at(7001),
            send: 0,
            timeout_ms: 30_000,
        })?;
        ensure!(moved.bytes == BYTES, "{moved:?}");
        a.actor.call::<()>(&Request::Close { id: source.id, reset: false })
    })
}

#[test]
fn n4_connection_lives_through_silence() -> Result<()> {
    shared::with(|shared| {
        let (host, a) = (&shared.rig.host.actor, &shared.rig.a);
        let listener = a.actor.listen(([0, 0, 0, 0], 7002), Serve::Hold)?;
        let ours = host.hold(a.at(7002), 2000)?.id.context("no connection")?;
        let accepted: Connected =
            a.actor.call(&Request::Accept { id: listener.id, timeout_ms: 2000 })?;
        let theirs = accepted.id.context("no connection")?;
        for (wait, from, to, by, at) in [
            (0, host, &a.actor, ours, theirs),
            (3, host, &a.actor, ours, theirs),
            (3, &a.actor, host, theirs, ours),
        ] {
            thread::sleep(Duration::from_secs(wait));
            from.call::<Sent>(&Request::Write { id: by, data: hex::encode(MARKER) })?;
            let read: Received =
                to.call(&Request::Read { id: at, length: MARKER.len(), timeout_ms: 2000 })?;
            ensure!(read.data == hex::encode(MARKER), "after {wait} s: {read:?}");
        }
        for (actor, id) in [(host, ours), (&a.actor, theirs), (&a.actor, listener.id)] {
            actor.call::<()>(&Request::Close { id, reset: false })?;
        }
        Ok(())
    })
}

#[test]
fn n4_hub_in_a_container_reaches_guests_and_guests_its_api() -> Result<()> {
    shared::with(|shared| {
        let rig = &shared.rig;
        let hub = Guest::start(&rig.run, &rig.docker, NETWORK, HUB, &[])?;
        let result = with_hub(shared, &hub);
        rig.docker.remove(HUB)?;
        result?;
        shared.ensure_legal()
    })
}

fn with_hub(shared: &Shared, hub: &Guest) -> Result<()> {
    let rig = &shared.rig;
    shared.daemon.wait_identified(&rig.host, HUB, "hub")?;
    hub.actor.listen(([0, 0, 0, 0], HUB_API), Serve::Banner(HUB_BANNER.into()))?;
    hub.actor.listen(([0, 0, 0, 0], 22), Serve::Banner(BANNER.into()))?;
    for guest in [&rig.a, &rig.b] {
        for port in [NOTEBOOK_PORT, 22] {
            let answer = hub.actor.connect(guest.at(port), 2000)?;
            ensure!(answer.errno.is_none(), "hub to {}:{port}: {answer:?}", guest.name);
        }
        let answer = guest.actor.connect(hub.at(HUB_API), 2000)?;
        ensure!(
            answer.answer == hex::encode(HUB_BANNER.as_bytes()),
            "{} to the hub: {answer:?}",
            guest.name
        );
        shared.denied(1, &["policy", "guest_to_guest"], || {
            let answer = guest.actor.connect(hub.at(22), REFUSED_MS)?;
            ensure!(answer.errno.is_some(), "the hub's port 22 answered {}", guest.name);
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn n5_no_impersonation() -> Result<()> {
    shared::with(|shared| {
        let scene = shared.rig.scene()?;
        let (a, b, host) = (scene.a, scene.b, scene.host);
        let from = |mac, address| {
            let ip = enforcer_tests::frames::Ip::V4(Ipv4::new(address, host.ipv4, 0));
            let packet = udp_packet(&ip, 5000, 53, MARKER);
            ethernet(host.mac, mac, ethertype::IPV4, &packet)
        };
        let echo = shared.rig.host.actor.udp_echo((GATEWAY, 5353))?;
        shared.denied(3, &["source_address", "source_mac"], || {
            send(shared, &[from(a.mac, b.ipv4), from(b.mac, a.ipv4), from(b.mac, b.ipv4)])
        })?;
        // Its own addresses pass this guard: only policy stops it here, and nothing at the hub.
        shared.denied(1, &["policy"], || send(shared, &[from(a.mac, a.ipv4)]))?;
        let served: Served = shared.rig.host.actor.served(echo.id)?;
        ensure!(served.accepted == 0, "the host received {served:?}");
        shared.rig.host.actor.call::<()>(&Request::Close { id: echo.id, reset: false })?;
        shared.ensure_legal()
    })
}

#[test]
fn n6_unknown_interface_on_the_guest_bridge_is_cut_off() -> Result<()> {
    shared::with(|shared| {
        let rig = &shared.rig;
        let stranger = Namespace::create(&rig.run, "stranger")?;
        rig.host
            .ip(&format!("link add strange0 type veth peer name eth0 netns {}", stranger.pid()))?;
        let result = cut_off(shared, &stranger);
        rig.host.ip("link del strange0")?;
        result?;
        shared.ensure_legal()
    })
}

/// Reasons by which a port that is nobody's is denied; the last one by the bridge, where no program is at the port yet.
const AT_THE_PORT: [&str; 2] = ["unknown_interface", "role_other"];
const CUT_OFF: [&str; 3] = [AT_THE_PORT[0], AT_THE_PORT[1], "unstamped"];

fn cut_off(shared: &Shared, stranger: &Namespace) -> Result<()> {
    let rig = &shared.rig;
    rig.host.ip(&format!("link set strange0 master {BRIDGE} up"))?;
    stranger.ip("addr add 10.99.0.77/24 dev eth0")?;
    stranger.ip("link set eth0 up")?;
    let frame = ethernet(BROADCAST, [2, 0, 0, 0, 0, 7], ethertype::EXPERIMENT, MARKER);
    let filter = Filter { marker: hex::encode(MARKER), ..Filter::default() };
    let send = |repeat| {
        let frames = vec![hex::encode(&frame)];
        stranger.actor.send(Send { interface: "eth0".into(), frames, repeat, ..Send::default() })
    };
    // At once, before any program may have seen the port: nobody beyond the bridge hears it. The bridge itself may,
    // where a capture looks before the program that denies.
    let points = rig.points();
    let beyond: Vec<_> = points.into_iter().filter(|(at, ..)| *at != Point::Host).collect();
    let early = Captures::start(&beyond, &filter)?;
    send(50)?;
    ensure_none(early)?;
    wait_for("a program at the port itself", PATIENCE, || {
        let counts = shared.counting(|| send(1).map(drop))?;
        Ok(AT_THE_PORT.iter().any(|reason| counts.contains_key(*reason)).then_some(()))
    })?;
    let captures = Captures::start(&points, &filter)?;
    let counts = shared.counting(|| {
        send(50)?;
        for to in [(GATEWAY, HUB_PORT), (rig.a.ipv4, NOTEBOOK_PORT)] {
            let answer = stranger.actor.connect(to, REFUSED_MS)?;
            ensure!(answer.errno.is_some(), "{to:?} answered a stranger");
        }
        // Nor does the host reach it.
        stranger.actor.listen(([0, 0, 0, 0], 80), Serve::Banner(BANNER.into()))?;
        let answer = rig.host.actor.connect(([10, 99, 0, 77], 80), REFUSED_MS)?;
        ensure!(answer.errno.is_some(), "a stranger answered the host");
        Ok(())
    })?;
    ensure_none(captures)?;
    let events: u64 =
        CUT_OFF.iter().filter_map(|reason| counts.get(*reason)).map(|count| count.events).sum();
    ensure!(events >= 50, "only {events} counted: {counts:?}");
    Ok(())
}

fn ensure_none(captures: Captures) -> Result<()> {
    for (point, seen) in captures.end()? {
        ensure!(seen.count == 0, "{} frames at {}", seen.count, point.name());
    }
    Ok(())
}

/// A sends frames: B sees none, and each is counted under one of the reasons.
fn unseen_by_b(shared: &Shared, reasons: &[&str], frames: &[Vec<u8>]) -> Result<()> {
    let filter = Filter { marker: hex::encode(MARKER), ..Filter::default() };
    let captures = Captures::start(&shared.rig.points(), &filter)?;
    shared.denied(frames.len() as u64, reasons, || send(shared, frames))?;
    ensure_none(captures)
}

fn send(shared: &Shared, frames: &[Vec<u8>]) -> Result<()> {
    let sent: Sent = shared.rig.a.actor.send(Send {
        interface: "eth0".into(),
        frames: frames.iter().map(|frame| hex::encode(frame)).collect(),
        repeat: 1,
        ..Send::default()
    })?;
    ensure!(sent.sent == frames.len() as u64, "{sent:?}");
    Ok(())
}

fn ask(actor: &Actor, to: SocketAddr) -> Result<Exchanged> {
    actor.call(&Request::UdpExchange {
        from_port: 0,
        to,
        data: hex::encode(MARKER),
        count: 1,
        segment: 0,
        timeout_ms: REFUSED_MS,
    })
}

fn ping(actor: &Actor, to: std::net::Ipv4Addr) -> Result<Exchanged> {
    actor.call(&Request::Echo {
        to: to.into(),
        interface: String::new(),
        data: hex::encode(MARKER),
        timeout_ms: REFUSED_MS,
    })
}
