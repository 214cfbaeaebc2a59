//! Guests that enforcer starts itself, on a real dockerd: policed, limited, their user's, and gone without a trace.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bollard::{models::ContainerStateStatusEnum, query_parameters::StopContainerOptions};
use enforcer::audit::enrich::MEMORY;
use enforcer_tests::harness::{
    enforcer::Enforcer,
    residue::Snapshot,
    run::wait_for,
    tables::{self, Tables},
    topology::{NETWORK, Rig},
};
use serde_json::Value;

use crate::{
    cli::{Cli, STAYS, inspect, order, ours, run, start_all, start_with, verb, volumes},
    flood::{finish, long},
};

/// A guest has the labels, limits and volumes of its order and no Docker socket; it can be looked at, stopped, started anew
/// and removed; its volume outlives it until it is reset; each step is recorded.
#[test]
fn n7_a_guest_of_enforcer_s_is_policed_before_its_start_is_over() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, daemon) = start_all()?;
    let cli = Cli { daemon: &daemon, rig: &rig };
    let options =
        ["--volume", "home:/home/ann", "--memory", "64m", "--pids", "40", "--cpus", "0.5"];
    let more = ["--env", "A=b", "--label", "course=5", "--restart", "unless-stopped", "--json"];
    let started = cli.start("ann", &[&options[..], &more, &STAYS].concat())?;
    let started: Value = serde_json::from_str(&started)?;
    ensure!(started["policed"] == true && started["socket"] == "none", "{started}");
    ensure!(started["network"] == NETWORK && started["state"] == "running", "{started}");
    let name = started["container"].as_str().context("no name")?.to_owned();
    // What it says is so at that moment, and not soon after.
    let status = daemon.status(&rig.host)?;
    let endpoints = status["endpoints"].as_array().context("no endpoints")?;
    let its = |endpoint: &&Value| endpoint.to_string().contains(&name);
    ensure!(endpoints.iter().any(|endpoint| its(&endpoint)), "{status}");

    let made = inspect(&rig.docker, &name)?;
    let host = made.host_config.clone().context("no host config")?;
    ensure!(host.memory == Some(64 << 20) && host.pids_limit == Some(40), "{host:?}");
    ensure!(host.nano_cpus == Some(500_000_000) && host.privileged == Some(false), "{host:?}");
    let labels = made.config.and_then(|config| config.labels).context("no labels")?;
    for (key, value) in [
        ("enforcer.user", "ann"),
        ("enforcer.hub", "local"),
        ("enforcer.managed", "true"),
        ("enforcer.guest", "true"),
        ("enforcer.socket", "none"),
        ("course", "5"),
    ] {
        ensure!(labels.get(key).is_some_and(|found| found == value), "{key}: {labels:?}");
    }
    // S1: nothing of this host is mounted.
    let mounts = made.mounts.context("no mounts")?;
    let places: Vec<_> = mounts.iter().filter_map(|mount| mount.destination.as_deref()).collect();
    ensure!(places == ["/home/ann"], "{mounts:?}");
    cli.ok(&["exec", "ann", "--", "/bin/sh", "-c", "! ls /var/run/docker.sock"])?;

    cli.ok(&["exec", "ann", "--", "/bin/sh", "-c", "echo kept > /home/ann/f; echo lost > /f"])?;
    let said = cli.ok(&["logs", "ann"])?;
    ensure!(said.contains("up"), "{said}");
    let (code, said) = cli.run(&["exec", "ann", "--", "/bin/sh", "-c", "echo no >&2; exit 7"])?;
    ensure!(code == 1 && said.contains("no") && said.contains("code 7"), "{code}: {said}");
    let detail: Value = serde_json::from_str(&cli.ok(&["inspect", "ann", "--json"])?)?;
    ensure!(detail["guest"]["restart_needed"] == false, "{detail}");
    ensure!(detail["order"]["env"][0] == "A=b" && detail["address"].is_string(), "{detail}");

    // One guest a user, unless the config says more; and the same one twice is none.
    cli.refused("ann", &["--server", "two"], "max_per_user is 1")?;
    cli.refused("ann", &[], "runs already")?;

    let again = cli.ok(&["restart", "ann", "--json"])?;
    let again: Value = serde_json::from_str(&again)?;
    ensure!(again["policed"] == true && again["container"] == started["container"], "{again}");
    ensure!(again["container_id"] != started["container_id"], "it is the same container: {again}");
    let said = cli.ok(&["exec", "ann", "--", "/bin/sh", "-c", "cat /home/ann/f; ls /"])?;
    ensure!(said.contains("kept") && !said.lines().any(|line| line == "f"), "{said}");

    cli.ok(&["stop", "ann"])?;
    let listed = cli.ok(&["list"])?;
    ensure!(listed.contains("exited"), "{listed}");
    let (code, said) = cli.run(&["reset-volumes", "ann"])?;
    ensure!(code == 2 && said.contains("remove it first"), "{code}: {said}");
    // A stopped one comes back for the order that it was made for.
    cli.ok(&["restart", "ann"])?;
    cli.ok(&["exec", "ann", "--", "/bin/cat", "/home/ann/f"])?;
    cli.ok(&["remove", "ann"])?;
    ensure!(ours(&rig.docker)?.is_empty(), "{:?}", ours(&rig.docker)?);
    ensure!(volumes(&rig.docker)?.len() == 1, "{:?}", volumes(&rig.docker)?);
    cli.ok(&["reset-volumes", "ann", "--volume", "home"])?;
    ensure!(volumes(&rig.docker)?.is_empty(), "{:?}", volumes(&rig.docker)?);
    let (code, said) = cli.run(&["remove", "ann"])?;
    ensure!(code == 2 && said.contains("there is no guest of ann"), "{code}: {said}");

    for event in ["started", "executed", "restarted", "stopped", "removed", "reset", "failed"] {
        daemon.wait_record(event, |r| {
            r["event.action"] == "life" && r["enforcer.event"] == event && r["user.name"] == "ann"
        })?;
    }
    let record = daemon.wait_record("a start", |r| r["enforcer.event"] == "started")?;
    ensure!(record["enforcer.grant"] == "none" && record["enforcer.by.user"] == "root", "{record}");
    ensure!(record["enforcer.why"].as_str().is_some_and(|why| !why.is_empty()), "{record}");
    finish(rig, daemon, &residue)
}

