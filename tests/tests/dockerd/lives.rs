//! Who came, who went and what the engine did to them: in the stream, between the packets.

use std::time::Duration;

use anyhow::{Result, ensure};
use enforcer_tests::harness::{guest::Guest, run::wait_for, topology::NETWORK};
use serde_json::Value;

use crate::shared;

/// A3: one guest's life, in the order in which it happened, and nobody else's.
#[test]
fn a3_a_guests_life_is_told_from_its_creation_to_its_removal() -> Result<()> {
    const NAME: &str = "mayfly";
    shared::with(|shared| {
        let (rig, daemon) = (&shared.rig, &shared.daemon);
        // Not on a guest network: nobody's business.
        let stranger = Guest::start(&rig.run, &rig.docker, "bridge", "stranger", &[])?;
        let guest = Guest::start(&rig.run, &rig.docker, NETWORK, NAME, &[])?;
        daemon.wait_identified(&rig.host, NAME, "guest")?;
        let name = |record: &Value| record["container.name"] == NAME;
        let policed = daemon.wait_record("its life", |record| {
            record["event.action"] == "guest"
                && record["enforcer.event"] == "policed"
                && name(record)
        })?;
        let id = policed["container.id"].clone();
        ensure!(id.is_string() && policed["network.name"] == NETWORK, "{policed}");
        rig.docker.remove(NAME)?;
        drop(guest);
        rig.docker.remove("stranger")?;
        drop(stranger);
        let story = || -> Vec<Value> {
            let mut records = daemon.records();
            records.retain(|record| {
                let kind = &record["event.action"];
                (kind == "docker" || kind == "guest") && record["container.id"] == id
            });
            records
        };
        let words = |story: &[Value]| -> Vec<String> {
            let word = |record: &Value| record["enforcer.event"].as_str().unwrap_or("?").to_owned();
            story.iter().map(word).collect()
        };
        wait_for("its removal", Duration::from_secs(5), || {
            let words = words(&story());
            let ended =
                ["container destroy", "gone"].iter().all(|end| words.iter().any(|w| w == end));
            Ok(ended.then_some(()))
        })?;
        let story = story();
        let words = words(&story);
        let place = |word: &str| words.iter().position(|told| told == word);
        let beginning = ["container create", "policed", "gone"].map(place);
        ensure!(beginning.is_sorted() && beginning[0].is_some(), "{words:?}");
        let engine = ["network connect", "container die", "container destroy"].map(place);
        ensure!(engine.is_sorted() && engine[0].is_some(), "{words:?}");
        for word in &words {
            ensure!(words.iter().filter(|told| *told == word).count() == 1, "{words:?}");
        }
        let died = story.iter().find(|record| record["enforcer.event"] == "container die");
        ensure!(died.is_some_and(|died| died["process.exit_code"] == 137), "{died:?}");
        for told in story.iter().filter(|told| told["event.action"] == "docker") {
            ensure!(told["event.start"].as_str() <= told["@timestamp"].as_str(), "{told}");
        }
        let strangers =
            daemon.records().iter().filter(|r| r["container.name"] == "stranger").count();
        ensure!(strangers == 0, "{strangers} records of a container that is no guest");
        Ok(())
    })
}
