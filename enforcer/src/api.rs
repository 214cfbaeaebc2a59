//! The control API: HTTP and JSON on a unix socket in the run directory. Read as: socket, who is there
//! (identity), whether there is a place (places), what they may do (roles), what they ask (routes), who
//! answers (asked: the supervisor).
//!
//! Who calls is what the kernel says of the connection, never what a request says.

pub(crate) mod acl;
pub mod asked;
pub mod client;
pub mod error;
mod guard;
pub(crate) mod identity;
mod ndjson;
#[cfg(test)]
mod openapi;
mod refusals;
mod request;
pub mod roles;
pub mod routes;
mod serve;
mod socket;
#[cfg(test)]
mod tests;
pub mod users;

use std::path::{Path, PathBuf};

pub use self::{
    asked::{Asked, Progress},
    client::ControlError,
    identity::is_admin,
    refusals::Refusals,
    serve::serve,
    socket::{ControlSocket, SocketError},
};

/// The path of the control socket.
#[must_use]
pub fn path(run_dir: &Path) -> PathBuf {
    run_dir.join("control.sock")
}
