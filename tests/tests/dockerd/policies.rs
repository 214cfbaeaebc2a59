//! Policies, as guests meet them.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use enforcer::{
    config::parse,
    learn::{Learning, Wish},
    replay::Replay,
};
use enforcer_common::abi::policy::AUDITED;
use enforcer_tests::{
    harness::{
        client::Actor,
        container::{Container, Spec},
        dockerd::Options,
        enforcer::{Enforcer, Settings},
        residue::Snapshot,
        run::wait_for,
        topology::{
            Base, GATEWAY, GATEWAY6, HUB_BANNER, HUB_PORT, NETWORK, NOTEBOOK_PORT, Rig, SUBNET6,
            UPLINK, WORLD6,
        },
    },
    policy_cases::{Case, POLICY, audited_cases, audited_policy, cases},
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

/// N1, N2, N3: audit mode lets guests reach what no rule opens, and says so in its records; but not this host, not
/// other guests, and no metadata service. Its end is the end of what it let through.
#[test]
fn n1_n2_n3_audit_mode_lets_through_what_it_records_and_no_way_to_host_guests_or_metadata()
-> Result<()> {
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
    let with = |policy: &str| {
        closed.replacen(&gateway, &format!("{gateway}policy = \"course\"\n"), 1) + policy
    };
    reload(&daemon, &rig, &with(&audited_policy()))?;
    let mut wrong = Vec::new();
    for case in &audited_cases() {
        // On a busy machine an answer may come later than silence is taken for one: who is let through tries again.
        let is_let_through = case.rule.is_some();
        if (reaches(&rig, case)? || is_let_through && reaches(&rig, case)?) != is_let_through {
            wrong.push(name(case));
        }
        let told = explain(&daemon, &rig, case)?;
        let rule = case.rule.and_then(|rule| Some(rule & !AUDITED).filter(|rule| *rule != 0));
        let audited = case.rule.is_some_and(|rule| rule & AUDITED != 0);
        let verdict = if case.rule.is_some() { "allow" } else { "deny" };
        ensure!(told["verdict"] == verdict && told["is_held"] == true, "{}: {told}", name(case));
        ensure!(case.rule.is_none() || told["rule"] == hub(rule), "{}: {told}", name(case));
        ensure!((told["would_deny"] == "policy") == audited, "{}: {told}", name(case));
        if case.protocol == TCP && audited {
            let to = address(case).to_string();
            daemon.wait_record(&format!("the audited flow of {}", name(case)), |record| {
                record["event.action"] == "flow_opened"
                    && record["destination.ip"] == to.as_str()
                    && record["destination.port"] == case.port
                    && record["enforcer.would_deny"] == "policy"
                    && record["rule.id"] == hub(rule)
            })?;
        }
    }
    ensure!(wrong.is_empty(), "otherwise than the table says: {wrong:?}");
    let neighbour = rig.b.at(NOTEBOOK_PORT);
    ensure!(rig.a.actor.connect(neighbour, SILENCE_MS)?.errno.is_some(), "a reached b");
    let status = daemon.status(&rig.host)?;
    let audits = |port: &Value| port["container"] == rig.a.name.as_str() && port["audits"] == true;
    let ports = status["endpoints"].as_array().context("no endpoints")?;
    ensure!(ports.iter().any(audits), "{status}");

    let held = rig.a.actor.hold(([10, 51, 0, 0], 443), 2000)?;
    let id = held.id.with_context(|| format!("{held:?}"))?;
    let (code, said) = daemon.verb(
        &rig.host,
        "flows",
        &["--guest", rig.a.name.as_str(), "--limit", "1000", "--json"],
    )?;
    let told: Value = serde_json::from_str(&said)?;
    // Whoever answers there says its piece and ends its half.
    let is_it = |flow: &&Value| flow["remote"] == "10.51.0.0" && flow["state"] == "half_closed";
    let flow = told["flows"].as_array().and_then(|flows| flows.iter().find(is_it));
    let flow = flow.with_context(|| format!("{code}: {said}"))?;
    ensure!(
        flow["guest"] == rig.a.name.as_str()
            && flow["opener"] == "guest"
            && flow["remote_port"] == 443
            && flow["would_deny"] == "policy"
            && flow["packets_out"].as_u64() >= Some(2)
            && told["whole"] == true,
        "{flow}"
    );
    let (code, said) = daemon.verb(&rig.host, "flows", &["--limit", "1"])?;
    ensure!(code == 0 && said.contains(" more\n"), "{code}: {said}");
    let (code, said) = daemon.verb(&rig.host, "flows", &["--guest", "nobody"])?;
    ensure!(code == 2, "{code}: {said}");
    reload(&daemon, &rig, &with(POLICY))?;
    let said = Request::Write { id, data: "71".into() };
    let _: enforcer_tests::protocol::Sent = rig.a.actor.call(&said)?;
    daemon.wait_record("the end of a flow that audit mode let through", |record| {
        record["event.action"] == "flow_closed"
            && record["destination.ip"] == "10.51.0.0"
            && record["enforcer.would_deny"] == "policy"
            && record["enforcer.cause"] == "policy"
    })?;
    let records = daemon.records();
    replays(&with(POLICY), &records)?;
    let learnt = learnt(&records);
    reload(&daemon, &rig, &with(&learnt))?;
    for (to, port, wanted) in
        [([1, 1, 1, 1], 25, true), ([1, 1, 1, 1], 26, false), ([10, 0, 0, 0], 443, false)]
    {
        let case = Case { to: to.into(), protocol: TCP, port, rule: None };
        let reached = reaches(&rig, &case)? || wanted && reaches(&rig, &case)?;
        ensure!(reached == wanted, "{}, by what was learnt:\n{learnt}", name(&case));
    }
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

/// Judges real records: what audit mode let through the same policy would deny, by the rule that they name.
fn replays(config: &str, records: &[Value]) -> Result<()> {
    let config = parse(config, "strict.toml")?;
    let mut replay = Replay::new(&config, None);
    for record in records {
        replay.take(record);
    }
    let report = replay.finish(usize::MAX);
    let mut changes = report.changes.iter();
    let mail = changes.find(|one| one.to == IpAddr::from([1, 1, 1, 1]) && one.port == 25);
    let mail = mail.with_context(|| format!("{report:?}"))?;
    let by = mail.rule.as_deref().is_some_and(|rule| rule.starts_with("deny at strict.toml:"));
    ensure!((mail.was, mail.would_be) == ("audit", "deny") && by, "{mail:?}");
    Ok(())
}

/// The policy that is learnt from real records.
fn learnt(records: &[Value]) -> String {
    let mut learning = Learning::new(Wish {
        policy: "course",
        image: None,
        network: Some(NETWORK),
        min_guests: 1,
        scan: 1000,
        merge: false,
    });
    for record in records {
        learning.take(record);
    }
    learning.finish().toml
}

/// Has the world answer as whoever is asked, and the host's way to it lead for both families.
fn be_the_world(rig: &Rig) -> Result<()> {
    let all = cases().into_iter().chain(audited_cases());
    let known: BTreeSet<IpAddr> = all.map(|case| case.to).collect();
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

pub(super) fn reload(daemon: &Enforcer, rig: &Rig, text: &str) -> Result<()> {
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
        IpAddr::V4(to) if to.octets()[..3] == [10, 7, 0] => {
            Ipv4Addr::from_bits(GATEWAY.to_bits() - 1 + u32::from(to.octets()[3])).into()
        }
        IpAddr::V6(to) if to.segments()[0] == 0xfd07 => {
            Ipv6Addr::from_bits(GATEWAY6.to_bits() - 1 + u128::from(to.segments()[7])).into()
        }
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
