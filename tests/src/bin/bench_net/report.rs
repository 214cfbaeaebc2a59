//! Figures as multiples of what they are compared with, as a table or as JSON.

use anyhow::Result;
use enforcer_tests::bench::{Growth, Series, kernel, median, second_least};
use serde::Serialize;

use crate::{
    measure::{METRICS, Metric, Taken},
    world::{CONFIGS, Guard},
};

/// One metric of one configuration.
#[derive(Clone, Serialize)]
pub struct Row {
    pub metric: &'static str,
    pub config: &'static str,
    /// What `best` and `median` are in.
    pub unit: &'static str,
    /// Of the second best round, and the median.
    pub best: f64,
    pub median: f64,
    /// Times the configuration that this metric is a multiple of.
    pub of: &'static str,
    pub best_ratio: f64,
    pub median_ratio: f64,
    /// What the ratios may be, the distance of the A/A control from 1 included.
    pub goal: Option<f64>,
    pub held: Option<bool>,
}

/// The configuration that a metric is a multiple of.
fn floor_of(metric: Metric) -> usize {
    let is_floor =
        |guard| if metric.is_denied() { guard == Guard::Drop } else { guard == Guard::Nothing };
    CONFIGS.iter().position(|config| is_floor(config.guard)).unwrap_or(0)
}

/// Of a configuration that ships: how many times the floor it may be.
fn goal_of(metric: Metric, number: usize) -> Option<f64> {
    let config = CONFIGS.get(number)?;
    if !matches!(config.guard, Guard::Enforcer { .. }) || config.flooded {
        return None;
    }
    Some(match metric {
        Metric::RoundTrip => 1.02,
        Metric::Connect | Metric::Bulk | Metric::BulkSegments => 1.03,
        Metric::Egress | Metric::Neighbour => 1.15,
        Metric::Datagram => return None,
    })
}

/// Every metric of every configuration that has it.
pub fn rows(taken: &Taken) -> Vec<Row> {
    METRICS.into_iter().flat_map(|metric| rows_of(taken, metric)).collect()
}

fn rows_of(taken: &Taken, metric: Metric) -> Vec<Row> {
    let floor = floor_of(metric);
    let Some(first) = taken.get(&(metric, floor)) else { return Vec::new() };
    // The same twice, where there is such a thing.
    let again = taken.get(&(metric, 1));
    let noise = again.map_or(0.0, |again| Growth::between(first, again).distance());
    let row = |(number, figures): (usize, &Series)| {
        let growth = Growth::between(first, figures);
        let goal = goal_of(metric, number).map(|goal| goal + noise);
        Row {
            metric: metric.title(),
            config: CONFIGS[number].name,
            unit: metric.unit(),
            best: second_least(figures),
            median: median(figures.clone()),
            of: CONFIGS[floor].name,
            best_ratio: growth.best,
            median_ratio: growth.median,
            goal,
            held: goal.map(|goal| !growth.exceeds(goal)),
        }
    };
    let figures =
        (0..CONFIGS.len()).filter_map(|number| Some((number, taken.get(&(metric, number))?)));
    figures.map(row).collect()
}

/// As Markdown.
pub fn table(rows: &[Row]) {
    println!("kernel {}; × is the multiple of the first line of each metric\n", kernel());
    println!("| metric | configuration | second best | median | unit | × best | × median | goal |");
    println!("|---|---|---:|---:|---|---:|---:|---|");
    for row in rows {
        let goal = row.goal.map_or(String::new(), |goal| {
            let missed = if row.held == Some(false) { ": **above**" } else { "" };
            format!("≤ {goal:.3}{missed}")
        });
        println!(
            "| {} | {} | {:.0} | {:.0} | {} | {:.3} | {:.3} | {goal} |",
            row.metric,
            row.config,
            row.best,
            row.median,
            row.unit,
            row.best_ratio,
            row.median_ratio
        );
    }
}

/// For machines.
pub fn json(rows: &[Row]) -> Result<()> {
    #[derive(Serialize)]
    struct Report<'a> {
        kernel: String,
        rows: &'a [Row],
    }
    println!("{}", serde_json::to_string_pretty(&Report { kernel: kernel(), rows })?);
    Ok(())
}
