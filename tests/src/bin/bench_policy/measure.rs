//! Rounds: each path of each size once in each, in an order of its own each time.

use anyhow::{Result, ensure};
use enforcer_tests::{
    bench::{Random, Series, pin, thread_cpu},
    prog::{
        raw,
        rig::{ALLOW, DENY},
    },
};

use crate::world::{Path, World};

/// How long to measure.
pub struct Effort {
    pub rounds: usize,
    /// Runs of a frame in a round.
    pub repeat: u32,
    /// Flows that are opened in a round.
    pub opened: u16,
}

impl Effort {
    /// Many short rounds: on a machine with neighbours few of them are undisturbed, and each size is to
    /// have some. An endpoint may have 65,536 checks of flows waiting: no more are opened in all.
    pub const FULL: Self = Self { rounds: 250, repeat: 2_000, opened: 100 };
    pub const QUICK: Self = Self { rounds: 40, ..Self::FULL };
}

/// Runs before those that are measured: caches and branches as another path left them are not what a
/// packet costs.
const WARM_UP: u16 = 30;

/// One path of one family, in each size, in the order of the sizes.
pub struct Measured {
    pub path: Path,
    pub six: bool,
    pub sizes: Vec<Series>,
}

/// Nanoseconds of a run.
pub fn all(worlds: &mut [World], effort: &Effort) -> Result<Vec<Measured>> {
    pin()?;
    let before = opened(worlds)?;
    let mut measured = Vec::new();
    for six in [false, true] {
        // The floor knows no family.
        for path in Path::ALL.into_iter().filter(|path| !six || *path != Path::Floor) {
            measured.push(Measured { path, six, sizes: vec![Series::new(); worlds.len()] });
        }
    }
    let mut order: Vec<usize> = (0..measured.len()).collect();
    let mut sizes: Vec<usize> = (0..worlds.len()).collect();
    let mut random = Random::default();
    for _ in 0..effort.rounds {
        random.shuffle(&mut order);
        for index in &order {
            let row = &mut measured[*index];
            // Sizes side by side: what else the machine does changes slowly.
            random.shuffle(&mut sizes);
            for size in &sizes {
                let time = once(&mut worlds[*size], row.path, row.six, effort)?;
                row.sizes[*size].push(time);
            }
        }
        // Room in the ring, as with a reader.
        for world in worlds.iter_mut() {
            world.rig.events()?;
        }
    }
    let each = u64::from(effort.opened + WARM_UP) * 2 * effort.rounds as u64;
    let expected: Vec<u64> = before.iter().map(|before| before + each).collect();
    let after = opened(worlds)?;
    ensure!(after == expected, "flows opened: {after:?}, not {expected:?}");
    Ok(measured)
}

fn opened(worlds: &[World]) -> Result<Vec<u64>> {
    worlds.iter().map(World::opened).collect()
}

/// The CPU time of one call, for each run of the program in it.
fn once(world: &mut World, path: Path, six: bool, effort: &Effort) -> Result<f64> {
    let inserts = path.inserts();
    let repeat = if inserts { u32::from(effort.opened) } else { effort.repeat };
    let wanted = if path == Path::Refused { DENY } else { ALLOW };
    let time = {
        let (program, mut frame, context) = world.call(path, six)?;
        let run = |frame: &[u8], times| -> Result<()> {
            let ran = raw::test_run(program, frame, &context, times)?;
            ensure!(ran.code == wanted, "{}: verdict {}", path.name(), ran.code);
            Ok(())
        };
        run(&frame, u32::from(WARM_UP))?;
        if inserts {
            // The frame is copied at each call: the next one goes on where this one ended.
            World::advance(&mut frame, six, WARM_UP);
        }
        let start = thread_cpu()?;
        run(&frame, repeat)?;
        thread_cpu()?.saturating_sub(start)
    };
    if inserts {
        world.forget(path, six, effort.opened + WARM_UP)?;
    }
    Ok(time.as_secs_f64() * 1e9 / f64::from(repeat))
}
