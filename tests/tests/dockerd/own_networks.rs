//! Own networks: made for a user while the daemon runs, policed before anybody is on them.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bollard::models::{EndpointSettings, NetworkConnectRequest, NetworkCreateRequest};
use enforcer_tests::{
    attacks::Point,
    frames::{BROADCAST, ethernet},
    harness::{
        capture::Captures,
        client::Actor,
        container::{Container, Spec},
        dockerd::{Network, Options},
        enforcer::{Enforcer, Settings},
        residue::Snapshot,
        run::wait_for,
        topology::{BANNER, Base, GATEWAY, HOST_PORTS, HUB_PORT, NETWORK, Rig, UPLINK, WORLD},
    },
    hex,
    protocol::{Filter, Received, Request, Send, Sent, Serve},
};
use serde_json::Value;

use crate::{
    flood::{binary, finish},
    own_wire::{self, Source},
};

/// Room for four networks.
const CONFIG: &str = "[gate]\nown_networks = \"10.201.0.0/24\"\n";
/// Where members serve.
pub const SQL: u16 = 5432;
const MARKER: &[u8] = b"enforcer-test-own-network";
/// An Ethertype that nobody has.
const PRIVATE: u16 = 0x88b5;
const PATIENCE: Duration = Duration::from_secs(10);

/// N2, S14: containers of one owner reach one another on a network of theirs, at once; they reach nothing beyond it, nobody
/// else's container reaches them, on that network or elsewhere; the owner's notebook may join. A restart of the daemon changes
/// nothing of it and resets nobody.
#[test]
fn n2_an_own_network_is_its_owner_s_alone_and_leads_nowhere() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let rig = Base::start(Options::default())?.with_guests()?;
    everything_is_open_without(&rig)?;
    let settings = Settings { more: CONFIG.into(), ..Settings::default() };
    let daemon = Enforcer::start_beside(&rig, &settings)?;
    let cli = Cli { daemon: &daemon, rig: &rig };
    let (ann_s, ben_s) = (cli.create("ann", "data")?, cli.create("ben", "data")?);
    ensure!(ann_s["engine_name"] != ben_s["engine_name"], "{ann_s} {ben_s}");
    let status = daemon.status(&rig.host)?;
    let networks = status["networks"].as_array().context("no networks")?;
    let owners: Vec<_> = networks.iter().filter_map(|one| one["owner"].as_str()).collect();
    ensure!(owners.len() == 2 && owners.contains(&"ann of hub local"), "{status}");

    let start = |name, user, network: &Value| Member::start(&rig, name, user, text(network)?);
    let db = start("db", "ann", &ann_s["engine_name"])?;
    let web = start("web", "ann", &ann_s["engine_name"])?;
    let begun = Instant::now();
    let took = wait_for("the first answer", Duration::from_secs(5), || {
        let answer = web.actor.connect(db.at, 100)?;
        Ok(answer.errno.is_none().then(|| begun.elapsed()))
    })?;
    println!("two members reach one another {} ms after the second one's start", took.as_millis());
    let other = start("of-ben", "ben", &ben_s["engine_name"])?;
    let intruder = start("intruder", "ben", &ann_s["engine_name"])?;
    let notebook = start("notebook", "ann", &Value::from(NETWORK))?;
    connect(&rig, text(&ann_s["engine_name"])?, "notebook")?;
    daemon.wait_identified(&rig.host, "intruder", "other")?;
    wait_for("the notebook on its owner's network", PATIENCE, || {
        Ok(notebook.reaches(db.at)?.then_some(()))
    })?;
    let shown = start("shown", "ann", &ann_s["engine_name"])?;
    let bridges = (text(&ann_s["bridge"])?, text(&ben_s["bridge"])?);
    let on_hers = Source::gateway_of(&db, &rig, bridges.0)?;
    let on_his = Source::gateway_of(&other, &rig, bridges.1)?;
    for (attacker, by) in [(&intruder, on_hers.mac), (&other, on_his.mac)] {
        let sources = [Source::of(&web)?, on_hers, on_his];
        let seen = own_wire::spoofed(attacker, by, &db, &sources)?;
        ensure!(seen == 0, "{seen} frames with others' addresses arrive");
    }
    wait_for("one with a published port", PATIENCE, || Ok(web.reaches(shown.at)?.then_some(())))?;
    let seen = own_wire::published(&rig, &shown)?;
    ensure!(seen == 0, "a published port leads to an own network: {seen}");
    let gateway = gateway(db.at.ip())?;
    let all = All { rig: &rig, db: &db, web: &web, other: &other, intruder: &intruder, gateway };
    all.are_apart()?;

    let talk = web.actor.hold(db.at, 2000)?.id.context("closed")?;
    let daemon = daemon.restart(&rig.host, binary()?)?;
    daemon.wait_identified(&rig.host, "db", "guest")?;
    let data = hex::encode(b"more");
    let _: Sent = web.actor.call(&Request::Write { id: talk, data: data.clone() })?;
    let heard: Received =
        web.actor.call(&Request::Read { id: talk, length: 4, timeout_ms: 5000 })?;
    ensure!(heard.data == data, "a restart reset it: {heard:?}");
    all.are_apart()?;
    finish(rig, daemon, &residue)
}

