//! The control path: what should be, what is, the steps from one to the other, and their execution.

mod allow;
pub mod apply;
mod cgroups;
mod compiled;
pub mod cut;
pub mod desired;
pub mod digest;
pub mod flows;
mod hold;
pub mod leases;
pub mod live;
pub mod numbers;
pub mod outside;
mod own;
pub mod path;
pub mod plan;
pub mod reconcile;
mod repair;
pub mod rules;
