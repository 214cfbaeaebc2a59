//! The harness of enforcer's integration tests: an actor inside guests, namespaces, a private
//! dockerd, the catalogue of attacks, and the proofs.
//!
//! Nothing here touches the network namespace it was started in: all traffic stays inside
//! namespaces that the harness makes.

#![expect(
    clippy::cast_possible_truncation,
    clippy::similar_names,
    clippy::format_push_string,
    clippy::many_single_char_names,
    reason = "frames are built from small numbers and short names; reports from pieces of text"
)]

pub mod actor;
pub mod frames;
pub mod hex;
pub mod protocol;

#[cfg(feature = "harness")]
pub mod attacks;
#[cfg(feature = "harness")]
pub mod bench;
#[cfg(feature = "harness")]
pub mod harness;
#[cfg(feature = "harness")]
pub mod policy_cases;
#[cfg(feature = "vm")]
pub mod prog;
#[cfg(feature = "vm")]
pub mod vm;
