//! What is known of memberships and grants: since when, until when, by whom and why.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::name::is_unseen;
use crate::audit::{record::time_of, store::time};

/// Longest reason, characters.
pub const MAX_REASON: usize = 1024;

/// A point in time, s since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(pub u64);

impl fmt::Display for Seconds {
    /// RFC 3339, in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&time_of(self.0))
    }
}

/// A text is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a time as 2026-12-31T18:00:00Z")]
pub struct SecondsError;

impl FromStr for Seconds {
    type Err = SecondsError;

    fn from_str(text: &str) -> Result<Self, SecondsError> {
        time::micros(text).map(|micros| Self(micros / time::SECOND)).ok_or(SecondsError)
    }
}

/// What a group's grant gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// No socket.
    None,
    /// One that sees and touches what its user made.
    Filtered,
    /// The engine itself, recorded: its user is root on this host.
    Raw,
}

impl Kind {
    /// All of them, from the weakest.
    pub const ALL: [Self; 3] = [Self::None, Self::Filtered, Self::Raw];

    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Filtered => "filtered",
            Self::Raw => "raw",
        }
    }

    /// The socket that it gives.
    #[must_use]
    pub const fn socket(self) -> Option<Socket> {
        match self {
            Self::None => None,
            Self::Filtered => Some(Socket::Filtered),
            Self::Raw => Some(Socket::Raw),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text is no kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a grant is \"none\", \"filtered\" or \"raw\"")]
pub struct KindError;

impl FromStr for Kind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or(KindError)
    }
}

/// A socket that somebody may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Socket {
    /// See [`Kind::Filtered`].
    Filtered,
    /// See [`Kind::Raw`].
    Raw,
}

impl Socket {
    /// The kind that gives it.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Filtered => Kind::Filtered,
            Self::Raw => Kind::Raw,
        }
    }
}

/// Who made a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct By {
    /// Number of the user of this host, as the kernel attests it; `None`: enforcer itself, or a hub.
    pub uid: Option<u32>,
    /// Name.
    pub name: String,
    /// By what way: `control`, `config`, `hub`, …
    pub via: String,
}

impl By {
    /// Enforcer itself, for what the config asks.
    #[must_use]
    pub fn config() -> Self {
        Self { uid: None, name: "enforcer".to_owned(), via: "config".to_owned() }
    }
}

/// Why somebody did something: one line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reason(String);

/// A text is no reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReasonError {
    /// Longer than can be kept.
    #[error("a reason has at most {MAX_REASON} characters")]
    Long,
    /// More than one line, or something that a terminal acts on.
    #[error("a reason is one line, without characters that cannot be seen")]
    Unseen,
}

impl FromStr for Reason {
    type Err = ReasonError;

    fn from_str(text: &str) -> Result<Self, ReasonError> {
        if text.chars().nth(MAX_REASON).is_some() {
            return Err(ReasonError::Long);
        }
        if text.chars().any(is_unseen) {
            return Err(ReasonError::Unseen);
        }
        Ok(Self(text.trim().to_owned()))
    }
}

impl TryFrom<String> for Reason {
    type Error = ReasonError;

    fn try_from(text: String) -> Result<Self, ReasonError> {
        text.parse()
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.0
    }
}

impl Reason {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is kept of whatever somebody gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// When it was given.
    pub since: Seconds,
    /// The first moment at which it no longer counts; `None`: never.
    pub until: Option<Seconds>,
    /// Who gave it.
    pub by: By,
    /// Why.
    pub reason: Reason,
}

impl Note {
    /// Whether it counts.
    #[must_use]
    pub fn holds(&self, now: Seconds) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// What a group's members may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// That.
    pub kind: Kind,
    /// Since when, by whom and why.
    pub note: Note,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s1_an_end_is_the_first_moment_that_no_longer_counts() {
        let note =
            |until| Note { since: Seconds(5), until, by: By::config(), reason: Reason::default() };
        assert!(note(Some(Seconds(10))).holds(Seconds(9)));
        assert!(!note(Some(Seconds(10))).holds(Seconds(10)));
        assert!(note(None).holds(Seconds(u64::MAX)));
    }

    #[test]
    fn a_reason_is_one_line_that_commands_no_terminal() {
        assert_eq!(" course 5 ".parse::<Reason>().expect("one").as_str(), "course 5");
        for text in ["a\nb", "\u{1b}[2J", "\u{202e}x"] {
            assert_eq!(text.parse::<Reason>(), Err(ReasonError::Unseen));
        }
        assert_eq!("x".repeat(MAX_REASON + 1).parse::<Reason>(), Err(ReasonError::Long));
        assert!(serde_json::from_str::<Reason>("\"a\\nb\"").is_err(), "nor from a file");
    }

    #[test]
    fn a_time_is_read_as_it_is_written() {
        let noon = "2026-11-22T12:00:00Z".parse::<Seconds>().expect("a time");
        assert_eq!(noon.to_string(), "2026-11-22T12:00:00.000000Z");
        assert_eq!(noon.to_string().parse(), Ok(noon));
        for text in ["", "tomorrow", "2026-11-22", "2026-11-22T12:00:00", "30d"] {
            assert_eq!(text.parse::<Seconds>(), Err(SecondsError), "{text}");
        }
    }

    #[test]
    fn a_kind_is_one_of_three_words() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(kind.socket().map_or(Kind::None, Socket::kind), kind);
        }
        for text in ["", "Raw", "raw ", "all"] {
            assert_eq!(text.parse::<Kind>(), Err(KindError));
        }
    }
}
