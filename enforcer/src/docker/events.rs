//! The engine's event stream, narrowed to what can change the inventory.

use std::collections::{BTreeSet, HashMap};

use bollard::{
    models::{EventMessage, EventMessageTypeEnum},
    query_parameters::EventsOptionsBuilder,
};
use futures_util::{Stream, StreamExt as _};

use super::{Engine, EngineError};
use crate::model::heard::Heard;

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

/// One message of the engine.
#[derive(Debug)]
pub(super) struct News {
    /// What has to be asked again.
    pub(super) stale: Stale,
    /// What is worth a record, if it turns out to be about a guest.
    pub(super) heard: Option<Heard>,
}

/// Subscribes, from `since` (seconds of the clock) on: the engine replays what happened between
/// that time and the moment at which the subscription takes effect, on the first poll.
pub(super) fn subscribe(
    engine: &Engine,
    since: &str,
) -> impl Stream<Item = Result<News, EngineError>> + Send + Unpin + use<> {
    let kinds = vec!["network".to_owned(), "container".to_owned(), "daemon".to_owned()];
    let filters = HashMap::from([("type".to_owned(), kinds)]);
    let options = EventsOptionsBuilder::default().since(since).filters(&filters).build();
    let doing = "follow its events";
    Box::pin(engine.docker.events(Some(options)).map(move |event| {
        let news = |event| News { stale: stale(&event), heard: heard(&event) };
        event.map(news).map_err(EngineError::request(doing))
    }))
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

/// What an event tells; nothing for health checks and execs.
fn heard(event: &EventMessage) -> Option<Heard> {
    let actor = event.actor.as_ref()?;
    let attribute = |name: &str| actor.attributes.as_ref()?.get(name).cloned();
    let number = |name: &str| attribute(name)?.parse().ok();
    let action = event.action.as_deref()?;
    let heard = match (event.typ?, action) {
        (
            EventMessageTypeEnum::CONTAINER,
            "create" | "start" | "restart" | "rename" | "update" | "die" | "oom" | "kill" | "stop"
            | "pause" | "unpause" | "destroy",
        ) => Heard {
            event: format!("container {action}"),
            container: Some(actor.id.clone()?),
            name: attribute("name"),
            image: attribute("image"),
            exit_code: number("exitCode"),
            signal: number("signal"),
            ..Heard::default()
        },
        (
            EventMessageTypeEnum::NETWORK,
            "create" | "update" | "connect" | "disconnect" | "destroy" | "remove",
        ) => Heard {
            event: format!("network {action}"),
            network: Some(attribute("name")?),
            container: attribute("container"),
            ..Heard::default()
        },
        _ => return None,
    };
    Some(Heard { time_ns: event.time_nano, ..heard })
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
    fn a3_events_tell_who_did_what_to_a_container() {
        let event = |typ: &str, action: &str, attributes: serde_json::Value| {
            let event = json!({"Type": typ, "Action": action, "timeNano": 7,
                "Actor": {"ID": "subject", "Attributes": attributes}});
            heard(&serde_json::from_value(event).expect("an event"))
        };
        let died = event(
            "container",
            "die",
            json!({"name": "ann", "image": "tutorial", "exitCode": "137"}),
        );
        let died = died.expect("a death is worth a record");
        assert_eq!(
            (died.event.as_str(), died.container.as_deref()),
            ("container die", Some("subject"))
        );
        assert_eq!((died.name.as_deref(), died.image.as_deref()), (Some("ann"), Some("tutorial")));
        assert_eq!((died.exit_code, died.signal, died.time_ns), (Some(137), None, Some(7)));
        let joined = event("network", "connect", json!({"name": "guests", "container": "c"}));
        let joined = joined.expect("a connection is worth a record");
        assert_eq!(
            (joined.network.as_deref(), joined.container.as_deref()),
            (Some("guests"), Some("c"))
        );
        let killed = event("container", "kill", json!({"signal": "9"})).expect("worth a record");
        assert_eq!(killed.signal, Some(9));
        for (typ, action) in [
            ("container", "exec_start: sh"),
            ("container", "health_status: healthy"),
            ("container", "top"),
            ("daemon", "reload"),
        ] {
            assert_eq!(event(typ, action, json!({})), None, "{action}");
        }
    }

    #[test]
    fn what_changes_nothing_is_ignored() {
        assert!(of("container", "exec_start: sh", &json!({})).is_empty());
        assert!(of("container", "health_status: healthy", &json!({})).is_empty());
        assert!(stale(&EventMessage::default()).is_empty());
    }
}
