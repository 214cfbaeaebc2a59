//! What became of the frames that came in by a port before any program saw them: the kernel counts it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::link::LinkAttribute;
use tokio::runtime::Handle;

use super::world::World;
use crate::harness::run::wait_for;

/// The backlog of a slow machine is worked off within it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Most frames that the host itself sends to a port meanwhile: neighbour discovery and reports of groups.
const FROM_HOST: u64 = 8;

/// Frames that were sent to a port, in the kernel's numbers. What a TC program drops is among the first.
#[derive(Clone, Copy)]
pub(super) struct Arrivals {
    /// Put into the backlog of a CPU: programs see them.
    queued: u64,
    /// Lost because that backlog was full: nothing sees them (`enqueue_to_backlog`).
    lost: u64,
}

impl Arrivals {
    /// Those of the port so far.
    pub(super) fn at(world: &World, ifindex: u32) -> Result<Self> {
        let mut links = world.netlink.link().get().match_index(ifindex).execute();
        let link = Handle::current().block_on(links.try_next())?.context("no such port")?;
        let numbers = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Stats64(stats) => Some((stats.rx_packets, stats.rx_dropped)),
            _ => None,
        });
        let (queued, lost) = numbers.context("the kernel does not count the port's frames")?;
        Ok(Self { queued, lost })
    }

    /// Holds that each of `sent` frames that came in since was counted by a program; returns how many were. What
    /// was lost the sender was told, and sent again. The guest's own kernel may have sent some more.
    pub(super) fn all_counted(
        self,
        world: &World,
        ifindex: u32,
        sent: u64,
        counted: impl Fn() -> Result<u64>,
    ) -> Result<u64> {
        // Otherwise what follows says what is missing.
        let _missing =
            wait_for("each frame's count", PATIENCE, || Ok((counted()? >= sent).then_some(())));
        let (now, counted) = (Self::at(world, ifindex)?, counted()?);
        let (queued, lost) = (now.queued - self.queued, now.lost - self.lost);
        let told = format!("{sent} frames sent, {queued} queued, {lost} lost, {counted} counted");
        println!("{told}");
        // What the host says to the port meanwhile, and is denied, is counted at the port too.
        ensure!((sent..=queued + FROM_HOST).contains(&counted), "{told}");
        Ok(counted)
    }
}