/// Two hubs with a user of one name share no guest, no volume and no network.
#[test]
fn s3_users_of_one_name_in_two_hubs_share_nothing() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, daemon) = start_all()?;
    let cli = Cli { daemon: &daemon, rig: &rig };
    let volume = ["--volume", "home:/home/x"];
    cli.start("alice", &[&volume[..], &STAYS].concat())?;
    cli.start("alice", &[&["--hub", "lab"][..], &volume, &STAYS].concat())?;
    ensure!(ours(&rig.docker)?.len() == 2 && volumes(&rig.docker)?.len() == 2, "shared");
    cli.ok(&["exec", "alice", "--", "/bin/sh", "-c", "echo mine > /home/x/f"])?;
    let (code, said) =
        cli.run(&["exec", "alice", "--hub", "lab", "--", "/bin/cat", "/home/x/f"])?;
    ensure!(code == 1 && !said.contains("mine"), "{code}: {said}");
    let listed: Value = serde_json::from_str(&cli.ok(&["list", "--json"])?)?;
    let guests = listed["guests"].as_array().context("no guests")?;
    let of = |key: &str| guests.iter().map(|guest| guest[key].to_string()).collect::<BTreeSet<_>>();
    for key in ["hub", "container", "container_id", "network"] {
        ensure!(of(key).len() == 2, "{key} is shared: {listed}");
    }
    ensure!(of("user").len() == 1, "{listed}");
    // Who may have a socket in one is nobody in the other.
    verb(&cli, "group", &["add", "docker-privileged", "alice"])?;
    let members = verb(&cli, "group", &["members", "docker-privileged", "--hub", "lab"])?;
    ensure!(!members.contains("alice"), "{members}");
    let report: Value = serde_json::from_str(&verb(&cli, "grant", &["report", "--json"])?)?;
    let holders = report["holders"].as_array().context("no holders")?;
    ensure!(holders.len() == 1 && holders[0]["hub"] == "local", "{report}");
    for hub in ["local", "lab"] {
        let of = |r: &Value| r["enforcer.event"] == "started" && r["enforcer.hub"] == hub;
        let record = daemon.wait_record(hub, of)?;
        ensure!(record["user.name"] == "alice", "{record}");
    }
    let network = ["--network", NETWORK];
    cli.refused("bob", &[&["--hub", "lab"][..], &network].concat(), "is no guest network of hub")?;
    cli.ok(&["remove", "alice", "--hub", "lab"])?;
    cli.ok(&["reset-volumes", "alice", "--hub", "lab"])?;
    let said = cli.ok(&["exec", "alice", "--", "/bin/cat", "/home/x/f"])?;
    ensure!(said.contains("mine"), "{said}");
    cli.away("alice", None)?;
    finish(rig, daemon, &residue)
}

