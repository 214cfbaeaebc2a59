//! The verbs: reload, stop, uninstall, and a status that tells the truth.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::harness::{
    dockerd::Options,
    enforcer::{Enforcer, Settings},
    guest::Guest,
    residue::Snapshot,
    run::wait_for,
    topology::{Base, GATEWAY, HUB_PORT, NETWORK, NOTEBOOK_PORT, Rig, WORLD},
};

const REFUSED_MS: u64 = 700;

fn start() -> Result<(Rig, Enforcer)> {
    let rig = Base::start(Options::default())?.with_guests()?;
    let daemon = Enforcer::start_beside(&rig, &Settings::default())?;
    for guest in [&rig.a, &rig.b] {
        daemon.wait_identified(&rig.host, &guest.name, "guest")?;
    }
    Ok((rig, daemon))
}

pub(super) fn reaches(from: &Guest, to: (std::net::Ipv4Addr, u16)) -> Result<bool> {
    Ok(from.actor.connect(to, REFUSED_MS)?.errno.is_none())
}

#[test]
fn f03_what_was_tightened_while_no_daemon_ran_is_closed_when_one_is_ready() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, mut daemon) = start()?;
    let hub = (GATEWAY, HUB_PORT);
    let live = rig.a.actor.hold(hub, 2000)?;
    ensure!(live.id.is_some(), "{live:?}");
    daemon.kill_now()?;
    ensure!(reaches(&rig.a, hub)?, "without a daemon the hub does not answer");
    let text = fs::read_to_string(daemon.config())?;
    fs::write(daemon.config(), text.replace("port = 8081", "port = 1"))?;
    let binary = enforcer_tests::harness::artifacts::enforcer().context("no binary")?;
    let daemon = daemon.restart(&rig.host, binary)?;
    // The second one in this log.
    wait_for("ready", Duration::from_secs(10), || {
        Ok((daemon.log_text().matches("supervise: ready").count() == 2).then_some(()))
    })?;
    ensure!(!reaches(&rig.a, hub)?, "ready, and the port is still open");
    daemon.stop()?;
    rig.stop()?;
    residue.ensure_nothing_new()
}

#[test]
fn f23_f24_stop_stays_closed_uninstall_opens_and_status_says_which() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, daemon) = start()?;
    let status = |daemon: &Enforcer| daemon.verb(&rig.host, "status", &[]);
    wait_for("a healthy daemon", Duration::from_secs(10), || {
        let (code, text) = status(&daemon)?;
        ensure!(code == 0 || code == 4, "{code}: {text}");
        Ok((code == 0).then_some(()))
    })?;
    let forbidden = [(GATEWAY, 22), (rig.b.ipv4, NOTEBOOK_PORT), (WORLD, 80)];

    let known = daemon.status(&rig.host)?["endpoints"].clone();
    let mut known = known.as_array().context("no endpoints")?.iter();
    let port = known.find(|endpoint| endpoint["container"] == *rig.a.name).context("no A")?;
    let port = port["ifindex"].as_u64().context("no ifindex")?;

    // Frozen, it does not answer; what the kernel holds is told without it.
    daemon.freeze()?;
    let (code, text) = status(&daemon)?;
    daemon.thaw()?;
    ensure!(code == 4 && text.contains("did not answer"), "{code}: {text}");

    let (code, text) = daemon.verb(&rig.host, "stop", &[])?;
    ensure!(code == 0 && text.contains("stay policed"), "{code}: {text}");
    let (code, text) = status(&daemon)?;
    ensure!(code == 4 && text.contains("no enforcer answers"), "{code}: {text}");
    for to in forbidden {
        ensure!(!reaches(&rig.a, to)?, "stopped, A reaches {to:?}");
    }
    ensure!(reaches(&rig.a, (GATEWAY, HUB_PORT))?, "stopped, A does not reach the hub");
    // Nobody has told this one's identity: it has no network.
    let late = Guest::start(&rig.run, &rig.docker, NETWORK, "late", &[])?;
    for to in forbidden.into_iter().chain([(GATEWAY, HUB_PORT)]) {
        ensure!(!reaches(&late, to)?, "stopped, a new guest reaches {to:?}");
    }

    // A pin that goes takes its program along: no daemon is there to put it back, and status says so.
    rig.host.run(&format!("rm /sys/fs/bpf/enforcer/links/{port}-from_guest"))?;
    wait_for("status to be red", Duration::from_secs(5), || {
        let (code, text) = status(&daemon)?;
        Ok((code == 5 && text.contains("from_guest does not run on")).then_some(()))
    })?;

    let (code, text) = daemon.verb(&rig.host, "uninstall", &[])?;
    ensure!(code == 2 && text.contains("--yes"), "not asked: {code}: {text}");
    ensure!(!reaches(&rig.a, (GATEWAY, 22))?, "refused, and yet open");
    let (code, text) = daemon.verb(&rig.host, "uninstall", &["--yes"])?;
    ensure!(code == 0 && text.contains("\"enforcer.event\":\"uninstall\""), "{code}: {text}");
    for to in [(GATEWAY, 22), (rig.b.ipv4, NOTEBOOK_PORT)] {
        let answers = wait_for(&format!("{to:?} to answer"), Duration::from_secs(5), || {
            Ok(reaches(&rig.a, to)?.then_some(()))
        });
        answers.with_context(|| {
            let show = |line: &str| rig.host.run(line).unwrap_or_default();
            format!("{}\n{}", show("bridge -d link show"), show("bridge fdb show br guests0"))
        })?;
    }
    let (code, text) = status(&daemon)?;
    ensure!(code == 5 && text.contains("no policy is in the kernel"), "{code}: {text}");
    let pins = rig.host.run("ls /sys/fs/bpf")?;
    ensure!(!pins.contains("enforcer"), "pins are left: {pins}");
    let tables = rig.host.run("nft list tables")?;
    ensure!(!tables.contains("enforcer"), "a table is left: {tables}");
    let programs = rig.host.run("bpftool net show")?;
    ensure!(!programs.contains("_guest") && !programs.contains("_bridge"), "left: {programs}");
    // It may be repeated.
    let (code, text) = daemon.verb(&rig.host, "uninstall", &["--yes"])?;
    ensure!(code == 0, "{code}: {text}");
    drop(daemon);
    rig.docker.remove(&late.name)?;
    rig.stop()?;
    residue.ensure_nothing_new()
}

