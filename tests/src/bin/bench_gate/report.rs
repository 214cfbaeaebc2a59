//! What was measured, for people and for machines.

use anyhow::Result;
use enforcer_tests::bench::{Growth, kernel, median, second_least};
use serde::Serialize;

use super::{Effort, Measured, Way, What};

/// Goals: what the gate may add, µs.
const PING: f64 = 100.0;
const CREATE: f64 = 285.0;

#[derive(Serialize)]
struct Row {
    what: &'static str,
    way: &'static str,
    /// Of the second best round, and the median of all; µs, or MB/s of a stream.
    second_best: f64,
    median: f64,
    /// What it takes more than the engine's own socket: of the second best rounds, and the median of each round's
    /// difference; µs.
    added_second_best: Option<f64>,
    added_median: Option<f64>,
    /// The same as multiples.
    times_second_best: f64,
    times_median: f64,
    goal: Option<f64>,
    reached: Option<bool>,
}

fn name(what: What) -> &'static str {
    match what {
        What::Ping => "GET /_ping",
        What::Create => "create + remove",
        What::Stream => "output of exec",
    }
}

fn way(way: Way) -> &'static str {
    match way {
        Way::Direct => "direct",
        Way::Again => "direct again (A/A)",
        Way::Haproxy => "HAProxy",
        Way::Gate => "gate",
    }
}

fn rows(measured: &Measured, effort: Effort) -> Vec<Row> {
    let [direct, ..] = &measured.rounds;
    let row = |(way, rounds): (Way, &Vec<f64>)| {
        let Growth { best, median: times } = Growth::between(direct, rounds);
        let is_stream = measured.what == What::Stream;
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let shown = |ns: f64| if is_stream { effort.bytes as f64 * 1e3 / ns } else { ns / 1e3 };
        let differences = rounds.iter().zip(direct).map(|(this, direct)| (this - direct) / 1e3);
        let is_other = way != Way::Direct && !is_stream;
        let added = (second_least(rounds) - second_least(direct)) / 1e3;
        let added_median = median(differences.collect());
        let goal = match (way, measured.what) {
            (Way::Gate, What::Ping) => Some(PING),
            (Way::Gate, What::Create) => Some(CREATE),
            _ => None,
        };
        Row {
            what: name(measured.what),
            way: self::way(way),
            second_best: shown(second_least(rounds)),
            median: shown(median(rounds.clone())),
            added_second_best: is_other.then_some(added),
            added_median: is_other.then_some(added_median),
            times_second_best: best,
            times_median: times,
            goal,
            reached: goal.map(|goal| added <= goal && added_median <= goal),
        }
    };
    Way::ALL.into_iter().zip(&measured.rounds).map(row).collect()
}

/// Prints it for machines.
pub fn json(all: &[Measured], effort: Effort) -> Result<()> {
    let rows: Vec<Row> = all.iter().flat_map(|measured| rows(measured, effort)).collect();
    let report = serde_json::json!({
        "kernel": kernel(), "rounds": effort.rounds, "stream_rounds": effort.streams, "rows": rows,
    });
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

/// Prints it for people, as the document has it.
pub fn tables(all: &[Measured], effort: Effort) {
    let Effort { rounds, pings, creates, streams, bytes } = effort;
    println!(
        "kernel {}; {rounds} rounds of {pings} pings and {creates} creates, {streams} of {} MiB\n",
        kernel(),
        bytes >> 20
    );
    println!(
        "| request | way | second best µs | median µs | added, second best | added, median | × second best | × median | goal |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---|");
    for row in all.iter().flat_map(|measured| rows(measured, effort)) {
        let added = |added: Option<f64>| added.map_or(String::new(), |added| format!("{added:.0}"));
        let missed = if row.reached == Some(false) { ": **above**" } else { "" };
        let goal = row.goal.map_or(String::new(), |goal| format!("≤ {goal} µs{missed}"));
        let unit =
            if row.added_median.is_none() && row.what == name(What::Stream) { " MB/s" } else { "" };
        println!(
            "| {} | {} | {:.0}{unit} | {:.0}{unit} | {} | {} | {:.2} | {:.2} | {goal} |",
            row.what,
            row.way,
            row.second_best,
            row.median,
            added(row.added_second_best),
            added(row.added_median),
            row.times_second_best,
            row.times_median,
        );
    }
}
