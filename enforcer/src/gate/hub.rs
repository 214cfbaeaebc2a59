//! What a hub asks enforcer itself, at its own socket: paths below `/enforcer/v1/`, which no engine has. A hub in a
//! container has one socket and needs no other. Nothing of it goes on to the engine, and nothing that is said here opens
//! anything: it ends up in records, and on the page where a user waits ([ADR 22](../../../docs/adr/0022-a-hub-s-own-calls-at-its-gate.md)).
//!
//! A request's way: `ask` reads it, `spawns` remembers what was said, `stage` says how far a spawn is.

pub mod ask;
pub mod sight;
pub mod spawns;
pub mod stage;
pub mod waits;

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use self::{
    ask::{Announcement, Ask, Seat},
    stage::Stage,
};
use super::{
    body::Context, facts::Facts, found, image, judge, principal::Principal, serve::Server,
};
use crate::access::name::HubName;

/// How paths begin that are enforcer's own.
const OURS: &str = "/enforcer/";
/// Longest body, bytes.
pub(super) const MAX_BODY: usize = 16 << 10;
/// Longest wait for a spawn to get further.
const WAIT: Duration = Duration::from_secs(10);
/// How often it is looked how far it is.
const LOOK: Duration = Duration::from_millis(100);
/// Most denials in one answer.
const MOST_DENIALS: usize = 100;

/// Whether a target is one of ours, whatever it asks.
pub(super) fn is_one(target: &str) -> bool {
    target.starts_with(OURS)
}

/// What a record may have of a hub's target: the query of our own calls names a user, and records of guests do so where
/// a name may be erased.
pub(super) fn told<'a>(principal: &Principal, target: &'a str) -> &'a str {
    let is_ours = matches!(principal, Principal::Hub(_)) && is_one(target);
    let path = target.split_once('?').map(|(path, _)| path).filter(|_| is_ours);
    path.unwrap_or(target)
}

impl Server {
    /// Answers a hub.
    pub(super) async fn answer_hub(&self, hub: &HubName, ask: Ask) -> Value {
        match ask {
            Ask::Hub => json!({
                "hub": hub.as_str(),
                "version": env!("CARGO_PKG_VERSION"),
                "networks": self.networks_of(hub),
            }),
            Ask::Announce(seat, said) => self.announce(hub, &seat, *said),
            Ask::Spawn(seat, seen) => self.spawn(hub, &seat, seen).await,
            Ask::Denials(seat, after) => self.denials(hub, &seat, after),
        }
    }

    fn networks_of(&self, hub: &HubName) -> Vec<String> {
        let config = self.doorman.config.borrow();
        config.hubs.get(hub).map(|hub| hub.networks.clone()).unwrap_or_default()
    }

    /// Keeps what a hub says of a spawn, and says what a create of it would meet.
    fn announce(&self, hub: &HubName, seat: &Seat, said: Announcement) -> Value {
        let principal = Principal::Hub(hub.clone());
        let config = Arc::clone(&self.doorman.config.borrow());
        let (rules, facts) = (found::rules(&principal, &config), Facts::default());
        let context = Context {
            principal: &principal,
            rules: &rules,
            facts: &facts,
            name: None,
            bridge: None,
        };
        let is_open = judge::sees_all_images(&context);
        let may_use = said
            .image
            .as_deref()
            .map(|image| image::usable(image, &rules, &facts, is_open).is_some());
        self.spawns.announce(hub, seat, said, Instant::now());
        json!({ "stage": Stage::Announced.name(), "image_may_be_used": may_use })
    }

    /// How far a spawn is: at once if it is further than what was seen, or if too many wait already; else when it is,
    /// or after a while.
    async fn spawn(&self, hub: &HubName, seat: &Seat, seen: Option<Stage>) -> Value {
        let until = Instant::now() + WAIT;
        let waits = self.waits.try_take(hub, seat);
        loop {
            let look = self.look(hub, seat);
            if Some(look.stage) != seen || waits.is_none() || Instant::now() >= until {
                return look.to_json();
            }
            sleep(LOOK).await;
        }
    }

    fn look(&self, hub: &HubName, seat: &Seat) -> stage::Look {
        let said = self.spawns.of(hub, seat, Instant::now());
        let inventory = Arc::clone(&self.doorman.inventory.borrow());
        let networks = self.networks_of(hub);
        let is_policed = |container: &str, network: &str| {
            self.sight.as_ref().is_some_and(|sight| sight.is_policed(container, network))
        };
        stage::look((hub, seat), said.as_ref(), &inventory, &networks, is_policed)
    }

    /// What was denied to a user's notebook lately, as the stream tells it.
    fn denials(&self, hub: &HubName, seat: &Seat, after: u64) -> Value {
        let inventory = Arc::clone(&self.doorman.inventory.borrow());
        let containers = stage::notebooks(hub, seat, &inventory);
        let ids: Vec<&str> = containers.map(|container| container.id.as_str()).collect();
        let told = self.sight.as_ref().map(|sight| sight.denials(after, &ids, MOST_DENIALS));
        let (records, next) = told.unwrap_or((Vec::new(), after));
        json!({ "records": records, "next": next })
    }

    /// Adds to what is known for a create what the hub said of whom it is for.
    pub(super) fn add_said(&self, hub: &HubName, seat: &Seat, facts: &mut Facts) {
        let known = self.spawns.of(hub, seat, Instant::now());
        let Some(said) = known.and_then(|known| known.said) else { return };
        // Behind those of this host: a record has room for a few, and what a hub says pushes none of them out.
        for group in said.groups.iter().map(ToString::to_string) {
            if !facts.groups.contains(&group) {
                facts.groups.push(group);
            }
        }
        facts.client = said.client.map(|address| address.to_string());
    }
}
