//! How full the daemon's maps are, as the kernel tells: of those that grow and shrink.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};

use super::netns::Namespace;

/// `BPF_MAP_TYPE_HASH` and `BPF_MAP_TYPE_PERCPU_HASH` of `include/uapi/linux/bpf.h`.
const HASHES: [&str; 2] = ["1", "5"];

/// Entries of each hash map, by the map's name.
pub type Tables = BTreeMap<String, usize>;

/// How full each hash map is that the process holds.
pub fn entries(host: &Namespace, pid: u32) -> Result<Tables> {
    let mut found = BTreeMap::new();
    for file in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A file may be closed meanwhile.
        let Ok(text) = fs::read_to_string(file?.path()) else { continue };
        let value = |key: &str| {
            text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim).map(str::to_owned)
        };
        let (Some(kind), Some(id)) = (value("map_type:"), value("map_id:")) else { continue };
        if !HASHES.contains(&kind.as_str()) {
            continue;
        }
        let shown: serde_json::Value =
            serde_json::from_str(&host.run(&format!("bpftool -j map show id {id}"))?)?;
        let name = shown["name"].as_str().context("a map without a name")?.to_owned();
        let dump: serde_json::Value =
            serde_json::from_str(&host.run(&format!("bpftool -j map dump id {id}"))?)?;
        found.insert(name, dump.as_array().context("a dump that is no list")?.len());
    }
    Ok(found)
}
