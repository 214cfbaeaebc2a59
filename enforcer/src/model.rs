//! Plain values that the stages hand to one another; no I/O, no clock.

pub mod closure;
pub mod connection;
pub mod desired;
pub mod heard;
pub mod inventory;
pub mod link;
pub mod observed;
pub mod owner;
pub mod provenance;
pub mod status;
