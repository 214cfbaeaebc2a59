//! What becomes of what an earlier daemon left in the kernel.
//!
//! ```text
//! same layout:   links switch to this daemon's programs, on the same maps
//! other layout:  maps carried over ─► links switch ─► what changed meanwhile carried over
//! not carried:   links keep their programs, and switch one by one as their interfaces get an entry
//! ```
//! At no time is a hook empty, or a program on maps that do not know its interface: a hook whose
//! interface is not in this daemon's maps keeps the program that it has.

use std::{collections::BTreeSet, path::Path};

use enforcer_common::abi::event::Hook;

use super::{
    KernelError,
    load::{LoadError, Loaded},
    migrate::{MigrateError, Migrated, Source},
    pins::{self, Pins},
    raw::RawMap,
};
use crate::causes::causes;

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// Nothing was there.
    Fresh,
    /// It had this daemon's layout, and goes on.
    Same {
        /// Links that go on with this daemon's programs.
        links: usize,
    },
    /// It had another layout, and goes on in this daemon's.
    Migrated {
        /// ABI version of the other layout.
        from: u32,
        /// Links that go on with this daemon's programs.
        links: usize,
        /// Flows carried over.
        flows: u64,
        /// Flows that could not be.
        cut: u64,
    },
    /// It had another layout that this daemon cannot read: flows start anew.
    Rebuilt {
        /// ABI version of the other layout.
        from: u32,
        /// Flows that end.
        cut: u64,
        /// Why it could not be read.
        why: String,
    },
}

/// Takes over what is pinned beside the maps of `loaded`. `filters` are the hooks that have a filter
/// of an earlier daemon; none with TCX.
pub fn take_over(
    loaded: &mut Loaded,
    pins: &Pins,
    filters: &[(u32, Hook)],
) -> Result<Takeover, LoadError> {
    let mut takeover = None;
    for (version, dir) in pins.other_layouts()? {
        takeover = Some(from_other(loaded, (pins, filters), version, &dir)?);
        pins::remove_dir(&dir)?;
    }
    if let Some(takeover) = takeover {
        return Ok(takeover);
    }
    // One that ended before it policed anybody left maps, and nothing in them.
    if loaded.fresh || loaded.maps.endpoints.list()?.is_empty() {
        adopt(loaded, filters)?;
        return Ok(Takeover::Fresh);
    }
    let links = adopt(loaded, filters)?;
    loaded.importer.rearm(&pins.maps_dir())?;
    Ok(Takeover::Same { links })
}

fn from_other(
    loaded: &mut Loaded,
    (pins, filters): (&Pins, &[(u32, Hook)]),
    from: u32,
    dir: &Path,
) -> Result<Takeover, LoadError> {
    match carry(loaded, pins, filters, dir) {
        Ok((links, Migrated { flows, cut })) => Ok(Takeover::Migrated { from, links, flows, cut }),
        Err(error) => {
            let why = causes(&error);
            tracing::error!(from, why, "the maps of the other version are not understood");
            loaded.hooks.hold(filters)?;
            loaded.processes.attach();
            Ok(Takeover::Rebuilt { from, cut: count_flows(dir), why })
        }
    }
}

fn carry(
    loaded: &mut Loaded,
    pins: &Pins,
    filters: &[(u32, Hook)],
    dir: &Path,
) -> Result<(usize, Migrated), MigrateError> {
    let mut source = Source::open(dir)?;
    let control = source.control(&pins.maps_dir())?;
    let before = source.flows(&mut loaded.importer)?;
    let links = adopt(loaded, filters)?;
    // What the old programs did until now.
    let after = source.flows(&mut loaded.importer)?;
    let counters = source.counters(&mut loaded.importer)?;
    tracing::info!(?control, ?before, ?after, counters, "carried over");
    Ok((links, Migrated { flows: before.flows + after.flows, cut: after.cut }))
}

/// A program lets pass what its maps do not know: it comes only where they do.
fn adopt(loaded: &mut Loaded, filters: &[(u32, Hook)]) -> Result<usize, KernelError> {
    let ports: BTreeSet<u32> = loaded.maps.endpoints.list()?.into_iter().map(|(i, _)| i).collect();
    let bridges: BTreeSet<u32> = loaded.maps.networks.list()?.into_iter().map(|(i, _)| i).collect();
    let adopted = loaded.hooks.adopt(filters, |ifindex, hook| match hook {
        Hook::FromGuest | Hook::ToGuest => ports.contains(&ifindex),
        Hook::FromBridge | Hook::ToBridge => bridges.contains(&ifindex),
    })?;
    loaded.processes.attach();
    Ok(adopted)
}

/// Flows of a table whose layout is not known: their number is, nevertheless.
fn count_flows(dir: &Path) -> u64 {
    let flows = RawMap::open(&dir.join("FLOWS")).ok().and_then(|map| map.list().ok());
    flows.map_or(0, |flows| flows.len() as u64)
}