/// Last words that would clear the terminal of whoever starts the guest, and pass for ours.
const BOLD: &str = r"printf '\033[2Ja\nenforcer: well\n' >&2; exit 4";

/// Of a start that fails nothing is left: no container, no volume; and the next one works.
#[test]
fn s3_a_start_that_fails_leaves_nothing_behind() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, daemon) = start_all()?;
    let cli = Cli { daemon: &daemon, rig: &rig };
    let volume = ["--volume", "cache:/cache"];
    let starts = |more: &[&'static str]| [&volume[..], more].concat();
    for (arguments, words) in [
        (starts(&["--", "/nothing"]), "start the guest"),
        (starts(&["--", "/bin/sh", "-c", "echo because >&2; exit 3"]), "code 3: because"),
        (starts(&["--", "/bin/sh", "-c", BOLD]), "code 4: ?[2Ja\n  enforcer: well"),
        (starts(&["--run-as", "nobody-at-all", "--", "/bin/sleep", "9"]), "start the guest"),
    ] {
        let (code, said) = cli.try_start("ann", &arguments)?;
        ensure!(code == 2 && said.contains(words), "{arguments:?}: {code}: {said}");
        ensure!(ours(&rig.docker)?.is_empty(), "{said}: {:?}", ours(&rig.docker)?);
        ensure!(volumes(&rig.docker)?.is_empty(), "{said}: {:?}", volumes(&rig.docker)?);
    }
    let (code, said) = cli.run(&["start", "ann", "--image", "enforcer-test-no-such:1"])?;
    ensure!(code == 2 && !said.is_empty() && ours(&rig.docker)?.is_empty(), "{code}: {said}");
    cli.start("ann", &starts(&STAYS))?;
    // One that fails to take its place leaves the guest that there was, and its order.
    let name = ours(&rig.docker)?.into_iter().next().context("no guest")?;
    rig.docker.call(|client| client.stop_container(&name, None::<StopContainerOptions>))?;
    let (code, said) = cli.try_start("ann", &starts(&["--", "/nothing"]))?;
    ensure!(code == 2, "{said}");
    ensure!(ours(&rig.docker)? == [name.clone()].into(), "{:?}", ours(&rig.docker)?);
    ensure!(volumes(&rig.docker)?.len() == 1, "{:?}", volumes(&rig.docker)?);
    cli.ok(&["restart", "ann"])?;
    cli.away("ann", None)?;
    finish(rig, daemon, &residue)
}

