//! What protection costs traffic: round trips, connections, datagrams, bytes and floods on hosts that differ in nothing
//! but what protects their guests, as multiples of a host that only translates addresses, and of a program that only drops.
//!
//! ```text
//! world wan0 198.51.100.2 --- 198.51.100.1 up0 host guests0 10.99.0.1 --- guest-a, guest-b
//! ```
//!
//! Each configuration is such a rig of its own, with a dockerd of its own, all of them up at once and measured in turn: in each
//! round another order. Client and server stay on one CPU, so what is measured is the path and not a wake-up.
//! `--json` prints it for machines, `--plots DIR` writes pictures, `--quick` only has a look, `--smoke` not even that: it
//! only fails where something cannot be measured, or where frames arrive that are to be denied.

#![expect(clippy::cast_precision_loss, reason = "figures for people")]

mod measure;
mod plot;
mod report;
mod world;

use std::{path::PathBuf, process::ExitCode, thread, time::Instant};

use anyhow::{Context as _, Result, bail, ensure};
use enforcer_tests::{
    bench::Random,
    harness::{residue::Snapshot, run},
};
use measure::{Effort, METRICS, Taken};
use world::{CONFIGS, World};

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench net: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    let (mut json, mut plots, mut effort) = (false, None, Effort::FULL);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => json = true,
            "--plots" => plots = Some(PathBuf::from(arguments.next().context("--plots DIR")?)),
            "--quick" => effort = Effort::QUICK,
            "--smoke" => effort = Effort::SMOKE,
            other => {
                bail!(
                    "unknown argument {other}; there are --json, --plots DIR, --quick and --smoke"
                )
            }
        }
    }
    if let Some(why) = run::obstacle() {
        bail!("cannot measure here: {why}");
    }
    let before = Snapshot::take();
    let taken = measure(&effort)?;
    before.ensure_nothing_new()?;
    if taken.is_empty() {
        println!("bench net: every metric of {} hosts was measured", CONFIGS.len());
        return Ok(());
    }
    let rows = report::rows(&taken);
    if let Some(dir) = plots {
        plot::write(&rows, &dir)?;
    }
    if json {
        report::json(&rows)?;
    } else {
        report::table(&rows);
    }
    Ok(())
}

/// Every metric of every configuration, round by round.
fn measure(effort: &Effort) -> Result<Taken> {
    let started = Instant::now();
    // It takes minutes.
    let say = |what: &str| eprintln!("[{:5.1} s] {what}", started.elapsed().as_secs_f32());
    let mut worlds = Vec::new();
    for config in &CONFIGS {
        say(&format!("starting: {}", config.name));
        worlds.push(World::start(config).context(config.name)?);
    }
    let mut taken = Taken::default();
    let pairs = CONFIGS.iter().enumerate().flat_map(|(world, config)| {
        let judged = METRICS.into_iter().filter(|metric| metric.is_of(config));
        judged.map(move |metric| (world, metric))
    });
    let pairs: Vec<_> = pairs.collect();
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    let mut random = Random::default();
    // The first round warms caches and tables, and counts for nothing.
    for round in 0..=effort.rounds {
        say(&format!("round {round} of {}", effort.rounds));
        random.shuffle(&mut order);
        for (world, metric) in order.iter().filter_map(|index| pairs.get(*index)) {
            let config = &CONFIGS[*world];
            let figure = worlds[*world].measure(*metric, effort);
            let figure = figure.with_context(|| format!("{}, {}", metric.title(), config.name))?;
            ensure!(figure.is_finite() && figure > 0.0, "{}: {figure}", metric.title());
            if round > 0 {
                taken.entry((*metric, *world)).or_default().push(figure);
            }
        }
    }
    say("taking it down");
    // An engine takes its time to end, and most of it waits.
    thread::scope(|scope| {
        let stopping: Vec<_> =
            worlds.into_iter().map(|world| scope.spawn(|| world.stop())).collect();
        stopping
            .into_iter()
            .try_for_each(|one| one.join().map_err(|panic| anyhow::anyhow!("{panic:?}"))?)
    })?;
    Ok(taken)
}