/// What `Type=notify` and `WatchdogSec` live on: the units restart a daemon that falls silent.
#[test]
fn f17_the_service_manager_hears_of_a_live_loop_and_not_of_a_frozen_one() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let base = Base::start(Options::default())?;
    let path = base.run.make_dir("notify")?.join("socket");
    let manager = UnixDatagram::bind(&path)?;
    let hears = |word: &str, within: Duration| -> Result<bool> {
        let begun = Instant::now();
        while let Some(left) = within.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
            manager.set_read_timeout(Some(left))?;
            let mut message = [0; 256];
            let Ok(length) = manager.recv(&mut message) else { break };
            if String::from_utf8_lossy(message.get(..length).unwrap_or_default()).contains(word) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let daemon = Enforcer::start(&base, &Settings { notify: Some(path), ..Settings::default() })?;
    ensure!(hears("READY=1", Duration::from_secs(10))?, "not ready");
    ensure!(hears("WATCHDOG=1", Duration::from_secs(10))?, "no sign of life");
    daemon.freeze()?;
    // What was sent before.
    while hears("WATCHDOG=1", Duration::from_millis(200))? {}
    let silent = !hears("WATCHDOG=1", Duration::from_secs(9))?;
    daemon.thaw()?;
    ensure!(silent, "a frozen daemon gives a sign of life");
    ensure!(hears("WATCHDOG=1", Duration::from_secs(10))?, "no sign of life any more");
    daemon.stop()?;
    ensure!(hears("STOPPING=1", Duration::from_secs(2))?, "its end is not told");
    drop(base);
    residue.ensure_nothing_new()
}

/// A host whose nftables do not work: the programs come all the same, and what is missing is said.
#[test]
fn n6_without_nftables_guests_are_policed_and_status_says_what_is_missing() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let rig = Base::start(Options::default())?.with_guests()?;
    let programs = rig.run.make_dir("programs")?;
    let nft = programs.join("nft");
    fs::write(&nft, "#!/bin/sh\necho 'Error: it is broken' >&2\nexit 1\n")?;
    fs::set_permissions(&nft, fs::Permissions::from_mode(0o755))?;
    ensure!(reaches(&rig.a, (GATEWAY, 22))?, "unprotected, port 22 does not answer");
    let settings = Settings { programs: Some(programs), ..Settings::default() };
    let daemon = Enforcer::start_beside(&rig, &settings)?;
    daemon.wait_identified(&rig.host, &rig.a.name, "guest")?;
    ensure!(!reaches(&rig.a, (GATEWAY, 22))?, "not policed");
    ensure!(reaches(&rig.a, (GATEWAY, HUB_PORT))?, "the hub does not answer");
    let (code, text) = daemon.verb(&rig.host, "status", &[])?;
    ensure!(code == 4 && text.contains("nftables cannot close guest bridges"), "{code}: {text}");
    ensure!(daemon.log_text().contains("it is broken"), "{}", daemon.log_text());
    daemon.stop()?;
    rig.stop()?;
    residue.ensure_nothing_new()
}
