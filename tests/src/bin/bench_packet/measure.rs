//! Rounds: every path once in each, in an order of its own each time.

use std::time::Duration;

use anyhow::{Result, ensure};
use enforcer_common::abi::{counter::FLOW_OPENED, event::Hook};
use enforcer_tests::prog::{
    raw,
    rig::{GUEST, ID, Rig},
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

    /// Flows that are opened: one for each call.
    pub fn new_flows(&self) -> Result<u16> {
        Ok(u16::try_from(self.rounds * self.calls)?)
    }
}

/// Nanoseconds of a path in each round.
pub type Series = Vec<f64>;

/// One series for each path.
pub fn all(rig: &mut Rig, paths: &Paths, effort: &Effort) -> Result<Vec<Series>> {
    pin()?;
    let opened = rig.counter(GUEST + ID, FLOW_OPENED, Hook::FromGuest)?.events;
    let mut series = vec![Series::new(); paths.all.len()];
    let mut order: Vec<usize> = (0..paths.all.len()).collect();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
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
    ensure!(opened == u64::from(effort.new_flows()?), "{opened} flows opened");
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
    let start = cpu_time()?;
    run(effort.repeat)?;
    Ok(cpu_time()?.saturating_sub(start).as_secs_f64() * 1e9 / f64::from(effort.repeat))
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

/// The middle of the values.
pub fn median(mut values: Series) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    }
}

fn cpu_time() -> Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one time.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    ensure!(result == 0, "clock_gettime: {}", std::io::Error::last_os_error());
    Ok(Duration::new(time.tv_sec.try_into()?, time.tv_nsec.try_into()?))
}

/// Stays on the CPU where it is: per-CPU maps and caches are not left behind.
fn pin() -> Result<()> {
    // SAFETY: a set of bits is valid when zero.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: takes nothing.
    let cpu = usize::try_from(unsafe { libc::sched_getcpu() })?;
    // SAFETY: the number is that of a CPU here.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: reads one set, changes only this thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    ensure!(result == 0, "sched_setaffinity: {}", std::io::Error::last_os_error());
    Ok(())
}

/// xorshift64: the same orders in every run.
struct Random(u64);

impl Random {
    fn shuffle(&mut self, values: &mut [usize]) {
        for last in (1..values.len()).rev() {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            values.swap(last, usize::try_from(self.0 >> 33).unwrap_or(0) % (last + 1));
        }
    }
}
