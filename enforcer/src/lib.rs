//! enforcer: the daemon's stages and its command line.

pub mod config;
pub mod model;
