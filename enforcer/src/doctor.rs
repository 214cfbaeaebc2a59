//! `enforcer doctor`: whether this host has what enforcer needs, and what an operator would want to know
//! before guests come.
//!
//! `gather (the adapter: reads, changes nothing) -> Facts -> examine (pure) -> findings`. Each finding says what
//! was found, what that means and the command that mends it. What cannot be read is never taken for good.

pub mod facts;
pub mod gather;
mod host;
mod kernel;
mod network;
mod service;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub use self::{facts::Facts, gather::gather};

/// How good it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// Policy holds, but something is worse than it could be, or is not known.
    Warn,
    /// enforcer cannot start, or guests are not policed.
    Fail,
}

impl Grade {
    /// The word that people and programs read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at; the name is kept from one release to the next.
    pub check: &'static str,
    /// How good it is.
    pub grade: Grade,
    /// What was found.
    pub found: String,
    /// What that means for guests; empty: nothing to say.
    pub means: String,
    /// The commands that mend it, or what to do; empty: nothing to do.
    pub mend: String,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        let found = found.into();
        Self { check, grade: Grade::Ok, found, means: String::new(), mend: String::new() }
    }

    fn warn(check: &'static str, found: impl Into<String>) -> Self {
        Self { grade: Grade::Warn, ..Self::ok(check, found) }
    }

    fn fail(check: &'static str, found: impl Into<String>) -> Self {
        Self { grade: Grade::Fail, ..Self::ok(check, found) }
    }

    /// What it means.
    fn so(self, means: impl Into<String>) -> Self {
        Self { means: means.into(), ..self }
    }

    /// What mends it.
    fn mend(self, mend: impl Into<String>) -> Self {
        Self { mend: mend.into(), ..self }
    }
}

/// What mends a config that is of no use.
fn mend_config(facts: &Facts) -> String {
    let file = facts.config_file.display();
    if facts.has_config_file {
        format!("enforcer check {file}")
    } else {
        format!("enforcer config init --output {file}")
    }
}

/// Looks at the facts, from the ground up. Pure.
#[must_use]
pub fn examine(facts: &Facts) -> Vec<Finding> {
    [kernel::examine(facts), network::examine(facts), host::examine(facts), service::examine(facts)]
        .concat()
}

/// The worst of them.
#[must_use]
pub fn worst(findings: &[Finding]) -> Grade {
    findings.iter().map(|finding| finding.grade).max().unwrap_or(Grade::Fail)
}
