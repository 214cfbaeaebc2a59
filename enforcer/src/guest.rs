//! The life of guests that enforcer itself starts: from an order to a container that is policed, and to its end.
//!
//! `names -> check -> caps`, `left` and `cull` are pure: what a guest is called, what an order becomes, whether there
//! is room, what is left over, who has to go. `service` is the sequence, with the engine.

pub mod caps;
pub mod check;
pub mod cull;
pub mod left;
pub mod names;
pub mod service;
pub mod sockets;
pub mod spec;
