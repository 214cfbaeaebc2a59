//! Networks: own ones by the owner's names, the guest network without its other guests.

use serde_json::{Map, Value, json};

use super::{each, only, text, volumes};
use crate::gate::{body::Context, names};

const FIELDS: [&str; 11] = [
    "Created",
    "Driver",
    "EnableIPv4",
    "EnableIPv6",
    "IPAM",
    "Id",
    "Ingress",
    "Internal",
    "Labels",
    "Name",
    "Scope",
];

pub(super) fn list(context: &Context<'_>, answer: &Value) -> Option<Value> {
    each(answer, |network| {
        let id = text(network, "Id")?;
        let is_own = context.facts.networks.iter().any(|own| own.id == id);
        if is_own { reduced(context, network) } else { None }
    })
}

pub(super) fn inspect(context: &Context<'_>, answer: &Value) -> Option<Value> {
    reduced(context, answer.as_object()?).map(Value::Object)
}

fn reduced(context: &Context<'_>, network: &Map<String, Value>) -> Option<Map<String, Value>> {
    let name = shown_name(context, text(network, "Name")?, text(network, "Id"))?;
    let mut shown = only(network, &FIELDS);
    shown.insert("Name".to_owned(), json!(name));
    let asked = network.get("Labels").and_then(|labels| labels.get(names::IS_INTERNAL)?.as_str());
    if let Some(asked) = asked {
        shown.insert("Internal".to_owned(), json!(asked == "true"));
    }
    if !context.facts.networks.iter().any(|own| Some(own.id.as_str()) == text(network, "Id")) {
        shown.remove("Labels");
    }
    let containers = network.get("Containers").and_then(Value::as_object);
    let is_own = |id: &str| context.facts.containers.iter().any(|own| own.id == id);
    let containers = containers.into_iter().flatten().filter(|(id, _)| is_own(id));
    let containers = containers.map(|(id, endpoint)| (id.clone(), endpoint.clone()));
    shown.insert("Containers".to_owned(), Value::Object(containers.collect()));
    shown.insert("Options".to_owned(), json!({}));
    Some(shown)
}

/// What the principal calls a network of the engine; `None`: it is none of its business.
pub(super) fn shown_name<'a>(
    context: &Context<'a>,
    engine_name: &str,
    id: Option<&str>,
) -> Option<&'a str> {
    let own = context
        .facts
        .networks
        .iter()
        .find(|own| own.engine_name == engine_name || Some(own.id.as_str()) == id);
    let guest = context.facts.guest_network.as_ref().filter(|guest| guest.name == engine_name);
    own.map(|own| own.name.as_str()).or_else(|| guest.map(|guest| guest.name.as_str()))
}

/// A map from names of networks to endpoints, as containers have it: own networks and the guest network.
pub(super) fn endpoints(context: &Context<'_>, networks: &Map<String, Value>) -> Value {
    let shown = networks.iter().filter_map(|(name, endpoint)| {
        let id = endpoint.as_object().and_then(|endpoint| text(endpoint, "NetworkID"));
        Some((shown_name(context, name, id)?.to_owned(), endpoint.clone()))
    });
    Value::Object(shown.collect())
}

/// What a prune of networks or volumes removed, by the names that the owner knows.
pub(super) fn pruned(context: &Context<'_>, answer: &Value) -> Option<Value> {
    let answer = answer.as_object()?;
    let mut shown = only(answer, &["SpaceReclaimed"]);
    for key in ["NetworksDeleted", "VolumesDeleted"] {
        let Some(deleted) = answer.get(key) else { continue };
        let names = deleted.as_array().into_iter().flatten().filter_map(Value::as_str);
        let names = names.filter_map(|name| {
            let marked = names::own_name(context.principal, name);
            marked.or_else(|| volumes::own_name(context, name))
        });
        shown.insert(key.to_owned(), names.collect());
    }
    Some(Value::Object(shown))
}
