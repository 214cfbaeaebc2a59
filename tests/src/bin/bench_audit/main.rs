//! What the audit pipeline costs: its stages one by one, as multiples of a bare loop that formats,
//! hashes and writes the same bytes. `--json` prints it for machines; `--quick` only has a look.

#![expect(clippy::cast_precision_loss, reason = "figures for people")]

mod floor;
mod report;
mod stages;
mod workload;

use std::process::ExitCode;

use anyhow::{Result, bail};
use enforcer_tests::harness::run::Run;

/// How long to measure.
pub struct Effort {
    /// Of the stages.
    pub rounds: usize,
    /// Records of each stage in a round.
    pub records: usize,
}

impl Effort {
    const FULL: Self = Self { rounds: 20, records: 50_000 };
    const QUICK: Self = Self { rounds: 5, records: 20_000 };
}

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench audit: {error:#}");
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
    let run = Run::start()?;
    let (taken, line_bytes) = stages::all(&effort, &run)?;
    let rows = report::stages(&taken);
    if json {
        report::json(&rows, line_bytes)?
    } else {
        report::table(&rows, line_bytes)
    }
    Ok(())
}
