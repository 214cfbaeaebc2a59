//! enforcer: the daemon's stages and its command line.

pub mod audit;
pub mod config;
pub mod control;
pub mod kernel;
pub mod model;
pub mod netlink;
