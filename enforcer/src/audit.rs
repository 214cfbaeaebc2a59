//! The audit path: ring, decode, enrich, queue, stream, sinks. Loss rides the same stream, so that what is
//! missing is always a number in it.

pub mod account;
pub mod attempt;
pub mod awaited;
pub mod claim;
pub mod conceal;
pub mod decode;
pub mod denials;
pub mod enrich;
pub mod follow;
pub mod life;
pub mod loss;
pub mod queue;
pub mod record;
#[cfg(test)]
mod schema;
pub mod sink;
pub mod store;
pub mod story;
pub mod stream;
