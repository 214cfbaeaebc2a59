//! Who has a Docker socket, from the start of a guest to its end, and who needs none: on a real dockerd.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use enforcer::{
    access::name::{HubName, User},
    gate::socket_path,
};
use enforcer_tests::harness::{
    container::{Container, Spec},
    dockerd::{Options, TCP},
    enforcer::Enforcer,
    residue::Snapshot,
};
use serde_json::Value;

use crate::{
    cli::{Cli, STAYS, inspect, start_on, verb},
    flood::finish,
    shared,
};

const GROUP: &str = "docker-privileged";
const SOCKET: &str = "/var/run/docker.sock";

/// S1, S20: outside the group a guest has no socket by any path, inside it has one, and once more none when it is started anew
/// after the user's removal. All of it is recorded and reported, and the socket goes with the guest.
#[test]
fn s1_a_guest_has_a_socket_when_its_user_is_in_a_granting_group_and_else_none() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, daemon) = start_on(Options { tcp: true, ..Options::default() }, "")?;
    let cli = Cli { daemon: &daemon, rig: &rig };
    let gate = socket_of(&daemon, "ann")?;
    let start = [&["--json"][..], &STAYS].concat();

    let outside: Value = serde_json::from_str(&cli.start("ann", &start)?)?;
    ensure!(outside["socket"] == "none" && !gate.exists(), "{outside}");
    has_none(&cli)?;
    cli.ok(&["remove", "ann"])?;

    verb(&cli, "grant", &["set", GROUP, "raw", "--reason", "course 5"])?;
    verb(&cli, "group", &["add", GROUP, "ann", "--reason", "the tutor"])?;
    let inside: Value = serde_json::from_str(&cli.start("ann", &start)?)?;
    ensure!(inside["socket"] == "raw" && gate.exists(), "{inside}");
    let name = inside["container"].as_str().context("no name")?.to_owned();
    let said = ask(&cli)?;
    ensure!(said.contains("HTTP/1.1 200") && said.contains(&name), "{said}");
    let report = report(&cli)?;
    let holder = &report["holders"][0];
    ensure!(holder["user"] == "ann" && holder["socket"] == "raw", "{report}");
    ensure!(holder["containers"] == serde_json::json!([name]), "{report}");
    ensure!(holder["grant"]["reason"] == "course 5", "{report}");
    ensure!(holder["member"]["reason"] == "the tutor", "{report}");
    // S14: what else this engine is open by.
    ensure!(way(&report, "tcp", TCP).is_some(), "{report}");

    verb(&cli, "group", &["remove", GROUP, "ann"])?;
    let said = ask(&cli)?;
    ensure!(said.contains("HTTP/1.1 403"), "{said}");
    let report = self::report(&cli)?;
    ensure!(report["holders"] == serde_json::json!([]), "{report}");
    ensure!(report["refused"][0]["container"] == name.as_str(), "{report}");
    let again: Value = serde_json::from_str(&cli.ok(&["restart", "ann", "--json"])?)?;
    ensure!(again["socket"] == "none", "{again}");
    has_none(&cli)?;
    cli.ok(&["remove", "ann"])?;
    ensure!(!gate.exists(), "the socket is still there");

    let is = |kind: &str, event: &str| {
        let (kind, event) = (kind.to_owned(), event.to_owned());
        move |r: &Value| {
            r["event.action"] == kind && r["enforcer.event"] == event && r["user.name"] == "ann"
        }
    };
    for (kind, event) in [("group", "added"), ("group", "removed")] {
        daemon.wait_record(event, is(kind, event))?;
    }
    let grants = || {
        let lives = daemon.records().into_iter().filter(|r| r["event.action"] == "life");
        let grants = lives.filter_map(|r| r["enforcer.grant"].as_str().map(str::to_owned));
        grants.collect::<Vec<_>>()
    };
    daemon.wait_record("the second start", is("life", "restarted"))?;
    ensure!(grants() == ["none", "raw", "none"], "{:?}", grants());
    finish(rig, daemon, &residue)
}

