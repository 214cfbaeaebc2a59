//! The resolver: answers guests' DNS on the gateways of their networks, and nobody else's.
//!
//! `listen -> question (bytes) -> limit -> judge (policy) -> upstream -> answer (what the guest hears) ->
//! leases -> record`. A question that is not understood is no question; an answer is made anew, never
//! passed on. Where no daemon runs nobody answers, and there is no other way.

mod address;
mod answer;
mod exchange;
pub mod explain;
mod judge;
pub mod limit;
mod listen;
mod question;
mod serve;
mod tell;
#[cfg(test)]
mod tests;
mod upstream;

pub use self::{
    listen::listen,
    serve::Resolver,
    tell::{Asked, Counts, Journal},
};
