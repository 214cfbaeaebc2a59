//! What two readings have in common: the engine's types as JSON in, where they differ out.

use std::collections::BTreeMap;

use enforcer::gate::{
    body::fields::{Class, Model},
    json::{Json, Number},
};
use serde_json::Value;

use super::bodies::Route;

/// What the gate may do to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// Where nothing was asked for, it says something.
    Adds,
    /// It never goes on.
    Leaves,
    /// It says something else.
    Sets,
}

use Right::{Adds, Leaves, Sets};

/// Fields in which what goes on may be something else than what was asked for, by the engine's type and the path in it
/// (`[]`: any item), and what the gate does there. Whatever else differs is a mistake of the gate's, or of this table.
const PUT_RIGHT: &[(u8, &str, Right, &str)] = &[
    (1, "Hostname", Leaves, "among guests it would be a name that others ask for"),
    (1, "HostConfig.Binds", Sets, "volumes have the names that the engine has them under"),
    (1, "HostConfig.CapAdd", Sets, "names are written one way"),
    (1, "HostConfig.CapDrop", Sets, "what guests do without is dropped, too"),
    (1, "HostConfig.CgroupnsMode", Sets, "forced"),
    (1, "HostConfig.ContainerIDFile", Leaves, "clients repeat what they do themselves"),
    (1, "HostConfig.Dns", Adds, "the network's resolver"),
    (1, "HostConfig.LogConfig", Sets, "forced"),
    (1, "HostConfig.Memory", Sets, "bounded"),
    (1, "HostConfig.MemorySwap", Sets, "no swap beyond the memory"),
    (1, "HostConfig.MemorySwappiness", Leaves, "-1 is how clients say nothing"),
    (
        1,
        "HostConfig.Mounts",
        Sets,
        "volumes of Binds come first, and are the principal's; tmpfs is bounded",
    ),
    (1, "HostConfig.NanoCpus", Sets, "bounded"),
    (
        1,
        "HostConfig.NetworkMode",
        Sets,
        "own networks have the names that the engine has them under",
    ),
    (1, "HostConfig.PidsLimit", Sets, "bounded"),
    (1, "HostConfig.RestartPolicy", Sets, "nothing is restarted for ever"),
    (1, "HostConfig.SecurityOpt", Adds, "no new privileges"),
    (1, "HostConfig.Tmpfs", Sets, "bounded"),
    (1, "Image", Sets, "an image is named in one way"),
    (1, "Labels", Adds, "whose it is"),
    (
        1,
        "NetworkingConfig.EndpointsConfig",
        Sets,
        "own networks have the names that the engine has them under",
    ),
    (2, "MemorySwap", Sets, "no swap beyond the memory"),
    (2, "MemorySwappiness", Leaves, "-1 is how clients say nothing"),
    (2, "PidsLimit", Sets, "bounded"),
    (2, "RestartPolicy", Sets, "nothing is restarted for ever"),
    (4, "ConsoleSize", Leaves, "without a terminal the engine takes none"),
    (5, "Attachable", Leaves, "on a bridge it does nothing"),
    (5, "IPAM", Sets, "the network's subnet was prepared"),
    (5, "Internal", Sets, "no way out leads through it"),
    (5, "Labels", Adds, "whose it is"),
    (5, "Name", Sets, "own networks have names of their own at the engine"),
    (5, "Options", Adds, "the network's bridge was prepared"),
    (5, "Driver", Sets, "bridge"),
    (5, "CheckDuplicate", Leaves, "the name is nobody else's"),
    (6, "Container", Sets, "by its full id"),
    (7, "Container", Sets, "by its full id"),
    (8, "Labels", Adds, "whose it is"),
    (8, "Name", Sets, "own volumes have names of their own at the engine"),
    (8, "Driver", Adds, "local"),
];

/// Fields in which nothing at all is something else than an empty value.
const TELLING: [&str; 8] = [
    "MaskedPaths",
    "ReadonlyPaths",
    "Entrypoint",
    "Cmd",
    "Test",
    "Init",
    "PidsLimit",
    "StopTimeout",
];

/// A value as `engine-json` tells of one of any type.
pub fn tagged(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(Number::Whole(number)) => Value::String(format!("#{number}")),
        Json::Number(Number::Decimal(text)) => Value::String(format!("#{text}")),
        Json::Text(text) => Value::String(format!("={text}")),
        Json::List(items) => items.iter().map(tagged).collect(),
        Json::Map(entries) => {
            Value::Object(entries.iter().map(|(key, value)| (key.clone(), tagged(value))).collect())
        }
    }
}

