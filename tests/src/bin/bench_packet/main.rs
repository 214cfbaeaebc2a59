//! What a packet costs: each path of each program as a multiple of an empty program that is
//! measured in the same run. `--json` prints it for machines; `--quick` only has a look.
//!
//! Nothing is attached and no frame leaves: `BPF_PROG_TEST_RUN` in a network namespace that ends
//! with this process.

mod floors;
mod measure;
mod paths;
mod report;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use enforcer_tests::prog::rig::Rig;

use crate::{measure::Effort, paths::Paths};

/// Distinct flows are opened: none may be refused for want of room.
const FLOWS: u32 = 1 << 16;

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench packet: {error:#}");
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
    let mut rig = Rig::with_flows(FLOWS).context("load the programs (needs root)")?;
    let paths = Paths::prepare(&mut rig, &effort)?;
    let series = measure::all(&mut rig, &paths, &effort)?;
    let rows = report::rows(&paths, &series);
    if json { report::json(&effort, &rows) } else { report::table(&effort, &rows) }
}
