//! The harness of enforcer's integration tests: namespaces, a private dockerd, the catalogue of
//! attacks, and the proofs. What runs inside guests is a crate of its own.
//!
//! Nothing here touches the network namespace it was started in: all traffic stays inside
//! namespaces that the harness makes.

#![expect(
    clippy::cast_possible_truncation,
    clippy::similar_names,
    clippy::format_push_string,
    reason = "frames are built from small numbers and short names; reports from pieces of text"
)]

pub use enforcer_actor::{frames, hex, protocol};

pub mod attacks;
pub mod bench;
pub mod harness;
pub mod policy_cases;
pub mod prog;
pub mod vm;
