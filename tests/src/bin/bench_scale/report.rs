//! Figures of each size, packets as multiples of the first one, as a table or as JSON.

use anyhow::Result;
use enforcer_tests::bench::{Growth, kernel, median};
use serde::Serialize;

use crate::measure::Taken;

/// What may grow beside the noise of the run.
const TOLERATED: f64 = 0.05;
/// Of the size that has goals.
const RELOAD_MS: f64 = 100.0;
const RESIDENT_MIB: f64 = 40.0;

/// One size.
#[derive(Serialize)]
pub struct Row {
    size: &'static str,
    guests: u16,
    rules: u32,
    flows: u32,
    /// Medians of the rounds, ns.
    round_trip_ns: f64,
    connect_ns: f64,
    /// Times the first size: of the second best rounds, and the median of each round's own ratio.
    round_trip: [f64; 2],
    connect: [f64; 2],
    /// What they may be: 1, the distance of the A/A control from 1, and [`TOLERATED`].
    round_trip_bound: f64,
    connect_bound: f64,
    /// From the start of the process until it answers, until all guests are policed, and the same beside the programs of an
    /// earlier daemon.
    answers_ms: f64,
    policed_ms: f64,
    adopted_ms: f64,
    /// The median, and the least.
    reload_ms: [f64; 2],
    resident_mib: f64,
    /// Percent of one CPU.
    idle_percent: f64,
    has_goals: bool,
}

/// The rows of the report, in the order of the sizes.
pub fn rows(taken: &[Taken]) -> Vec<Row> {
    let [first, again, ..] = taken else { return Vec::new() };
    let bound = |growth: Growth| 1.0 + growth.distance() + TOLERATED;
    let round_trip_bound = bound(Growth::between(&first.round_trips, &again.round_trips));
    let connect_bound = bound(Growth::between(&first.connects, &again.connects));
    let row = |one: &Taken| {
        let round_trip = Growth::between(&first.round_trips, &one.round_trips);
        let connect = Growth::between(&first.connects, &one.connects);
        let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        Row {
            size: one.size.name,
            guests: one.size.guests,
            rules: one.size.rules,
            flows: one.size.flows,
            round_trip_ns: median(one.round_trips.clone()),
            connect_ns: median(one.connects.clone()),
            round_trip: [round_trip.best, round_trip.median],
            connect: [connect.best, connect.median],
            round_trip_bound,
            connect_bound,
            answers_ms: ms(one.started.answers),
            policed_ms: ms(one.started.policed),
            adopted_ms: ms(one.adopted),
            reload_ms: one.reload.map(ms),
            resident_mib: mebibytes(one.resident_bytes),
            idle_percent: one.idle * 100.0,
            has_goals: one.size.has_goals,
        }
    };
    taken.iter().map(row).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// What grows shows in both figures.
fn ratios([best, median]: [f64; 2], bound: f64) -> String {
    let above = if best > bound && median > bound { " **above**" } else { "" };
    format!("{best:.3} / {median:.3}{above}")
}

fn judged(text: String, value: f64, most: Option<f64>) -> String {
    match most {
        Some(most) if value > most => format!("{text} (≤ {most}: **above**)"),
        Some(most) => format!("{text} (≤ {most})"),
        None => text,
    }
}

/// As Markdown.
pub fn table(rows: &[Row]) {
    let Some(first) = rows.first() else { return };
    println!(
        "kernel {}; × first line: of the second best rounds / median of each round's own ratio; at most {:.3} and {:.3}\n",
        kernel(),
        first.round_trip_bound,
        first.connect_bound
    );
    println!(
        "| host | round trip ns | × | connect ns | × | answers ms | all policed ms | adopted ms | reload ms, median / least | MiB | idle % |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for row in rows {
        let goal = |most| row.has_goals.then_some(most);
        let [reload, least] = row.reload_ms;
        println!(
            "| {} | {:.0} | {} | {:.0} | {} | {:.0} | {:.0} | {:.0} | {} | {} | {:.2} |",
            row.size,
            row.round_trip_ns,
            ratios(row.round_trip, row.round_trip_bound),
            row.connect_ns,
            ratios(row.connect, row.connect_bound),
            row.answers_ms,
            row.policed_ms,
            row.adopted_ms,
            judged(format!("{reload:.0} / {least:.0}"), reload, goal(RELOAD_MS)),
            judged(format!("{:.1}", row.resident_mib), row.resident_mib, goal(RESIDENT_MIB)),
            row.idle_percent,
        );
    }
}

/// For machines.
pub fn json(rows: &[Row]) -> Result<()> {
    let report = serde_json::json!({"kernel": kernel(), "sizes": rows});
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
