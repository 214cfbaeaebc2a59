//! Ratios first, as tables or as JSON.

use std::collections::BTreeMap;

use anyhow::Result;
use enforcer_common::abi::counter::{RECORD_BURST, RECORDS_PER_SECOND};
use enforcer_tests::bench::{Series, kernel, median, minimum, ratios};
use serde::Serialize;

use crate::{
    stages::{Goal, STAGES, Stage, Taken},
    whole::{self, LOADS, Seen, Settled},
    world::CONFIGS,
};

/// A denied flood may cost so many times an empty drop program.
const FLOOD_GOAL: f64 = 1.15;
/// The row that this is about.
const WITH_AUDIT: &str = "shipped rate, to files";

/// The stages.
#[derive(Serialize)]
pub struct Stages {
    line_bytes: f64,
    rows: Vec<StageRow>,
}

/// One stage.
#[derive(Serialize)]
struct StageRow {
    stage: &'static str,
    /// CPU time as a multiple of the floor's: of the minima, the median of the rounds' own.
    min_times: f64,
    median_times: f64,
    /// The same by the clock on the wall.
    wall_min_times: f64,
    /// CPU nanoseconds a record.
    min_ns: f64,
    median_ns: f64,
    /// Records in a second of CPU time, by the median.
    median_rate: f64,
    goal: Option<String>,
    reached: Option<bool>,
}

pub fn stages(taken: &[Taken], line_bytes: f64) -> Stages {
    let floor = &taken[0];
    let row = |(stage, taken): (&Stage, &Taken)| {
        let [min_times, median_times] = ratios(&taken.cpu, &floor.cpu);
        let (min_ns, median_ns) = (minimum(&taken.cpu), median(taken.cpu.clone()));
        let (goal, reached) = match stage.goal {
            None => (None, None),
            Some(Goal::Rate(rate)) => {
                (Some(format!(">= {:.0} M/s", rate / 1e6)), Some(1e9 / median_ns >= rate))
            }
            // Both ways of looking at it have to agree.
            Some(Goal::Times(times)) => {
                let reached = min_times <= times && median_times <= times;
                (Some(format!("<= {times:.2} x")), Some(reached))
            }
        };
        StageRow {
            stage: stage.name,
            min_times,
            median_times,
            wall_min_times: ratios(&taken.wall, &floor.wall)[0],
            min_ns,
            median_ns,
            median_rate: 1e9 / median_ns,
            goal,
            reached,
        }
    };
    Stages { line_bytes, rows: STAGES.iter().zip(taken).map(row).collect() }
}

/// The whole.
#[derive(Serialize)]
pub struct Whole {
    floods: Vec<FloodRow>,
    accounts: Vec<AccountRow>,
}

/// One host under one load. Shares are of the frames that were sent, in all rounds.
#[derive(Serialize)]
struct FloodRow {
    load: &'static str,
    host: &'static str,
    /// CPU time a frame, of senders and daemon and the kernel's threads, as a multiple of the floor's.
    min_times: f64,
    median_times: f64,
    /// CPU seconds for a million frames, by the median.
    senders_cpu: f64,
    daemon_cpu: f64,
    softirq_cpu: f64,
    /// Frames sent in a second, by the senders' own count; the median.
    sent_rate: f64,
    /// Records written in a second until the last was in the files; the median.
    written_rate: Option<f64>,
    frames: u64,
    /// What the kernel gave to the ring, and what it did not.
    recorded: f64,
    suppressed: f64,
    ring_full: f64,
    /// What the daemon's own queue had no room for.
    queue_full: f64,
    goal: Option<f64>,
    reached: Option<bool>,
}

/// Where the denials of a host with files are, in the end.
#[derive(Serialize)]
struct AccountRow {
    host: &'static str,
    sent: u64,
    beside: u64,
    written: u64,
    lost: BTreeMap<String, u64>,
    /// sent + beside = written + lost
    exact: bool,
    daemon_peak_mib: f64,
    stored_records: u64,
    stored_mib: f64,
    verify_seconds: f64,
    query_seconds: f64,
}

pub fn whole(whole: &whole::Whole) -> Whole {
    let mut floods = Vec::new();
    for (index, load) in LOADS.iter().enumerate() {
        let floor = &whole.seen[0][index];
        let rows = CONFIGS.iter().zip(&whole.seen);
        floods
            .extend(rows.map(|(config, seen)| flood(load.name, config.name, &seen[index], floor)));
    }
    let rows = CONFIGS.iter().zip(&whole.settled);
    let accounts =
        rows.filter_map(|(config, settled)| Some(account(config.name, settled.as_ref()?)));
    Whole { floods, accounts: accounts.collect() }
}

