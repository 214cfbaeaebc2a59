//! What runs inside guests and namespaces, and what it and the harness both know: the protocol, and
//! how frames are built.

#![expect(
    clippy::cast_possible_truncation,
    clippy::many_single_char_names,
    clippy::similar_names,
    reason = "frames are built from small numbers and short names"
)]

pub mod ask;
pub mod beacon;
pub mod frames;
pub mod hex;
pub mod load;
pub mod protocol;
pub mod speak;
pub mod unix;
pub mod volley;

mod capture;
mod datagram;
mod interface;
mod packet;
mod registry;
mod run;
mod serve;
mod stream;
mod sys;

pub use serve::serve;
