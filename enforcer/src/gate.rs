//! The gate: a Docker socket that one can give to a stranger (S2, S3).
//!
//! A request's way, a stage each: `sockets -> identity -> head -> standing -> words -> call -> body -> facts -> judge ->
//! upstream -> answer -> record`. What goes to the engine is made anew from what was judged; no byte of a client's gets
//! there otherwise. What is unknown, at any stage, is refused. A raw grant leaves out what is between `standing` and
//! `upstream`: see [ADR 15](../../docs/adr/0015-the-gate-on-a-runtime-of-its-own.md).
//!
//! `principal`, `head`, `cgroup`, `words`, `call`, `body`, `judge` and `verdict` are pure: they know no socket, file or
//! clock.

mod about;
mod answer;
pub mod body;
mod build;
pub mod call;
pub mod cgroup;
mod errand;
mod exchange;
pub mod explain;
pub mod facts;
mod found;
pub mod head;
pub mod hub;
pub mod identity;
pub mod image;
pub mod json;
pub mod judge;
mod judged;
pub mod names;
pub mod networks;
mod notes;
mod pace;
pub mod principal;
mod prune;
mod raw;
mod rest;
pub mod rules;
mod run;
mod serve;
mod sockets;
mod standing;
mod store;
mod stream;
mod sweep;
pub mod table;
pub mod tell;
mod turns;
mod upstream;
pub mod verdict;
pub mod view;
mod wire;
pub mod words;

pub use self::{
    run::{Around, Gate, GateError, GateRuntime, remove_all},
    sockets::{SocketsError, socket_path},
};
