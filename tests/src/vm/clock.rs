//! F20: the machine's own clock is set while connections live.

use std::{io, time::Duration};

use anyhow::{Context as _, Result, ensure};
use enforcer::{audit::decode::Decoded, kernel::monotonic_ns};
use enforcer_common::abi::event::{EndCause, FlowEnd};

use super::{
    checks::{self, ACCEPTED_MS},
    daemon::Daemon,
    survival::talk,
    world::{NOTEBOOK_PORT, World},
};
use crate::{harness::run::wait_for, protocol::Request};

/// Set where the machine is the test's own: elsewhere its clock is somebody else's too.
const OWN_MACHINE: &str = "ENFORCER_TEST_OWN_MACHINE";
const DAY: i64 = 86_400;
/// A flow that was closed lingers for 10 s; emulation takes its time.
const ENDED: Duration = Duration::from_secs(40);

/// A day ahead, a day back and right again: a connection that lives goes on, ones that are closed
/// meanwhile end as soon as ever, and policy is what it was.
pub(super) fn set(world: &World, daemon: &Daemon) -> Result<()> {
    if std::env::var_os(OWN_MACHINE).is_none() {
        println!("skipped: this machine's clock is not the test's own");
        return Ok(());
    }
    let to = (world.a.port.ipv4, NOTEBOOK_PORT);
    let hold = || world.host.hold(to, ACCEPTED_MS)?.id.context("no connection");
    let (begun, owner) = (monotonic_ns(), daemon.id(world.a.port.ifindex)?);
    let live = hold()?;
    for (seconds, words) in [(DAY, "ahead"), (-2 * DAY, "back"), (DAY, "right again")] {
        let brief = hold()?;
        step(seconds).with_context(|| format!("set the clock {words}"))?;
        talk(&world.host, live, words)?;
        talk(&world.host, brief, words)?;
        world.host.call::<()>(&Request::Close { id: brief, reset: true })?;
        checks::allowed(world)?;
        checks::denied(world, daemon)?;
    }
    let ends = || {
        let events = daemon.events().into_iter().filter_map(|event| match event {
            Decoded::Ended(ended) => Some(ended),
            _ => None,
        });
        let mine = events.filter(|ended| {
            ended.end.owner == owner
                && ended.end.local_port == NOTEBOOK_PORT
                && ended.end.opened_ns >= begun
        });
        mine.map(|ended| (ended.cause, ended.end)).collect::<Vec<_>>()
    };
    let enough = wait_for("the ends", ENDED, || Ok((ends().len() >= 3).then_some(())));
    enough.with_context(|| format!("{:?}", ends()))?;
    talk(&world.host, live, "all the time")?;
    let ends = ends();
    let is_right = |(cause, end): &(EndCause, FlowEnd)| {
        *cause == EndCause::Closed && Duration::from_nanos(end.last_seen_ns - end.opened_ns) < ENDED
    };
    ensure!(ends.len() == 3 && ends.iter().all(is_right), "these flows ended: {ends:?}");
    Ok(())
}

/// Sets wall time.
fn step(seconds: i64) -> io::Result<()> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a live timespec.
    if unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now) } != 0 {
        return Err(io::Error::last_os_error());
    }
    now.tv_sec += seconds;
    // SAFETY: the same, with a time in it.
    if unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const now) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
