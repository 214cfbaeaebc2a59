//! The resolver, as guests meet it.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    harness::{
        client::Actor,
        dockerd::Options,
        enforcer::{Enforcer, Settings},
        residue::Snapshot,
        run::wait_for,
        topology::{Base, GATEWAY, NETWORK, Rig},
    },
    hex,
    protocol::{Exchanged, Request},
};
use serde_json::Value;

use crate::flood::finish;

/// A resolver that nobody asks: no name is allowed.
const DNS: &str = "\n[dns]\nupstream = [\"127.0.0.1:9\"]\n";
/// Code `REFUSED` (RFC 1035, 4.1.1).
const REFUSED: u8 = 5;

/// N3, N6, A1: an address that is taken is told, and the other one serves. Nobody but a guest has an answer at the gateway, and a guest where a rule opens the port. No
/// policy names names: each question is refused, recorded with the guest's name, or counted.
#[test]
fn n6_a_guest_s_question_at_the_gateway_is_refused_and_accounted_for() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let base = Base::start(Options::default())?;
    let settings = Settings { more: DNS.to_owned(), ..Settings::default() };
    let daemon = Enforcer::start(&base, &settings)?;
    // The host has services on that port.
    let taken = format!("DNS is not answered on {GATEWAY}:53");
    let is_told = || -> Result<bool> {
        let reasons = daemon.reasons(&base.host)?;
        Ok(reasons.iter().any(|reason| reason.contains(&taken)))
    };
    wait_for("the problem", Duration::from_secs(10), || Ok(is_told()?.then_some(())))?;
    base.free_dns()?;
    wait_for("no problem", Duration::from_secs(10), || Ok((!is_told()?).then_some(())))?;
    let rig = base.with_guests()?;
    daemon.wait_identified(&rig.host, &rig.a.name, "guest")?;
    let closed = fs::read_to_string(daemon.config())?;
    ensure!(ask(&rig.a.actor, 1)?.is_none(), "port 53 of the gateway is open");
    // As soon as it listens.
    wait_for("the resolver", Duration::from_secs(10), || {
        ensure!(ask(&rig.host.actor, 1)?.is_none(), "the host itself is answered");
        let asked = asked(&daemon, &rig)?;
        Ok(matches!(asked.as_slice(), [(who, _)] if who == "stranger").then_some(()))
    })?;

    let rule =
        format!("\n[[networks.{NETWORK}.hub]]\ngateway = true\nport = 53\nprotocol = \"udp\"\n");
    reload(&daemon, &rig, &(closed.clone() + &rule))?;
    wait_for("an answer", Duration::from_secs(10), || {
        let code = ask(&rig.a.actor, 1)?;
        ensure!(code.is_none_or(|code| code == REFUSED), "no name is allowed: {code:?}");
        Ok(code)
    })?;
    let record = daemon.wait_record("the question", |r| r["event.action"] == "dns_query")?;
    ensure!(record["container.name"] == rig.a.name.as_str(), "{record}");
    ensure!(record["dns.question.name"] == "pypi.org.", "{record}");
    ensure!(record["enforcer.outcome"] == "refused_name", "{record}");
    ensure!(record["dns.question.type"] == "A", "{record}");

    // More than the rate of records, and more than the rate of questions.
    let before: u64 = asked(&daemon, &rig)?.iter().map(|(_, count)| count).sum();
    ask(&rig.a.actor, 200)?;
    wait_for("each question", Duration::from_secs(10), || {
        let asked = asked(&daemon, &rig)?;
        let is_told = |(outcome, count): &(String, u64)| {
            outcome == "stranger" || *count == accounted(&daemon, outcome)
        };
        let sum: u64 = asked.iter().map(|(_, count)| count).sum();
        Ok((sum == before + 200 && asked.iter().all(is_told)).then_some(()))
    })?;
    let suppressed =
        |r: &Value| r["event.reason"].as_str().is_some_and(|reason| reason.starts_with("dns_"));
    daemon.wait_record("the rest", suppressed)?;

    let without = closed.replace(DNS, "") + &rule;
    reload(&daemon, &rig, &without)?;
    wait_for("the end of the resolver", Duration::from_secs(10), || {
        Ok((ask(&rig.a.actor, 1)?.is_none() && asked(&daemon, &rig)?.is_empty()).then_some(()))
    })?;
    finish(rig, daemon, &residue)
}

/// Asks the gateway for an address of `pypi.org`; the code of the answer, if there is one.
fn ask(actor: &Actor, count: u32) -> Result<Option<u8>> {
    let header = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let question = [&header[..], b"\x04pypi\x03org\0", &[0, 1, 0, 1]].concat();
    let exchanged: Exchanged = actor.call(&Request::UdpExchange {
        from_port: 0,
        to: (GATEWAY, 53).into(),
        data: hex::encode(&question),
        count,
        segment: 0,
        timeout_ms: 500,
    })?;
    let Some(answer) = exchanged.answer else { return Ok(None) };
    let answer = hex::decode(&answer)?;
    ensure!(answer.starts_with(&[0x12, 0x34]), "{answer:?}");
    Ok(Some(answer.get(3).context("no header")? & 0xf))
}

/// Questions by outcome that the daemon has counted; those that there were none of are left out.
fn asked(daemon: &Enforcer, rig: &Rig) -> Result<Vec<(String, u64)>> {
    let status = daemon.status(&rig.host)?;
    let dns = status["dns"].as_object().context("no resolver in status")?;
    let counts = dns.iter().map(|(outcome, count)| (outcome.clone(), count.as_u64().unwrap_or(0)));
    Ok(counts.filter(|(_, count)| *count > 0).collect())
}

/// Questions of an outcome that the stream accounts for: recorded, or told as a loss.
fn accounted(daemon: &Enforcer, outcome: &str) -> u64 {
    let reason = format!("dns_{outcome}");
    let of = |record: &Value| {
        if record["event.action"] == "dns_query" && record["enforcer.outcome"] == outcome {
            1
        } else if record["event.action"] == "loss" && record["event.reason"] == reason.as_str() {
            record["enforcer.count"].as_u64().unwrap_or(0)
        } else {
            0
        }
    };
    daemon.records().iter().map(of).sum()
}

fn reload(daemon: &Enforcer, rig: &Rig, text: &str) -> Result<()> {
    fs::write(daemon.config(), text)?;
    let (code, said) = daemon.verb(&rig.host, "reload", &[])?;
    ensure!(code == 0, "{code}: {said}");
    Ok(())
}