/// The engine is killed in the middle of a start, at several moments: what is left is a guest that is policed or none, and a
/// retry works.
#[test]
fn s3_an_engine_that_is_killed_in_a_start_leaves_no_half_of_a_guest() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (mut rig, daemon) = start_all()?;
    let volume = ["--volume", "home:/home/x"];
    let arguments = [&volume[..], &STAYS].concat();
    for after in [0, 60, 150, 300, 500, 900] {
        let Rig { host, docker, .. } = &mut rig;
        let (code, said) = thread::scope(|scope| {
            let starting = scope.spawn(|| run(&daemon, host, &order("ann", &arguments)));
            thread::sleep(Duration::from_millis(after));
            docker.end(libc::SIGKILL)?;
            starting.join().ok().context("the start panicked")?
        })?;
        ensure!(code == 0 || !said.is_empty(), "after {after} ms: nothing said");
        rig.docker.resume(&rig.host)?;
        let cli = Cli { daemon: &daemon, rig: &rig };
        // What is left goes by itself: a container that never ran, and a volume that nobody has.
        wait_for("that nothing is left of it", Duration::from_secs(45), || {
            let there = ours(&rig.docker)?.into_iter().next();
            let Some(name) = there else {
                return Ok(volumes(&rig.docker)?.is_empty().then_some(()));
            };
            let state = inspect(&rig.docker, &name)?.state.and_then(|state| state.status);
            Ok((state != Some(ContainerStateStatusEnum::CREATED)).then_some(()))
        })
        .with_context(|| format!("after {after} ms; the first said {said}"))?;
        wait_for("a start that works", Duration::from_secs(30), || {
            let (code, said) = cli.try_start("ann", &arguments)?;
            Ok((code == 0 || said.contains("runs already")).then_some(()))
        })
        .with_context(|| format!("after {after} ms; the first said {said}"))?;
        let listed: Value = serde_json::from_str(&cli.ok(&["list", "--json"])?)?;
        ensure!(listed["guests"][0]["policed"] == true, "after {after} ms: {listed}");
        ensure!(ours(&rig.docker)?.len() == 1, "after {after} ms: {:?}", ours(&rig.docker)?);
        cli.away("ann", None)?;
        ensure!(ours(&rig.docker)?.is_empty(), "after {after} ms: {:?}", ours(&rig.docker)?);
        ensure!(volumes(&rig.docker)?.is_empty(), "after {after} ms: {:?}", volumes(&rig.docker)?);
    }
    // The rig's own guests died with the engine; nobody needs them any more.
    finish(rig, daemon, &residue)
}

/// A guest that nobody talks to is ended, and its volume stays; one that somebody talks to stays, as do those that enforcer
/// did not start.
#[test]
fn an_idle_guest_is_ended_and_one_with_visitors_is_not() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, daemon) = start_with("[guests]\nidle_after = \"15s\"\n")?;
    let cli = Cli { daemon: &daemon, rig: &rig };
    let volume = ["--volume", "home:/home/x"];
    cli.start("ann", &STAYS)?;
    cli.start("bob", &[&volume[..], &STAYS].concat())?;
    let detail: Value = serde_json::from_str(&cli.ok(&["inspect", "ann", "--json"])?)?;
    let ann: IpAddr = detail["address"].as_str().context("no address")?.parse()?;
    let culled = |user: &str| {
        daemon.records().into_iter().find(|r| {
            r["event.action"] == "life" && r["enforcer.event"] == "culled" && r["user.name"] == user
        })
    };
    let until = Instant::now() + Duration::from_mins(1);
    while culled("bob").is_none() {
        ensure!(Instant::now() < until, "bob is still there: {}", daemon.log_text());
        // Nobody listens there; that somebody asks is enough.
        rig.host.actor.connect((ann, 22), 1000)?;
        thread::sleep(Duration::from_secs(1));
    }
    let record = culled("bob").context("no record")?;
    ensure!(
        record["enforcer.why"].as_str().is_some_and(|why| why.starts_with("idle for")),
        "{record}"
    );
    ensure!(culled("ann").is_none() && ours(&rig.docker)?.len() == 1, "ann was visited");
    ensure!(volumes(&rig.docker)?.len() == 1, "{:?}", volumes(&rig.docker)?);
    for guest in [&rig.a, &rig.b] {
        let state = inspect(&rig.docker, &guest.name)?.state.and_then(|state| state.running);
        ensure!(state == Some(true), "{} is none of enforcer's", guest.name);
    }
    wait_for("that ann is idle, too", Duration::from_mins(1), || Ok(culled("ann")))?;
    cli.ok(&["reset-volumes", "bob"])?;
    finish(rig, daemon, &residue)
}

