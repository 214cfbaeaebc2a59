//! Policies, as guests meet them.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    harness::{
        client::Actor,
        container::{Container, Spec},
        dockerd::Options,
        enforcer::{Enforcer, Settings},
        residue::Snapshot,
        run::wait_for,
        topology::{
            Base, GATEWAY, GATEWAY6, HUB_BANNER, HUB_PORT, NETWORK, Rig, SUBNET6, UPLINK, WORLD6,
        },
    },
    policy_cases::{Case, POLICY, cases},
    protocol::{Exchanged, Request, Serve},
};
use serde_json::Value;

use crate::flood::{finish, start};

const SILENCE_MS: u64 = 250;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// N1, O2: sixty destinations and more, of both families. All are closed before there is a policy; a reload
/// opens what its rules say and nothing else; another one closes it again.
#[test]
fn n1_guests_reach_what_the_rules_of_their_policy_say() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let base = Base::start_ipv6(Options::default())?;
    let settings = Settings { subnet6: Some(SUBNET6.into()), ..Settings::default() };
    let daemon = Enforcer::start(&base, &settings)?;
    let rig = base.with_guests()?;
    daemon.wait_identified(&rig.host, &rig.a.name, "guest")?;
    be_the_world(&rig)?;

    let closed = fs::read_to_string(daemon.config())?;
    let gateway = format!("gateway = \"{GATEWAY}\"\n");
    let open = closed.replacen(&gateway, &format!("{gateway}policy = \"course\"\n"), 1) + POLICY;
    let cases = cases();
    let some = || cases.iter().step_by(7);
    let opened = |cases: &mut dyn Iterator<Item = &Case>| -> Result<Vec<String>> {
        let reached = cases.map(|case| Ok((case, reaches(&rig, case)?)));
        let reached = reached.collect::<Result<Vec<_>>>()?;
        Ok(reached.into_iter().filter(|(_, is)| *is).map(|(case, _)| name(case)).collect())
    };
    let none = opened(&mut some())?;
    ensure!(none.is_empty(), "without a policy: {none:?}");

    reload(&daemon, &rig, &open)?;
    let wanted: Vec<String> = cases.iter().filter(|case| case.rule.is_some()).map(name).collect();
    let reached = opened(&mut cases.iter())?;
    let wrong = |one: &[String], other: &[String]| {
        one.iter().filter(|name| !other.contains(name)).cloned().collect::<Vec<_>>()
    };
    let (missing, more) = (wrong(&wanted, &reached), wrong(&reached, &wanted));
    ensure!(missing.is_empty() && more.is_empty(), "missing: {missing:?}\nmore: {more:?}");

    for case in some() {
        let told = explain(&daemon, &rig, case)?;
        let verdict = if case.rule.is_some() { "allow" } else { "deny" };
        ensure!(told["verdict"] == verdict && told["is_held"] == true, "{}: {told}", name(case));
        ensure!(case.rule.is_none() || told["rule"] == hub(case.rule), "{}: {told}", name(case));
    }

    reload(&daemon, &rig, &closed)?;
    let left = opened(&mut some())?;
    ensure!(left.is_empty(), "closed again: {left:?}");
    finish(rig, daemon, &residue)
}

/// N1: an override is for a guest of whom its creator said so. One whose image says it has nothing at all while
/// there is such an override, for its creator may have said the same; and a daemon that takes over leaves
/// everybody with what they had.
#[test]
fn n1_an_override_is_for_those_whom_their_creator_named() -> Result<()> {
    const STAFF: &str = "enforcer.group=staff";
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, daemon) = start(&Settings::default())?;
    let plain = fs::read_to_string(daemon.config())?;
    let text = format!(
        "{plain}\n[policies.staff]\n[[policies.staff.allow]]\nhost = true\nport = 22\n\
         [[networks.guests.override]]\ngroup = \"staff\"\npolicy = \"staff\"\n"
    );
    reload(&daemon, &rig, &text)?;
    let spec = Spec { network: NETWORK, ..Spec::default() };
    let begin = |spec: &Spec<'_>| -> Result<(Container, Actor)> {
        let container = Container::start(&rig.run, &rig.docker, spec)?;
        daemon.wait_identified(&rig.host, spec.name, "guest")?;
        let actor = container.actor()?;
        Ok((container, actor))
    };
    let (staff, by_staff) = begin(&Spec { name: "staff", labels: &[STAFF], ..spec })?;
    staff.commit(&rig.docker, "claims", &[STAFF])?;
    let (_claimant, by_claimant) = begin(&Spec { name: "claimant", image: "claims", ..spec })?;
    let open = |actor: &Actor, port: u16| -> Result<bool> {
        Ok(actor.connect((GATEWAY, port), SILENCE_MS)?.errno.is_none())
    };
    let holds = |staff_reaches: bool| -> Result<()> {
        for (who, actor, reaches) in [
            ("staff", &by_staff, staff_reaches),
            ("claimant", &by_claimant, false),
            ("a", &rig.a.actor, false),
        ] {
            let is_cut_off = who == "claimant" && staff_reaches;
            ensure!(open(actor, HUB_PORT)? != is_cut_off, "{who} at the hub: not {}", !is_cut_off);
            ensure!(open(actor, 22)? == reaches, "{who} at port 22: not {reaches}");
        }
        Ok(())
    };
    holds(true)?;
    let reasons = daemon.reasons(&rig.host)?;
    ensure!(
        reasons.iter().any(|reason| reason.starts_with("claimant reaches nothing")),
        "{reasons:?}"
    );
    let asked = ["--from", "staff", "--to", &format!("{GATEWAY}:22"), "--json"];
    let (code, said) = daemon.verb(&rig.host, "explain", &asked)?;
    let told: Value = serde_json::from_str(&said)?;
    ensure!(code == 0 && told["policy"] == "guests/guest/staff", "{code}: {said}");
    let daemon = daemon.restart(&rig.host, crate::flood::binary()?)?;
    wait_for("the guests", Duration::from_secs(10), || Ok(holds(true).ok()))?;
    reload(&daemon, &rig, &plain)?;
    holds(false)?;
    for name in ["staff", "claimant"] {
        rig.docker.remove(name)?;
    }
    finish(rig, daemon, &residue)
}

