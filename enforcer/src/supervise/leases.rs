//! Opens the addresses that the resolver tells guests, and closes them again.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use enforcer_common::abi::policy::LeaseKey;
use tokio::sync::watch;

use crate::{
    control::{
        desired::abi_address,
        leases::{self, LeaseError},
        path::PacketPath,
        reconcile::State,
    },
    kernel::{KernelError, maps::LeaseTable, monotonic_ns},
    model::names::{Granting, Lease, Leases},
};

/// How often leases that are over are taken out of the map. The kernel itself knows when they end.
const SWEEP: Duration = Duration::from_secs(15);

/// Leases as the kernel holds them. An earlier daemon's go on.
pub(super) struct KernelLeases {
    /// Not the packet path as a whole: the control loop may hold that for as long as a policy takes.
    table: LeaseTable,
    state: watch::Receiver<Arc<State>>,
    known: Mutex<leases::Leases>,
}

impl KernelLeases {
    /// Reads what the kernel holds.
    pub(super) fn new(
        path: &PacketPath,
        state: watch::Receiver<Arc<State>>,
    ) -> Result<Self, KernelError> {
        let table = Arc::clone(&path.lock().maps.leases);
        let known = leases::Leases::known(lock(&table).list()?);
        Ok(Self { table, state, known: Mutex::new(known) })
    }

    fn known(&self) -> MutexGuard<'_, leases::Leases> {
        lock(&self.known)
    }

    fn open(&self, lease: &Lease) -> Result<(), String> {
        let (address, family) = abi_address(lease.address);
        let key = LeaseKey { endpoint: lease.endpoint, address, family, reserved: [0; 3] };
        if leases::is_own(&key, &self.state.borrow().desired.own) {
            return Err(LeaseError::Own.to_string());
        }
        let now = monotonic_ns();
        let ttl = u64::try_from(lease.ttl.as_nanos()).unwrap_or(0);
        let mut known = self.known();
        let entry = known.grant(key, lease.group, now.saturating_add(ttl), now);
        let entry = entry.map_err(|error| error.to_string())?;
        let written = lock(&self.table).put(&key, &entry);
        written.map_err(|error| crate::causes::causes(&error))
    }

    /// Closes what is over, again and again.
    pub(super) async fn sweep(&self) {
        loop {
            tokio::time::sleep(SWEEP).await;
            let state = Arc::clone(&self.state.borrow());
            if state.runs == 0 || state.observed.networks.is_empty() {
                // Nobody is known yet, or the kernel could not be asked just now.
                continue;
            }
            let endpoints: BTreeSet<u32> =
                state.observed.endpoints.values().map(|endpoint| endpoint.id).collect();
            // Held until they are out of the map: one of them may be granted anew.
            let mut known = self.known();
            for key in known.sweep(&endpoints, &state.desired.own, monotonic_ns()) {
                if let Err(error) = lock(&self.table).remove(&key) {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "a lease that is over stays in its map");
                }
            }
        }
    }
}

/// Each change of what is locked here is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Leases for KernelLeases {
    fn grant(&self, lease: Lease) -> Granting<'_> {
        Box::pin(std::future::ready(self.open(&lease)))
    }
}
