//! enforcer: the daemon's stages and its command line.

pub mod audit;
pub mod causes;
pub mod cli;
pub mod closure;
pub mod config;
pub mod control;
pub mod control_socket;
pub mod digest;
pub mod docker;
pub mod kernel;
pub mod metrics;
pub mod model;
pub mod netlink;
pub mod policy;
pub mod supervise;
