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

fn reaches(from: &Guest, to: (std::net::Ipv4Addr, u16)) -> Result<bool> {
    Ok(from.actor.connect(to, REFUSED_MS)?.errno.is_none())
}

/// Files that are no config, and what the answer must name.
fn bad_files(good: &str) -> Vec<(String, &'static str)> {
    let swap = |from: &str, to: &str| good.replace(from, to);
    let mut files = vec![
        (String::new(), "no guest network"),
        ("[networks".to_owned(), ":1:"),
        ("\u{0}\u{1}\u{2}".to_owned(), ":1:"),
        (swap("[docker]", "[dokcer]"), "dokcer"),
        (swap("socket", "sokcet"), "sokcet"),
        (swap("run_dir", "rundir"), "rundir"),
        (swap("bridge =", "brigde ="), "brigde"),
        (swap("create = true", "create = \"yes\""), ":9:10: invalid type"),
        (swap("create = true", "create = 1"), ":9:10: invalid type"),
        (swap("10.99.0.0/24", "10.99.0.0/0"), "/0"),
        (swap("10.99.0.0/24", "10.99.0.0/33"), "33"),
        (swap("10.99.0.0/24", "10.99.0.7/24"), "10.99.0"),
        (swap("10.99.0.0/24", "300.1.2.3/24"), "300.1.2.3"),
        (swap("10.99.0.0/24", "fd00::/64"), "fd00"),
        (swap("\"10.99.0.1\"", "\"10.98.0.1\""), "10.98.0.1"),
        (swap("\"10.99.0.1\"", "\"10.99.0.0\""), "10.99.0.0"),
        (swap("\"10.99.0.1\"", "\"gateway\""), "gateway"),
        (swap("guests0", "a-name-that-is-too-long"), "15"),
        (swap("\"guests0\"", "\"\""), "bridge"),
        (swap("\"guests0\"", "\"a/b\""), "a/b"),
        (swap("\"guests0\"", "7"), ":8:10: invalid type"),
        (swap("port = 8081", "port = 0"), "port"),
        (swap("port = 8081", "port = 65536"), "65536"),
        (swap("port = 8081", "port = -1"), "port"),
        (swap("port = 8081", "port = \"http\""), ":15:8: invalid type"),
        (swap("port = 8081", ""), "port"),
        (swap("\"tcp\"", "\"icmp\""), "icmp"),
        (swap("\"tcp\"", "6"), ":16:12: invalid type"),
        (swap("gateway = true", "gateway = false"), "gateway"),
        (swap("gateway = true", "address = \"nowhere\""), "nowhere"),
        (swap("gateway = true", "gateway = true\naddress = \"192.0.2.1\""), "one of"),
        (swap("gateway = true", "contianer = \"hub\""), "contianer"),
        (format!("{good}\n[networks.guests]\nbridge = \"other\"\n"), ":18:11: duplicate"),
        (format!("{good}\n[networks.second]\nbridge = \"guests0\"\n"), "guests0"),
        (format!("{good}\n[networks.guests.quotas]\nclosing = -1\n"), "quota -1"),
        (format!("{good}\n[networks.guests.quotas]\nclosing = 99999999999\n"), "quota 99999999999"),
        (format!("{good}\n[networks.guests.quotas]\nclosed = 1\n"), "closed"),
        (format!("{good}\n[nonsense]\nx = 1\n"), "nonsense"),
        (good.replacen("[daemon]", "[daemon]\nmark_mask = 1", 1), "mark_mask"),
        (good.replacen("[daemon]", "[daemon]\nmax_flows = 2048", 1), "max_flows"),
        (good.replacen("[daemon]", "[daemon]\npin_dir = \"/sys/fs/bpf/elsewhere\"", 1), "restart"),
    ];
    let half: String = good.chars().take(good.len() / 2).collect();
    files.push((half.trim_end_matches(char::is_alphanumeric).to_owned(), ":"));
    files
}

#[test]
fn f15_o2_a_bad_config_changes_nothing_and_a_good_one_changes_over() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, daemon) = start()?;
    let good = fs::read_to_string(daemon.config())?;
    let hub = (GATEWAY, HUB_PORT);
    let rules = |daemon: &Enforcer| -> Result<serde_json::Value> {
        let status = daemon.status(&rig.host)?;
        Ok(serde_json::json!([status["networks"], status["programs"]]))
    };
    let before = rules(&daemon)?;
    let bad = bad_files(&good);
    ensure!(bad.len() >= 40, "{}", bad.len());
    let mut wrong = Vec::new();
    for (text, named) in &bad {
        fs::write(daemon.config(), text)?;
        let (code, said) = daemon.verb(&rig.host, "reload", &[])?;
        if code != 2 || !said.contains(named) {
            wrong.push(format!("{code}, not about {named}: {said}"));
        }
        daemon.hang_up()?;
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    fs::write(daemon.config(), &good)?;
    ensure!(rules(&daemon)? == before, "something changed");
    ensure!(reaches(&rig.a, hub)?, "the hub does not answer any more");
    ensure!(!reaches(&rig.a, (GATEWAY, 22))?, "another port answers");
    // By signal, each is refused in the log and in the stream as well.
    daemon.wait_record("a refusal", |r| r["kind"] == "config" && r["event"] == "refused")?;

    let other = good.replace("port = 8081", "port = 22");
    fs::write(daemon.config(), &other)?;
    let (code, said) = daemon.verb(&rig.host, "reload", &[])?;
    ensure!(code == 0, "{code}: {said}");
    // At once: the answer comes when the kernel holds it.
    ensure!(!reaches(&rig.a, hub)?, "the old port is still open");
    ensure!(reaches(&rig.a, (GATEWAY, 22))?, "the new port is not open");
    fs::write(daemon.config(), &good)?;
    daemon.hang_up()?;
    wait_for("the first config again", Duration::from_secs(5), || {
        Ok(reaches(&rig.a, hub)?.then_some(()))
    })?;
    daemon.stop()?;
    rig.stop()?;
    residue.ensure_nothing_new()
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
    ensure!(code == 0 && text.contains("\"event\":\"uninstall\""), "{code}: {text}");
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
