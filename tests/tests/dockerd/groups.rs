//! Groups and grants of a real daemon, by its command line: who may have a Docker socket.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use enforcer::access::{
    grant::{By, Reason, Seconds},
    name::HubName,
    store::{Author, Store},
};
use enforcer_tests::harness::{
    dockerd::Options,
    enforcer::{Enforcer, Settings},
    residue::Snapshot,
    topology::{Base, Rig},
};
use serde_json::Value;

use crate::flood::{binary, finish};

const BUILTIN: &str = "docker-privileged";

/// S1: a built-in group is there from the start and comes back, whoever deletes it and however; others come and go.
/// Each change is there after kill -9, and recorded with who made it and why.
#[test]
fn s1_groups_change_by_command_and_a_built_in_one_always_comes_back() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let rig = Base::start(Options::default())?.with_guests()?;
    let mut daemon = Enforcer::start_beside(&rig, &Settings::default())?;
    let own = the_group(&daemon, &rig, BUILTIN)?.context("no built-in group")?;
    ensure!(own["builtin"] == true && own["members"] == 0, "{own}");
    ensure!(own["grant"]["kind"] == "filtered", "{own}");

    let (code, said) = run(&daemon, &rig, "group", &["delete", BUILTIN])?;
    ensure!(code == 2 && said.contains("built in and cannot be deleted"), "{code}: {said}");
    for (arguments, words) in [
        (&["create", "course"][..], "course is made"),
        (&["add", "course", "ann", "--until", "30d", "--reason", "spring"], "need a restart"),
        (&["add", BUILTIN, "ann", "--until", "2999-01-01T00:00:00Z"], "need a restart"),
    ] {
        let (code, said) = run(&daemon, &rig, "group", arguments)?;
        ensure!(code == 0 && said.contains(words), "{arguments:?}: {code}: {said}");
    }
    for (arguments, words) in [
        (&["create", "course"][..], "already"),
        (&["create", "a/b"], "no '/'"),
        (&["add", "nothing", "ann"], "no group \"nothing\""),
        (&["add", "course", "bob", "--until", "2001-01-01T00:00:00Z"], "not in the future"),
        (&["add", "course", "bob", "--until", "soon"], "2026-12-31T18:00:00Z"),
        (&["remove", "course", "bob"], "not in group"),
        (&["list", "--hub", "elsewhere"], "no hub \"elsewhere\""),
    ] {
        let (code, said) = run(&daemon, &rig, "group", arguments)?;
        ensure!(code == 2 && said.contains(words), "{arguments:?}: {code}: {said}");
    }
    let (code, said) = run(
        &daemon,
        &rig,
        "grant",
        &["set", "course", "raw", "--until", "12h", "--reason", "why"],
    )?;
    ensure!(code == 0 && said.contains("have: raw"), "{code}: {said}");

    daemon.kill_now()?;
    daemon = daemon.restart(&rig.host, binary()?)?;
    let (code, said) = run(&daemon, &rig, "group", &["members", "course", "--json"])?;
    ensure!(code == 0, "{said}");
    let members: Value = serde_json::from_str(&said)?;
    let ann = &members["members"][0];
    ensure!(ann["user"] == "ann" && ann["given"]["reason"] == "spring", "{members}");
    ensure!(ann["given"]["by"] == "root" && ann["given"]["until"].is_string(), "{members}");
    let course = the_group(&daemon, &rig, "course")?.context("it is gone")?;
    ensure!(course["grant"]["kind"] == "raw" && course["members"] == 1, "{course}");

    // Whoever edits the database while nobody looks.
    let state = state_dir(&daemon)?;
    daemon.kill_now()?;
    let store = Store::open(&state)?;
    let author = Author { by: By::config(), reason: Reason::default(), now: Seconds(1) };
    store.delete(&HubName::local(), &BUILTIN.parse()?, &[], &author)?;
    drop(store);
    daemon = daemon.restart(&rig.host, binary()?)?;
    let own = the_group(&daemon, &rig, BUILTIN)?.context("it did not come back")?;
    ensure!(own["builtin"] == true && own["members"] == 0, "{own}");

    let (code, said) = run(&daemon, &rig, "group", &["delete", "course", "--reason", "over"])?;
    ensure!(code == 0, "{said}");
    ensure!(the_group(&daemon, &rig, "course")?.is_none(), "it is still there");
    daemon.wait_record("the group that came back", |r| {
        r["event.action"] == "group"
            && r["enforcer.event"] == "recreated"
            && r.to_string().contains(BUILTIN)
    })?;
    daemon.wait_record("the deletion", |r| {
        r["event.action"] == "group"
            && r["enforcer.event"] == "deleted"
            && r.to_string().contains("\"root\"")
            && r.to_string().contains("\"over\"")
    })?;
    finish(rig, daemon, &residue)
}

fn run(daemon: &Enforcer, rig: &Rig, verb: &str, arguments: &[&str]) -> Result<(i32, String)> {
    daemon.verb(&rig.host, verb, arguments)
}

/// A group as `group list` shows it.
fn the_group(daemon: &Enforcer, rig: &Rig, name: &str) -> Result<Option<Value>> {
    let (code, said) = run(daemon, rig, "group", &["list", "--json"])?;
    ensure!(code == 0, "{said}");
    let listed: Value = serde_json::from_str(&said)?;
    let groups = listed["groups"].as_array().context("no groups")?;
    Ok(groups.iter().find(|group| group["group"] == name).cloned())
}

fn state_dir(daemon: &Enforcer) -> Result<PathBuf> {
    let text = std::fs::read_to_string(daemon.config())?;
    let line = text.lines().find_map(|line| line.strip_prefix("state_dir = \""));
    Ok(line.and_then(|rest| rest.strip_suffix('"')).context("no state directory")?.into())
}
