//! Who gets in at a guest's published port under a policy with sources, and which ports of a hub's
//! address a guest gets to.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    attacks::Point,
    harness::{
        capture::Captures,
        client::Actor,
        container::{Container, Spec},
        dockerd::Options,
        enforcer::{Enforcer, Settings},
        netns::Namespace,
        residue::Snapshot,
        topology::{
            BANNER, BRIDGE, Base, GATEWAY, HUB_BANNER, HUB_PORT, NETWORK, NOTEBOOK_PORT,
            PUBLISHED_PORT, Rig, UPLINK, WORLD,
        },
    },
    hex,
    protocol::{Connected, Filter, Serve},
};

use crate::{
    flood::{denied, finish, start},
    shared::{HUB, HUB_API},
};

/// Of what is refused by silence; shorter than the first repetition of a SYN.
const SILENCE_MS: u64 = 500;
const ANSWER_MS: u64 = 3000;
/// Two campus networks: hosts of the first may come in, but for one.
const CAMPUS: Ipv4Addr = Ipv4Addr::new(10, 70, 0, 2);
const BANNED: Ipv4Addr = Ipv4Addr::new(10, 70, 0, 66);
const LIBRARY: Ipv4Addr = Ipv4Addr::new(10, 71, 0, 2);
/// What else a machine that runs a hub has.
const DATABASE: u16 = 5432;

/// P33, N4: at a guest's published port come in the campus hosts that a rule names, the host and the hub;
/// other campus hosts and the world do not, by name; nor does a neighbour, by either way.
#[test]
fn p33_only_configured_sources_come_in_at_a_published_port() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let base = Base::start(Options::default())?;
    let campus = attach(&base, "campus", CAMPUS)?;
    let banned = attach(&base, "banned", BANNED)?;
    let library = attach(&base, "library", LIBRARY)?;
    let rig = base.with_guests()?;
    let hub = Container::start(
        &rig.run,
        &rig.docker,
        &Spec { name: HUB, network: NETWORK, ..Spec::default() },
    )?;
    let hub = hub.actor()?;
    let published = SocketAddr::from((UPLINK, PUBLISHED_PORT));
    let direct = rig.a.at(NOTEBOOK_PORT);
    let (world, library_s) = ((&rig.world.actor, WORLD), (&library.actor, LIBRARY));
    let refused: [(&str, (&Actor, Ipv4Addr), SocketAddr); 5] = [
        ("a campus host that a rule bars", (&banned.actor, BANNED), published),
        ("the other campus network", library_s, published),
        ("the world", world, published),
        ("the other campus network, by a route of its own", library_s, direct),
        ("the world, by a route of its own", world, direct),
    ];
    let neighbour = [published, direct];
    // Nobody polices: each gets in. (Docker's own rules keep what is not published from the world.)
    for (who, (actor, _), to) in refused.iter().filter(|(.., to)| *to == published) {
        ensure!(comes_in(actor, *to, ANSWER_MS)?, "without enforcer {who} does not reach {to}");
    }
    for to in neighbour {
        ensure!(comes_in(&rig.b.actor, to, ANSWER_MS)?, "without enforcer B does not reach {to}");
    }

    let daemon = Enforcer::start_beside(
        &rig,
        &Settings { hub: Some((HUB.into(), HUB_API)), ..Settings::default() },
    )?;
    let plain = fs::read_to_string(daemon.config())?;
    let gateway = format!("gateway = \"{GATEWAY}\"\n");
    let sources = format!(
        "\n[policies.course]\n[[policies.course.allow]]\nfrom = \"10.70.0.0/24\"\nport = {NOTEBOOK_PORT}\n\
         [[policies.course.deny]]\nfrom = \"{BANNED}\"\n"
    );
    let text = plain.replacen(&gateway, &format!("{gateway}policy = \"course\"\n"), 1) + &sources;
    fs::write(daemon.config(), text)?;
    let (code, said) = daemon.verb(&rig.host, "reload", &[])?;
    ensure!(code == 0, "{code}: {said}");
    for guest in [&rig.a, &rig.b] {
        daemon.wait_identified(&rig.host, &guest.name, "guest")?;
    }
    daemon.wait_identified(&rig.host, HUB, "hub")?;

    for (who, actor, to) in [
        ("the campus", &campus.actor, published),
        ("a user of the host", &rig.host.actor, direct),
        ("the hub", &hub, direct),
    ] {
        ensure!(comes_in(actor, to, ANSWER_MS)?, "{who} does not come in at {to}");
    }
    let port = Filter { port: Some(NOTEBOOK_PORT), ..Filter::default() };
    for (who, (actor, from), to) in refused {
        // Of those who came in before, a last frame may still be on its way.
        let theirs = Filter { marker: hex::encode(&from.octets()), ..port.clone() };
        let arrived = seen(&rig.a.actor, "eth0", &theirs, || {
            // Docker's own rules may have been there first.
            let times = u64::from(to == published);
            let reached = || ensure_silence(who, actor, to);
            if times == 0 {
                reached()
            } else {
                denied(&daemon, &rig.host, (times, &["source"]), reached)
            }
        })?;
        ensure!(arrived == 0, "{arrived} frames of {who} arrived");
    }
    for (to, reason) in neighbour.into_iter().zip(["policy", "l2_destination"]) {
        let arrived = seen(&rig.a.actor, "eth0", &port, || {
            denied(&daemon, &rig.host, (1, &[reason]), || ensure_silence("B", &rig.b.actor, to))
        })?;
        ensure!(arrived == 0, "{arrived} frames of B arrived");
    }
    let record = daemon.wait_record("the denial", |record| {
        record["event.reason"] == "source" && record["source.ip"] == LIBRARY.to_string().as_str()
    })?;
    ensure!(record["container.name"] == rig.a.name.as_str(), "{record}");
    ensure!(comes_in(&campus.actor, published, ANSWER_MS)?, "the campus is shut out");
    drop((campus, banned, library));
    finish(rig, daemon, &residue)
}

