//! D10: the engine's own resolver (127.0.0.11 within a guest) asks a loopback name server from the host's
//! network namespace, where nothing tells whose question it is.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    thread::sleep,
    time::Duration,
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
        names::Names,
        proof::rise,
        residue::Snapshot,
        run::wait_for,
        topology::{Base, GATEWAY, NETWORK, WORLD},
    },
    hex,
    protocol::{Exchanged, Filter, Request},
};

use crate::outside::{BOUND, PATIENCE};

/// Where the engine's resolver answers within a guest.
const EMBEDDED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// Two lookups of names that are there.
const LEAK: &str = "leaked.example.org";
const INDEX: &str = "index.example.org";
/// Longest wait for an answer, ms.
const ANSWER_MS: u64 = 1500;

/// D10, N1: with a policy that denies everything a guest asks the host's name server whatever it likes,
/// by the engine. Without name servers of its own it is stopped, and asks no more; with the gateway's it
/// stays and is served by ours; and where the engine asks from the guest's own namespace it stays and is
/// denied.
#[test]
fn d10_a_guest_that_the_engine_resolves_for_from_the_host_is_stopped() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let base = Base::start(Options::default())?;
    base.free_dns()?;
    let known = [(LEAK, IpAddr::from(WORLD)), (INDEX, IpAddr::from(WORLD))];
    let local = Names::serve(base.host.udp((Ipv4Addr::LOCALHOST, 53).into())?, &known)?;
    let ours = Names::serve(base.world.udp((WORLD, 5300).into())?, &known)?;

    // Nobody polices.
    base.name_servers(&[WORLD])?;
    let control = start(&base, "control", &[])?;
    ensure!(leaves_the_host(&base, &control.actor()?)? > 0, "an ordinary upstream is not asked");
    base.docker.remove("control")?;
    base.name_servers(&[Ipv4Addr::LOCALHOST])?;
    let early = start(&base, "early", &[])?;
    ensure!(
        resolve(&early.actor()?, LEAK)? == Some((0, 1)),
        "the host's name server is not reached"
    );
    ensure!(local.asked() == [LEAK], "{:?}", local.asked());

    let daemon = Enforcer::start(&base, &Settings::default())?;
    let about = format!("the engine's resolver asks {} (/etc/resolv.conf)", Ipv4Addr::LOCALHOST);
    let is_told = || -> Result<bool> {
        Ok(daemon.reasons(&base.host)?.iter().any(|reason| reason.starts_with(&about)))
    };
    // One that was there before, and one that starts now.
    early.wait_end(&base.docker, PATIENCE)?;
    is_recorded(&daemon, &early, "kill")?;
    let late = start(&base, "late", &[])?;
    let life = late.wait_end(&base.docker, PATIENCE)?;
    println!("ended {} ms after its start", life.length.as_millis());
    ensure!(life.length < BOUND && life.exit_code == 137, "{life:?}");
    is_recorded(&daemon, &late, "kill")?;
    let asked = local.asked().len();
    sleep(Duration::from_millis(500));
    ensure!(local.asked().len() == asked, "asked after its end: {:?}", local.asked());
    ensure!(!late.runs(&base.docker)?, "it runs again");

    wait_for("nobody affected", PATIENCE, || Ok((!is_told()?).then_some(())))?;
    is_served(&base, &daemon, &ours)?;
    ensure!(!is_told()?, "every guest has name servers of its own");
    ensure!(local.asked().len() == asked, "the host's was asked: {:?}", local.asked());

    base.name_servers(&[WORLD])?;
    is_denied(&base, &daemon)?;

    // By choice it goes on, and the record tells.
    base.name_servers(&[Ipv4Addr::LOCALHOST])?;
    let config = fs::read_to_string(daemon.config())?;
    reload(&base, &daemon, &format!("{config}\n[outside]\nengine_resolver = \"record\"\n"))?;
    let told = start(&base, "told", &[])?;
    daemon.wait_identified(&base.host, "told", "guest")?;
    is_recorded(&daemon, &told, "record")?;
    wait_for("the problem", PATIENCE, || Ok(is_told()?.then_some(())))?;
    ensure!(resolve(&told.actor()?, LEAK)? == Some((0, 1)), "it does not resolve");
    ensure!(told.runs(&base.docker)?, "it was stopped");

    drop((local, ours));
    daemon.stop()?;
    drop(base);
    residue.ensure_nothing_new()
}