/// Guests that come and go leave nothing in the kernel or at the engine.
/// Of a guest that is gone nothing stays in the kernel but what was counted of it, and that as long as records of it may
/// still come.
fn are_as_full_as(before: &Tables, rig: &Rig, daemon: &Enforcer) -> Result<()> {
    const COUNTED: [&str; 2] = ["COUNTERS", "TOLD"];
    // Of the two that stay, other things may have been counted meanwhile.
    const NEW: usize = 8;
    let tables = || tables::entries(&rig.host, daemon.pid());
    let kept = |(name, _): &(&String, &usize)| !COUNTED.contains(&name.as_str());
    wait_for("that the tables are as full as before", Duration::from_secs(30), || {
        Ok(tables()?.iter().filter(kept).eq(before.iter().filter(kept)).then_some(()))
    })?;
    if !long() {
        return Ok(());
    }
    let limit = MEMORY + Duration::from_mins(1);
    wait_for("that what was counted is forgotten", limit, || {
        let now = tables()?;
        let is_less =
            |name: &str| now.get(name) <= before.get(name).map(|rows| rows + NEW).as_ref();
        Ok(COUNTED.into_iter().all(is_less).then_some(()))
    })
}

#[test]
fn s3_many_guests_come_and_go_without_a_trace() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, daemon) = start_with("")?;
    // What is there from the beginning is all there before it is counted.
    for guest in [&rig.a, &rig.b] {
        daemon.wait_identified(&rig.host, &guest.name, "guest")?;
    }
    let cli = Cli { daemon: &daemon, rig: &rig };
    let held = |daemon: &Enforcer| -> Result<usize> {
        let status = daemon.status(&rig.host)?;
        Ok(status["endpoints"].as_array().map_or(0, Vec::len))
    };
    let (before, links) = (held(&daemon)?, rig.host.run("ip -o link")?.lines().count());
    let tables = tables::entries(&rig.host, daemon.pid())?;
    ensure!(
        tables.get("ENDPOINTS").is_some_and(|rows| *rows > 0),
        "no tables are seen: {tables:?}"
    );
    let fds = || anyhow::Ok(fs::read_dir(format!("/proc/{}/fd", daemon.pid()))?.count());
    let mut fds_early = None;
    let volume = ["--volume", "home:/home/x"];
    for round in 0..if long() { 200 } else { 20 } {
        let user = format!("user-{round}");
        // Every other one has a socket.
        if round % 2 == 1 {
            verb(&cli, "group", &["add", "docker-privileged", &user])?;
        }
        cli.start(&user, &[&volume[..], &STAYS].concat())?;
        cli.away(&user, None)?;
        if round == 3 {
            fds_early = Some(fds()?);
        }
    }
    let gate = daemon.status(&rig.host)?["gate"].clone();
    ensure!(gate["users"] == 0 && gate["connections"] == 0, "sockets are left: {gate}");
    // Some are open for as long as somebody asks; one a guest would be far more.
    wait_for("that files are closed", Duration::from_secs(10), || {
        let most = fds_early.context("fewer rounds than that")? + 8;
        let now = fds()?;
        Ok((now <= most).then_some(()))
    })?;
    ensure!(
        ours(&rig.docker)?.is_empty() && volumes(&rig.docker)?.is_empty(),
        "left at the engine"
    );
    wait_for("the last endpoint's end", Duration::from_secs(10), || {
        Ok((held(&daemon)? == before).then_some(()))
    })?;
    are_as_full_as(&tables, &rig, &daemon)?;
    // The engine takes a container's interface away with its namespace, which takes a moment.
    wait_for("the last interface's end", Duration::from_secs(15), || {
        let now = rig.host.run("ip -o link")?;
        ensure!(now.lines().count() <= links, "{links} links before, now:\n{now}");
        Ok(Some(()))
    })?;
    finish(rig, daemon, &residue)
}