/// P34, N3: a guest gets to a hub's API, and to nothing else that the hub's address serves.
#[test]
fn p34_of_a_hub_s_address_one_port_is_open() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let closed = [8000, 8001, DATABASE, 22];
    let reach = |rig: &Rig, port: u16| rig.a.actor.connect((GATEWAY, port), SILENCE_MS);
    {
        let rig = Base::start(Options::default())?.with_guests()?;
        serve_more(&rig)?;
        for port in closed {
            let answer = reach(&rig, port)?.answer;
            ensure!(answer == hex::encode(BANNER.as_bytes()), "without enforcer {port} is closed");
        }
        rig.stop()?;
    }
    let (rig, daemon) = start(&Settings::default())?;
    serve_more(&rig)?;
    let hub = reach(&rig, HUB_PORT)?;
    ensure!(hub.answer == hex::encode(HUB_BANNER.as_bytes()), "the hub is closed: {hub:?}");
    for port in closed {
        let filter = Filter { port: Some(port), ..Filter::default() };
        let arrived = seen(&rig.host.actor, BRIDGE, &filter, || {
            denied(&daemon, &rig.host, (1, &["policy"]), || {
                let answer = reach(&rig, port)?;
                ensure!(answer.errno.is_some(), "{port} is open: {answer:?}");
                Ok(())
            })
        })?;
        ensure!(arrived == 0, "{arrived} frames to port {port} passed");
    }
    finish(rig, daemon, &residue)
}

fn serve_more(rig: &Rig) -> Result<()> {
    rig.host.actor.listen((GATEWAY, DATABASE), Serve::Banner(BANNER.into())).map(drop)
}

/// A machine on a network of its own behind this host, with a route to everything by it.
fn attach(base: &Base, name: &str, address: Ipv4Addr) -> Result<Namespace> {
    let namespace = Namespace::create(&base.run, name)?;
    let [a, b, c, d] = address.octets();
    // Each by a wire of its own, so that the host routes between all of them.
    let router = Ipv4Addr::new(a, b, c, d + 1);
    base.host.ip(&format!("link add {name} type veth peer name eth0 netns {}", namespace.pid()))?;
    base.host.ip(&format!("addr add {router} peer {address} dev {name}"))?;
    base.host.ip(&format!("link set {name} up"))?;
    namespace.ip(&format!("addr add {address} peer {router} dev eth0"))?;
    namespace.ip("link set eth0 up")?;
    namespace.ip(&format!("route add default via {router}"))?;
    Ok(namespace)
}

/// Whether a notebook gives back what it is told.
fn comes_in(actor: &Actor, to: SocketAddr, timeout_ms: u64) -> Result<bool> {
    let connected: Connected = actor.call(&enforcer_tests::protocol::Request::Connect {
        to,
        by: enforcer_tests::protocol::ConnectBy::Plain,
        data: hex::encode(b"notebook"),
        timeout_ms,
        hold: false,
    })?;
    Ok(connected.answer == hex::encode(b"notebook"))
}

fn ensure_silence(who: &str, actor: &Actor, to: SocketAddr) -> Result<()> {
    let connected = actor.connect(to, SILENCE_MS)?;
    ensure!(connected.errno.is_some(), "{who} comes in at {to}: {connected:?}");
    Ok(())
}

/// How many such frames come to an interface while something is done.
fn seen(
    actor: &Actor,
    interface: &str,
    filter: &Filter,
    work: impl FnOnce() -> Result<()>,
) -> Result<u64> {
    let captures = Captures::start(&[(Point::Peer, actor, interface)], filter)?;
    work()?;
    Ok(captures.end()?.get(&Point::Peer).context("no capture")?.count)
}