/// N6, N7: what is removed gives its place back, whoever removes it; a network on such a bridge that enforcer never made is
/// told of, and nobody on it reaches anything; there is no more room than the config gives.
#[test]
fn n6_own_networks_come_and_go_and_a_bridge_that_nobody_knows_stays_closed() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let mut rig = Base::start(Options::default())?.with_guests()?;
    let settings = Settings { more: CONFIG.into(), ..Settings::default() };
    let daemon = Enforcer::start_beside(&rig, &settings)?;
    let cli = Cli { daemon: &daemon, rig: &rig };
    for name in ["one", "two", "three"] {
        cli.create("ann", name)?;
    }
    cli.refused(&["create", "four", "--user", "ann"], "at most 3")?;
    let last = cli.create("ben", "one")?;
    ensure!(last["subnet"] == "10.201.0.192/26", "{last}");
    cli.refused(&["create", "two", "--user", "ben"], "no /26 of 10.201.0.0/24 is free")?;
    cli.refused(&["create", "a/b", "--user", "ben"], "is no name")?;

    let member = Member::start(&rig, "db", "ben", text(&last["engine_name"])?)?;
    cli.refused(&["remove", "one", "--user", "ben"], "active endpoints")?;
    rig.docker.remove("db")?;
    drop(member);
    cli.ok(&["remove", "one", "--user", "ben"])?;
    cli.refused(&["remove", "one", "--user", "ben"], "has no network one")?;
    // Behind our back.
    let gone = cli.list()?[0].clone();
    rig.docker.call(|client| client.remove_network(text(&gone["engine_name"]).unwrap_or("")))?;
    wait_for("what the engine removed is forgotten", Duration::from_secs(40), || {
        Ok((cli.list()?.len() == 2).then_some(()))
    })?;
    let again = cli.create("ben", "two")?;
    ensure!(again["subnet"] == gone["subnet"] && again["bridge"] != gone["bridge"], "{again}");

    // The engine ends and comes back: what it has is still what is kept.
    let kept = cli.list()?;
    rig.docker.end(libc::SIGTERM)?;
    rig.docker.resume(&rig.host)?;
    wait_for("the engine", Duration::from_secs(30), || {
        Ok((daemon.status(&rig.host)?["docker_connected"] == true).then_some(()))
    })?;
    let cli = Cli { daemon: &daemon, rig: &rig };
    let network = text(&again["engine_name"])?;
    let (db, web) =
        (Member::start(&rig, "db", "ben", network)?, Member::start(&rig, "web", "ben", network)?);
    wait_for("members after the engine's restart", PATIENCE, || {
        Ok(web.reaches(db.at)?.then_some(()))
    })?;
    ensure!(!web.reaches((WORLD, 80).into())?, "the world answers");
    ensure!(cli.list()? == kept, "networks are forgotten");

    // A name that the engine has already: nothing stays behind.
    let before = cli.list()?;
    let stray = text(&last["engine_name"])?;
    rig.docker.call(|client| {
        let name = ("com.docker.network.bridge.name".to_owned(), "en-own-cafe".to_owned());
        client.create_network(NetworkCreateRequest {
            name: stray.to_owned(),
            options: Some([name].into()),
            ..NetworkCreateRequest::default()
        })
    })?;
    cli.refused(&["create", "one", "--user", "ben"], "already exists")?;
    ensure!(cli.list()? == before, "something stays of a create that failed");

    wait_for("the stranger is told of", Duration::from_secs(40), || {
        let reasons = daemon.reasons(&rig.host)?.join("\n");
        Ok(reasons.contains("en-own-cafe").then_some(()))
    })?;
    let start = |name| Member::start(&rig, name, "ben", stray);
    let (one, two) = (start("one")?, start("two")?);
    ensure!(!one.reaches(two.at)?, "members of an unknown network talk");
    for port in [22, 53, HUB_PORT] {
        let at = SocketAddr::new(gateway(one.at.ip())?.into(), port);
        ensure!(!one.reaches(at)?, "the host answers at {at}");
    }
    ensure!(!one.reaches((WORLD, 80).into())?, "the world answers");
    finish(rig, daemon, &residue)
}

