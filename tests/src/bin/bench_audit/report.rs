//! Ratios first, as tables or as JSON.

use anyhow::Result;
use enforcer_tests::bench::{kernel, median, minimum, ratios};
use serde::Serialize;

use crate::stages::{Goal, STAGES, Taken};

/// One stage.
#[derive(Serialize)]
pub struct Row {
    stage: &'static str,
    /// CPU time as a multiple of the floor's: of the minima, the median of the rounds' own.
    min_times: f64,
    median_times: f64,
    /// The same by the clock on the wall.
    wall_min_times: f64,
    /// CPU nanoseconds a record.
    min_ns: f64,
    median_ns: f64,
    /// Records in a second of CPU time, by the minimum and the median.
    max_rate: f64,
    median_rate: f64,
    goal: Option<String>,
    reached: Option<bool>,
}

pub fn stages(taken: &[Taken]) -> Vec<Row> {
    let floor = &taken[0];
    let row = |(stage, taken): (&crate::stages::Stage, &Taken)| {
        let [min_times, median_times] = ratios(&taken.cpu, &floor.cpu);
        let (min_ns, median_ns) = (minimum(&taken.cpu), median(taken.cpu.clone()));
        let (goal, reached) = match stage.goal {
            None => (None, None),
            // Both ways of looking at it have to agree.
            Some(Goal::Rate(rate)) => {
                (Some(format!(">= {:.1} M/s", rate / 1e6)), Some(1e9 / median_ns >= rate))
            }
            Some(Goal::Times(times)) => {
                let reached = min_times <= times && median_times <= times;
                (Some(format!("<= {times:.2} x")), Some(reached))
            }
        };
        Row {
            stage: stage.name,
            min_times,
            median_times,
            wall_min_times: ratios(&taken.wall, &floor.wall)[0],
            min_ns,
            median_ns,
            max_rate: 1e9 / min_ns,
            median_rate: 1e9 / median_ns,
            goal,
            reached,
        }
    };
    STAGES.iter().zip(taken).map(row).collect()
}

/// Prints it for machines.
pub fn json(stages: &[Row], line_bytes: f64) -> Result<()> {
    let report = serde_json::json!({
        "kernel": kernel(),
        "line_bytes": line_bytes,
        "stages": stages,
    });
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

/// Prints it for people.
pub fn table(stages: &[Row], line_bytes: f64) {
    println!("kernel {}; one thread; a line has {line_bytes:.0} bytes", kernel());
    println!(
        "{:34} {:>7} {:>9} {:>7} {:>8} {:>9} {:>11}  goal",
        "stage", "x min", "x median", "x wall", "min ns", "median ns", "records/s"
    );
    for row in stages {
        let goal = row.goal.as_deref().unwrap_or_default();
        let missed = if row.reached == Some(false) { ", MISSED" } else { "" };
        println!(
            "{:34} {:>7.2} {:>9.2} {:>7.2} {:>8.0} {:>9.0} {:>11.0}  {goal}{missed}",
            row.stage,
            row.min_times,
            row.median_times,
            row.wall_min_times,
            row.min_ns,
            row.median_ns,
            row.max_rate,
        );
    }
}
