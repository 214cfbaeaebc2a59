//! enforcer: the daemon's stages and its command line.

pub mod cli;
pub mod config;
pub mod control_socket;
pub mod docker;
pub mod model;
pub mod supervise;
