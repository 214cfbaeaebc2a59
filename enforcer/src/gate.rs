//! The gate: a Docker socket that one can give to a stranger (S2, S3).
//!
//! A request's way, a stage each: `identity -> words -> call -> body -> facts -> judge -> upstream -> answer -> record`.
//! What goes to the engine is made anew from what was judged; no byte of a client's gets there otherwise. What
//! is unknown, at any stage, is refused.
//!
//! `principal`, `words`, `call`, `body`, `judge` and `verdict` are pure: they know no socket, file or clock.

pub mod body;
pub mod call;
pub mod explain;
pub mod facts;
pub mod image;
pub mod json;
pub mod judge;
pub mod names;
pub mod principal;
pub mod rules;
pub mod table;
pub mod verdict;
pub mod view;
pub mod words;
