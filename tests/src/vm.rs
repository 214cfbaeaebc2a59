//! One kernel's proof, without Docker and without tools: a bridge, namespaces as guests, the
//! product's own loader and control loop, real frames. Attacks are tried before enforcer starts,
//! while it runs and after it has stopped: what was blocked had arrived before.

mod arrivals;
mod checks;
mod clock;
mod closure;
mod daemon;
pub mod foreign;
mod guest;
mod live;
mod probe;
mod processes;
mod sockets;
mod survival;
mod world;

pub use live::live_flows;

use std::time::Instant;

use anyhow::{Context as _, Result};
use enforcer::control::desired::Closes;

use self::{daemon::Daemon, world::World};
use crate::harness::closing;

/// Gives this thread, and those it will start, a BPF file system of their own at the usual place.
pub fn own_pins() -> Result<()> {
    guest::own_mounts().context("a mount namespace")?;
    Ok(guest::mount_bpffs()?)
}

/// Set to `sockets`: only the tests of the kernel's proof.
const ONLY: &str = "ENFORCER_TEST_ONLY";

/// What this process was asked to do, if it is a guest's child.
#[must_use]
pub fn child() -> Option<Result<()>> {
    processes::child().or_else(sockets::child)
}

/// Runs everything, prints a line for each test and a closing one; whether all passed.
#[must_use]
pub fn run() -> bool {
    let mut tally = Tally::default();
    if let Err(error) = run_all(&mut tally) {
        tally.note("setup", Instant::now(), Err(error));
    }
    println!("test result: {} passed, {} failed", tally.passed, tally.failed);
    tally.failed == 0
}

#[derive(Default)]
struct Tally {
    passed: u32,
    failed: u32,
}

impl Tally {
    fn note(&mut self, name: &str, started: Instant, outcome: Result<()>) {
        let took = started.elapsed().as_millis();
        match outcome {
            Ok(()) => {
                self.passed += 1;
                println!("ok   {name} ({took} ms)");
            }
            Err(error) => {
                self.failed += 1;
                println!("FAIL {name} ({took} ms): {error:#}");
            }
        }
    }

    /// A test whose outcome the next ones need.
    fn keep<T>(&mut self, name: &str, test: impl FnOnce() -> Result<T>) -> Result<T> {
        let started = Instant::now();
        let (outcome, kept) = match test() {
            Ok(kept) => (Ok(()), Ok(kept)),
            Err(error) => (Err(anyhow::anyhow!("{error:#}")), Err(error)),
        };
        self.note(name, started, outcome);
        kept
    }

    fn test(&mut self, name: &str, test: impl FnOnce() -> Result<()>) {
        let started = Instant::now();
        self.note(name, started, test());
    }
}

fn run_all(tally: &mut Tally) -> Result<()> {
    guest::leave_namespace().context("a network namespace for the host")?;
    own_pins()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let _inside = runtime.enter();
    let started = Instant::now();
    // Its own: a test may hold the packet path's lock, and so a worker of the daemon's, while it asks.
    let requests = tokio::runtime::Runtime::new()?;
    let world = World::create(&requests)?;
    if std::env::var_os(ONLY).is_some_and(|only| only == "sockets") {
        return sockets::run_all(tally, &runtime, &world);
    }
    tally.note("the bridge and three guests stand", started, Ok(()));
    tally.test("unprotected, every attack arrives", || checks::open(&world));

    let closes = closing::ability();
    let closable = closes != Closes::Not;
    if closable {
        let config = daemon::config()?;
        tally.test("d02: closed, no frame passes where no program ever was", || {
            closure::without_programs(&runtime, &world, &config)
        });
    }

    let started = Instant::now();
    let mut daemon = Daemon::start(&runtime, &world)?;
    tally.note("the kernel loads every program", started, Ok(()));
    tally.test("the table of verified instructions", || {
        checks::verified(&daemon)?;
        processes::verified(&daemon)
    });
    tally.test("TCX, or clsact where there is none", || checks::mechanism(&daemon));
    tally.test("the programs run first on every port", || checks::attached(&world, &daemon));
    tally.test("guest to host: the allowed port works", || checks::allowed(&world));
    tally.test("guest to host: another port is denied", || checks::denied(&world, &daemon));
    tally.test("guest to guest: no connection", || checks::guest_to_guest(&world, &daemon));
    tally.test("no attack arrives, each is counted and recorded", || {
        checks::closed(&world, &daemon)
    });
    tally.test("host to guest: a connection works", || checks::inbound(&world));
    tally.test("host to guest: a bulk transfer is intact", || checks::bulk(&world, &daemon));
    if closable {
        tally.test("closed, what the programs let through passes", || {
            closure::with_programs(&world, &daemon)
        });
        tally.test("n7: closed again after another tool's flush", || {
            closure::repaired(&world, &daemon)
        });
    }
    tally.test("programs that were moved aside come back", || checks::moved(&world, &daemon));
    tally.test("attaching anew leaves no gap", || checks::no_gap(&world, &daemon));
    tally.test("a filter of a killed daemon is replaced", || checks::leftover(&world, &daemon));

    tally.test("a2, n8: a guest's processes are recorded, and refused at once", || {
        processes::seen(&world, &daemon)
    });
    tally.test("f20: a clock that is set ends no flow and keeps none", || {
        clock::set(&world, &daemon)
    });
    tally.test("the self-probe is denied", || survival::probed(&mut daemon));
    tally
        .test("programs that were taken off come back", || survival::detached(&world, &mut daemon));
    tally.test("pins that were removed or hidden come back", || {
        survival::unpinned(&world, &mut daemon)
    });
    tally.test("an entry that somebody removed comes back", || {
        survival::tampered(&world, &mut daemon)
    });
    let daemon = tally
        .keep("policy outlives the daemon, and the next one takes it over", || {
            survival::outlived(&runtime, &world, daemon)
        })?;
    let daemon = tally.keep("upgrades under a flood let nothing through", || {
        survival::upgraded(&runtime, &world, daemon)
    })?;
    let daemon = tally.keep("hidden pins let nothing through at the next start", || {
        survival::hidden(&runtime, &world, daemon)
    })?;
    tally.test("swept away, every program is gone", || survival::swept(&world, daemon));
    if closable {
        tally.test("n6: stopped, the bridge is closed", || closure::outlives(&world, closes));
    }
    tally.test("open, the bridge still keeps guests apart", || checks::second_layer(&world));
    Ok(())
}
