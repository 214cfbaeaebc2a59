//! What the audit pipeline costs: its stages one by one, as multiples of a bare loop that formats,
//! hashes and writes the same bytes; and the whole of it under a flood, as multiples of a program that
//! only drops. `--json` prints it for machines; `--quick` only has a look; `--stages` leaves the whole
//! out, which needs root and a dockerd.

#![expect(clippy::cast_precision_loss, reason = "figures for people")]

mod floor;
mod report;
mod stages;
mod whole;
mod workload;
mod world;

use std::{process::ExitCode, time::Instant};

use anyhow::{Result, bail, ensure};
use enforcer_tests::harness::{
    residue::Snapshot,
    run::{self, Run},
};

/// How long to measure.
pub struct Effort {
    /// Of the stages.
    pub rounds: usize,
    /// Records of each stage in a round.
    pub records: usize,
    /// Of the floods.
    pub floods: usize,
    /// Frames of each flood.
    pub frames: usize,
}

impl Effort {
    const FULL: Self = Self { rounds: 20, records: 50_000, floods: 6, frames: 200_000 };
    const QUICK: Self = Self { rounds: 5, records: 20_000, floods: 2, frames: 200_000 };
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
    let (mut json, mut only_stages, mut effort) = (false, false, Effort::FULL);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => json = true,
            "--quick" => effort = Effort::QUICK,
            "--stages" => only_stages = true,
            other => bail!("unknown argument {other}; there are --json, --quick and --stages"),
        }
    }
    let stages = measure_stages(&effort)?;
    let whole = if only_stages { None } else { Some(flood(&effort)?) };
    if json {
        report::json(&stages, whole.as_ref())?;
    } else {
        report::stage_table(&stages);
        if let Some(whole) = &whole {
            report::whole_tables(whole);
        }
    }
    ensure!(whole.is_none_or(|whole| whole.is_exact()), "what happened is not accounted for");
    Ok(())
}

/// On a thread of its own: it stays on one CPU, and a flood must not.
fn measure_stages(effort: &Effort) -> Result<report::Stages> {
    let measured = std::thread::scope(|scope| {
        let measure = || -> Result<_> { stages::all(effort, &Run::start()?) };
        scope.spawn(measure).join()
    });
    let (taken, line_bytes) = measured.map_err(|panic| anyhow::anyhow!("{panic:?}"))??;
    Ok(report::stages(&taken, line_bytes))
}

fn flood(effort: &Effort) -> Result<report::Whole> {
    if let Some(why) = run::obstacle() {
        bail!("cannot flood here: {why}; --stages does without");
    }
    let before = Snapshot::take();
    let started = Instant::now();
    // It takes minutes.
    let say = |what: &str| eprintln!("[{:5.1} s] {what}", started.elapsed().as_secs_f32());
    let whole = whole::all(effort, say)?;
    before.ensure_nothing_new()?;
    Ok(report::whole(&whole))
}
