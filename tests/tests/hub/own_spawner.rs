//! A hub that has enforcer's own spawner: what a visitor who waits is told, what the hub's log has, and what records know of
//! the guest.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::harness::{dockerd::Options, run::wait_for, topology::WORLD};
use serde_json::json;

use super::{
    notebook,
    site::{self, PUBLIC, Plan, Site},
    visitors::Arrived,
};

/// The same hub by its form, so that a visitor's name is known before.
pub const PLANS: [Plan; 1] = [Plan { config: "own_spawner.py", authenticator: "dummy", ..PUBLIC }];
/// What the visitor's guest tries: before there is a notebook, and by a cell.
const TRIED: [u16; 2] = [80, 443];
const GROUP: &str = "/groups/course-7";

/// A2: a visitor signs in and gets a notebook by `EnforcerSpawner`. The page where they wait says how far enforcer is, and what it
/// denied meanwhile; what the notebook was not let do is in the hub's log; each record of it names hub, user, server, groups,
/// image, and where the visitor came from.
#[test]
fn a2_a_hub_with_enforcer_s_spawner_shows_its_steps_and_logs_what_it_denied() -> Result<()> {
    site::with(Options::default(), &PLANS, |site| {
        let hub = &site.hubs[0].server;
        hub.manage("POST", "/users/ann", Some("{}"))?;
        hub.manage("POST", GROUP, Some("{}"))?;
        let ann = json!({"users": ["ann"]}).to_string();
        hub.manage("POST", &format!("{GROUP}/users"), Some(&ann))?;

        let mut visitors = site.visitors(0)?;
        let arrived = visitors.arrive_at(0, "ann", "two")?;
        ensure!(arrived.url.ends_with("/user/ann/two/lab"), "{arrived:?}");
        ensure_steps(&arrived)?;
        let guest = site.notebook("lab", "ann")?;
        let labels = guest.config.context("no config")?.labels.unwrap_or_default();
        ensure!(labels.get("hub.jupyter.org/servername").is_some_and(|name| name == "two"));

        visitors.open(1)?;
        let code = format!(
            "import socket\nprint(socket.socket().connect_ex(({:?}, {})))",
            WORLD.to_string(),
            TRIED[1]
        );
        let said = visitors.cell(0, &code)?;
        ensure!(said.trim() == libc::EPERM.to_string(), "{said}");
        for port in TRIED {
            ensure_named(site, port)?;
        }

        site.hubs[0].server.manage("DELETE", "/users/ann/servers/two", None)?;
        wait_for("the hub's log", Duration::from_secs(30), || {
            let log = site.hubs[0].log()?;
            let is_told = |port: &u16| {
                let denied = format!(" to tcp {WORLD}:{port}");
                let mut lines =
                    log.lines().filter(|line| line.contains("enforcer denied ann:two: "));
                lines.any(|line| line.contains(&denied))
            };
            Ok(TRIED.iter().all(is_told).then_some(()))
        })
    })
}

/// The page told each step in its turn, and what was denied.
fn ensure_steps(arrived: &Arrived) -> Result<()> {
    let messages = || arrived.progress.iter().map(|(_, message)| message.as_str());
    let at = |wanted: &str| messages().position(|message| message == wanted);
    let policed = at("Your server's network is policed");
    ensure!(policed.is_some() && policed > at("Server requested"), "{arrived:?}");
    // A packet, where the guest was faster than the refusal of its calls.
    let denied = format!(" to tcp {WORLD}:{}", TRIED[0]);
    let is_told =
        |message: &str| message.starts_with("enforcer denied") && message.contains(&denied);
    ensure!(messages().any(is_told), "{arrived:?}");
    ensure!(arrived.progress.last().is_some_and(|(percent, _)| *percent == 100), "{arrived:?}");
    Ok(())
}

/// Whose it was, in one line.
fn ensure_named(site: &Site, port: u16) -> Result<()> {
    let record = site.daemon()?.wait_record("the refusal", |record| {
        let is_denial =
            ["connect_refused", "denied"].iter().any(|is| record["event.action"] == *is);
        is_denial && record["destination.port"] == port
    })?;
    for (field, wanted) in [
        ("enforcer.hub", json!("lab")),
        ("user.name", json!("ann")),
        ("enforcer.server", json!("two")),
        ("enforcer.groups", json!(["course-7"])),
        ("enforcer.client", json!(WORLD.to_string())),
        ("container.image.name", json!(format!("{}:latest", notebook::IMAGE))),
        ("destination.ip", json!(WORLD.to_string())),
    ] {
        ensure!(record[field] == wanted, "{field}: {record}");
    }
    Ok(())
}
