//! What a verification tells.

use std::io;

use serde::Serialize;

/// What a store is found to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Nothing is wrong.
    pub intact: bool,
    /// The key that everything rests on.
    pub key: String,
    /// Whether that key was given; if not, the store vouches for itself.
    pub key_given: bool,
    /// Segments that are there.
    pub segments: u64,
    /// Segments that retention deleted.
    pub deleted: u64,
    /// Records that are there.
    pub records: u64,
    /// Records that are known not to have been stored.
    pub gaps: u64,
    /// Sequence number of the last record.
    pub last_seq: u64,
    /// A last line that was not finished: a crash, or a daemon that is writing it.
    pub torn: Option<Problem>,
    /// What is wrong, the first of each file.
    pub problems: Vec<Problem>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// The line, from 1; of a compressed file, of what it expands to. 0: the file as such.
    pub line: u64,
    /// What.
    pub what: String,
}

/// Why a store could not be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It cannot be read.
    #[error("cannot read {file}")]
    Read {
        /// What.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is none.
    #[error("{0} has no audit store: name the directory that has head.json in it")]
    Nothing(String),
}

/// Says what could not be read.
pub(super) fn read(file: impl Into<String>) -> impl FnOnce(io::Error) -> VerifyError {
    move |source| VerifyError::Read { file: file.into(), source }
}
