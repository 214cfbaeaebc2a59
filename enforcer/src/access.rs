//! Who may have a Docker socket (S1): users, groups and grants of each hub, where they are kept, and the
//! decision.
//!
//! `name -> grant -> judge` are pure; `store` keeps what this host knows, `jupyterhub` asks a hub for
//! what it knows, and `service` is the one object that the daemon owns.

pub mod grant;
pub mod judge;
pub mod jupyterhub;
pub mod name;
pub mod service;
pub mod store;
