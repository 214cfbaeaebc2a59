//! What the kernel holds, as it was read back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use enforcer_common::abi::{
    cgroup::CgroupOwner,
    endpoint::{Endpoint, Hub, HubKey, Network},
    event::Hook,
    ledger::Ledger,
    policy::{Policy, PublishedKey},
};

use crate::policy::compile::Tables;

use super::{closure::Closure, inventory::Mac, link::PortSettings};

/// Everything that control writes, read back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The closure that this process wrote and the kernel still holds unchanged.
    pub closure: Option<Closure>,
    /// Map `NETWORKS`.
    pub networks: BTreeMap<u32, Network>,
    /// Map `ENDPOINTS`.
    pub endpoints: BTreeMap<u32, Endpoint>,
    /// Map `CGROUPS`.
    pub cgroups: BTreeMap<u64, CgroupOwner>,
    /// Map `HUBS`.
    pub hubs: BTreeMap<HubKey, Hub>,
    /// Map `POLICIES`, those that exist.
    pub policies: BTreeMap<u32, Policy>,
    /// Maps `PREFIXES` and `PORTS`, by epoch.
    pub tables: BTreeMap<u32, Arc<Tables>>,
    /// Map `PUBLISHED`.
    pub published: BTreeSet<PublishedKey>,
    /// Keys of map `USAGE`.
    pub usage: BTreeSet<u32>,
    /// Programs of ours that run first on their hook.
    pub first: BTreeSet<(u32, Hook)>,
    /// Map `LEDGER`.
    pub ledger: Ledger,
    /// Every map and link is pinned.
    pub pinned: bool,
    /// Programs that were attached, by this daemon or by one whose they are taken over from, whether
    /// or not the kernel still runs them.
    pub held: BTreeSet<(u32, Hook)>,
    /// Settings of bridge ports.
    pub ports: BTreeMap<u32, PortSettings>,
    /// Static FDB entries that this process made.
    pub fdb: BTreeMap<u32, Mac>,
}
