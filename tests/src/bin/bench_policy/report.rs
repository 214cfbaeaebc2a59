//! Growth against the first size, as a table or as JSON, and whether it stays within the bound.

use anyhow::Result;
use enforcer_tests::bench::{Growth, Series, kernel, median, second_least};
use serde::Serialize;

use crate::{
    measure::{Effort, Measured},
    world::{Path, SIZES, Size},
};

/// What may grow beside the noise of the run.
const TOLERATED: f64 = 0.05;

/// One path of one family in one size.
#[derive(Serialize)]
pub struct Row {
    path: &'static str,
    /// None: the floor, which knows no family.
    family: Option<&'static str>,
    size: &'static str,
    /// Nanoseconds as measured, with the harness: the second best round, and the median.
    best_ns: f64,
    median_ns: f64,
    /// Times the first size: of the second best rounds, and the median of each round's own ratio.
    best_ratio: f64,
    median_ratio: f64,
    /// What they may be: 1, the distance of the A/A control from 1, and [`TOLERATED`].
    bound: Option<f64>,
    held: bool,
}

impl Row {
    fn title(&self) -> String {
        let family = self.family.map_or(String::new(), |family| format!(", {family}"));
        format!("{}{family}", self.path)
    }

    /// A line, if it costs too much.
    pub fn complaint(&self) -> Option<String> {
        let bound = self.bound.filter(|_| !self.held)?;
        Some(format!(
            "{}, with {}: {:.3} and {:.3} times the cost with {}; at most {bound:.3}",
            self.title(),
            self.size,
            self.best_ratio,
            self.median_ratio,
            SIZES[0].name
        ))
    }
}

/// The rows of the report, in the order of what was measured.
pub fn rows(measured: &[Measured]) -> Vec<Row> {
    measured.iter().flat_map(rows_of).collect()
}

fn rows_of(measured: &Measured) -> Vec<Row> {
    let [first, again, ..] = &measured.sizes[..] else { return Vec::new() };
    let allowed = 1.0 + Growth::between(first, again).distance() + TOLERATED;
    let row = |(number, (size, times)): (usize, (&Size, &Series))| {
        let growth = Growth::between(first, times);
        // The control is what the others are measured by; and what memory costs, with the floor and
        // with live flows, is there to be seen.
        let is_judged = number > 1 && measured.path != Path::Floor && size.flows == 0;
        Row {
            path: measured.path.name(),
            family: match (measured.path, measured.six) {
                (Path::Floor, _) => None,
                (_, false) => Some("IPv4"),
                (_, true) => Some("IPv6"),
            },
            size: size.name,
            best_ns: second_least(times),
            median_ns: median(times.clone()),
            best_ratio: growth.best,
            median_ratio: growth.median,
            bound: is_judged.then_some(allowed),
            held: !is_judged || !growth.exceeds(allowed),
        }
    };
    SIZES.iter().zip(&measured.sizes).enumerate().map(row).collect()
}

/// Prints it for machines.
pub fn json(effort: &Effort, rows: &[Row]) -> Result<()> {
    let report = serde_json::json!({
        "kernel": kernel(),
        "rounds": effort.rounds,
        "repeat": effort.repeat,
        "opened": effort.opened,
        "held": rows.iter().all(|row| row.held),
        "rows": rows,
    });
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

/// Prints it for people, and for `docs/performance.md`.
pub fn table(effort: &Effort, rows: &[Row]) {
    println!(
        "kernel {}, {} rounds of {} runs, or {} flows opened\n",
        kernel(),
        effort.rounds,
        effort.repeat,
        effort.opened
    );
    println!("| path | with | ns | median ns | × best | × median | at most |");
    println!("|---|---|---:|---:|---:|---:|---|");
    for row in rows {
        let bound = row.bound.map_or(String::new(), |bound| {
            format!("{bound:.3}{}", if row.held { "" } else { " **above**" })
        });
        println!(
            "| {} | {} | {:.1} | {:.1} | {:.3} | {:.3} | {bound} |",
            row.title(),
            row.size,
            row.best_ns,
            row.median_ns,
            row.best_ratio,
            row.median_ratio,
        );
    }
    let held = rows.iter().all(|row| row.held);
    println!("\n{}", if held { "The bound holds everywhere." } else { "The bound does not hold." });
}
