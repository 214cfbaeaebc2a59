//! What the gate adds to a request, beside the engine's own socket and beside `HAProxy` as socket proxies configure it; and
//! how fast a stream goes through. `--json` prints it for machines; `--quick` only has a look.

mod haproxy;
mod report;
mod world;

use std::{process::ExitCode, time::Instant};

use anyhow::{Result, bail};
use enforcer_tests::{
    bench::{Random, median},
    harness::{residue::Snapshot, run},
};

use self::world::World;

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds, in each of which everything is measured, in a new order.
    pub rounds: usize,
    /// Requests of a kind in a round: in all rounds together less than the gate serves at once, for who asks more waits.
    pub pings: usize,
    /// Containers that are created and removed in a round.
    pub creates: usize,
    /// Rounds with a stream.
    pub streams: usize,
    /// Bytes of a stream.
    pub bytes: usize,
}

impl Effort {
    const FULL: Self = Self { rounds: 20, pings: 80, creates: 10, streams: 6, bytes: 256 << 20 };
    const QUICK: Self = Self { rounds: 5, pings: 80, creates: 5, streams: 2, bytes: 256 << 20 };
}

/// Which way a client goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The engine's own socket.
    Direct,
    /// The same again: what differs is noise.
    Again,
    /// `HAProxy`.
    Haproxy,
    /// A user's socket of the gate.
    Gate,
}

impl Way {
    /// Direct comes first.
    pub const ALL: [Self; 4] = [Self::Direct, Self::Again, Self::Haproxy, Self::Gate];
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// `GET /_ping`.
    Ping,
    /// A create, and the remove.
    Create,
    /// A command's output.
    Stream,
}

impl What {
    const ALL: [Self; 3] = [Self::Ping, Self::Create, Self::Stream];
}

/// Nanoseconds of each way, a figure for each round: the median of the round.
pub struct Measured {
    /// What was done.
    pub what: What,
    /// In the order of [`Way::ALL`].
    pub rounds: [Vec<f64>; 4],
}

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench gate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    let (mut json, mut effort) = (false, Effort::FULL);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => json = true,
            "--quick" => effort = Effort::QUICK,
            other => bail!("unknown argument {other}; there are --json and --quick"),
        }
    }
    if let Some(why) = run::obstacle() {
        bail!("cannot measure here: {why}");
    }
    let before = Snapshot::take();
    let measured = measure(effort)?;
    before.ensure_nothing_new()?;
    if json {
        report::json(&measured, effort)?;
    } else {
        report::tables(&measured, effort);
    }
    Ok(())
}

fn measure(effort: Effort) -> Result<Vec<Measured>> {
    let started = Instant::now();
    // It takes minutes.
    let say = |what: &str| eprintln!("[{:5.1} s] {what}", started.elapsed().as_secs_f32());
    let world = World::start()?;
    let mut random = Random::default();
    let mut all = Vec::new();
    for what in What::ALL {
        let rounds = if what == What::Stream { effort.streams } else { effort.rounds };
        let mut measured = Measured { what, rounds: Default::default() };
        for way in Way::ALL {
            // Caches and connections of everybody are warm then.
            world.take(what, way, &effort)?;
        }
        let mut order = [0, 1, 2, 3];
        for round in 0..rounds {
            random.shuffle(&mut order);
            for at in order {
                measured.rounds[at].push(median(world.take(what, Way::ALL[at], &effort)?));
            }
            say(&format!("{what:?}, round {} of {rounds}", round + 1));
        }
        all.push(measured);
    }
    world.end()?;
    Ok(all)
}