/// Has the world answer as whoever is asked, and the host's way to it lead for both families.
fn be_the_world(rig: &Rig) -> Result<()> {
    let known: BTreeSet<IpAddr> = cases().iter().map(|case| case.to).collect();
    // The host's own is not the world's.
    for address in known.into_iter().filter(|address| *address != IpAddr::V4(UPLINK)) {
        rig.world.ip(&match address {
            IpAddr::V4(address) => format!("addr add {address}/32 dev lo"),
            IpAddr::V6(address) => format!("addr add {address}/128 dev lo nodad"),
        })?;
    }
    rig.world.ip(&format!("-6 route add {SUBNET6} via 2001:db8::1"))?;
    rig.host.ip(&format!("-6 route add default via {WORLD6}"))?;
    // The bridge's address is usable some time after the bridge has its first port.
    wait_for("the gateway's address", Duration::from_secs(10), || {
        let banner = Serve::Banner(HUB_BANNER.into());
        rig.host.actor.listen((GATEWAY6, HUB_PORT), banner).map(Some)
    })?;
    // A neighbour that is looked for while its frame waits would take longer than silence does.
    let echo = |to: IpAddr| Request::Echo {
        to,
        interface: String::new(),
        data: String::new(),
        timeout_ms: 2000,
    };
    for to in [IpAddr::from([1, 1, 1, 1]), WORLD6.into()] {
        let exchanged: Exchanged = rig.host.actor.call(&echo(to))?;
        exchanged.answer.with_context(|| format!("{UPLINK} does not reach {to}"))?;
    }
    Ok(())
}

fn reload(daemon: &Enforcer, rig: &Rig, text: &str) -> Result<()> {
    fs::write(daemon.config(), text)?;
    let (code, said) = daemon.verb(&rig.host, "reload", &[])?;
    ensure!(code == 0, "{code}: {said}");
    Ok(())
}

/// What `enforcer explain` says.
fn explain(daemon: &Enforcer, rig: &Rig, case: &Case) -> Result<Value> {
    let to = match (address(case), case.protocol) {
        (to, TCP) => SocketAddr::from((to, case.port)).to_string(),
        (to, UDP) => format!("{}/udp", SocketAddr::from((to, case.port))),
        (to, _) => format!("{to}/icmp"),
    };
    let asked = ["--from", rig.a.name.as_str(), "--to", to.as_str(), "--json"];
    let (code, said) = daemon.verb(&rig.host, "explain", &asked)?;
    ensure!(code == 0, "{code}: {said}");
    Ok(serde_json::from_str(&said)?)
}

/// The number of a rule behind that of the rig's hub.
fn hub(rule: Option<u32>) -> Value {
    rule.map_or(Value::Null, |rule| Value::from(rule + 1))
}

fn name(case: &Case) -> String {
    format!("{} protocol {} port {}", case.to, case.protocol, case.port)
}

/// A case's destination, in the rig.
fn address(case: &Case) -> IpAddr {
    match case.to {
        IpAddr::V4(to) if to.octets() == [10, 7, 0, 1] => GATEWAY.into(),
        IpAddr::V6(to) if to.segments()[0] == 0xfd07 => GATEWAY6.into(),
        to => to,
    }
}

/// Whether anybody answers A, if only to say that nobody listens.
fn reaches(rig: &Rig, case: &Case) -> Result<bool> {
    let to = address(case);
    let answers = |errno: Option<i32>| errno.is_none() || errno == Some(libc::ECONNREFUSED);
    let a = &rig.a.actor;
    match case.protocol {
        TCP => Ok(answers(a.connect((to, case.port), SILENCE_MS)?.errno)),
        UDP => {
            let exchanged: Exchanged = a.call(&Request::UdpExchange {
                from_port: 0,
                to: (to, case.port).into(),
                data: "71".into(),
                count: 1,
                segment: 0,
                timeout_ms: SILENCE_MS,
            })?;
            Ok(exchanged.answer.is_some() || exchanged.errno == Some(libc::ECONNREFUSED))
        }
        _ => {
            let exchanged: Exchanged = a.call(&Request::Echo {
                to,
                interface: String::new(),
                data: "71".into(),
                timeout_ms: SILENCE_MS,
            })?;
            Ok(exchanged.answer.is_some())
        }
    }
}
