//! Whether enforcer costs more on a larger host: round trips and connections of an allowed flow, and what the daemon itself
//! takes, with one guest and a thousand, one rule and ten thousand, one flow and a million. `--json` prints it for machines;
//! `--quick` only has a look, at up to a hundred guests.
//!
//! Each size is a host of its own, without Docker: the daemon is told of its guests by an engine that only answers. All of them
//! are up at once and measured in turn, in each round in another order.

mod engine;
mod flows;
mod measure;
mod report;
mod world;

use std::process::ExitCode;

use anyhow::{Result, bail};
use enforcer_tests::harness::{residue::Snapshot, run};

use crate::measure::Effort;

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench scale: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    let (mut json, mut effort) = (false, Effort::FULL);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => json = true,
            "--quick" => effort = Effort::QUICK,
            other => bail!("unknown argument {other}; there are --json and --quick"),
        }
    }
    if let Some(why) = run::obstacle() {
        bail!("cannot measure here: {why}");
    }
    let before = Snapshot::take();
    let rows = report::rows(&measure::all(&effort)?);
    before.ensure_nothing_new()?;
    if json {
        report::json(&rows)?;
    } else {
        report::table(&rows);
    }
    Ok(())
}
