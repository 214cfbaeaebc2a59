//! A guest network with IPv6: the same promises for the other family.

use std::net::{Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    attacks::Point,
    frames::{Ip, Ipv6, Mac, Tcp, ethernet, ethertype, flag, icmp6, link_local, multicast_mac},
    harness::{
        capture::Captures,
        client::Actor,
        dockerd::Options,
        enforcer::{Enforcer, Settings},
        guest::Guest,
        proof::rise,
        residue::Snapshot,
        topology::{
            BRIDGE, Base, GATEWAY6, HOST_PORTS, HUB_BANNER, HUB_PORT, NOTEBOOK_PORT, Rig, SUBNET6,
            WORLD6,
        },
    },
    hex,
    protocol::{Filter, Request, Send, Sent, Serve},
};

const REFUSED_MS: u64 = 250;
const MARKER: &[u8] = b"EF@ipv6";
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

#[test]
fn the_promises_hold_for_ipv6() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let before = Snapshot::take();
    let base = Base::start_ipv6(Options::default())?;
    let settings = Settings { subnet6: Some(SUBNET6.into()), ..Settings::default() };
    let daemon = Enforcer::start(&base, &settings)?;
    let rig = base.with_guests()?;
    for guest in [&rig.a, &rig.b] {
        daemon.wait_identified(&rig.host, &guest.name, "guest")?;
    }
    rig.host.actor.listen((GATEWAY6, HUB_PORT), Serve::Banner(HUB_BANNER.into()))?;
    let (a, b) = (global(&rig.a)?, global(&rig.b)?);
    let checks: [(&str, &dyn Fn() -> Result<()>); 5] = [
        ("answers flow", &|| answers_flow(&rig, a, b)),
        ("no egress, no host services", &|| nothing_else(&rig, &daemon)),
        ("no guest to guest", &|| no_neighbour(&rig, &daemon, a, b)),
        ("no forged neighbour discovery", &|| no_forgery(&rig, &daemon, b)),
        ("answers still flow", &|| {
            rig.host.ip(&format!("-6 neigh flush dev {BRIDGE}"))?;
            answers_flow(&rig, a, b)
        }),
    ];
    for (what, check) in checks {
        check().with_context(|| format!("{what}\n{}", daemon.log_text()))?;
    }
    daemon.stop()?;
    rig.stop()?;
    before.ensure_nothing_new()
}

fn global(guest: &Guest) -> Result<Ipv6Addr> {
    let addresses = guest.actor.interface("eth0")?.ipv6;
    let found = addresses.iter().find(|address| address.segments()[0] == 0xfd00);
    found.copied().with_context(|| format!("{} has only {addresses:?}", guest.name))
}

fn answers_flow(rig: &Rig, a: Ipv6Addr, b: Ipv6Addr) -> Result<()> {
    for (guest, address) in [(&rig.a, a), (&rig.b, b)] {
        let hub = guest.actor.connect((GATEWAY6, HUB_PORT), 3000)?;
        ensure!(hub.answer == hex::encode(HUB_BANNER.as_bytes()), "{}: {hub:?}", guest.name);
        let visit = rig.host.actor.connect((address, 22), 3000)?;
        ensure!(visit.errno.is_none() && !visit.answer.is_empty(), "{}: {visit:?}", guest.name);
        let echo: enforcer_tests::protocol::Exchanged = rig.host.actor.call(&Request::Echo {
            to: address.into(),
            interface: String::new(),
            data: String::new(),
            timeout_ms: 2000,
        })?;
        ensure!(echo.answer.is_some(), "{} does not answer a ping", guest.name);
    }
    Ok(())
}

fn nothing_else(rig: &Rig, daemon: &Enforcer) -> Result<()> {
    let own = rig.host.actor.interface(BRIDGE)?;
    ensure!(own.ipv6.contains(&GATEWAY6), "the bridge has {:?}", own.ipv6);
    let mut closed: Vec<SocketAddr> =
        HOST_PORTS.iter().map(|port| (GATEWAY6, *port).into()).collect();
    closed.push((WORLD6, 80).into());
    closed.push((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 22).into());
    denied(rig, daemon, closed.len() as u64, &["policy"], || {
        for to in &closed {
            ensure!(rig.a.actor.connect(*to, REFUSED_MS)?.errno.is_some(), "{to} answered");
        }
        Ok(())
    })
}

