//! Containers: own ones, without paths of the host. Of its notebook a user sees that it runs, and where.

use serde_json::{Map, Value, json};

use super::{each, networks, only, text, volumes};
use crate::gate::{body::Context, facts::OwnContainer, principal::Principal};

const LISTED: [&str; 17] = [
    "Command",
    "Created",
    "Health",
    "HostConfig",
    "Id",
    "Image",
    "ImageID",
    "ImageManifestDescriptor",
    "Labels",
    "Mounts",
    "Names",
    "NetworkSettings",
    "Ports",
    "SizeRootFs",
    "SizeRw",
    "State",
    "Status",
];
const LISTED_NOTEBOOK: [&str; 8] =
    ["Created", "Id", "Image", "ImageID", "Names", "NetworkSettings", "State", "Status"];
const INSPECTED: [&str; 19] = [
    "Args",
    "Config",
    "Created",
    "Driver",
    "ExecIDs",
    "HostConfig",
    "Id",
    "Image",
    "ImageManifestDescriptor",
    "Mounts",
    "Name",
    "NetworkSettings",
    "Path",
    "Platform",
    "RestartCount",
    "SizeRootFs",
    "SizeRw",
    "State",
    "AppArmorProfile",
];
const INSPECTED_NOTEBOOK: [&str; 6] =
    ["Created", "Id", "Image", "Name", "NetworkSettings", "State"];
const STATE: [&str; 11] = [
    "Dead",
    "Error",
    "ExitCode",
    "FinishedAt",
    "Health",
    "OOMKilled",
    "Paused",
    "Restarting",
    "Running",
    "StartedAt",
    "Status",
];
const SETTINGS: [&str; 2] = ["Networks", "Ports"];
const MOUNT: [&str; 7] = ["Destination", "Driver", "Mode", "Name", "Propagation", "RW", "Type"];
/// Of the host's configuration of a container: what its maker asked for. Paths and the cgroup's parent are not.
const HIDDEN: [&str; 4] = ["Binds", "CgroupParent", "ContainerIDFile", "Mounts"];
const EXEC: [&str; 11] = [
    "CanRemove",
    "ContainerID",
    "DetachKeys",
    "ExitCode",
    "ID",
    "OpenStderr",
    "OpenStdin",
    "OpenStdout",
    "ProcessConfig",
    "Running",
    "Tty",
];

pub(super) fn list(context: &Context<'_>, answer: &Value) -> Option<Value> {
    each(answer, |container| {
        let own = own(context, text(container, "Id")?)?;
        let is_notebook = is_closed(context, own);
        let mut shown = only(container, if is_notebook { &LISTED_NOTEBOOK } else { &LISTED });
        common(context, &mut shown);
        // Links name it by the names of others as well.
        shown.insert("Names".to_owned(), json!([format!("/{}", own.name)]));
        Some(shown)
    })
}

pub(super) fn inspect(context: &Context<'_>, answer: &Value) -> Option<Value> {
    let container = answer.as_object()?;
    let own = own(context, text(container, "Id")?)?;
    let is_notebook = is_closed(context, own);
    let mut shown = only(container, if is_notebook { &INSPECTED_NOTEBOOK } else { &INSPECTED });
    common(context, &mut shown);
    if let Some(state) = container.get("State").and_then(Value::as_object) {
        shown.insert("State".to_owned(), Value::Object(only(state, &STATE)));
    }
    Some(Value::Object(shown))
}

/// A command: without its process on the host.
pub(super) fn exec(context: &Context<'_>, answer: &Value) -> Option<Value> {
    let exec = answer.as_object()?;
    own(context, text(exec, "ContainerID")?)?;
    Some(Value::Object(only(exec, &EXEC)))
}

fn own<'a>(context: &Context<'a>, id: &str) -> Option<&'a OwnContainer> {
    context.facts.containers.iter().find(|own| own.id == id)
}

fn is_closed(context: &Context<'_>, own: &OwnContainer) -> bool {
    own.is_notebook && matches!(context.principal, Principal::User(_))
}

/// What lists and single answers have alike.
fn common(context: &Context<'_>, shown: &mut Map<String, Value>) {
    if let Some(mounts) = shown.get("Mounts").and_then(Value::as_array) {
        let mounts: Vec<Value> =
            mounts.iter().filter_map(Value::as_object).map(|at| mount(context, at)).collect();
        shown.insert("Mounts".to_owned(), Value::Array(mounts));
    }
    if let Some(host) = shown.get_mut("HostConfig").and_then(Value::as_object_mut) {
        for name in HIDDEN {
            host.remove(name);
        }
        network_mode(context, host);
    }
    if let Some(settings) = shown.get("NetworkSettings").and_then(Value::as_object) {
        let mut settings = only(settings, &SETTINGS);
        if let Some(all) = settings.get("Networks").and_then(Value::as_object) {
            let endpoints = networks::endpoints(context, all);
            settings.insert("Networks".to_owned(), endpoints);
        }
        shown.insert("NetworkSettings".to_owned(), Value::Object(settings));
    }
}

/// A mount, by the owner's name of its volume; its source is a path of the host.
fn mount(context: &Context<'_>, at: &Map<String, Value>) -> Value {
    let mut shown = only(at, &MOUNT);
    let name = text(at, "Name").map(|name| volumes::own_name(context, name).unwrap_or(name));
    if let Some(name) = name.map(str::to_owned) {
        shown.insert("Name".to_owned(), json!(name));
    }
    shown.insert("Source".to_owned(), json!(""));
    Value::Object(shown)
}

fn network_mode(context: &Context<'_>, host: &mut Map<String, Value>) {
    let Some(mode) = text(host, "NetworkMode") else { return };
    let is_name = !mode.contains(':') && !["none", "default"].contains(&mode);
    let name = networks::shown_name(context, mode, Some(mode)).map(str::to_owned);
    if is_name {
        host.insert("NetworkMode".to_owned(), json!(name.unwrap_or_default()));
    }
}
