//! What the benchmarks share: statistics that hold on a noisy machine, an order of its own for each
//! round, and clocks of CPU time.

pub mod traffic;

use std::{
    io,
    time::{Duration, SystemTime},
};

use anyhow::{Result, ensure};

/// A figure of each round.
pub type Series = Vec<f64>;

/// The middle of the values; not a number if there is none.
#[must_use]
pub fn median(mut values: Series) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.is_empty() {
        f64::NAN
    } else if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    }
}

/// The least of the values.
#[must_use]
pub fn minimum(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// The least but one: a single lucky round does not make a figure.
#[must_use]
pub fn second_least(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(1).or(values.first()).copied().unwrap_or(f64::NAN)
}

/// How many times `other` a figure is: by the least of each, and by the median of the rounds' own
/// ratios. On a quiet machine they agree.
#[must_use]
pub fn ratios(values: &[f64], other: &[f64]) -> [f64; 2] {
    let each = values.iter().zip(other).map(|(value, other)| value / other).collect();
    [minimum(values) / minimum(other), median(each)]
}

/// How many times the first of two series the second is, round by round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// Of the second best rounds.
    pub best: f64,
    /// The median of the rounds' own ratios.
    pub median: f64,
}

impl Growth {
    /// Of two series that were measured side by side.
    #[must_use]
    pub fn between(first: &[f64], second: &[f64]) -> Self {
        let each = second.iter().zip(first).map(|(second, first)| second / first).collect();
        Self { best: second_least(second) / second_least(first), median: median(each) }
    }

    /// How far it is from none, either way: what the same thing measured twice differs by.
    #[must_use]
    pub fn distance(self) -> f64 {
        f64::max((self.best - 1.0).abs(), (self.median - 1.0).abs())
    }

    /// Whether both figures are above a bound: what really grows shows in both, and noise in one.
    #[must_use]
    pub fn exceeds(self, bound: f64) -> bool {
        // Not a number is no figure to trust.
        !(self.best <= bound || self.median <= bound)
    }
}

/// xorshift64: by itself the same orders in every run.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Self(0x2545_f491_4f6c_dd1d)
    }
}

impl Random {
    /// Another order in every run, unless the environment names that of an earlier run; it is printed,
    /// so that it can be named.
    #[must_use]
    pub fn of_this_run() -> Self {
        const SEED: &str = "ENFORCER_TEST_SEED";
        let named = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seed = named.unwrap_or_else(|| now.as_secs() << 20 | u64::from(now.subsec_micros()));
        println!("{SEED}={seed}");
        // From zero it would never get away.
        Self(seed.max(1))
    }

