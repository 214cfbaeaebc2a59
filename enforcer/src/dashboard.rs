//! A web page of what guests do now: read only, for whoever may ask the daemon anyway.
//!
//! `control API -> sight -> JSON` and one page that is part of the program. A client of the control API: the daemon
//! itself has no page. Nothing is loaded from elsewhere, and what guests are called is text and never markup.

mod answer;
mod serve;

pub use self::serve::{Desk, Heard, serve};
