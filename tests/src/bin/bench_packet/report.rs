//! Multiples of the empty program, as a table or as JSON.

use anyhow::Result;
use enforcer_common::packet::Family;
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
    /// Of an established flow: the sum of the floors of what it takes, of the minima, as a multiple.
    floors_multiple: Option<f64>,
    goal: Option<f64>,
}

impl Row {
    /// Above its goal and above its floors, whichever is more.
    fn is_above(&self) -> bool {
        let most = self.goal.map(|goal| goal.max(self.floors_multiple.unwrap_or(0.0)));
        most.is_some_and(|most| self.min_multiple > most)
    }
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
            floors_multiple: path.family.map(|family| sum_of_floors(paths, series, family)),
            goal: path.goal,
        }
    };
    paths.all.iter().zip(series).map(row).collect()
}

/// The empty program and what each floor adds to it.
fn sum_of_floors(paths: &Paths, series: &[Series], family: Family) -> f64 {
    let empty = minimum(&series[0]);
    let floors = paths.all.iter().zip(series).filter(|(path, _)| path.floor_of.contains(&family));
    let added: f64 = floors.map(|(_, times)| minimum(times) - empty).sum();
    (empty + added) / empty
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

/// Prints it for people, and for `docs/performance.md`.
#[expect(clippy::unnecessary_wraps, reason = "ends as `json` does")]
pub fn table(effort: &Effort, rows: &[Row]) -> Result<()> {
    println!(
        "kernel {}, {} rounds of {} runs, or {} calls of one run\n",
        kernel(),
        effort.rounds,
        effort.repeat,
        effort.calls
    );
    println!(
        "| program | path | verdict | min ns | median ns | × min | × median | floors | goal |"
    );
    println!("|---|---|---|---:|---:|---:|---:|---:|---|");
    for row in rows {
        let floors = row.floors_multiple.map_or(String::new(), |floors| format!("{floors:.2}"));
        let goal = row.goal.map_or(String::new(), |goal| {
            format!("≤ {goal}{}", if row.is_above() { ": **above**" } else { "" })
        });
        println!(
            "| `{}` | {} | {} | {:.1} | {:.1} | {:.2} | {:.2} | {floors} | {goal} |",
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
        "\nTimes are as measured. Multiples are of the empty program, less what the harness adds: paths that need a mark run \
         behind the marker, new flows one run a call. *Floors* is the empty program with all that the rows `floor` of the family \
         add to it: a goal is missed above both."
    );
    Ok(())
}
