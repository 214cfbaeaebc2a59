//! Which cgroup a container is in, in the v2 hierarchy.
//!
//! A cgroup is a container's when its name bears the container's id, as the runtimes name it
//! (`<id>`, `docker-<id>.scope`), so that a process id that was given to somebody else meanwhile
//! misleads nobody. Where guests are in v1 hierarchies only, there is none.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use enforcer_common::abi::cgroup::MAX_DEPTH;

use super::sys;

/// Where Docker puts containers by itself: with its own driver, and with systemd's.
const USUAL: [&str; 2] = ["docker", "system.slice"];

/// Why a container's cgroup is not known.
#[derive(Debug, thiserror::Error)]
pub enum NoCgroup {
    /// No v2 hierarchy.
    #[error("no cgroup v2 hierarchy is mounted here")]
    NoHierarchy,
    /// Only in v1 hierarchies, or in somebody else's.
    #[error("it has no cgroup of its own in the v2 hierarchy (it is in \"{0}\")")]
    NotItsOwn(String),
    /// Too far down.
    #[error("its cgroup is more than {MAX_DEPTH} deep: \"{0}\"")]
    TooDeep(String),
    /// Not running, or gone.
    #[error("its process is not known")]
    NoProcess,
    /// Not readable.
    #[error("cannot read {path}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The mounted v2 hierarchy, and where in it containers were seen.
#[derive(Clone, Debug, Default)]
pub struct Cgroups {
    parents: BTreeSet<PathBuf>,
}

impl Cgroups {
    /// The id of a container's cgroup. `pid` is its first process, 0 if that is not known yet: the
    /// cgroup is there before the first instruction, and the engine tells the process only after it.
    /// `root` is where the hierarchy is mounted.
    pub fn find(&mut self, root: &Path, container: &str, pid: u32) -> Result<u64, NoCgroup> {
        let usual = USUAL.iter().map(|parent| root.join(parent));
        let names = [container.to_owned(), format!("docker-{container}.scope")];
        let known = usual.chain(self.parents.iter().cloned());
        let guessed = known.flat_map(|parent| names.each_ref().map(|name| parent.join(name)));
        for path in guessed {
            if let Ok(found) = fs::metadata(&path) {
                return Ok(found.ino());
            }
        }
        if pid == 0 {
            return Err(NoCgroup::NoProcess);
        }
        let table = PathBuf::from(format!("/proc/{pid}/cgroup"));
        let text =
            fs::read_to_string(&table).map_err(|source| NoCgroup::Io { path: table, source })?;
        let path = root.join(own(&text, container)?);
        let found =
            fs::metadata(&path).map_err(|source| NoCgroup::Io { path: path.clone(), source })?;
        self.parents.extend(path.parent().map(Path::to_owned));
        Ok(found.ino())
    }
}

/// Where the v2 hierarchy is mounted.
#[must_use]
pub fn root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    // Something else may be mounted over it.
    mounted(&mounts).find(|path| sys::is_cgroup2(path).unwrap_or(false))
}

/// The whole v2 hierarchy in `/proc/self/mountinfo`. Spaces in the path are not looked for.
fn mounted(mounts: &str) -> impl Iterator<Item = PathBuf> {
    mounts.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        (kind.starts_with("cgroup2 ") && root == "/").then(|| at.into())
    })
}

/// This process's own cgroup below the hierarchy's root: there its owner may make others without a capability. The root
/// where it is not known, or so deep that one below it would not be found.
#[must_use]
pub fn home(root: &Path) -> PathBuf {
    root.join(home_in(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default()))
}

fn home_in(table: &str) -> PathBuf {
    let path = table.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts.contains(&"..") || parts.len() >= MAX_DEPTH as usize {
        return PathBuf::new();
    }
    parts.into_iter().collect()
}

/// The part of a process's v2 path, in `/proc/PID/cgroup`, that ends with the container's own cgroup.
fn own(table: &str, container: &str) -> Result<PathBuf, NoCgroup> {
    let path = table.lines().find_map(|line| line.strip_prefix("0::"));
    let path = path.ok_or(NoCgroup::NoHierarchy)?;
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let is_own = |part: &&str| !container.is_empty() && part.contains(container);
    let Some(last) = parts.iter().position(is_own) else {
        return Err(NoCgroup::NotItsOwn(path.to_owned()));
    };
    // A name that leads elsewhere.
    if parts.contains(&"..") {
        return Err(NoCgroup::NotItsOwn(path.to_owned()));
    }
    if last + 1 > MAX_DEPTH as usize {
        return Err(NoCgroup::TooDeep(path.to_owned()));
    }
    Ok(parts.into_iter().take(last + 1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f9d3b";

    #[test]
    fn a_container_s_cgroup_is_the_one_that_bears_its_id() {
        // /proc/PID/cgroup -> the cgroup.
        let cases = [
            ("0::/docker/4f9d3b\n", Some("docker/4f9d3b")),
            ("0::/system.slice/docker-4f9d3b.scope\n", Some("system.slice/docker-4f9d3b.scope")),
            ("0::/docker/4f9d3b/init.scope\n", Some("docker/4f9d3b")),
            ("12:cpu:/docker/4f9d3b\n0::/lab/4f9d3b/a/b\n", Some("lab/4f9d3b")),
            // Hybrid: only the v1 hierarchies have one.
            ("12:cpu:/docker/4f9d3b\n0::/\n", None),
            ("12:cpu:/docker/4f9d3b\n", None),
            // Somebody else's process by now.
            ("0::/user.slice\n", None),
            // Seen from within another cgroup namespace.
            ("0::/../../docker/4f9d3b\n", None),
            ("0::/1/2/3/4/5/6/7/4f9d3b\n", Some("1/2/3/4/5/6/7/4f9d3b")),
            ("0::/1/2/3/4/5/6/7/8/4f9d3b\n", None),
            ("", None),
        ];
        for (table, expected) in cases {
            assert_eq!(own(table, ID).ok(), expected.map(PathBuf::from), "{table}");
        }
        assert!(own("0::/a\n", "").is_err(), "an empty id is in every name");
    }

    #[test]
    fn a_process_is_at_home_in_its_cgroup_and_at_the_root_where_that_is_of_no_use() {
        let cases = [
            ("0::/system.slice/enforcer.service\n", "system.slice/enforcer.service"),
            ("12:cpu:/a\n0::/b\n", "b"),
            ("0::/\n", ""),
            ("0::/../b\n", ""),
            ("0::/1/2/3/4/5/6/7\n", "1/2/3/4/5/6/7"),
            ("0::/1/2/3/4/5/6/7/8\n", ""),
            ("", ""),
        ];
        for (table, expected) in cases {
            assert_eq!(home_in(table), Path::new(expected), "{table}");
        }
    }

    #[test]
    fn the_v2_hierarchy_is_where_all_of_it_is_mounted() {
        let unified = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw";
        let hybrid = "31 24 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      32 31 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      33 31 0:29 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw";
        let part = "30 24 0:26 /docker/x /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        let both = format!("{hybrid}\n{unified}");
        let all = |mounts: &str| mounted(mounts).collect::<Vec<_>>();
        assert_eq!(all(unified), [Path::new("/sys/fs/cgroup")]);
        assert_eq!(all(hybrid), [Path::new("/sys/fs/cgroup/unified")]);
        assert_eq!(all(&both), ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new));
        assert_eq!(all(part), [] as [PathBuf; 0]);
        assert_eq!(all("nonsense\n"), [] as [PathBuf; 0]);
    }
}
