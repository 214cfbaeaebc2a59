//! Volumes: own ones, by the owner's names, without their place on the host.

use serde_json::{Map, Value, json};

use super::{only, text};
use crate::gate::body::Context;

const FIELDS: [&str; 7] =
    ["CreatedAt", "Driver", "Labels", "Name", "Options", "Scope", "UsageData"];

pub(super) fn list(context: &Context<'_>, answer: &Value) -> Option<Value> {
    let volumes = match answer.as_object()?.get("Volumes")? {
        Value::Null => Vec::new(),
        volumes => {
            let all = volumes.as_array()?.iter().filter_map(Value::as_object);
            all.filter(|volume| is_own(context, volume))
                .filter_map(|volume| named(context, volume))
                .collect()
        }
    };
    Some(json!({"Volumes": volumes, "Warnings": null}))
}

/// One volume. A volume that was just made is not among the facts yet; it has the mark.
pub(super) fn one(context: &Context<'_>, answer: &Value) -> Option<Value> {
    named(context, answer.as_object()?)
}

fn is_own(context: &Context<'_>, volume: &Map<String, Value>) -> bool {
    let name = text(volume, "Name");
    context.facts.volumes.iter().any(|own| Some(own.engine_name.as_str()) == name)
}

fn named(context: &Context<'_>, volume: &Map<String, Value>) -> Option<Value> {
    let mut shown = only(volume, &FIELDS);
    let engine_name = text(volume, "Name")?;
    let name = own_name(context, engine_name);
    // One without a name of the client's got one from the engine.
    shown.insert("Name".to_owned(), json!(name.unwrap_or(engine_name)));
    shown.insert("Mountpoint".to_owned(), json!(""));
    Some(Value::Object(shown))
}

/// What the owner calls a volume.
pub(super) fn own_name<'a>(context: &Context<'a>, engine_name: &'a str) -> Option<&'a str> {
    let own = context.facts.volumes.iter().find(|own| own.engine_name == engine_name);
    own.map(|own| own.name.as_str())
        .or_else(|| crate::gate::names::own_name(context.principal, engine_name))
}
