//! The harness: everything a test needs around the actor. See [`topology::Rig`] for the whole.

pub mod age;
pub mod artifacts;
pub mod capture;
pub mod classic;
pub mod client;
pub mod clock;
pub mod closing;
pub mod container;
pub mod dockerd;
pub mod enforcer;
pub mod exposition;
pub mod guest;
pub mod http;
pub mod image;
pub mod light;
pub mod names;
pub mod netns;
pub mod openapi;
pub mod proof;
pub mod residue;
pub mod run;
pub mod scenario;
pub mod schema;
pub mod tap;
pub mod topology;
pub mod yard;
