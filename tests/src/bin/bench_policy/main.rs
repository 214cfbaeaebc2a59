//! Whether a packet costs more with many rules and many guests: an established flow, a flow that the
//! last rule opens, and one that no rule opens, with one rule and ten thousand, one endpoint and five
//! hundred. Fails when something grows by more than the same configuration differs from itself, and 5 %.
//! `--json` prints it for machines; `--quick` only has a look.
//!
//! Nothing is attached and no frame leaves: `BPF_PROG_TEST_RUN` in network namespaces that end with
//! this process.

mod measure;
mod report;
mod world;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::{
    measure::Effort,
    world::{SIZES, World},
};

fn main() -> ExitCode {
    match bench() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench policy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the bound holds.
fn bench() -> Result<bool> {
    let (mut json, mut effort) = (false, Effort::FULL);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => json = true,
            "--quick" => effort = Effort::QUICK,
            other => bail!("unknown argument {other}; there are --json and --quick"),
        }
    }
    let mut worlds = Vec::new();
    for size in &SIZES {
        worlds.push(World::create(size).context("load the programs (needs root)")?);
    }
    let measured = measure::all(&mut worlds, &effort)?;
    let rows = report::rows(&measured);
    if json {
        report::json(&effort, &rows)?;
    } else {
        report::table(&effort, &rows);
    }
    let grown: Vec<String> = rows.iter().filter_map(report::Row::complaint).collect();
    for complaint in &grown {
        eprintln!("bench policy: {complaint}");
    }
    Ok(grown.is_empty())
}
