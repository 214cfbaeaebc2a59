//! What can go wrong with a store.

use std::io;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk does not do its part: it is full, read-only or broken.
    #[error("cannot {operation} {file}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        file: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Two would write one chain.
    #[error("another process writes the store in {0}")]
    InUse(String),
    /// A line that is none; nothing of its batch was stored.
    #[error("the line with sequence number {seq} is refused: {why}")]
    Refused {
        /// Which.
        seq: u64,
        /// Why.
        why: &'static str,
    },
    /// The store has failed before, and was not retried since; nothing was stored.
    #[error("the store has failed and was not retried since")]
    Failed,
    /// Retention met a segment without an end that could be kept in its place.
    #[error("{0} has no signed end, so it is not deleted; move it away, and `verify` will say so")]
    Unclosed(String),
}

/// Says what was tried, and on what.
pub(super) fn io(
    operation: &'static str,
    file: impl Into<String>,
) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io { operation, file: file.into(), source }
}
