//! The engine and its host: what a client needs to speak to it, and nothing of what else runs there.

use serde_json::{Map, Value, json};

use super::{only, text};
use crate::gate::{body::Context, words::path::MINORS};

/// What `docker info` and libraries look at before they start something.
const INFO: [&str; 22] = [
    "Architecture",
    "CPUSet",
    "CPUShares",
    "CgroupVersion",
    "CpuCfsPeriod",
    "CpuCfsQuota",
    "DefaultRuntime",
    "IPv4Forwarding",
    "KernelVersion",
    "LoggingDriver",
    "MemTotal",
    "MemoryLimit",
    "NCPU",
    "OSType",
    "OSVersion",
    "OomKillDisable",
    "OperatingSystem",
    "PidsLimit",
    "ServerVersion",
    "SwapLimit",
    "SystemTime",
    "Driver",
];
const VERSION: [&str; 5] = ["Arch", "MinAPIVersion", "Os", "Version", "KernelVersion"];

pub(super) fn info(context: &Context<'_>, answer: &Value) -> Option<Value> {
    let facts = context.facts;
    let mut info = only(answer.as_object()?, &INFO);
    let fields = json!({
        "ID": "enforcer",
        "Name": "enforcer",
        "Containers": facts.containers.len(),
        "Images": facts.images.len(),
        "Plugins": {"Volume": ["local"], "Network": ["bridge"], "Log": ["json-file"]},
        "SecurityOptions": [],
        "Swarm": {"LocalNodeState": "inactive"},
        "Warnings": null,
    });
    info.extend(fields.as_object()?.clone());
    Some(Value::Object(info))
}

pub(super) fn version(answer: &Value) -> Option<Value> {
    let engine = answer.as_object()?;
    let mut version = only(engine, &VERSION);
    version.insert("ApiVersion".to_owned(), json!(spoken(text(engine, "ApiVersion")?)?));
    let least = text(engine, "MinAPIVersion").and_then(minor).unwrap_or(0).max(*MINORS.start());
    version.insert("MinAPIVersion".to_owned(), json!(format!("1.{least}")));
    version.insert("Platform".to_owned(), json!({"Name": "Docker Engine behind enforcer"}));
    let engine = Map::from_iter([
        ("Name".to_owned(), json!("Engine")),
        ("Version".to_owned(), engine.get("Version")?.clone()),
        (
            "Details".to_owned(),
            json!({"ApiVersion": version.get("ApiVersion"), "MinAPIVersion": version.get("MinAPIVersion")}),
        ),
    ]);
    version.insert("Components".to_owned(), json!([engine]));
    Some(Value::Object(version))
}

/// The newest version that both speak: for `Api-Version`, by which clients choose theirs.
#[must_use]
pub fn spoken(engine: &str) -> Option<String> {
    let minor = minor(engine)?.min(*MINORS.end());
    MINORS.contains(&minor).then(|| format!("1.{minor}"))
}

fn minor(version: &str) -> Option<u8> {
    version.strip_prefix("1.")?.parse().ok()
}
