//! How far a spawn is, from what is known: the hub's own requests, the engine's containers, and the kernel. Pure.

use serde_json::{Value, json};

use super::{ask::Seat, spawns::Known};
use crate::{
    access::name::{HubName, User},
    gate::identity::user_of,
    model::{
        inventory::{Container, Inventory},
        provenance::GATE_LABEL,
    },
};

/// Stages, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nobody knows of it.
    Unknown,
    /// The hub has said that it is about to begin.
    Announced,
    /// The engine was asked for a container.
    Asked,
    /// It runs, and it is known whose it is.
    Identified,
    /// The kernel holds its policy.
    Policed,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Unknown, Self::Announced, Self::Asked, Self::Identified, Self::Policed];

    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Announced => "announced",
            Self::Asked => "asked",
            Self::Identified => "identified",
            Self::Policed => "policed",
        }
    }
}

/// How far, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// How far.
    pub stage: Stage,
    /// The container, once it runs.
    pub container: Option<Found>,
}

/// A container, as far as its hub is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    id: String,
    name: String,
    network: Option<String>,
    groups: Vec<String>,
}

impl Look {
    /// For the hub.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let container = self.container.as_ref().map(|found| {
            json!({
                "id": found.id,
                "name": found.name,
                "network": found.network,
                "groups": found.groups,
            })
        });
        json!({ "stage": self.stage.name(), "container": container })
    }
}

/// Containers of a user's server that the hub's gate made.
pub fn notebooks<'a>(
    hub: &'a HubName,
    of: &'a Seat,
    inventory: &'a Inventory,
) -> impl Iterator<Item = &'a Container> {
    let user = User { hub: hub.clone(), name: of.user.clone() };
    inventory.containers.values().filter(move |container| {
        let said = &container.provenance;
        user_of(container).as_ref() == Some(&user)
            && said.labels.get(GATE_LABEL).map(String::as_str) == Some("hub")
            && said.server.as_deref().unwrap_or_default() == of.server
    })
}

/// Looks. Whether a container is policed on one of the hub's networks, `is_policed` says.
pub fn look(
    (hub, of): (&HubName, &Seat),
    known: Option<&Known>,
    inventory: &Inventory,
    networks: &[String],
    is_policed: impl Fn(&str, &str) -> bool,
) -> Look {
    let running = notebooks(hub, of, inventory).find(|container| container.running);
    let Some(container) = running else {
        let stage = match known {
            None => Stage::Unknown,
            Some(Known { is_asked: false, .. }) => Stage::Announced,
            Some(Known { is_asked: true, .. }) => Stage::Asked,
        };
        return Look { stage, container: None };
    };
    let network = container.networks.values().find(|name| networks.contains(name));
    let policed = network.is_some_and(|network| is_policed(&container.id, network));
    let found = Found {
        id: container.id.clone(),
        name: container.name.clone(),
        network: network.cloned(),
        groups: container.provenance.groups.clone(),
    };
    let stage = if policed { Stage::Policed } else { Stage::Identified };
    Look { stage, container: Some(found) }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::*;
    use crate::model::provenance::{ImageSettings, Provenance};

    fn inventory(gate: &str, server: &str) -> Inventory {
        let labels: BTreeMap<String, String> = [
            ("enforcer.gate", gate),
            ("enforcer.hub", "lab"),
            ("enforcer.user", "ann"),
            ("enforcer.groups", "staff"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        let env = [format!("JUPYTERHUB_SERVER_NAME={server}")];
        let said = Provenance::new(None, labels, &env, &ImageSettings::default());
        let container = Container {
            id: "c1".to_owned(),
            name: "jupyter-ann".to_owned(),
            provenance: Arc::new(said),
            running: true,
            networks: [("n".to_owned(), "tutorials".to_owned())].into(),
            ..Container::default()
        };
        Inventory { containers: [("c1".to_owned(), container)].into(), ..Inventory::default() }
    }

    #[test]
    fn o1_a_spawn_is_policed_when_the_kernel_says_so_and_not_before() {
        let (lab, networks) = ("lab".parse::<HubName>().expect("a hub"), ["tutorials".to_owned()]);
        let ann = Seat { user: "ann".parse().expect("a user"), server: String::new() };
        let at = |hub: &HubName, known: Option<&Known>, inventory: &Inventory, held: bool| {
            let is_policed = |id: &str, network: &str| held && (id, network) == ("c1", "tutorials");
            look((hub, &ann), known, inventory, &networks, is_policed).stage
        };
        let (nothing, running) = (Inventory::default(), inventory("hub", ""));
        let [said, asked] = [false, true].map(|is_asked| Known { said: None, is_asked });
        assert_eq!(at(&lab, None, &nothing, true), Stage::Unknown);
        assert_eq!(at(&lab, Some(&said), &nothing, true), Stage::Announced);
        assert_eq!(at(&lab, Some(&asked), &nothing, true), Stage::Asked);
        assert_eq!(at(&lab, Some(&asked), &running, false), Stage::Identified);
        assert_eq!(at(&lab, None, &running, true), Stage::Policed);
        // S17: what is another hub's, another server's, or the user's own, is none of it.
        let two = "two".parse().expect("a hub");
        assert_eq!(at(&two, None, &running, true), Stage::Unknown);
        assert_eq!(at(&lab, None, &inventory("hub", "second"), true), Stage::Unknown);
        assert_eq!(at(&lab, None, &inventory("user", ""), true), Stage::Unknown);
    }
}
