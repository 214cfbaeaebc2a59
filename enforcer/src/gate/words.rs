//! The words of a request: its target, taken apart. Only spellings that every reader takes for the same are read; the
//! rest is refused here (S08). Nothing of the client's text goes on: `call` makes values of the words, `judge` makes
//! a new target of the values.

pub mod filters;
pub mod path;
pub mod query;

use self::{path::Path, query::Query};
use super::verdict::Refusal;

/// Longest target, bytes: engines take filters of some kilobytes.
const MAX_TARGET: usize = 8 << 10;

/// A target that can be read in one way only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// The path, without its version.
    pub path: Path,
    /// The query.
    pub query: Query,
}

impl Words {
    /// Reads a target as it stands in the request line. Only the origin form is one (RFC 9112, 3.2.1): the
    /// absolute form names a host, which would be a second opinion on where the request goes.
    pub fn read(target: &str) -> Result<Self, Refusal> {
        if target.len() > MAX_TARGET {
            return Err(Refusal::unclear(
                "target.long",
                format!("the target has more than {MAX_TARGET} bytes; ask for less at a time"),
            ));
        }
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, query),
            None => (target, ""),
        };
        Ok(Self { path: Path::read(path)?, query: Query::read(query)? })
    }
}