/// S20: a container that has the engine's socket, by itself or with a directory, is told with a warning; its end, too.
#[test]
fn s20_a_container_with_the_engines_socket_is_told_by_what_it_has_mounted() -> Result<()> {
    shared::with(|shared| {
        let (rig, daemon) = (&shared.rig, &shared.daemon);
        let cli = Cli { daemon, rig };
        let socket = rig.docker.socket();
        let dir = socket.parent().context("no directory")?;
        let binds =
            [format!("{}:{SOCKET}", socket.display()), format!("{}:/engine", dir.display())];
        let start = |name, binds: &[&str]| {
            let spec = Spec { name, network: "none", binds, ..Spec::default() };
            Container::start(&rig.run, &rig.docker, &spec)
        };
        start("has-socket", &[&binds[0]])?;
        start("has-directory", &[&binds[1]])?;
        start("has-neither", &[])?;
        let all = report(&cli)?;
        for (name, mounted) in [("has-socket", &*socket), ("has-directory", dir)] {
            let way = way(&all, "mount", name).with_context(|| format!("{name}: {all}"))?;
            ensure!(
                way["who"][0] == fs::canonicalize(mounted)?.to_string_lossy().as_ref(),
                "{way}"
            );
            ensure!(way["warning"].as_str().is_some_and(|text| text.contains("root")), "{way}");
        }
        ensure!(way(&all, "mount", "has-neither").is_none(), "{all}");
        // The engine's own socket, and that of the containerd that it started.
        let at = fs::canonicalize(&socket)?;
        let engine = way(&all, "socket", &at.to_string_lossy()).context("no engine")?;
        ensure!(engine["who"] == serde_json::json!(["root"]), "{engine}");
        let containerd = fs::canonicalize(dir)?.join("exec/containerd/containerd.sock");
        ensure!(way(&all, "socket", &containerd.to_string_lossy()).is_some(), "{all}");
        ensure!(!all["ways"].to_string().contains("\"tcp\""), "{all}");
        ensure!(all["unknown"] == serde_json::json!([]), "{all}");
        for name in ["has-socket", "has-directory", "has-neither"] {
            rig.docker.remove(name)?;
        }
        ensure!(way(&report(&cli)?, "mount", "has-socket").is_none(), "it has gone");
        let text = verb(&cli, "grant", &["report"])?;
        ensure!(text.contains("Ways past the gate") && text.contains("docker.sock"), "{text}");
        // What there was at the start is in the log.
        ensure!(daemon.log_text().contains("a way to the engine past the gate"), "not told");
        Ok(())
    })
}

fn report(cli: &Cli<'_>) -> Result<Value> {
    Ok(serde_json::from_str(&verb(cli, "grant", &["report", "--json"])?)?)
}

fn way<'a>(report: &'a Value, kind: &str, at: &str) -> Option<&'a Value> {
    report["ways"].as_array()?.iter().find(|way| way["kind"] == kind && way["at"] == at)
}

/// Ann's guest has no mount, and no socket anywhere.
fn has_none(cli: &Cli<'_>) -> Result<()> {
    let listed: Value = serde_json::from_str(&cli.ok(&["list", "--json"])?)?;
    let name = listed["guests"][0]["container"].as_str().context("no guest")?;
    let mounts = inspect(&cli.rig.docker, name)?.mounts.unwrap_or_default();
    ensure!(mounts.is_empty(), "{mounts:?}");
    // Neither of these may be there: its root has them all.
    let look = "! ls /var/run/docker.sock /run/docker.sock 2>/dev/null";
    let said = cli.ok(&["exec", "ann", "--", "/bin/sh", "-c", look])?;
    ensure!(!said.contains("sock"), "{said}");
    Ok(())
}

/// What ann's guest is answered at its socket.
fn ask(cli: &Cli<'_>) -> Result<String> {
    let request = "GET /v1.41/containers/json HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n";
    let line = format!("printf '{request}' | /actor speak {SOCKET}");
    Ok(cli.run(&["exec", "ann", "--", "/bin/sh", "-c", &line])?.1)
}

/// Where the gate listens for a user of no hub.
fn socket_of(daemon: &Enforcer, user: &str) -> Result<PathBuf> {
    let text = fs::read_to_string(daemon.config())?;
    let line = text.lines().find_map(|line| line.strip_prefix("run_dir = \""));
    let run_dir = line.and_then(|rest| rest.strip_suffix('"')).context("no run directory")?;
    let user = User { hub: HubName::local(), name: user.parse()? };
    Ok(socket_path(run_dir.as_ref(), &user))
}
