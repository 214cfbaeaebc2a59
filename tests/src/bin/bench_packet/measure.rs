//! Rounds: every path once in each, in an order of its own each time.

use anyhow::{Result, ensure};
use enforcer_common::abi::{counter::FLOW_OPENED, event::Hook};
use enforcer_tests::{
    bench::{Random, Series, median, pin, thread_cpu},
    prog::{
        raw,
        rig::{GUEST, ID, Rig},
    },
};

use crate::paths::{Harness, Path, Paths};

/// How long to measure.
pub struct Effort {
    pub rounds: usize,
    /// Runs of a frame in a round.
    pub repeat: u32,
    /// Calls in a round for what happens once.
    pub calls: usize,
}

impl Effort {
    pub const FULL: Self = Self { rounds: 100, repeat: 30_000, calls: 150 };
    pub const QUICK: Self = Self { rounds: 10, repeat: 10_000, calls: 100 };

    /// Flows of each family that are opened: one for each call.
    pub fn new_flows(&self) -> Result<u16> {
        Ok(u16::try_from(self.rounds * self.calls)?)
    }
}

/// Nanoseconds of each path in each round.
pub fn all(rig: &mut Rig, paths: &Paths, effort: &Effort) -> Result<Vec<Series>> {
    pin()?;
    let opened = rig.counter(GUEST + ID, FLOW_OPENED, Hook::FromGuest)?.events;
    let mut series = vec![Series::new(); paths.all.len()];
    let mut order: Vec<usize> = (0..paths.all.len()).collect();
    let mut random = Random::default();
    for round in 0..effort.rounds {
        random.shuffle(&mut order);
        for index in &order {
            let path = &paths.all[*index];
            let nanoseconds = match path.harness {
                Harness::Single => single(rig, paths, path, round, effort)?,
                _ => repeated(rig, paths, path, effort)?,
            };
            series[*index].push(nanoseconds);
        }
        // Room in the ring, as with a reader.
        rig.events()?;
    }
    let opened = rig.counter(GUEST + ID, FLOW_OPENED, Hook::FromGuest)?.events - opened;
    ensure!(opened == 2 * u64::from(effort.new_flows()?), "{opened} flows opened");
    Ok(series)
}

/// The CPU time of one call: the kernel's own figure is cut to whole nanoseconds.
fn repeated(rig: &Rig, paths: &Paths, path: &Path, effort: &Effort) -> Result<f64> {
    let program = paths.program(path, rig)?;
    let run = |times| -> Result<()> {
        let ran = raw::test_run(program, &path.frames[0], &path.context, times)?;
        ensure!(ran.code == path.code, "{} {}: verdict {}", path.program, path.name, ran.code);
        Ok(())
    };
    // Caches and branches as the previous path left them are not what is measured.
    run(effort.repeat / 100)?;
    let start = thread_cpu()?;
    run(effort.repeat)?;
    Ok(thread_cpu()?.saturating_sub(start).as_secs_f64() * 1e9 / f64::from(effort.repeat))
}

/// The median of the kernel's figures for single runs.
fn single(rig: &Rig, paths: &Paths, path: &Path, round: usize, effort: &Effort) -> Result<f64> {
    let program = paths.program(path, rig)?;
    let mut times = Series::new();
    for call in 0..effort.calls {
        let frame = &path.frames[(round * effort.calls + call) % path.frames.len()];
        let ran = raw::test_run(program, frame, &path.context, 1)?;
        ensure!(ran.code == path.code, "{} {}: verdict {}", path.program, path.name, ran.code);
        times.push(ran.duration.as_secs_f64() * 1e9);
    }
    Ok(median(times))
}
