//! The resolver as a whole, on loopback: real sockets, an upstream that says what a test wants.

mod attacks;
mod limits;
mod rig;
mod service;
