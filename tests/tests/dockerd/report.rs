//! Whom the records name: a guest's whole story, pseudonyms in its place, and the end of them.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    harness::{
        artifacts,
        client::Actor,
        container::{Container, Spec},
        enforcer::{Enforcer, Settings},
        residue::Snapshot,
        run::wait_for,
        topology::{GATEWAY, HUB_PORT, NETWORK, Rig, WORLD},
    },
    protocol::Request,
};
use serde_json::Value;

use crate::{
    flood::start,
    kept::{directory, records},
};

const NAME: &str = "jupyter-alice";

fn kept(dir: &Path, more: &str) -> Settings {
    let more = format!("\n[audit]\ndir = \"{}\"\n{more}", dir.display());
    Settings { more, ..Settings::default() }
}

/// `enforcer audit ...`; exit code, output, and what it had to say.
fn audit(rig: &Rig, dir: &Path, arguments: &[&str]) -> Result<(i32, String, String)> {
    let mut command = rig.host.command(artifacts::enforcer().context("no binary")?);
    let output = command.arg("audit").args(arguments).arg("--dir").arg(dir).output()?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().context("a signal")?;
    Ok((code, text(&output.stdout), text(&output.stderr)))
}

/// Alice talks to the hub, which she may, and to the world, which she may not.
fn talk(actor: &Actor) -> Result<()> {
    let id = actor.hold((GATEWAY, HUB_PORT), 2000)?.id.context("the hub is silent")?;
    actor.call::<()>(&Request::Close { id, reset: true })?;
    ensure!(actor.connect((WORLD, 443), 700)?.errno.is_some(), "the world answers");
    Ok(())
}

/// The report once it has both, with the flow's end.
fn story(rig: &Rig, dir: &Path, who: &str) -> Result<Value> {
    wait_for(&format!("the story of {who}"), Duration::from_secs(40), || {
        let (code, text, why) = audit(rig, dir, &["report", who, "--json"])?;
        if code != 0 {
            return Ok(None);
        }
        let story: Value = serde_json::from_str(&text).with_context(|| why)?;
        Ok((story["totals"]["bytes_out"] != 0).then_some(story))
    })
}

/// What a report of Alice has to say, whoever asks and however.
fn check(story: &Value) -> Result<()> {
    let place = |address: &str, port: u16| {
        let places = story["to"]["items"].as_array().cloned().unwrap_or_default();
        places.into_iter().find(|place| place["address"] == address && place["port"] == port)
    };
    let hub = place(&GATEWAY.to_string(), HUB_PORT).with_context(|| story.to_string())?;
    ensure!(hub["flows"] == 1 && hub["denied"] == 0, "{hub}");
    ensure!(hub["packets_out"].as_u64() > Some(1) && hub["bytes_in"].as_u64() > Some(50), "{hub}");
    let world = place(&WORLD.to_string(), 443).with_context(|| story.to_string())?;
    ensure!(world["flows"] == 0 && world["denied"].as_u64() > Some(0), "{world}");
    let denied = story["denied"].as_array().context("no denials")?;
    ensure!(denied.iter().any(|denied| denied["reason"] == "policy"), "{story}");
    ensure!(story["users"] == serde_json::json!(["alice"]), "{story}");
    ensure!(story["networks"] == serde_json::json!([NETWORK]), "{story}");
    let containers = &story["containers"]["items"];
    ensure!(containers[0]["name"] == NAME && containers[1].is_null(), "{story}");
    let life = story["life"]["items"].as_array().context("no life")?;
    ensure!(life.iter().any(|moment| moment["what"] == "policed"), "{story}");
    ensure!(story["gaps"] == 0 && story["lost_of_nobody"] == 0, "{story}");
    Ok(())
}

