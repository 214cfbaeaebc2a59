//! What is measured of each size. A daemon that is not measured is frozen: its policy is in the kernel, and its work would be
//! in others' figures.

use std::{
    fs,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use enforcer_tests::{
    bench::{
        Random, Series, median, pin, process_cpu,
        traffic::{connects, round_trips},
    },
    harness::netns::within,
};

use crate::world::{self, Size, Started, World};

/// How long to measure.
pub struct Effort {
    pub sizes: &'static [Size],
    pub rounds: usize,
    /// Of round trips in a round.
    time: Duration,
    connections: usize,
    /// Starts beside the programs of an earlier daemon.
    adoptions: usize,
    reloads: usize,
    /// For which a daemon that has nothing to do is watched.
    idle: Duration,
}

impl Effort {
    pub const FULL: Self = Self {
        sizes: &world::FULL,
        rounds: 16,
        time: Duration::from_millis(300),
        connections: 100,
        adoptions: 3,
        reloads: 11,
        idle: Duration::from_secs(30),
    };
    pub const QUICK: Self = Self {
        sizes: &world::QUICK,
        rounds: 4,
        time: Duration::from_millis(100),
        connections: 50,
        adoptions: 1,
        reloads: 3,
        idle: Duration::from_secs(10),
    };
}

/// After it was frozen a daemon has something to do.
const SETTLING: Duration = Duration::from_secs(6);

/// The figures of one size; times of packets in nanoseconds.
pub struct Taken {
    pub size: Size,
    pub round_trips: Series,
    pub connects: Series,
    /// The start that attaches its programs, and the median of those that find them.
    pub started: Started,
    pub adopted: Duration,
    /// The median, and the least.
    pub reload: [Duration; 2],
    pub resident_bytes: u64,
    /// Of one CPU.
    pub idle: f64,
}

/// Every figure of every size.
pub fn all(effort: &Effort) -> Result<Vec<Taken>> {
    let began = Instant::now();
    // It takes minutes.
    let say = |what: &str| eprintln!("[{:5.1} s] {what}", began.elapsed().as_secs_f32());
    let (mut worlds, mut starts) = (Vec::new(), Vec::new());
    for size in effort.sizes {
        say(&format!("starting: {}", size.name));
        let (world, started) = World::start(*size).context(size.name)?;
        world.daemon().freeze()?;
        worlds.push(world);
        starts.push(started);
    }
    let packets = packets(&worlds, effort, say)?;
    say("reloading");
    let mut reloads = Vec::new();
    for world in &mut worlds {
        world.daemon().thaw()?;
        let reload = (0..effort.reloads).map(|_| world.reload().map(|took| took.as_secs_f64()));
        let reload: Series = reload.collect::<Result<_>>().context(world.size.name)?;
        let least = reload.iter().copied().fold(f64::INFINITY, f64::min);
        reloads.push([median(reload), least].map(Duration::from_secs_f64));
        world.daemon().freeze()?;
    }
    say("idle");
    let idle = idle(&worlds, effort)?;
    say("adopting, and taking it down");
    let mut taken = Vec::new();
    let figures = packets.into_iter().zip(idle).zip(starts).zip(reloads);
    for (mut world, figures) in worlds.into_iter().zip(figures) {
        let (((packets, (idle, resident_bytes)), started), reload) = figures;
        world.daemon().thaw()?;
        let (mut adoptions, size) = (Series::new(), world.size);
        for _ in 0..effort.adoptions {
            let adopted;
            (world, adopted) = world.adopt().context(size.name)?;
            adoptions.push(adopted.policed.as_secs_f64());
        }
        world.stop()?;
        let adopted = Duration::from_secs_f64(median(adoptions));
        let [round_trips, connects] = packets;
        taken.push(Taken {
            size,
            round_trips,
            connects,
            started,
            adopted,
            reload,
            resident_bytes,
            idle,
        });
    }
    Ok(taken)
}

/// Round trips and connections of each size, round by round.
fn packets(worlds: &[World], effort: &Effort, say: impl Fn(&str)) -> Result<Vec<[Series; 2]>> {
    let mut taken = vec![[Series::new(), Series::new()]; worlds.len()];
    let mut order: Vec<usize> = (0..2 * worlds.len()).collect();
    let mut random = Random::default();
    let measured = |world: &World, connections: bool| -> Result<f64> {
        within(&world.guest_net, || {
            pin()?;
            if connections {
                connects(&world.listener, SocketAddr::from(World::HUB), effort.connections)
            } else {
                round_trips(&world.client, &world.server, effort.time)
            }
        })
    };
    // The first round warms caches and tables, and counts for nothing.
    for round in 0..=effort.rounds {
        say(&format!("round {round} of {}", effort.rounds));
        random.shuffle(&mut order);
        for number in &order {
            let (world, connections) = (&worlds[number / 2], number % 2 == 1);
            let figure = measured(world, connections).context(world.size.name)?;
            if round > 0 {
                taken[number / 2][number % 2].push(figure);
            }
        }
    }
    Ok(taken)
}

/// The share of a CPU that each daemon takes when nothing happens, and its memory.
fn idle(worlds: &[World], effort: &Effort) -> Result<Vec<(f64, u64)>> {
    for world in worlds {
        world.daemon().thaw()?;
    }
    thread::sleep(SETTLING);
    let cpu = || -> Result<Vec<Duration>> {
        worlds.iter().map(|world| process_cpu(world.daemon().pid())).collect()
    };
    let (since, before) = (Instant::now(), cpu()?);
    thread::sleep(effort.idle);
    let (after, passed) = (cpu()?, since.elapsed().as_secs_f64());
    let mut figures = Vec::new();
    for (world, (before, after)) in worlds.iter().zip(before.into_iter().zip(after)) {
        let share = after.saturating_sub(before).as_secs_f64() / passed;
        figures.push((share, resident_bytes(world.daemon().pid())?));
        world.daemon().freeze()?;
    }
    Ok(figures)
}

fn resident_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 =
        line.and_then(|line| line.split_whitespace().next()).context("VmRSS")?.parse()?;
    Ok(kib << 10)
}