/// A field of this object, or of `HostConfig` in it, that may ask for nothing and asks for something.
pub fn asked_in_vain(model: &Model, seen: &Value) -> Option<String> {
    let inner = enforcer::gate::body::fields::HOST_CONFIG;
    let is_something = |model: &Model, object: &Value| {
        let silent = model.fields.iter().filter(|field| field.class == Class::OnlyEmpty);
        let mut silent = silent.filter(|field| !object.get(field.name).is_none_or(is_nothing));
        silent.next().map(|field| field.name.to_owned())
    };
    // Beside `HostConfig`, where old clients wrote what is in it now, nothing is asked for at all.
    let beside = |object: &Value| {
        let is_own = |name: &str| model.field(name).is_some();
        let mut fields = inner.fields.iter().filter(|field| !is_own(field.name));
        let name = "HostConfig";
        let is_size = |value: &Value| *value == serde_json::json!([0, 0]);
        let is_asked =
            |name: &str| !object.get(name).is_none_or(|value| is_nothing(value) || is_size(value));
        (model.name == "ContainerCreateRequest")
            .then(|| fields.find(|field| field.name != name && is_asked(field.name)))
            .flatten()
            .map(|field| format!("{} beside HostConfig", field.name))
    };
    is_something(model, seen)
        .or_else(|| beside(seen))
        .or_else(|| seen.get("HostConfig").and_then(|host| is_something(&inner, host)))
}

/// A value without the entries that ask for nothing.
pub fn asked(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            let says = |(name, value): &(&String, &Value)| {
                TELLING.contains(&name.as_str()) || !is_nothing(value)
            };
            let entries = entries.iter().filter(says);
            Value::Object(entries.map(|(name, value)| (name.clone(), asked(value))).collect())
        }
        Value::Array(items) => items.iter().map(asked).collect(),
        leaf => leaf.clone(),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.values().all(is_nothing),
    }
}

/// Where what goes on is something else than what was asked for, and no reason says why; and what it is.
pub fn differences(route: &Route, asked: &Value, sent: &Value) -> Vec<(String, String)> {
    let (asked, sent) = (leaves(asked), leaves(sent));
    let paths = asked.keys().chain(sent.keys().filter(|path| !asked.contains_key(*path)));
    let other = paths.filter(|path| asked.get(*path) != sent.get(*path));
    let unexplained = other.filter(|path| {
        let (asked, sent) = (asked.get(*path), sent.get(*path));
        !is_put_right(route.shape, path, asked.is_some(), sent.is_some())
    });
    let shown = |of: &BTreeMap<String, Value>, path: &str| {
        of.get(path).map_or_else(|| "nothing".to_owned(), Value::to_string)
    };
    let told = |path: &String| {
        (plain(path), format!("{path}: asked {}, sent {}", shown(&asked, path), shown(&sent, path)))
    };
    unexplained.map(told).collect()
}

fn is_put_right(shape: u8, path: &str, is_asked: bool, is_sent: bool) -> bool {
    let path = plain(path);
    PUT_RIGHT.iter().any(|(of, field, right, _)| {
        let rest = path.strip_prefix(field);
        let is_it = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        let is_right = match right {
            Sets => true,
            Adds => !is_asked,
            Leaves => !is_sent,
        };
        *of == shape && is_it && is_right
    })
}

/// A path for any item of its lists.
fn plain(path: &str) -> String {
    let parts: Vec<&str> =
        path.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)).collect();
    parts.join("[]")
}

/// What is asked for, by its path.
fn leaves(value: &Value) -> BTreeMap<String, Value> {
    let mut leaves = BTreeMap::new();
    collect(value, String::new(), "", &mut leaves);
    leaves
}

fn collect(value: &Value, path: String, name: &str, into: &mut BTreeMap<String, Value>) {
    let is_telling = TELLING.contains(&name) && !value.is_null();
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect(value, at, key, into);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                collect(item, format!("{path}[{index}]"), "", into);
            }
        }
        leaf if is_telling || !is_nothing(leaf) => drop(into.insert(path, leaf.clone())),
        _ => {}
    }
}