/// Whether a file of the directory, other than the book, has a text.
fn has(dir: &Path, text: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let bytes = if path.extension().is_some_and(|extension| extension == "gz") {
            Command::new("zcat").arg(&path).output()?.stdout
        } else {
            fs::read(&path)?
        };
        if bytes.windows(text.len()).any(|part| part == text.as_bytes()) {
            found.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    Ok(found)
}

/// A2, A3: one question tells what a user's guest did; with pseudonyms no record has the name, whoever may
/// read the book gets the same answer, and after an erasure nobody does, and the chain is whole.
#[test]
fn a2_a3_a_users_story_is_told_by_name_and_by_nobody_once_the_name_is_erased() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (_owner, dir) = directory("report")?;
    let (clear, hidden) = (dir.join("clear"), dir.join("hidden"));
    fs::create_dir_all(&dir)?;
    let (rig, daemon) = start(&kept(&clear, ""))?;
    let spec = Spec {
        name: NAME,
        network: NETWORK,
        environment: &["JUPYTERHUB_USER=alice"],
        ..Spec::default()
    };
    let alice = Container::start(&rig.run, &rig.docker, &spec)?;
    daemon.wait_identified(&rig.host, NAME, "guest")?;
    talk(&alice.actor()?)?;
    let told = story(&rig, &clear, "alice")?;
    check(&told)?;
    let address = told["containers"]["items"][0]["addresses"][0].as_str().context("no address")?;
    for who in [NAME, alice.id.get(..8).unwrap_or_default(), address, "user:alice"] {
        check(&story(&rig, &clear, who)?).with_context(|| who.to_owned())?;
    }
    let (code, text, _) = audit(&rig, &clear, &["report", "alice"])?;
    ensure!(code == 0 && text.contains(&format!("{WORLD}:443")), "{code}: {text}");
    let (code, _, why) = audit(&rig, &clear, &["report", "mallory"])?;
    ensure!(code == 1 && why.contains("no record of that time is about \"mallory\""), "{why}");
    let config = daemon.config().display().to_string();
    let (code, _, why) = audit(&rig, &clear, &["erase", "alice", "--yes", "--config", &config])?;
    ensure!(code == 1 && why.contains("no line can be changed"), "{code}: {why}");
    ensure!(!has(&clear, "alice")?.is_empty(), "the name is in no record");
    daemon.stop()?;

    let daemon = Enforcer::start_beside(&rig, &kept(&hidden, "pseudonyms = true\n"))?;
    daemon.wait_identified(&rig.host, NAME, "guest")?;
    talk(&alice.actor()?)?;
    check(&story(&rig, &hidden, "alice")?)?;
    ensure!(has(&hidden, "alice")? == ["names.jsonl"], "{:?}", has(&hidden, "alice")?);
    let (_, text, _) = audit(&rig, &hidden, &["query", "--user", "alice", "--json"])?;
    ensure!(text.contains("\"user.name\":\"alice\""), "{text}");
    let (code, text) = daemon.verb(&rig.host, "events", &["--json", "--user", "alice"])?;
    ensure!(code == 0 && text.contains("\"container.name\":\"jupyter-alice\""), "{text}");

    // Once she is gone and all is told, nothing names her again.
    alice.kill(&rig.docker, "KILL")?;
    wait_for("her departure to be told", Duration::from_secs(20), || {
        let gone = |record: &Value| {
            record["event.action"] == "guest" && record["enforcer.event"] == "gone"
        };
        Ok(records(&hidden)?.iter().any(gone).then_some(()))
    })?;
    let pseudonym = records(&hidden)?
        .iter()
        .find_map(|record| Some(record["user.name"].as_str()?.to_owned()))
        .context("no pseudonym")?;
    let config = daemon.config().display().to_string();
    let erase = ["erase", "alice", "--yes", "--config", &config];
    let (code, text, why) = audit(&rig, &hidden, &erase)?;
    ensure!(code == 0 && text.contains(&pseudonym), "{code}: {text}{why}");
    wait_for("the erasure to be told", Duration::from_secs(10), || {
        let told = |record: &Value| {
            record["event.action"] == "erased" && record["enforcer.pseudonym"] == *pseudonym
        };
        Ok(records(&hidden)?.iter().any(told).then_some(()))
    })?;
    wait_for("the note of it to go", Duration::from_secs(10), || {
        let book = fs::read_to_string(hidden.join("names.jsonl"))?;
        Ok((!book.contains("\"is\":\"erased\"")).then_some(()))
    })?;
    ensure!(has(&hidden, "alice")?.is_empty(), "{:?}", has(&hidden, "alice")?);
    let (code, text, _) = audit(&rig, &hidden, &["verify"])?;
    ensure!(code == 0, "{code}: {text}");
    let (code, _, why) = audit(&rig, &hidden, &["report", "alice"])?;
    ensure!(code == 1, "{code}: {why}");
    let (code, text, _) = audit(&rig, &hidden, &["report", &pseudonym])?;
    ensure!(code == 0 && text.contains(&format!("{WORLD}:443")), "{code}: {text}");
    ensure!(daemon.reasons(&rig.host)?.is_empty(), "{:?}", daemon.reasons(&rig.host)?);
    daemon.stop()?;
    rig.stop()?;
    residue.ensure_nothing_new()
}
