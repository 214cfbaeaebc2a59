//! Where a user's Docker socket is on this host.

use std::{fmt::Debug, path::PathBuf};

use futures_util::future::BoxFuture;

use crate::access::{grant::Socket, name::User};

/// Who opens sockets for users: the gate.
pub trait Sockets: Debug + Send + Sync {
    /// Whether it opens any.
    fn serves(&self) -> bool;

    /// Opens the socket of a user who may have one of this kind, if it is not open yet; where it is. `None`: there is
    /// none.
    fn open_for<'a>(&'a self, user: &'a User, socket: Socket) -> BoxFuture<'a, Option<PathBuf>>;

    /// Removes the socket of a user who has no container any more.
    fn close_for<'a>(&'a self, user: &'a User) -> BoxFuture<'a, ()>;
}
