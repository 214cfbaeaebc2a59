//! Why the store does not do something.

use std::path::PathBuf;

use super::VERSION;
use crate::access::name::{GroupName, HubName, User};

/// Why nothing was read or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A directory or file that cannot be used.
    #[error("{path}: {why}")]
    Unsafe {
        /// Which.
        path: PathBuf,
        /// Why.
        why: &'static str,
    },
    /// The operating system refused.
    #[error("cannot {verb} {path}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error("{path} is in use by another process")]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// It is not what was written.
    #[error(
        "{path} is damaged: nobody has a grant until it is put back from a backup or moved away"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        #[source]
        source: Box<redb::Error>,
    },
    /// Somebody else's format.
    #[error(
        "{path} was written by a newer enforcer (form {found}, this one knows {VERSION}): nobody has a \
         grant until that one runs"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// A transaction failed.
    #[error("the store of groups")]
    Database(#[from] Box<redb::Error>),
    /// A row that is none of ours.
    #[error("the store of groups has a row in {table} that cannot be read")]
    Row {
        /// Where.
        table: &'static str,
    },
    /// There is no such group.
    #[error("there is no group \"{group}\" in hub {hub}")]
    NoGroup {
        /// The hub.
        hub: HubName,
        /// The group.
        group: GroupName,
    },
    /// There is one.
    #[error("there is a group \"{group}\" in hub {hub} already")]
    Exists {
        /// The hub.
        hub: HubName,
        /// The group.
        group: GroupName,
    },
    /// The config names it.
    #[error(
        "group \"{0}\" is built in and cannot be deleted; its members and its grant can be changed"
    )]
    BuiltIn(GroupName),
    /// The user is not in the group.
    #[error("{user} is not in group \"{group}\"")]
    NoMember {
        /// The user.
        user: User,
        /// The group.
        group: GroupName,
    },
    /// A time that is over, or that no date can say.
    #[error("the end is not in the future, or beyond the year 9999")]
    NoEnd,
}

impl StoreError {
    /// Whether the request was at fault, and not the store.
    #[must_use]
    pub const fn is_request_s(&self) -> bool {
        matches!(
            self,
            Self::NoGroup { .. }
                | Self::Exists { .. }
                | Self::BuiltIn(_)
                | Self::NoMember { .. }
                | Self::NoEnd
        )
    }
}
