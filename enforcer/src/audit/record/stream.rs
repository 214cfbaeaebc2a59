//! Records about the stream itself: what it took over, what is missing in it, what left it.

use serde::{Deserialize, Serialize};

use super::Subject;
#[cfg(test)]
use crate::audit::schema::words;
use crate::{audit::store::Erasure, model::caller::Caller};

/// What became of what was in the kernel, or live, when the daemon started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Takeover {
    /// `fresh`: nothing was there; `same`: maps and programs of this layout; `migrated`: of another
    /// layout, carried over; `rebuilt`: of one that is not understood; `imported`: connections that
    /// were live at the first installation.
    #[serde(rename = "enforcer.event")]
    #[cfg_attr(test, schemars(extend("enum" = ["fresh", "same", "migrated", "rebuilt", "imported"])))]
    pub event: String,
    /// ABI version of the other layout.
    #[serde(rename = "enforcer.from", default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u32>,
    /// Hooks that went on with this daemon's programs.
    #[serde(rename = "enforcer.hooks", default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<u64>,
    /// Flows that go on.
    #[serde(rename = "enforcer.flows", default, skip_serializing_if = "Option::is_none")]
    pub flows: Option<u64>,
    /// Flows that ended.
    #[serde(rename = "enforcer.cut", default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<u64>,
    /// Why they ended.
    #[serde(rename = "enforcer.why", default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What was found where records are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Stored {
    /// `made`: it is new, and `key` is where its trust begins; `recovered`: so many records stand
    /// behind the last promise; `torn`: so many bytes of an unfinished line were cut; `tampered`:
    /// somebody changed it, and a new file was begun.
    #[serde(rename = "enforcer.event")]
    #[cfg_attr(test, schemars(extend("enum" = ["made", "recovered", "torn", "tampered"])))]
    pub event: String,
    /// The directory.
    #[serde(rename = "enforcer.dir")]
    pub dir: String,
    /// How many.
    #[serde(rename = "enforcer.count", default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The first public key.
    #[serde(rename = "enforcer.key", default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What is wrong.
    #[serde(rename = "enforcer.why", default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A name that was erased on request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Erased {
    /// What earlier records have in its place.
    #[cfg_attr(test, schemars(extend("pattern" = "^p-[0-9a-f]{16}$")))]
    #[serde(rename = "enforcer.pseudonym")]
    pub pseudonym: String,
    /// Names that were erased: its own, and those that went with it.
    #[serde(rename = "enforcer.count")]
    pub count: u64,
    /// When, RFC 3339; the record may be made later, by the next daemon.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    #[serde(rename = "event.start")]
    pub start: String,
    /// Who wanted it; absent where a next daemon tells it.
    #[serde(flatten)]
    pub by: Caller,
}

impl From<Erasure> for Erased {
    fn from(erasure: Erasure) -> Self {
        let Erasure { pseudonym, count, time: start } = erasure;
        Self { pseudonym, count, start, by: Caller::default() }
    }
}

/// How many records of one kind are missing, and why, since the last such record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Loss {
    /// Whose.
    #[serde(flatten)]
    pub subject: Subject,
    /// Program that counted; empty: not a program's.
    #[serde(rename = "enforcer.hook", default, skip_serializing_if = "String::is_empty")]
    #[cfg_attr(test, schemars(extend("enum" = words::hooks())))]
    pub hook: String,
    /// Reason of the denials, `flow_opened`, `flow_closed`, `exec`, `connect_refused`, `socket_refused`, or `dns_` and the
    /// outcome of questions to the resolver; `reason_` and a number: not known to this daemon, 0: to
    /// nobody.
    #[serde(rename = "event.reason")]
    #[cfg_attr(test, schemars(extend("anyOf" = words::loss_reasons())))]
    pub reason: String,
    /// Why they are missing.
    #[serde(rename = "enforcer.cause")]
    pub cause: Cause,
    /// How many.
    #[serde(rename = "enforcer.count")]
    pub count: u64,
}

/// Why records are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The owner's rate for this reason was used up.
    RateLimit,
    /// The kernel's ring was full.
    Ring,
    /// The daemon's queue was full: the reader of the stream is too slow.
    Queue,
    /// The kernel's table of counters was full: owner and reason are not known.
    Uncounted,
    /// The event was of a version or kind that this daemon does not know.
    Decode,
    /// An earlier daemon read them and ended before it wrote them.
    Killed,
    /// The sink in which this stands was too slow, or failed for too long.
    Sink,
}

/// A hole in one sink's copy of the stream. The record has the number of the last one missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Gap {
    /// Number of the first that is missing.
    #[serde(rename = "enforcer.from_seq")]
    pub from_seq: u64,
    /// Number of the last.
    #[serde(rename = "enforcer.to_seq")]
    pub to_seq: u64,
    /// How many; where the range has more, it is not known which of them.
    #[serde(rename = "enforcer.count")]
    pub count: u64,
}
