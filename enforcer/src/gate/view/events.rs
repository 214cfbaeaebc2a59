//! Events: of own things alone. A line that is none is not shown.

use serde_json::{Map, Value, json};

use super::{networks, only, text, volumes};
use crate::gate::{body::Context, principal::Principal};

const FIELDS: [&str; 8] = ["Action", "Type", "from", "id", "scope", "status", "time", "timeNano"];

/// One line of `GET /events`, made anew; `None`: it is not the principal's to see. The facts are to be those of now:
/// a stream lives longer than the facts that it began with.
#[must_use]
pub fn event_line(context: &Context<'_>, line: &[u8]) -> Option<Vec<u8>> {
    let event: Value = serde_json::from_slice(line).ok()?;
    let mut line =
        serde_json::to_vec(&super::reduce(crate::gate::verdict::View::Events, context, &event)?)
            .ok()?;
    line.push(b'\n');
    Some(line)
}

pub(super) fn event(context: &Context<'_>, event: &Value) -> Option<Value> {
    let event = event.as_object()?;
    let actor = event.get("Actor")?.as_object()?;
    let id = text(actor, "ID")?;
    let nothing = Map::new();
    let attributes = actor.get("Attributes").and_then(Value::as_object).unwrap_or(&nothing);
    let (id, attributes) = match text(event, "Type")? {
        "container" => (id.to_owned(), container(context, id, attributes)?),
        "network" => (id.to_owned(), network(context, id, attributes)?),
        "volume" => volume(context, id, attributes)?,
        _ => return None,
    };
    let mut shown = only(event, &FIELDS);
    if shown.contains_key("id") {
        shown.insert("id".to_owned(), json!(id));
    }
    shown.insert("Actor".to_owned(), json!({"ID": id, "Attributes": attributes}));
    Some(Value::Object(shown))
}

fn container(
    context: &Context<'_>,
    id: &str,
    attributes: &Map<String, Value>,
) -> Option<Map<String, Value>> {
    let own = context.facts.containers.iter().find(|own| own.id == id)?;
    let is_closed = own.is_notebook && matches!(context.principal, Principal::User(_));
    Some(if is_closed { only(attributes, &["name", "image"]) } else { attributes.clone() })
}

/// Of own networks; who joins one is the owner's.
fn network(
    context: &Context<'_>,
    id: &str,
    attributes: &Map<String, Value>,
) -> Option<Map<String, Value>> {
    let name = networks::shown_name(context, "", Some(id))?;
    let joined = text(attributes, "container");
    let is_own = |id: &str| context.facts.containers.iter().any(|own| own.id == id);
    if !joined.is_none_or(is_own) {
        return None;
    }
    let mut shown = only(attributes, &["container", "type"]);
    shown.insert("name".to_owned(), json!(name));
    Some(shown)
}

fn volume(
    context: &Context<'_>,
    id: &str,
    attributes: &Map<String, Value>,
) -> Option<(String, Map<String, Value>)> {
    let is_own = context.facts.volumes.iter().any(|own| own.engine_name == id);
    let name = volumes::own_name(context, id).filter(|_| is_own)?;
    let user = text(attributes, "container");
    if !user.is_none_or(|user| context.facts.containers.iter().any(|own| own.id == user)) {
        return None;
    }
    Some((name.to_owned(), only(attributes, &["container", "driver", "propagation", "read/write"])))
}
