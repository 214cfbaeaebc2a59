//! Why the daemon does not do what it is asked.

/// A question that was understood and is declined, in words for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Declined {
    /// What kind of reason it is.
    pub kind: Kind,
    /// The reason.
    pub message: String,
}

/// Kinds of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such thing.
    Unknown,
    /// What there is does not go with it: a name that two have, a config that is refused.
    Conflict,
    /// It was begun, and is not known to be done.
    NotYet,
    /// It failed.
    Failed,
}

impl Declined {
    /// There is no such thing.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self { kind: Kind::Unknown, message: message.into() }
    }

    /// What there is does not go with it.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self { kind: Kind::Conflict, message: message.into() }
    }

    /// It was begun, and is not known to be done.
    pub fn not_yet(message: impl Into<String>) -> Self {
        Self { kind: Kind::NotYet, message: message.into() }
    }

    /// It failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { kind: Kind::Failed, message: message.into() }
    }
}