/// Each of the attacks succeeds where nobody polices: on a plain network of Docker's.
fn everything_is_open_without(rig: &Rig) -> Result<()> {
    rig.docker.create_network(&Network {
        name: "plain".into(),
        bridge: "plain0".into(),
        subnet4: ("10.97.0.0/24".into(), "10.97.0.1".into()),
        subnet6: None,
    })?;
    let start = |name, user| Member::start(rig, name, user, "plain");
    let (ann_s, ben_s) = (start("plain-a", "ann")?, start("plain-b", "ben")?);
    ensure!(ben_s.reaches(ann_s.at)?, "without enforcer a stranger is closed");
    let host = SocketAddr::new(IpAddr::from([10, 97, 0, 1]), HOST_PORTS[0]);
    for at in [host, (WORLD, 80).into(), rig.a.at(22)] {
        println!("without enforcer {at}: {}", ann_s.reaches(at)?);
    }
    ensure!(ann_s.reaches(host)? && ann_s.reaches((WORLD, 80).into())?, "closed without enforcer");
    ensure!(raw(rig, &ben_s, &ann_s)? > 0, "raw frames arrive nowhere without enforcer");
    let shown = start("shown-a", "ann")?;
    let seen = own_wire::published(rig, &shown)?;
    ensure!(seen > 0, "a published port leads nowhere without enforcer");
    // After that: the bridge learns from these where to send what is for others.
    let sources = [Source::of(&shown)?, Source::gateway_of(&ann_s, rig, "plain0")?];
    let seen = own_wire::spoofed(&ben_s, sources[1].mac, &ann_s, &sources)?;
    ensure!(seen >= 12, "{seen} frames with others' addresses arrive without enforcer");
    for name in ["plain-a", "plain-b", "shown-a"] {
        rig.docker.remove(name)?;
    }
    Ok(())
}

/// Who is there, and what it is about.
struct All<'a> {
    rig: &'a Rig,
    db: &'a Member,
    web: &'a Member,
    other: &'a Member,
    intruder: &'a Member,
    gateway: Ipv4Addr,
}

impl All<'_> {
    fn are_apart(&self) -> Result<()> {
        let Self { rig, db, web, other, intruder, gateway } = self;
        ensure!(web.reaches(db.at)? && db.reaches(web.at)?, "members do not reach one another");
        let hosts = [*gateway, GATEWAY, UPLINK];
        let ports = [HOST_PORTS[0], 53, 2375, HUB_PORT];
        let of_host = hosts.into_iter().flat_map(|host| ports.map(|port| (host, port).into()));
        let beyond = [(WORLD, 80).into(), (WORLD, 22).into(), rig.a.at(22), other.at];
        for at in of_host.chain(beyond) {
            ensure!(!web.reaches(at)?, "a member reaches {at}");
        }
        for (who, actor) in [("his network", other), ("hers", intruder)] {
            ensure!(!actor.reaches(db.at)?, "a stranger on {who} reaches a member");
        }
        for stranger in [&rig.a.actor, &rig.b.actor] {
            ensure!(stranger.connect(db.at, 1000)?.errno.is_some(), "a guest reaches a member");
        }
        ensure!(!db.reaches(intruder.at)?, "a member reaches a stranger");
        ensure!(raw(rig, intruder, db)? == 0, "a stranger's frames reach a member");
        Ok(())
    }
}

