//! Reads back what the kernel holds: nothing here is remembered, everything is asked.

use enforcer_common::abi::event::Hook;

use super::{KernelError, links::Hooks, maps::Maps};
use crate::model::observed::Observed;

/// Reads the maps.
pub fn maps(maps: &Maps) -> Result<Observed, KernelError> {
    Ok(Observed {
        networks: maps.networks.list()?.into_iter().collect(),
        endpoints: maps.endpoints.list()?.into_iter().collect(),
        cgroups: maps.cgroups.list()?.into_iter().collect(),
        hubs: maps.hubs.list()?.into_iter().collect(),
        policies: maps.list_policies()?.into_iter().collect(),
        tables: maps.list_tables()?,
        published: maps.published.list()?.into_iter().map(|(key, _)| key).collect(),
        usage: maps.usage.list()?.into_iter().map(|(id, _)| id).collect(),
        ledger: maps.ledger()?,
        ..Observed::default()
    })
}

/// Whether a program of ours runs first on its hook. An interface that is gone has none.
pub fn runs_first(hooks: &Hooks, ifindex: u32, hook: Hook) -> Result<bool, KernelError> {
    match hooks.list(ifindex, hook) {
        Ok(ids) => Ok(ids.first().is_some_and(|id| hooks.is_current(hook, *id))),
        Err(error) if error.is_gone() => Ok(false),
        Err(error) => Err(error),
    }
}
