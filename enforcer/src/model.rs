//! Plain values that the stages hand to one another; no I/O, no clock.

pub mod allowance;
pub mod caller;
pub mod closure;
pub mod connection;
pub mod declined;
pub mod desired;
pub mod flows;
pub mod guest;
pub mod heard;
pub mod inventory;
pub mod limits;
pub mod link;
pub mod names;
pub mod observed;
pub mod owned;
pub mod owner;
pub mod provenance;
pub mod restraint;
pub mod status;
pub mod upstream;
pub mod way;
