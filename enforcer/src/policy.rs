//! What a policy says, the tables that say so to the packet path, and why it decides as it does. Pure.

pub mod allowance;
pub mod compile;
pub mod explain;
pub mod rule;
pub mod write;
