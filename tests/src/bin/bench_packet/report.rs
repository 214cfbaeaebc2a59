//! Multiples of the empty program, as a table or as JSON.

use anyhow::Result;
use enforcer_tests::bench::{Series, kernel, median, minimum};
use serde::Serialize;

use crate::{
    measure::Effort,
    paths::{Harness, Path, Paths},
};

/// One path. Nanoseconds are as measured, with the harness; multiples are without it.
#[derive(Serialize)]
pub struct Row {
    program: &'static str,
    path: &'static str,
    harness: &'static str,
    verdict: &'static str,
    min_ns: f64,
    median_ns: f64,
    /// Of the minima.
    min_multiple: f64,
    /// The median of each round's multiple.
    median_multiple: f64,
    goal: Option<f64>,
}

/// What the harness adds goes, by the empty program in the same harness.
fn multiple(path: f64, floor: f64, empty: f64) -> f64 {
    (path - floor + empty) / empty
}

fn kind(harness: Harness) -> &'static str {
    match harness {
        Harness::Repeated => "repeated",
        Harness::Marked(_) => "marked",
        Harness::Single => "single",
    }
}

/// The rows of the report, in the order of the paths.
pub fn rows(paths: &Paths, series: &[Series]) -> Vec<Row> {
    let first = |name| paths.all.iter().position(|path| kind(path.harness) == name).unwrap_or(0);
    let empty = &series[first("repeated")];
    let row = |(path, times): (&Path, &Series)| {
        // The empty programs come first; so this is the empty one of the same harness, also for
        // itself: its own multiple then says what the harness costs.
        let own = &series[first(kind(path.harness))];
        let floor = if path.program == "empty" { empty } else { own };
        let each = times.iter().zip(floor).zip(empty);
        Row {
            program: path.program,
            path: path.name,
            harness: kind(path.harness),
            verdict: if path.code < 0 { "allow" } else { "deny" },
            min_ns: minimum(times),
            median_ns: median(times.clone()),
            min_multiple: multiple(minimum(times), minimum(floor), minimum(empty)),
            median_multiple: median(each.map(|((t, f), e)| multiple(*t, *f, *e)).collect()),
            goal: path.goal,
        }
    };
    paths.all.iter().zip(series).map(row).collect()
}

/// Prints it for machines.
pub fn json(effort: &Effort, rows: &[Row]) -> Result<()> {
    let report = serde_json::json!({
        "kernel": kernel(),
        "rounds": effort.rounds,
        "repeat": effort.repeat,
        "calls": effort.calls,
        "paths": rows,
    });
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

/// Prints it for people.
#[expect(clippy::unnecessary_wraps, reason = "ends as `json` does")]
pub fn table(effort: &Effort, rows: &[Row]) -> Result<()> {
    println!(
        "kernel {}, {} rounds of {} runs, or {} calls of one run",
        kernel(),
        effort.rounds,
        effort.repeat,
        effort.calls
    );
    println!(
        "{:12} {:30} {:7} {:>8} {:>8} {:>8} {:>8}  goal",
        "program", "path", "verdict", "min ns", "median", "x min", "x median"
    );
    for row in rows {
        let goal = row.goal.map_or(String::new(), |goal| {
            let over = if row.min_multiple > goal { ", OVER" } else { "" };
            format!("{goal}{over}")
        });
        println!(
            "{:12} {:30} {:7} {:>8.1} {:>8.1} {:>8.2} {:>8.2}  {goal}",
            row.program,
            row.path,
            row.verdict,
            row.min_ns,
            row.median_ns,
            row.min_multiple,
            row.median_multiple,
        );
    }
    println!(
        "Times are as measured. Multiples are of the empty program, less what the harness adds: \
         paths that need a mark run behind the marker, new flows one run a call."
    );
    Ok(())
}
