//! The pin directory: what keeps programs and maps in the kernel when no daemon runs.
//!
//! ```text
//! <pin_dir>/links/<ifindex>-<hook>    TCX links; they are the same whatever layout the maps have
//! <pin_dir>/links/<program>           links of programs that know the process
//! <pin_dir>/v<ABI>/<MAP>              maps of one layout
//! ```

use std::{
    fs, io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::fs::DirBuilderExt as _,
    },
    path::{Path, PathBuf},
};

use enforcer_common::abi::{ABI_VERSION, event::Hook};

use super::{KernelError, bpf, raw::RawMap, sys};

/// Where BPF file systems are usually mounted.
const BPFFS: &str = "/sys/fs/bpf";

/// What a pin directory would lie on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// A BPF file system.
    There,
    /// The usual place, where the daemon mounts one.
    Mountable,
    /// Another file system, or none that can be read.
    Elsewhere,
}

/// Every map that outlives the daemon: all but those that only one run of a program uses.
pub const MAPS: [&str; 20] = [
    "ENDPOINTS",
    "CGROUPS",
    "EXEC_LOAD",
    "NETWORKS",
    "HUBS",
    "POLICIES",
    "PREFIXES",
    "PORTS",
    "LEASES",
    "PUBLISHED",
    "FLOWS",
    "CHECKS_SOON",
    "CHECKS_LATER",
    "REAPER",
    "USAGE",
    "COUNTERS",
    "UNCOUNTED",
    "TOLD",
    "LEDGER",
    "LAYOUT",
];

/// The map of records; it is pinned too, so that what nobody read is read later.
pub const RING: &str = "EVENTS";

/// The pin directory is of no use.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// It lies elsewhere.
    #[error(
        "{dir} is not on a BPF file system, so nothing could be pinned there: \
         mount -t bpf bpf {BPFFS}, or set [daemon] pin_dir"
    )]
    NotBpffs {
        /// The directory.
        dir: PathBuf,
    },
    /// It cannot be made, read or written.
    #[error("cannot {operation} {path}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn failed<'a>(
    operation: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> PinError + use<'a> {
    move |source| PinError::Io { operation, path: path.to_owned(), source }
}

/// The pin directory.
#[derive(Clone, Debug)]
pub struct Pins {
    root: PathBuf,
}

impl Pins {
    /// Makes the directories that are missing.
    pub fn open(root: &Path) -> Result<Self, PinError> {
        let pins = Self { root: root.to_owned() };
        pins.ensure()?;
        Ok(pins)
    }

    /// The directory, should there be one. Nothing is made.
    #[must_use]
    pub fn existing(root: &Path) -> Option<Self> {
        let there = sys::is_bpffs(root).unwrap_or(false);
        there.then(|| Self { root: root.to_owned() })
    }

    /// Whether there can be one here. Nothing is made.
    #[must_use]
    pub fn ground(root: &Path) -> Ground {
        let base = nearest(root);
        let usual = Path::new(BPFFS);
        match sys::is_bpffs(base) {
            Ok(true) => Ground::There,
            Ok(false) if base == usual && root.starts_with(usual) => Ground::Mountable,
            _ => Ground::Elsewhere,
        }
    }

    /// Makes the directories anew, should somebody have removed them or mounted something on them.
    pub fn ensure(&self) -> Result<(), PinError> {
        let base = nearest(&self.root);
        if !sys::is_bpffs(base).map_err(failed("look at", base))? {
            let usual = Path::new(BPFFS);
            if base != usual || !self.root.starts_with(usual) {
                return Err(PinError::NotBpffs { dir: self.root.clone() });
            }
            sys::mount_bpffs(usual).map_err(failed("mount", usual))?;
        }
        for dir in [self.links_dir(), self.maps_dir()] {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder.create(&dir).map_err(failed("make", &dir))?;
        }
        Ok(())
    }

    /// Directory of the maps of this layout.
    #[must_use]
    pub fn maps_dir(&self) -> PathBuf {
        self.root.join(format!("v{ABI_VERSION}"))
    }

    fn links_dir(&self) -> PathBuf {
        self.root.join("links")
    }

