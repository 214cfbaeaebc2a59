//! The gate of a real daemon, before a real engine: a raw socket is its user's alone, and ends with the grant.

use std::{fs, os::unix::fs::DirBuilderExt as _, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use enforcer::{
    access::name::{HubName, User},
    gate::socket_path,
};
use enforcer_tests::harness::{
    container::{Container, Spec},
    dockerd::Options,
    enforcer::{Enforcer, Settings},
    residue::Snapshot,
    run::wait_for,
    topology::{Base, NETWORK, Rig},
};
use serde_json::Value;

use crate::flood::{binary, finish};

const GROUP: &str = "docker-privileged";
/// Where clients look for the engine.
const SOCKET: &str = "/var/run/docker.sock";

/// S17, S19, S27: who is raw gets the engine's answers, by a socket that serves no other container; when the membership
/// ends, so do open streams, within a second. All of it is recorded.
#[test]
fn s19_a_raw_socket_serves_its_user_alone_and_ends_with_the_grant() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let rig = Base::start(Options::default())?.with_guests()?;
    let daemon = Enforcer::start_beside(&rig, &Settings::default())?;
    // As an earlier daemon leaves a user's socket behind: the next one listens there again.
    let socket = left_behind(&daemon)?;
    let daemon = daemon.end()?.restart(&rig.host, binary()?)?;
    ensure!(daemon.status(&rig.host)?["gate"]["users"] == 1, "no socket");
    command(&daemon, &rig, "grant", &["set", GROUP, "raw"])?;
    command(&daemon, &rig, "group", &["add", GROUP, "ann"])?;

    let mount = format!("{}:{SOCKET}", socket.display());
    let start = |name, user: &str| {
        let label = format!("enforcer.user={user}");
        let labels = [label.as_str(), "enforcer.hub=local"];
        let binds = [mount.as_str()];
        let spec =
            Spec { name, network: NETWORK, labels: &labels, binds: &binds, ..Spec::default() };
        let container = Container::start(&rig.run, &rig.docker, &spec)?;
        container.actor()?;
        Ok::<_, anyhow::Error>(container)
    };
    let (ann, ben) = (start("of-ann", "ann")?, start("of-ben", "ben")?);

    let list = "GET /v1.41/containers/json";
    let answer = ask(&rig, &ann, list)?;
    ensure!(answer.starts_with("HTTP/1.1 200") && answer.contains("/of-ben"), "{answer}");
    let record = daemon.wait_record("her request", |r| of(r, "allow", &ann))?;
    ensure!(record["user.name"] == "ann" && record["enforcer.hub"] == "local", "{record}");
    ensure!(record["url.path"] == "/v1.41/containers/json", "{record}");
    ensure!(record["http.response.status_code"] == 200, "{record}");
    ensure!(record["enforcer.grant"] == "raw" && record["enforcer.by.uid"] == 0, "{record}");

    // The same path in another user's container.
    let answer = ask(&rig, &ben, list)?;
    ensure!(answer.starts_with("HTTP/1.1 403") && !answer.contains("/of-ann"), "{answer}");
    let record = daemon.wait_record("his request", |r| of(r, "deny", &ben))?;
    ensure!(record["rule.name"] == "identity.stranger", "{record}");

    // A stream that lasts, until she is no member any more.
    let events = "printf 'GET /v1.41/events HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'";
    let stream = format!(
        "({events} | (/actor speak {SOCKET} > /tmp/out; echo over > /tmp/over)) > /dev/null 2>&1 &"
    );
    ann.exec(&rig.docker, &["sh", "-c", &stream])?;
    daemon.wait_record("the stream", |r| {
        r["enforcer.event"] == "begun" && r["url.path"] == "/v1.41/events"
    })?;
    let (_, early) = ann.exec(&rig.docker, &["sh", "-c", "cat /tmp/out /tmp/over"])?;
    ensure!(early.contains("HTTP/1.1 200") && !early.contains("over\n"), "{early}");
    command(&daemon, &rig, "group", &["remove", GROUP, "ann"])?;
    wait_for("the end of the stream", Duration::from_secs(5), || {
        let (code, _) = ann.exec(&rig.docker, &["cat", "/tmp/over"])?;
        Ok((code == 0).then_some(()))
    })?;
    let removed = daemon.wait_record("the removal", |r| {
        r["event.action"] == "group" && r["enforcer.event"] == "removed"
    })?;
    let cut = daemon
        .wait_record("the cut", |r| r["event.action"] == "gate" && r["enforcer.event"] == "cut")?;
    let at = |record: &Value| record["enforcer.monotonic_ns"].as_u64().context("no time");
    let took = at(&cut)?.saturating_sub(at(&removed)?);
    ensure!(took < 1_000_000_000, "it took {took} ns: {cut}");
    ensure!(cut["container.id"] == ann.id && cut["enforcer.why"].is_string(), "{cut}");
    let answer = ask(&rig, &ann, list)?;
    ensure!(answer.starts_with("HTTP/1.1 403") && answer.contains("no group"), "{answer}");
    let gate = daemon.status(&rig.host)?["gate"].clone();
    ensure!(gate["denied"] == 2 && gate["allowed"] == 2 && gate["connections"] == 0, "{gate}");
    finish(rig, daemon, &residue)
}

/// The directory of a user's socket, without a listener.
pub fn left_behind(daemon: &Enforcer) -> Result<PathBuf> {
    let text = fs::read_to_string(daemon.config())?;
    let line = text.lines().find_map(|line| line.strip_prefix("run_dir = \""));
    let run_dir = line.and_then(|rest| rest.strip_suffix('"')).context("no run directory")?;
    let user = User { hub: HubName::local(), name: "ann".parse()? };
    let socket = socket_path(run_dir.as_ref(), &user);
    let home = socket.parent().context("no directory")?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(home)?;
    fs::write(home.join("user"), "ann")?;
    Ok(socket)
}

pub fn command(daemon: &Enforcer, rig: &Rig, verb: &str, arguments: &[&str]) -> Result<()> {
    let (code, said) = daemon.verb(&rig.host, verb, arguments)?;
    ensure!(code == 0, "{verb} {arguments:?}: {code}: {said}");
    Ok(())
}

/// What a client in a container is answered at its engine's socket.
fn ask(rig: &Rig, container: &Container, request: &str) -> Result<String> {
    let head = format!("printf '{request} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'");
    let line = format!("{head} | /actor speak {SOCKET}");
    Ok(container.exec(&rig.docker, &["sh", "-c", &line])?.1)
}

/// Whether a record is of a request that came from a container and is over.
fn of(record: &Value, verdict: &str, from: &Container) -> bool {
    record["event.action"] == "gate"
        && record["enforcer.event"] == "request"
        && record["enforcer.verdict"] == verdict
        && record["container.id"] == from.id
}
