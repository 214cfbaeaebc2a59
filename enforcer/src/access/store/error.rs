//! Why the store does not do something.

use crate::{
    access::name::{GroupName, HubName, User},
    database::FileError,
};

/// Why nothing was read or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Its file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
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
