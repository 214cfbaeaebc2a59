//! The Docker path: what the engine says exists. The only place that imports bollard.
//!
//! `client -> events (subscribe) -> inventory (list, inspect, follow)
//! -> refresh (ask) -> snapshot -> Inventory`. What
//! Docker says is a hint about identity, never a permission: an interface that it does not name is
//! denied.

pub mod client;
mod convert;
mod events;
pub mod expel;
pub mod facts;
pub mod guests;
pub mod inventory;
mod mounts;
pub mod networks;
pub mod owned;
mod refresh;
mod snapshot;
pub mod upstream;

pub use self::{
    client::{ApiVersion, Engine, EngineError},
    inventory::{EngineState, Watching, watch},
    networks::{EnsureError, ensure},
    upstream::{UpstreamError, Upstreams},
};
