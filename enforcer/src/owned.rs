//! Own networks: guest networks that users make while enforcer runs.
//!
//! ```text
//! prepare: a slot, a bridge's name and a subnet, kept on the disk ──► the config that control acts on
//!          ──► the engine makes the bridge, whose name is closed already
//! settle:  the engine's id is kept ──► the kernel has programs on the bridge ──► the owner hears of it
//! sweep:   what the engine does not have any more is forgotten; what was cut short is removed
//! ```
//!
//! Nobody is on a bridge before its programs are: its owner alone may join it, and is told of it last.

pub mod error;
pub mod pool;
pub mod service;
pub mod store;
pub mod sweep;

pub use error::OwnError;
pub use service::Networks;
