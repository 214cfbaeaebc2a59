//! Abuse signals: what a guest does that a notebook user never does, and the answer to it. Pure; time is an
//! argument.
//!
//! `events -> sight -> window (one for each endpoint) -> detect -> cases (which answer is due) -> restraints
//! (who is held, until when)`. `supervise/abuse.rs` feeds it and acts. A signal is a heuristic: it sees
//! addresses, ports and outcomes, never a payload.

mod cases;
mod detect;
mod restraints;
mod sight;
mod signal;
#[cfg(test)]
mod tests;
mod window;

pub use self::{
    cases::Cases,
    detect::{Detector, Finding},
    restraints::{ASKED, Restraint, Restraints},
    sight::{Counted, Sight, What, counted, sight},
    signal::{Answer, Limit, Limits, Signal},
    window::{MOST_ADDRESSES, MOST_PAIRS, Window},
};
