mod checker;
mod clients;
mod hub;
mod identity;
mod models;
mod mounts;
mod others;
mod table;
mod values;

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::{
    super::{
        facts::{Facts, GuestNetwork, OwnContainer, OwnImage, OwnNetwork, OwnVolume},
        json::{Json, Limits, read},
        names,
        networks::Prepared,
        principal::Principal,
        rules::Rules,
        verdict::Refusal,
    },
    Context, Judged, create,
};
use crate::access::name::User;

/// Ids of own containers.
const OWN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const NOTEBOOK: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
/// The engine's name of the own network `mine`.
const MINE: &str = "enforcer-x-mine";

/// A principal, its rules and what it has.
struct Setting {
    principal: Principal,
    rules: Rules,
    facts: Facts,
}

impl Setting {
    fn of_user() -> Self {
        let user = User { hub: "lab".parse().expect("hub"), name: "ada".parse().expect("user") };
        let principal = Principal::User(user);
        let text = str::to_owned;
        let container =
            |id, name, is_notebook| OwnContainer { id: text(id), name: text(name), is_notebook };
        let volume = |name, is_plain| OwnVolume {
            name: text(name),
            engine_name: names::engine_name(&principal, name),
            is_plain,
        };
        let facts = Facts {
            containers: vec![container(OWN, "db", false), container(NOTEBOOK, "jupyter-ada", true)],
            volumes: vec![volume("vol", true), volume("odd", false)],
            networks: vec![OwnNetwork {
                id: "9".repeat(64),
                name: text("mine"),
                engine_name: text(MINE),
            }],
            images: vec![OwnImage {
                id: format!("sha256:{}", "c".repeat(64)),
                tags: vec![text("own:1")],
            }],
            execs: Vec::new(),
            guest_network: Some(GuestNetwork {
                name: text("guests"),
                gateway: Ipv4Addr::new(10, 9, 0, 1),
                resolves: true,
            }),
            socket: None,
            ..Facts::default()
        };
        let rules = Rules {
            images: ["alpine:*", "jupyter/*"].map(text).to_vec(),
            host_ports: Some((8000, 8999)),
            ..Rules::default()
        };
        Self { principal, rules, facts }
    }

    fn of_hub() -> Self {
        let user = Self::of_user();
        Self {
            principal: Principal::Hub("lab".parse().expect("hub")),
            rules: Rules { host_ports: None, ..user.rules },
            facts: Facts { volumes: Vec::new(), networks: Vec::new(), ..user.facts },
        }
    }

    fn context(&self) -> Context<'_> {
        Context {
            principal: &self.principal,
            rules: &self.rules,
            facts: &self.facts,
            name: Some("x"),
            bridge: Some(Prepared::made_up()),
        }
    }

    fn create(&self, body: &Value) -> Result<Judged, Refusal> {
        create::judge(&read_of(body)?, &self.context())
    }

    /// A create with this `HostConfig`.
    fn host(&self, config: &Value) -> Result<Judged, Refusal> {
        self.create(&json!({"Image": "alpine:3", "HostConfig": config}))
    }

    /// `HostConfig` that goes on for this one.
    fn host_of(&self, config: &Value) -> Value {
        self.host(config).unwrap_or_else(|refusal| panic!("{config}: {refusal}")).body["HostConfig"]
            .clone()
    }

    /// The rule that refuses a `HostConfig`.
    fn refused(&self, config: &Value) -> &'static str {
        match self.host(config) {
            Ok(judged) => panic!("{config} goes on as {}", judged.body),
            Err(refusal) => refusal.rule,
        }
    }
}

/// As a client's bytes come in.
fn read_of(body: &Value) -> Result<Json, Refusal> {
    read(body.to_string().as_bytes(), Limits::default())
}

fn json_of(body: &Value) -> Json {
    read_of(body).expect("what a client sends")
}
