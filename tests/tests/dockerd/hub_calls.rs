//! What a hub asks enforcer at its own gate, by the Python package that goes with it: records of the guest name hub,
//! user, server, groups and image; the hub sees how far a spawn is, and what is denied to its own users.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use bollard::{
    API_DEFAULT_VERSION, Docker,
    models::ContainerCreateBody,
    query_parameters::{
        CreateContainerOptions, RemoveContainerOptionsBuilder, StartContainerOptions,
    },
};
use enforcer_tests::harness::{
    dockerd::Options,
    enforcer::{Enforcer, Settings},
    image,
    residue::Snapshot,
    run::wait_for,
    topology::{Base, NETWORK, WORLD},
};
use serde_json::{Value, json};

use crate::{flood::finish, gate::command};

/// Longest that the gate, the engine or a client may take, seconds.
const PATIENCE: u64 = 20;
/// Nobody listens there.
const PORT: u16 = 9;

/// A2, S17: nothing that a hub says of its users opens anything; it is in the records of the guest that it was said of.
#[test]
fn a2_records_of_a_hub_s_guest_name_hub_user_server_groups_and_image() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let rig = Base::start(Options::default())?.with_guests()?;
    let more = format!(
        "[hubs.lab]\nnetworks = [\"{NETWORK}\"]\n[guests]\nimages = [\"{}\"]\n",
        image::NAME
    );
    let settings = Settings { more, refuse_at_connect: true, ..Settings::default() };
    let daemon = Enforcer::start_beside(&rig, &settings)?;
    command(&daemon, &rig, "group", &["create", "staff", "--hub", "lab"])?;
    command(&daemon, &rig, "group", &["add", "staff", "ann", "--hub", "lab"])?;
    let gate = gate_of(&daemon)?;
    wait_for("the gate", std::time::Duration::from_secs(PATIENCE), || {
        Ok(gate.exists().then_some(()))
    })?;

    python(&gate, &["announce", image::NAME])?;
    let id = spawn(&gate)?;
    let seen: Value = serde_json::from_str(&python(&gate, &["follow"])?)?;
    ensure!(seen["container"] == id, "{seen}");
    ensure!(seen["groups"] == json!(["staff", "course-7"]), "{seen}");
    let attempt = format!("to tcp {WORLD}:{PORT}");
    ensure!(seen["denials"].to_string().contains(&attempt), "{seen}");

    let refused = daemon.wait_record("an attempt", |record| {
        let kind = &record["event.action"];
        let is_denial = kind == "connect_refused" || kind == "denied";
        is_denial && record["container.id"] == id && record["destination.port"] == PORT
    })?;
    for (field, wanted) in [
        ("enforcer.hub", json!("lab")),
        ("user.name", json!("ann")),
        ("enforcer.server", json!("two")),
        ("enforcer.groups", json!(["staff", "course-7"])),
        ("enforcer.client", json!("192.0.2.7")),
        ("container.image.name", json!(format!("{}:latest", image::NAME))),
    ] {
        ensure!(refused[field] == wanted, "{field}: {refused}");
    }
    // Of what the hub asks of enforcer itself there are records, too, and none of them names the user.
    let announced = daemon.wait_record("the announcement", |record| {
        record["event.action"] == "gate" && record["url.path"] == "/enforcer/v1/spawns"
    })?;
    ensure!(announced["enforcer.hub"] == "lab" && announced["url.query"].is_null(), "{announced}");
    at_gate(&gate, async |client| {
        let force = RemoveContainerOptionsBuilder::new().force(true).build();
        Ok(client.remove_container(&id, Some(force)).await?)
    })?;
    finish(rig, daemon, &residue)
}

/// As DockerSpawner does.
fn spawn(gate: &Path) -> Result<String> {
    let attempts = format!("while :; do nc -w 1 {WORLD} {PORT} < /dev/null; sleep 0.3; done");
    let body = ContainerCreateBody {
        image: Some(image::NAME.to_owned()),
        entrypoint: Some(["sh", "-c", &attempts].map(str::to_owned).to_vec()),
        env: Some(
            ["JUPYTERHUB_USER=ann", "JUPYTERHUB_SERVER_NAME=two"].map(str::to_owned).to_vec(),
        ),
        stop_signal: Some("SIGKILL".to_owned()),
        ..ContainerCreateBody::default()
    };
    at_gate(gate, async |client| {
        let made = client.create_container(None::<CreateContainerOptions>, body).await?;
        client.start_container(&made.id, None::<StartContainerOptions>).await?;
        Ok(made.id)
    })
}

fn at_gate<T>(gate: &Path, act: impl AsyncFnOnce(&Docker) -> Result<T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let path = gate.to_str().context("a path")?;
        act(&Docker::connect_with_unix(path, PATIENCE, API_DEFAULT_VERSION)?).await
    })
}

/// The package's own test, with the host's Python and nothing installed.
fn python(gate: &Path, arguments: &[&str]) -> Result<String> {
    let package = concat!(env!("CARGO_MANIFEST_DIR"), "/../integrations/jupyterhub");
    let mut python = Command::new("python3");
    python.args(["-B", "-m", "tests.live"]).arg(gate).args(arguments).current_dir(package);
    let output = python.output().context("python3")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{arguments:?}: {}: {said}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

fn gate_of(daemon: &Enforcer) -> Result<PathBuf> {
    let text = std::fs::read_to_string(daemon.config())?;
    let line = text.lines().find_map(|line| line.strip_prefix("run_dir = \""));
    let run_dir = line.and_then(|rest| rest.strip_suffix('"')).context("no run directory")?;
    Ok(Path::new(run_dir).join("gate/lab.sock"))
}
