//! The daemon and the command line of enforcer.

pub mod cli;
pub mod config;
pub mod control_socket;
pub mod docker;
pub mod model;
pub mod supervise;
