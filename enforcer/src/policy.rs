//! What a policy says, and the tables that say so to the packet path. Pure.

pub mod compile;
pub mod rule;