/// A guest whose name server is the gateway asks ours, by way of the engine's.
fn is_served(base: &Base, daemon: &Enforcer, ours: &Names) -> Result<()> {
    let plain = fs::read_to_string(daemon.config())?;
    let gateway = format!("gateway = \"{GATEWAY}\"\n");
    let named = plain.replacen(&gateway, &format!("{gateway}policy = \"course\"\n"), 1)
        + &format!(
            "\n[dns]\nupstream = [\"{WORLD}:5300\"]\n\n[policies.course]\n\
             [[policies.course.allow]]\nname = \"{INDEX}\"\nport = 443\n"
        );
    reload(base, daemon, &named)?;
    let served = start(base, "served", &[&GATEWAY.to_string()])?;
    daemon.wait_identified(&base.host, "served", "guest")?;
    let actor = served.actor()?;
    wait_for("the resolver", PATIENCE, || {
        Ok((resolve(&actor, INDEX)? == Some((0, 1))).then_some(()))
    })?;
    ensure!(resolve(&actor, LEAK)?.is_none_or(|(code, _)| code != 0), "no rule has that name");
    ensure!(ours.asked().iter().all(|name| name == INDEX), "{:?}", ours.asked());
    ensure!(served.runs(&base.docker)?, "a guest with name servers of its own was stopped");
    ensure!(daemon.outside("container.id", &served.id).is_none(), "it has a record");
    base.docker.remove("served")?;
    reload(base, daemon, &plain)
}

/// A guest that the engine resolves for from its own namespace stays, and its questions are denied there.
fn is_denied(base: &Base, daemon: &Enforcer) -> Result<()> {
    let guest = start(base, "ordinary", &[])?;
    daemon.wait_identified(&base.host, "ordinary", "guest")?;
    let actor = guest.actor()?;
    let before = daemon.counts(&base.host)?;
    let left = leaves_the_host(base, &actor)?;
    ensure!(left == 0, "{left} questions left the host");
    let rise = rise(&before, &daemon.counts(&base.host)?);
    ensure!(rise.get("policy").is_some_and(|count| count.events > 0), "{rise:?}");
    let record = daemon.wait_record("the denial", |record| {
        record["event.action"] == "denied" && record["destination.port"] == 53
    })?;
    ensure!(record["container.name"] == "ordinary", "{record}");
    ensure!(guest.runs(&base.docker)?, "it was stopped");
    ensure!(daemon.outside("container.id", &guest.id).is_none(), "it has a record");
    base.docker.remove("ordinary")
}

fn start(base: &Base, name: &str, dns: &[&str]) -> Result<Container> {
    let spec = Spec { name, network: NETWORK, dns, ..Spec::default() };
    Container::start(&base.run, &base.docker, &spec)
}

/// How many of a guest's questions are seen on the uplink, asked by way of the engine.
fn leaves_the_host(base: &Base, actor: &Actor) -> Result<u64> {
    let filter = Filter { marker: hex::encode(b"\x06leaked"), ..Filter::default() };
    let captures = Captures::start(&[(Point::World, base.world(), "wan0")], &filter)?;
    let _answer = resolve(actor, LEAK)?;
    Ok(captures.end()?.get(&Point::World).context("no capture")?.count)
}

fn is_recorded(daemon: &Enforcer, guest: &Container, action: &str) -> Result<()> {
    let record =
        wait_for("the record", PATIENCE, || Ok(daemon.outside("container.id", &guest.id)))?;
    for (key, value) in [
        ("enforcer.why", "engine_resolver"),
        ("enforcer.to", "127.0.0.1 (/etc/resolv.conf)"),
        ("enforcer.action", action),
        ("enforcer.outcome", "done"),
        ("container.name", &guest.name),
    ] {
        ensure!(record[key] == value, "{record}");
    }
    Ok(())
}

/// Asks the engine's resolver for an IPv4 address: the code of the answer, and how many addresses it has.
fn resolve(actor: &Actor, name: &str) -> Result<Option<(u8, u16)>> {
    let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len())?);
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    let exchanged: Exchanged = actor.call(&Request::UdpExchange {
        from_port: 0,
        to: (EMBEDDED, 53).into(),
        data: hex::encode(&question),
        count: 1,
        segment: 0,
        timeout_ms: ANSWER_MS,
    })?;
    let Some(answer) = exchanged.answer else { return Ok(None) };
    let answer = hex::decode(&answer)?;
    let [_, _, _, code, _, _, high, low, ..] = answer[..] else { return Ok(None) };
    Ok(Some((code & 0xf, u16::from_be_bytes([high, low]))))
}

fn reload(base: &Base, daemon: &Enforcer, text: &str) -> Result<()> {
    fs::write(daemon.config(), text)?;
    let (code, said) = daemon.verb(&base.host, "reload", &[])?;
    ensure!(code == 0, "{code}: {said}");
    Ok(())
}