/// A container that serves at one port.
pub struct Member {
    pub actor: Actor,
    pub at: SocketAddr,
}

impl Member {
    fn start(rig: &Rig, name: &str, user: &str, network: &str) -> Result<Self> {
        let label = format!("enforcer.user={user}");
        let labels = [label.as_str(), "enforcer.hub=local"];
        // One that the engine publishes a port for.
        let ports: &[_] =
            if name.starts_with("shown") { &[(SQL, own_wire::PUBLISHED)] } else { &[] };
        let spec = Spec { name, network, labels: &labels, published_udp: ports, ..Spec::default() };
        let actor = Container::start(&rig.run, &rig.docker, &spec)?.actor()?;
        let address = actor.interface("eth0")?.ipv4.context("no address")?;
        actor.listen((Ipv4Addr::UNSPECIFIED, SQL), Serve::Echo)?;
        actor.listen((Ipv4Addr::UNSPECIFIED, 22), Serve::Banner(BANNER.into()))?;
        Ok(Self { actor, at: (address, SQL).into() })
    }

    fn reaches(&self, at: SocketAddr) -> Result<bool> {
        Ok(self.actor.connect(at, 1000)?.errno.is_none())
    }
}

/// How many raw Ethernet frames of one's arrive at another.
fn raw(_rig: &Rig, from: &Member, to: &Member) -> Result<u64> {
    let filter = Filter { marker: hex::encode(MARKER), ..Filter::default() };
    let captures = Captures::start(&[(Point::Peer, &to.actor, "eth0")], &filter)?;
    let (own, other) = (from.actor.interface("eth0")?.mac, to.actor.interface("eth0")?.mac);
    let frames = [other, BROADCAST].map(|mac| hex::encode(&ethernet(mac, own, PRIVATE, MARKER)));
    let send =
        Send { interface: "eth0".into(), frames: frames.into(), repeat: 10, ..Send::default() };
    let Sent { sent, .. } = from.actor.send(send)?;
    ensure!(sent == 20, "{sent} sent");
    Ok(captures.end()?[&Point::Peer].count)
}

fn connect(rig: &Rig, network: &str, container: &str) -> Result<()> {
    let request = NetworkConnectRequest {
        container: container.into(),
        endpoint_config: Some(EndpointSettings::default()),
    };
    rig.docker.call(|client| client.connect_network(network, request))
}

/// The first address of a /26.
pub fn gateway(of: IpAddr) -> Result<Ipv4Addr> {
    let IpAddr::V4(address) = of else { anyhow::bail!("{of} is no IPv4 address") };
    Ok(Ipv4Addr::from_bits(address.to_bits() & !63 | 1))
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("{value} is no text"))
}

struct Cli<'a> {
    daemon: &'a Enforcer,
    rig: &'a Rig,
}

impl Cli<'_> {
    fn ok(&self, arguments: &[&str]) -> Result<String> {
        let (code, said) = self.daemon.verb(&self.rig.host, "network", arguments)?;
        ensure!(code == 0, "network {arguments:?}: {code}: {said}");
        Ok(said)
    }

    fn create(&self, user: &str, name: &str) -> Result<Value> {
        let begun = Instant::now();
        let said = self.ok(&["create", name, "--user", user, "--json"])?;
        println!("{user}'s network {name} took {} ms", begun.elapsed().as_millis());
        Ok(serde_json::from_str(&said)?)
    }

    fn refused(&self, arguments: &[&str], words: &str) -> Result<()> {
        let (code, said) = self.daemon.verb(&self.rig.host, "network", arguments)?;
        ensure!(code == 2 && said.contains(words), "network {arguments:?}: {code}: {said}");
        Ok(())
    }

    fn list(&self) -> Result<Vec<Value>> {
        let said = self.ok(&["list", "--json"])?;
        let list: Value = serde_json::from_str(&said)?;
        list["networks"].as_array().cloned().context("no list")
    }
}
