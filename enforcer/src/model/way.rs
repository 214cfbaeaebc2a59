//! Ways to a container engine of this host that lead past the gate, and what containers have mounted.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A way to an engine beside the gate: whoever goes it is root on this host, and nothing records what they do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Way {
    /// What it is.
    pub kind: WayKind,
    /// Where: a path, a group's name, a container's name or an address.
    pub at: String,
    /// Who may go it, as far as it is known: users, groups; of a mount, what is mounted.
    pub who: Vec<String>,
    /// What that means, and what to do.
    pub warning: String,
}

/// What a way to an engine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum WayKind {
    /// A unix group of this host.
    Group,
    /// A unix socket.
    Socket,
    /// A running container with a socket mounted, or a directory that has one.
    Mount,
    /// A TCP port.
    Tcp,
    /// Something of another version.
    #[serde(other)]
    #[cfg_attr(test, schemars(skip))]
    Unknown,
}

impl WayKind {
    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Socket => "socket",
            Self::Mount => "mount",
            Self::Tcp => "tcp",
            Self::Unknown => "unknown",
        }
    }
}

/// A running container, and what of this host it has mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounted {
    /// Docker's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Paths of this host.
    pub sources: Vec<PathBuf>,
}
