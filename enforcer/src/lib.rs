//! enforcer: the daemon's stages and its command line.

pub mod abuse;
pub mod access;
pub mod api;
pub mod audit;
pub mod causes;
pub mod cli;
pub mod closure;
pub mod config;
pub mod control;
pub mod digest;
pub mod dns;
pub mod docker;
pub mod gate;
pub mod guest;
pub mod kernel;
pub mod learn;
pub mod metrics;
pub mod model;
pub mod netlink;
pub mod places;
pub mod policy;
pub mod replay;
pub mod run_dir;
pub mod seats;
mod service_manager;
pub mod supervise;
pub mod z2jh;
