//! What the gate does not see itself: what the kernel holds, and what the stream tells.

use std::fmt::Debug;

use serde_json::Value;

/// Whoever sees it.
pub trait Sight: Debug + Send + Sync {
    /// Whether the kernel holds the policy of a container's endpoint on a network.
    fn is_policed(&self, container: &str, network: &str) -> bool;

    /// The newest records of denials of these containers behind a number in the stream, at most so many; and the
    /// number behind which to ask next.
    fn denials(&self, after: u64, containers: &[&str], most: usize) -> (Vec<Value>, u64);
}
