//! The daemon and the command line of enforcer.

pub mod config;
pub mod model;
