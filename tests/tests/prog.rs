//! The real eBPF object, run frame by frame with `BPF_PROG_TEST_RUN` in a network namespace of the
//! test's own. Nothing is attached and no frame leaves. Needs root; without it, it says so and passes.

#[path = "prog/ends.rs"]
mod ends;
#[path = "prog/flood.rs"]
mod flood;
#[path = "prog/flows.rs"]
mod flows;
#[path = "prog/full.rs"]
mod full;
#[path = "prog/import.rs"]
mod import;
#[path = "prog/leases.rs"]
mod leases;
#[path = "prog/limits.rs"]
mod limits;
#[path = "prog/migrate.rs"]
mod migrate;
#[path = "prog/parser.rs"]
mod parser;
#[path = "prog/policies.rs"]
mod policies;
#[path = "prog/reasons.rs"]
mod reasons;
#[path = "prog/refuse.rs"]
mod refuse;
#[path = "prog/stamps.rs"]
mod stamps;

use enforcer_tests::prog::{frame, raw, rig};