fn flood(load: &'static str, host: &'static str, seen: &[Seen], floor: &[Seen]) -> FloodRow {
    let each = |of: &[Seen], figure: fn(&Seen) -> f64| -> Series {
        of.iter().map(|seen| figure(seen) / seen.sent as f64 * 1e6).collect()
    };
    let all = |seen: &Seen| seen.senders_cpu + seen.daemon_cpu + seen.softirq_cpu;
    let [min_times, median_times] = ratios(&each(seen, all), &each(floor, all));
    let frames: u64 = seen.iter().map(|seen| seen.sent).sum();
    let share =
        |figure: fn(&Seen) -> u64| seen.iter().map(figure).sum::<u64>() as f64 / frames as f64;
    let written: Series = seen
        .iter()
        .filter(|seen| seen.numbered > 0)
        .map(|seen| seen.numbered as f64 / seen.writing)
        .collect();
    let goal = (host == WITH_AUDIT).then_some(FLOOD_GOAL);
    FloodRow {
        load,
        host,
        min_times,
        median_times,
        senders_cpu: median(each(seen, |seen| seen.senders_cpu)),
        daemon_cpu: median(each(seen, |seen| seen.daemon_cpu)),
        softirq_cpu: median(each(seen, |seen| seen.softirq_cpu)),
        sent_rate: median(seen.iter().map(|seen| seen.sent as f64 / seen.sending).collect()),
        written_rate: (!written.is_empty()).then(|| median(written)),
        frames,
        recorded: share(|seen| seen.kernel.recorded),
        suppressed: share(|seen| seen.kernel.suppressed),
        ring_full: share(|seen| seen.kernel.lost),
        queue_full: share(|seen| seen.queue_lost),
        goal,
        reached: goal.map(|goal| min_times <= goal && median_times <= goal),
    }
}

fn account(host: &'static str, settled: &Settled) -> AccountRow {
    let word = |cause| {
        let word = serde_json::to_value(cause).unwrap_or_default();
        word.as_str().unwrap_or_default().to_owned()
    };
    AccountRow {
        host,
        sent: settled.sent,
        beside: settled.beside,
        written: settled.written,
        exact: settled.is_exact(),
        lost: settled.lost.iter().map(|(cause, count)| (word(cause), *count)).collect(),
        daemon_peak_mib: settled.peak_kib as f64 / 1024.0,
        stored_records: settled.records,
        stored_mib: settled.bytes as f64 / f64::from(1 << 20),
        verify_seconds: settled.verify,
        query_seconds: settled.query,
    }
}

impl Whole {
    /// Whether every account is exact.
    pub fn is_exact(&self) -> bool {
        self.accounts.iter().all(|account| account.exact)
    }
}

/// Prints it for machines.
pub fn json(stages: &Stages, whole: Option<&Whole>) -> Result<()> {
    let report = serde_json::json!({ "kernel": kernel(), "stages": stages, "whole": whole });
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

/// Prints the stages for people.
pub fn stage_table(stages: &Stages) {
    println!(
        "kernel {}; stages on one thread, CPU time; a line has {:.0} bytes",
        kernel(),
        stages.line_bytes
    );
    println!(
        "{:34} {:>7} {:>9} {:>7} {:>8} {:>9} {:>11}  goal",
        "stage", "x min", "x median", "x wall", "min ns", "median ns", "records/s"
    );
    for row in &stages.rows {
        println!(
            "{:34} {:>7.2} {:>9.2} {:>7.2} {:>8.0} {:>9.0} {:>11.0}  {}{}",
            row.stage,
            row.min_times,
            row.median_times,
            row.wall_min_times,
            row.min_ns,
            row.median_ns,
            row.median_rate,
            row.goal.as_deref().unwrap_or_default(),
            missed(row.reached),
        );
    }
}

fn missed(reached: Option<bool>) -> &'static str {
    if reached == Some(false) { ", MISSED" } else { "" }
}

/// Prints the whole for people.
pub fn whole_tables(whole: &Whole) {
    let mut load = "";
    for row in &whole.floods {
        if row.load != load {
            load = row.load;
            println!("\nflood: {load}. CPU s: for a million frames. Shares: of the frames sent");
            println!(
                "{:32} {:>6} {:>8} {:>8} {:>7} {:>8} {:>9} {:>9} {:>8} {:>8} {:>9} {:>9}  goal",
                "host",
                "x min",
                "x median",
                "senders",
                "daemon",
                "softirq",
                "frames/s",
                "written/s",
                "recorded",
                "rate",
                "ring full",
                "queue full"
            );
        }
        let written = row.written_rate.map_or("-".to_owned(), |rate| format!("{rate:.0}"));
        let goal = row.goal.map_or(String::new(), |goal| format!("<= {goal}"));
        println!(
            "{:32} {:>6.2} {:>8.2} {:>8.3} {:>7.3} {:>8.3} {:>9.0} {:>9} {:>8.4} {:>8.4} {:>9.4} {:>9.4}  {goal}{}",
            row.host,
            row.min_times,
            row.median_times,
            row.senders_cpu,
            row.daemon_cpu,
            row.softirq_cpu,
            row.sent_rate,
            written,
            row.recorded,
            row.suppressed,
            row.ring_full,
            row.queue_full,
            missed(row.reached),
        );
    }
    println!(
        "The shipped rate lets an owner record {RECORDS_PER_SECOND} denials of a reason a second on each \
         CPU, after {RECORD_BURST}."
    );
    println!("\naccounts: sent + what guests did besides = written + told to be lost, exactly");
    for row in &whole.accounts {
        println!(
            "{:32} sent {} + {}, written {}, lost {:?}{}; daemon's peak {:.0} MiB; verify of {} records \
             ({:.0} MiB) {:.2} s, query {:.2} s",
            row.host,
            row.sent,
            row.beside,
            row.written,
            row.lost,
            if row.exact { "" } else { ", NOT EXACT" },
            row.daemon_peak_mib,
            row.stored_records,
            row.stored_mib,
            row.verify_seconds,
            row.query_seconds,
        );
    }
}
