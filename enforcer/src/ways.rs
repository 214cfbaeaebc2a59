//! Ways to a container engine that lead past the gate (S20): `look` finds what there is on this host, `names` says what
//! numbers are called, `judge` who may go there and what that means. Nothing is changed.

mod judge;
mod look;
mod names;
mod table;

pub(crate) use self::{
    judge::{Facts, ways},
    look::look,
    names::names,
};
