//! Networks that users make through the gate, as the gate sees whoever sees to them: a network is policed before the
//! engine makes its bridge, and nobody is told of one before.
//!
//! ```text
//! prepare ──► create at the engine, on the bridge and subnet of [`Prepared`] ──► settle ──► answer, note the owner
//!                    └── the engine says no ──► abandon        └── not policed ──► remove at the engine, removed
//! remove at the engine ──► removed
//! ```

use std::fmt::Debug;

use futures_util::future::BoxFuture;

use super::verdict::Refusal;
use crate::access::name::User;

pub use crate::model::owned::Prepared;

/// Whoever sees to own networks.
pub trait OwnNetworks: Debug + Send + Sync {
    /// Has a network of this name at the engine policed before it is there. The engine is asked for it next.
    fn prepare<'a>(
        &'a self,
        owner: &'a User,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Prepared, Refusal>>;

    /// The engine has made it, under this id. Done once programs are on its bridge; if they are not, the network is to
    /// be removed at the engine, and then [`Self::removed`].
    fn settle<'a>(
        &'a self,
        prepared: &'a Prepared,
        id: &'a str,
    ) -> BoxFuture<'a, Result<(), Refusal>>;

    /// The engine has not made it.
    fn abandon<'a>(&'a self, prepared: &'a Prepared) -> BoxFuture<'a, ()>;

    /// The engine has removed a network with this id, of whomever.
    fn removed<'a>(&'a self, id: &'a str) -> BoxFuture<'a, ()>;
}