fn no_neighbour(rig: &Rig, daemon: &Enforcer, a: Ipv6Addr, b: Ipv6Addr) -> Result<()> {
    // By a socket, A gets no further than asking who B is.
    ensure!(rig.a.actor.connect((b, 22), REFUSED_MS)?.errno.is_some(), "B answered A");
    let host = rig.host.actor.interface(BRIDGE)?.mac;
    let ll = |mac| link_local(mac);
    let pairs = [(a, b), (ll(rig.a.mac), ll(rig.b.mac))];
    let frames: Vec<_> = pairs
        .iter()
        .flat_map(|(from, to)| {
            let packet = Tcp::new(5000, NOTEBOOK_PORT, flag::SYN)
                .packet(&Ip::V6(Ipv6::new(*from, *to, 0)), MARKER);
            [rig.b.mac, host].map(|mac| ethernet(mac, rig.a.mac, ethertype::IPV6, &packet))
        })
        .collect();
    unseen(rig, daemon, &["guest_to_guest", "l2_destination"], &frames)
}

fn no_forgery(rig: &Rig, daemon: &Enforcer, b: Ipv6Addr) -> Result<()> {
    let mac = rig.a.mac;
    let own = link_local(mac);
    let option = [&[14, 2, 0, 0, 0, 0, 0, 0][..], MARKER, &[0]].concat();
    let with = |kind: u8, rest: &[u8]| icmp6(kind, 0, &[rest, &option].concat());
    let claim = |address: Ipv6Addr| with(136, &[&[0x20, 0, 0, 0], &address.octets()[..]].concat());
    let host = rig.host.actor.interface(BRIDGE)?.mac;
    let to = |to_mac: Mac, from: Ipv6Addr, to: Ipv6Addr, message: &[u8]| {
        ethernet(to_mac, mac, ethertype::IPV6, &Ipv6::new(from, to, 0).icmp(message))
    };
    let group = multicast_mac(ALL_NODES);
    let advertisement = with(134, &[64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    let frames = [
        to(group, own, ALL_NODES, &advertisement),
        to(group, own, ALL_NODES, &claim(GATEWAY6)),
        to(group, own, ALL_NODES, &claim(b)),
        to(host, own, link_local(host), &claim(b)),
        to(rig.b.mac, own, link_local(rig.b.mac), &claim(GATEWAY6)),
        to(group, GATEWAY6, ALL_NODES, &claim(GATEWAY6)),
    ];
    unseen(rig, daemon, &["router", "ndp", "source_address"], &frames)?;
    let table = rig.host.ip(&format!("-6 neigh show {b} dev {BRIDGE}"))?;
    ensure!(!table.replace(':', "").contains(&hex::encode(&mac)), "the host believes A: {table}");
    Ok(())
}

fn unseen(rig: &Rig, daemon: &Enforcer, reasons: &[&str], frames: &[Vec<u8>]) -> Result<()> {
    let filter = Filter { marker: hex::encode(MARKER), ..Filter::default() };
    let captures = Captures::start(&rig.points(), &filter)?;
    denied(rig, daemon, frames.len() as u64, reasons, || send(&rig.a.actor, frames))?;
    let seen = captures.end()?;
    for point in [Point::Peer, Point::Host, Point::World] {
        ensure!(seen[&point].count == 0, "{} at {}", seen[&point].count, point.name());
    }
    Ok(())
}

fn denied(
    rig: &Rig,
    daemon: &Enforcer,
    times: u64,
    reasons: &[&str],
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let before = daemon.counts(&rig.host)?;
    work()?;
    let counts = rise(&before, &daemon.counts(&rig.host)?);
    let events: u64 =
        reasons.iter().filter_map(|reason| counts.get(*reason)).map(|count| count.events).sum();
    ensure!(events == times, "{events} denials for {reasons:?}, not {times}: {counts:?}");
    Ok(())
}

fn send(actor: &Actor, frames: &[Vec<u8>]) -> Result<()> {
    let sent: Sent = actor.send(Send {
        interface: "eth0".into(),
        frames: frames.iter().map(|frame| hex::encode(frame)).collect(),
        repeat: 1,
        ..Send::default()
    })?;
    ensure!(sent.sent == frames.len() as u64, "{sent:?}");
    Ok(())
}