    /// A duration below `limit`.
    pub fn within(&mut self, limit: Duration) -> Duration {
        let share =
            f64::from(u32::try_from(self.number() >> 32).unwrap_or(0)) / f64::from(u32::MAX);
        limit.mul_f64(share)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Another order.
    pub fn shuffle(&mut self, values: &mut [usize]) {
        for last in (1..values.len()).rev() {
            let other = usize::try_from(self.number() >> 33).unwrap_or(0) % (last + 1);
            values.swap(last, other);
        }
    }
}

/// CPU time of this thread.
pub fn thread_cpu() -> Result<Duration> {
    cpu_clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time of this process, of all its threads that ever were.
pub fn own_cpu() -> Result<Duration> {
    cpu_clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// CPU time of another process, of all its threads that ever were.
pub fn process_cpu(pid: u32) -> Result<Duration> {
    let mut clock = 0;
    // SAFETY: writes one clock id.
    let result = unsafe { libc::clock_getcpuclockid(i32::try_from(pid)?, &raw mut clock) };
    ensure!(result == 0, "process {pid}: {}", io::Error::from_raw_os_error(result));
    cpu_clock(clock)
}

fn cpu_clock(clock: libc::clockid_t) -> Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one time.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    ensure!(result == 0, "clock_gettime: {}", io::Error::last_os_error());
    Ok(Duration::new(time.tv_sec.try_into()?, time.tv_nsec.try_into()?))
}

/// Keeps this thread on the CPU where it is: per-CPU maps and caches are not left behind. Threads
/// that it starts stay there, too.
pub fn pin() -> Result<()> {
    // SAFETY: takes nothing.
    pin_to(usize::try_from(unsafe { libc::sched_getcpu() })?)
}

/// Keeps this thread, and those that it starts, on a CPU. Where there are fewer, it may be anywhere.
pub fn pin_to(cpu: usize) -> Result<()> {
    if cpu >= std::thread::available_parallelism()?.get() {
        return Ok(());
    }
    // SAFETY: a set of bits is valid when zero.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number is that of a CPU here.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: reads one set, changes only this thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    ensure!(result == 0, "sched_setaffinity: {}", io::Error::last_os_error());
    Ok(())
}

/// The kernel's release.
#[must_use]
pub fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "the values are exact")]
    fn the_middle_and_the_least() {
        for (values, middle, least) in [
            (vec![3.0], 3.0, 3.0),
            (vec![4.0, 1.0], 2.5, 1.0),
            (vec![9.0, 1.0, 2.0], 2.0, 1.0),
            (vec![8.0, 1.0, 4.0, 2.0], 3.0, 1.0),
        ] {
            assert_eq!(minimum(&values), least);
            assert_eq!(median(values), middle);
        }
        assert!(median(Series::new()).is_nan());
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "the values are exact")]
    fn the_least_but_one_is_no_single_round() {
        assert_eq!(second_least(&[5.0, 1.0, 4.0, 3.0]), 3.0);
        assert_eq!(second_least(&[5.0]), 5.0);
        assert!(second_least(&[]).is_nan());
    }

    #[test]
    fn growth_that_is_real_shows_in_both_figures() {
        let first = [10.0, 10.0, 12.0, 10.0, 14.0];
        let grown = first.map(|time| time * 1.25);
        let growth = Growth::between(&first, &grown);
        assert!(growth.exceeds(1.2) && !growth.exceeds(1.3), "{growth:?}");
        assert!((growth.distance() - 0.25).abs() < 1e-9, "{growth:?}");
        // Lucky rounds of the first alone make one figure look bad.
        let lucky = [10.0, 8.0, 12.0, 8.0, 14.0];
        let growth = Growth::between(&lucky, &first);
        assert!(growth.best > 1.2 && !growth.exceeds(1.2), "{growth:?}");
        assert!(Growth::between(&[], &[]).exceeds(1.2), "nothing was measured");
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "the values are exact")]
    fn ratios_are_of_the_least_and_of_each_round() {
        // One slow round of the other moves neither much.
        assert_eq!(ratios(&[2.0, 4.0, 4.0], &[1.0, 2.0, 16.0]), [2.0, 2.0]);
    }

    #[test]
    fn an_order_has_everything_once_and_is_another_one_each_time() {
        let mut random = Random::default();
        let mut order: Vec<usize> = (0..20).collect();
        let mut seen = Vec::new();
        for _ in 0..10 {
            random.shuffle(&mut order);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..20).collect::<Vec<_>>());
            assert!(!seen.contains(&order));
            seen.push(order.clone());
        }
    }

    #[test]
    fn cpu_time_goes_on_for_whoever_works() {
        // The process's first: what passes in between is the thread's, too.
        let own = own_cpu().expect("process");
        let thread = thread_cpu().expect("thread");
        let mut random = Random::default();
        while thread_cpu().expect("thread") < thread + Duration::from_millis(2) {
            random.number();
        }
        assert!(own_cpu().expect("process") >= own + Duration::from_millis(2));
        let by_id = process_cpu(std::process::id()).expect("by id");
        assert!(by_id >= own + Duration::from_millis(2));
    }
}
