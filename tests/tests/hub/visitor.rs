//! A visitor of a public site, from sign-in to a refused connection.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::harness::{
    dockerd::Options,
    run::wait_for,
    topology::{GATEWAY, NETWORK, WORLD},
};
use serde_json::Value;

use super::{
    notebook, reach,
    site::{self, PUBLIC, address},
};

/// A2, N1, N2, N3, N8: a visitor signs in as a browser does, follows the spawn page to a notebook, and runs a cell over the
/// kernel's websocket. The world, a neighbour and the host refuse it at once, with records that name who it was; the hub's
/// API does not, and hears of it.
#[test]
fn a2_a_visitor_with_a_throw_away_account_gets_a_notebook_that_reaches_its_hub_alone() -> Result<()>
{
    site::with(Options::default(), &[PUBLIC], |site| {
        let mut visitors = site.visitors(0)?;
        let arrived = visitors.arrive(2)?;
        let [visitor, neighbour] = arrived.as_slice() else { anyhow::bail!("{arrived:?}") };
        ensure!(visitor.user != neighbour.user, "throw-away accounts are new ones: {arrived:?}");
        ensure!(visitor.url.ends_with(&format!("/user/{}/lab", visitor.user)), "{visitor:?}");
        let percents: Vec<u64> = visitor.progress.iter().map(|(percent, _)| *percent).collect();
        ensure!(percents.is_sorted() && percents.last() == Some(&100), "{visitor:?}");
        visitors.open(1)?;
        let said = visitors.cell(0, "print(6 * 7)")?;
        ensure!(said == "42\n", "{said}");

        let of_neighbour = site.notebook("lab", &neighbour.user)?;
        let hub = (GATEWAY.to_string(), PUBLIC.port);
        let closed = [
            (WORLD.to_string(), 80),
            (GATEWAY.to_string(), 22),
            (address(&of_neighbour, NETWORK)?.to_owned(), notebook::PORT),
        ];
        let targets: Vec<_> = closed.iter().cloned().chain([hub]).collect();
        let said = visitors.cell(0, &reach::cell(&targets))?;
        reach::ensure_only_last_open(&said, &targets)?;

        let own = site.notebook("lab", &visitor.user)?;
        let name = own.name.as_deref().context("no name")?.trim_start_matches('/');
        for (at, port) in &closed {
            let record = site.daemon()?.wait_record("the refusal", |record| {
                record["event.action"] == "connect_refused"
                    && record["destination.ip"] == at.as_str()
                    && record["destination.port"] == *port
            })?;
            ensure!(record["user.name"] == visitor.user.as_str(), "{record}");
            ensure!(record["container.name"] == name, "{record}");
        }

        // What a notebook tells its hub by itself, all the time.
        let own = address(&own, NETWORK)?;
        let heard = format!("POST /hub/api/users/{}/activity", visitor.user);
        wait_for("a notebook's word to its hub", Duration::from_secs(20), || {
            let log = site.hubs[0].log()?;
            let is_heard =
                |line: &str| line.contains(&heard) && line.contains("] 200 ") && line.contains(own);
            Ok(log.lines().any(is_heard).then_some(()))
        })?;
        let user = site.hubs[0].server.manage("GET", &format!("/users/{}", visitor.user), None)?;
        let user: Value = serde_json::from_str(&user)?;
        ensure!(user["servers"][""]["ready"] == true, "{user}");
        Ok(())
    })
}
