//! The audit path: ring, decode, enrich, queue, sink. Loss rides the same stream, so that what is
//! missing is always a number in it.

pub mod decode;
pub mod enrich;
pub mod loss;
pub mod record;
pub mod stdout;
pub mod store;
