//! Somebody else's name server on the gateway's port 53, where ours is meant to answer.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
};

use anyhow::{Result, ensure};
use enforcer_tests::{
    harness::{
        client::Actor,
        dockerd::Options,
        enforcer::{Enforcer, Settings},
        names::Names,
        residue::Snapshot,
        run::wait_for,
        topology::{Base, GATEWAY, WORLD},
    },
    hex,
    protocol::{Exchanged, Request},
};

use crate::{
    flood::{denied, finish},
    outside::PATIENCE,
};

const INDEX: &str = "index.example.org";
/// Questions that are refused.
const TIMES: u64 = 5;

/// N3, N8: a rule that names names opens the gateway's port 53 to our resolver, and to nobody else who has
/// the port: what a guest asks there is denied, and `status` says why, until ours has it.
#[test]
fn n3_names_do_not_open_somebody_else_s_resolver_at_the_gateway() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let base = Base::start(Options::default())?;
    base.free_dns()?;
    // Each tells another address, so that it is seen who answered.
    let (of_other, of_ours) = (Ipv4Addr::new(192, 0, 2, 1), WORLD);
    let port = wait_for("port 53", PATIENCE, || Ok(base.host.udp((GATEWAY, 53).into()).ok()))?;
    let other = Names::serve(port, &[(INDEX, IpAddr::from(of_other))])?;
    let ours =
        Names::serve(base.world.udp((WORLD, 5300).into())?, &[(INDEX, IpAddr::from(of_ours))])?;
    let rig = base.with_guests()?;
    ensure!(ask(&rig.a.actor)? == Some(of_other), "without enforcer it is not reached");
    let reached = other.asked().len();

    let daemon = Enforcer::start_beside(&rig, &Settings::default())?;
    let plain = fs::read_to_string(daemon.config())?;
    let gateway = format!("gateway = \"{GATEWAY}\"\n");
    let named = plain.replacen(&gateway, &format!("{gateway}policy = \"course\"\n"), 1)
        + &format!(
            "\n[dns]\nupstream = [\"{WORLD}:5300\"]\n\n[policies.course]\n\
             [[policies.course.allow]]\nname = \"{INDEX}\"\nport = 443\n"
        );
    fs::write(daemon.config(), named)?;
    let (code, said) = daemon.verb(&rig.host, "reload", &[])?;
    ensure!(code == 0, "{code}: {said}");
    daemon.wait_identified(&rig.host, &rig.a.name, "guest")?;
    wait_for("the problem", PATIENCE, || {
        let about = format!("DNS is not answered on {GATEWAY}:53");
        let mut reasons = daemon.reasons(&rig.host)?.into_iter();
        Ok(reasons.find(|reason| reason.starts_with(&about) && reason.contains("open nothing")))
    })?;
    denied(&daemon, &rig.host, (TIMES, &["policy"]), || {
        for _ in 0..TIMES {
            ensure!(ask(&rig.a.actor)?.is_none(), "somebody answers");
        }
        Ok(())
    })?;
    ensure!(other.asked().len() == reached, "it was reached: {:?}", other.asked());

    drop(other);
    let told = wait_for("our resolver", PATIENCE, || ask(&rig.a.actor))?;
    ensure!(told == of_ours && ours.asked().contains(&INDEX.to_owned()), "{told}");
    drop(ours);
    finish(rig, daemon, &residue)
}

/// Asks the gateway for the address of a name.
fn ask(actor: &Actor) -> Result<Option<Ipv4Addr>> {
    let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in INDEX.split('.') {
        question.push(u8::try_from(label.len())?);
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    let exchanged: Exchanged = actor.call(&Request::UdpExchange {
        from_port: 0,
        to: (GATEWAY, 53).into(),
        data: hex::encode(&question),
        count: 1,
        segment: 0,
        timeout_ms: 1000,
    })?;
    let Some(answer) = exchanged.answer else { return Ok(None) };
    // The address is the last thing in the one answer, unless something is added behind it.
    let answer = hex::decode(&answer)?;
    let addresses = [Ipv4Addr::new(192, 0, 2, 1), WORLD];
    let is_in = |address: &Ipv4Addr| answer.windows(4).any(|bytes| bytes == address.octets());
    Ok(addresses.into_iter().find(is_in))
}
