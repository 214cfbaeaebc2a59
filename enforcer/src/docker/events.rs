//! The engine's event stream, narrowed to what can change the inventory.

use std::collections::{BTreeSet, HashMap};

use bollard::{
    models::{EventMessage, EventMessageTypeEnum},
    query_parameters::EventsOptionsBuilder,
};
use futures_util::{Stream, StreamExt as _};

use super::{Engine, EngineError};

/// What has to be asked again. Events say that something changed, never what it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stale {
    /// These networks, by id.
    pub(super) networks: BTreeSet<String>,
    /// These containers, by id.
    pub(super) containers: BTreeSet<String>,
    /// Which networks there are, and all of them.
    pub(super) everything: bool,
}

impl Stale {
    /// Everything there is.
    pub(super) fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn add(&mut self, other: Self) {
        self.networks.extend(other.networks);
        self.containers.extend(other.containers);
        self.everything |= other.everything;
    }
}

/// Subscribes, from `since` (seconds of the clock) on: the engine replays what happened between
/// that time and the moment at which the subscription takes effect, on the first poll.
pub(super) fn subscribe(
    engine: &Engine,
    since: &str,
) -> impl Stream<Item = Result<Stale, EngineError>> + Send + Unpin + use<> {
    let kinds = vec!["network".to_owned(), "container".to_owned(), "daemon".to_owned()];
    let filters = HashMap::from([("type".to_owned(), kinds)]);
    let options = EventsOptionsBuilder::default().since(since).filters(&filters).build();
    let doing = "follow its events";
    Box::pin(
        engine.docker.events(Some(options)).map(move |event| {
            event.map(|event| stale(&event)).map_err(EngineError::request(doing))
        }),
    )
}

/// What an event makes stale; nothing for most of them.
fn stale(event: &EventMessage) -> Stale {
    let mut stale = Stale::default();
    let Some(id) = event.actor.as_ref().and_then(|actor| actor.id.clone()) else { return stale };
    let attribute = |name: &str| event.actor.as_ref()?.attributes.as_ref()?.get(name).cloned();
    // Health checks and execs are "exec_start: command" and come by the thousand.
    let action = event.action.as_deref().unwrap_or_default();
    match (event.typ, action) {
        (Some(EventMessageTypeEnum::NETWORK), "connect" | "disconnect") => {
            // Without a driver it may be ours: then ask.
            if attribute("type").is_none_or(|driver| driver == "bridge") {
                stale.networks.insert(id);
            }
            stale.containers.extend(attribute("container"));
        }
        (Some(EventMessageTypeEnum::NETWORK), "create" | "update")
        | (Some(EventMessageTypeEnum::DAEMON), _) => stale.everything = true,
        (Some(EventMessageTypeEnum::NETWORK), "destroy" | "remove") => {
            stale.networks.insert(id);
        }
        (
            Some(EventMessageTypeEnum::CONTAINER),
            // Whom it is for is known before it starts: from then on its lock is held.
            "create" | "start" | "restart" | "rename" | "update" | "die" | "destroy",
        ) => {
            stale.containers.insert(id);
        }
        _ => {}
    }
    stale
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(typ: &str, action: &str, attributes: &serde_json::Value) -> Stale {
        let event = json!({"Type": typ, "Action": action,
            "Actor": {"ID": "subject", "Attributes": attributes}});
        stale(&serde_json::from_value(event).expect("an event"))
    }

    #[test]
    fn events_name_what_is_stale() {
        let connect = of("network", "connect", &json!({"type": "bridge", "container": "c"}));
        assert_eq!(connect.networks, ["subject".to_owned()].into());
        assert_eq!(connect.containers, ["c".to_owned()].into());
        assert!(!connect.everything);
        // The container's way out, though not a bridge to ask.
        let overlay = of("network", "connect", &json!({"type": "overlay", "container": "c"}));
        assert_eq!((overlay.networks.len(), overlay.containers.len()), (0, 1));
        assert!(of("network", "create", &json!({})).everything);
        assert_eq!(of("container", "rename", &json!({})).containers.len(), 1);
        assert_eq!(of("network", "destroy", &json!({})).networks.len(), 1);
    }

    #[test]
    fn what_changes_nothing_is_ignored() {
        assert!(of("container", "exec_start: sh", &json!({})).is_empty());
        assert!(of("container", "health_status: healthy", &json!({})).is_empty());
        assert!(stale(&EventMessage::default()).is_empty());
    }
}
