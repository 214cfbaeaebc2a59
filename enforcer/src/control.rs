//! The control path: what should be, what is, the steps from one to the other, and their execution.

pub mod apply;
mod cgroups;
mod compiled;
pub mod desired;
pub mod digest;
mod hold;
pub mod live;
pub mod numbers;
pub mod outside;
pub mod path;
pub mod plan;
pub mod reconcile;
mod repair;
