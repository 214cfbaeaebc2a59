//! What a run leaves on the machine: nothing. A snapshot before, one after, and the difference.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use anyhow::{Result, ensure};

/// What the machine holds, by kind. Kinds that need a missing tool are empty both times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<&'static str, BTreeSet<String>>);

impl Snapshot {
    /// Takes one. Only things that carry a mark of this harness count where others may work too.
    #[must_use]
    pub fn take() -> Self {
        let mut kinds = BTreeMap::new();
        kinds.insert("named network namespaces", entries("/run/netns"));
        kinds.insert("links", entries("/sys/class/net"));
        kinds
            .insert("mounts", marked(&fs::read_to_string("/proc/self/mounts").unwrap_or_default()));
        kinds.insert("run directories", ours(entries(&std::env::temp_dir().to_string_lossy())));
        kinds.insert("cgroups", cgroups());
        kinds.insert("processes", processes());
        kinds.insert("nft tables", lines(&["nft", "list", "tables"]));
        kinds.insert("pins", entries("/sys/fs/bpf"));
        Self(kinds)
    }

    /// Fails with everything that is there now and was not at the time of `self`.
    pub fn ensure_nothing_new(&self) -> Result<()> {
        let now = Self::take();
        let mut report = String::new();
        for (kind, things) in &now.0 {
            let before = self.0.get(kind).cloned().unwrap_or_default();
            for thing in things.difference(&before) {
                report.push_str(&format!("\n  {kind}: {thing}"));
            }
        }
        ensure!(report.is_empty(), "left behind:{report}");
        Ok(())
    }
}

/// Our own runs are recognised by the process id in their tag.
fn own_tag() -> String {
    format!("ef{:x}-", std::process::id())
}

fn entries(dir: &str) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(dir) else { return BTreeSet::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn ours(names: BTreeSet<String>) -> BTreeSet<String> {
    names.into_iter().filter(|name| name.contains(&own_tag())).collect()
}

fn marked(text: &str) -> BTreeSet<String> {
    ours(text.lines().map(Into::into).collect())
}

fn cgroups() -> BTreeSet<String> {
    let mut found = ours(entries("/sys/fs/cgroup"));
    for hierarchy in entries("/sys/fs/cgroup") {
        found.extend(ours(entries(&format!("/sys/fs/cgroup/{hierarchy}"))));
    }
    found
}

fn processes() -> BTreeSet<String> {
    entries("/proc")
        .into_iter()
        .filter_map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(&own_tag()).then(|| format!("{pid} {line}"))
        })
        .collect()
}

fn lines(command: &[&str]) -> BTreeSet<String> {
    let Some((program, arguments)) = command.split_first() else { return BTreeSet::new() };
    Command::new(program).args(arguments).output().map_or_else(
        |_missing| BTreeSet::new(),
        |output| String::from_utf8_lossy(&output.stdout).lines().map(Into::into).collect(),
    )
}