    /// Where a map is pinned.
    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        self.maps_dir().join(name)
    }

    /// Where a link is pinned.
    #[must_use]
    pub fn link(&self, ifindex: u32, hook: Hook) -> PathBuf {
        self.links_dir().join(format!("{ifindex}-{}", hook.name()))
    }

    /// Where the link of a program is pinned that is on no interface.
    #[must_use]
    pub fn process_link(&self, program: &str) -> PathBuf {
        self.links_dir().join(program)
    }

    /// Names of the programs on no interface whose links are pinned.
    pub fn process_links(&self) -> Result<Vec<String>, PinError> {
        let mut found = names(&self.links_dir())?;
        found.retain(|name| link_name(name).is_none());
        Ok(found)
    }

    /// All pinned links: interface, hook, path.
    pub fn links(&self) -> Result<Vec<(u32, Hook, PathBuf)>, PinError> {
        let found = names(&self.links_dir())?;
        Ok(found
            .iter()
            .filter_map(|name| link_name(name))
            .map(|(ifindex, hook)| (ifindex, hook, self.link(ifindex, hook)))
            .collect())
    }

    /// Names of the maps that are pinned.
    pub fn maps(&self) -> Result<Vec<String>, PinError> {
        names(&self.maps_dir())
    }

    /// The interfaces that a pinned map has entries of; its keys are their indices.
    pub fn interfaces(&self, map: &'static str) -> Result<Vec<u32>, KernelError> {
        let failed = |source| KernelError::Map { map, operation: "open", source };
        let raw = RawMap::open(&self.map(map)).map_err(failed)?;
        let path = self.map(map);
        let entries = raw.list().map_err(self::failed("read", &path))?;
        let index = |(key, _): &(Vec<u8>, Vec<u8>)| {
            key.first_chunk().map(|bytes: &[u8; 4]| u32::from_ne_bytes(*bytes))
        };
        Ok(entries.iter().filter_map(index).collect())
    }

    /// Directories of maps of other layouts, and their versions.
    pub fn other_layouts(&self) -> Result<Vec<(u32, PathBuf)>, PinError> {
        let found = names(&self.root)?;
        let versions = found.iter().filter_map(|name| name.strip_prefix('v')?.parse().ok());
        let others = versions.filter(|version| *version != ABI_VERSION);
        Ok(others.map(|version: u32| (version, self.root.join(format!("v{version}")))).collect())
    }

    /// Removes every pin and the directory itself.
    pub fn remove_all(&self) -> Result<(), PinError> {
        for name in names(&self.root)? {
            remove_dir(&self.root.join(name))?;
        }
        fs::remove_dir(&self.root).map_err(failed("remove", &self.root))
    }

    /// Pins an object, in place of whatever was pinned at that path: at no time is nothing.
    pub fn put(&self, object: BorrowedFd<'_>, path: &Path) -> Result<(), PinError> {
        // The file system takes no dots.
        let new = PathBuf::from(format!("{}-new", path.display()));
        remove(&new)?;
        bpf::pin(object, &new).map_err(failed("pin", &new))?;
        fs::rename(&new, path).map_err(failed("put in place", path))
    }
}

/// Maps that this process holds, so that they can be pinned again.
pub struct Anchors {
    maps: Vec<(&'static str, OwnedFd)>,
}

impl Anchors {
    /// Opens every pinned map.
    pub fn open(pins: &Pins) -> Result<Self, PinError> {
        let maps = MAPS.into_iter().chain([RING]).map(|name| {
            let path = pins.map(name);
            let map = bpf::open_pin(&path).map_err(failed("open", &path))?;
            Ok((name, map))
        });
        Ok(Self { maps: maps.collect::<Result<_, _>>()? })
    }

    /// Whether every map is pinned.
    #[must_use]
    pub fn are_pinned(&self, pins: &Pins) -> bool {
        let pinned = pins.maps().unwrap_or_default();
        self.maps.iter().all(|(name, _)| pinned.iter().any(|pin| pin == name))
    }

    /// Pins every map that is not pinned.
    pub fn pin(&self, pins: &Pins) -> Result<(), PinError> {
        let pinned = pins.maps()?;
        for (name, map) in &self.maps {
            if !pinned.iter().any(|pin| pin == name) {
                pins.put(map.as_fd(), &pins.map(name))?;
            }
        }
        Ok(())
    }

    /// Most entries of a map.
    #[must_use]
    pub fn capacity(&self, name: &str) -> Option<u32> {
        let (_, map) = self.maps.iter().find(|(map, _)| *map == name)?;
        bpf::map_capacity(map.as_fd()).ok()
    }
}

/// Removes a pin; one that is not there is no error.
pub fn remove(path: &Path) -> Result<(), PinError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome.map_err(failed("remove", path)),
    }
}

/// Removes a directory of pins.
pub fn remove_dir(dir: &Path) -> Result<(), PinError> {
    for name in names(dir)? {
        remove(&dir.join(name))?;
    }
    fs::remove_dir(dir).map_err(failed("remove", dir))
}

fn names(dir: &Path) -> Result<Vec<String>, PinError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", dir)(error)),
    };
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

fn link_name(name: &str) -> Option<(u32, Hook)> {
    let (ifindex, hook) = name.split_once('-')?;
    let hook = Hook::ALL.into_iter().find(|other| other.name() == hook)?;
    Some((ifindex.parse().ok()?, hook))
}

/// The nearest directory that exists.
fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use enforcer_common::abi::layout;

    use super::*;

    #[test]
    fn n7_every_map_that_is_carried_over_outlives_the_daemon() {
        for map in layout::MAPS {
            assert!(MAPS.contains(&map.name), "{} has no pin", map.name);
        }
    }

    #[test]
    fn a_pin_of_a_link_names_interface_and_hook() {
        let pins = Pins { root: "/pins".into() };
        let path = pins.link(17, Hook::ToBridge);
        assert_eq!(path, Path::new("/pins/links/17-to_bridge"));
        assert_eq!(link_name("17-to_bridge"), Some((17, Hook::ToBridge)));
        for other in ["17", "x-to_bridge", "17-to_bridge2", "-from_guest"] {
            assert_eq!(link_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_directory_elsewhere_is_refused_and_not_made() {
        let dir = std::env::temp_dir().join(format!("enforcer-pins-{}", std::process::id()));
        let error = Pins::open(&dir).expect_err("no BPF file system");
        assert!(matches!(error, PinError::NotBpffs { .. }), "{error}");
        assert!(!dir.exists());
    }
}
