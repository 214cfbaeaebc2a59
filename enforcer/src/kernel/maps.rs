//! The maps, typed. Who writes what, and in which order, is the plan's business.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuHashMap},
};
use enforcer_common::abi::{
    cgroup::CgroupOwner,
    counter::{Counter, CounterKey, Told, Usage},
    endpoint::{Endpoint, Hub, HubKey, Network},
    flow::{FlowKey, FlowRecord},
    ledger::Ledger,
    policy::{Lease, LeaseKey, Policy, PortKey, Prefix, PrefixKey, PublishedKey, Rule},
};

use super::{KernelError, flows::FlowTable, load::LoadError};
use crate::policy::compile::Tables;

/// Map `LEASES`, which the resolver writes beside the control loop.
pub type LeaseTable = Arc<Mutex<Table<LeaseKey, Lease>>>;

/// The maps that control writes and reads.
pub struct Maps {
    /// Ports of guest bridges by ifindex.
    pub endpoints: Table<u32, Endpoint>,
    /// Guests' cgroups by id.
    pub cgroups: Table<u64, CgroupOwner>,
    /// Guest bridges by ifindex.
    pub networks: Table<u32, Network>,
    /// Addresses of hubs' containers.
    pub hubs: Table<HubKey, Hub>,
    /// Classes of addresses.
    pub prefixes: Table<PrefixKey, Prefix>,
    /// What is said of the ports of each class.
    pub ports: Table<PortKey, Rule>,
    /// Addresses that the resolver told guests, under a lock of their own: a guest's answer waits for nobody else.
    pub leases: LeaseTable,
    /// Published container ports.
    pub published: Table<PublishedKey, u32>,
    /// Flows that each endpoint has, by its id.
    pub usage: Table<u32, Usage>,
    /// Policies by number.
    pub policies: Array<MapData, Policy>,
    /// Flows, by a handle that needs no lock.
    pub flow_table: FlowTable,
    flows: HashMap<MapData, FlowKey, FlowRecord>,
    ledger: Array<MapData, Ledger>,
}

impl Maps {
    /// Takes them out of a loaded object.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        Ok(Self {
            endpoints: Table::take(ebpf, "ENDPOINTS")?,
            cgroups: Table::take(ebpf, "CGROUPS")?,
            networks: Table::take(ebpf, "NETWORKS")?,
            hubs: Table::take(ebpf, "HUBS")?,
            prefixes: Table::take(ebpf, "PREFIXES")?,
            ports: Table::take(ebpf, "PORTS")?,
            leases: Arc::new(Mutex::new(Table::take(ebpf, "LEASES")?)),
            published: Table::take(ebpf, "PUBLISHED")?,
            usage: Table::take(ebpf, "USAGE")?,
            policies: typed(ebpf, "POLICIES")?,
            flow_table: FlowTable::open(ebpf)?,
            flows: typed(ebpf, "FLOWS")?,
            ledger: typed(ebpf, "LEDGER")?,
        })
    }

    /// Flows in the table, whatever their state.
    pub fn count_flows(&self) -> Result<u64, KernelError> {
        let mut count = 0;
        for key in self.flows.keys() {
            key.map_err(failed("FLOWS", "list"))?;
            count += 1;
        }
        Ok(count)
    }

    /// The numbers that were given out.
    pub fn ledger(&self) -> Result<Ledger, KernelError> {
        self.ledger.get(&0, 0).map_err(failed("LEDGER", "read"))
    }

    /// Writes the numbers that were given out.
    pub fn set_ledger(&mut self, ledger: Ledger) -> Result<(), KernelError> {
        self.ledger.set(0, ledger, 0).map_err(failed("LEDGER", "write"))
    }

    /// Writes a policy's tables, under its epoch, and then the policy, which changes over to them. Where
    /// an entry cannot be written, those that were are removed and the policy stays what it was.
    pub fn put_policy(
        &mut self,
        number: u32,
        policy: Policy,
        tables: &Tables,
    ) -> Result<(), KernelError> {
        if let Err(error) = self.put_tables(policy.epoch, tables) {
            self.drop_rules(policy.epoch, tables)?;
            return Err(error);
        }
        self.policies.set(number, policy, 0).map_err(failed("POLICIES", "write"))
    }

    fn put_tables(&mut self, epoch: u32, tables: &Tables) -> Result<(), KernelError> {
        let mut ports = tables.ports.iter();
        ports.try_for_each(|(key, rule)| self.ports.put(&PortKey { epoch, ..*key }, rule))?;
        let mut prefixes = tables.prefixes.iter();
        prefixes.try_for_each(|(key, to)| self.prefixes.put(&PrefixKey { epoch, ..*key }, to))
    }

    /// Removes entries of a policy that is no more.
    pub fn drop_rules(&mut self, epoch: u32, tables: &Tables) -> Result<(), KernelError> {
        let mut prefixes = tables.prefixes.keys();
        prefixes.try_for_each(|key| self.prefixes.remove(&PrefixKey { epoch, ..*key }))?;
        let mut ports = tables.ports.keys();
        ports.try_for_each(|key| self.ports.remove(&PortKey { epoch, ..*key }))
    }

    /// All tables, by epoch.
    pub fn list_tables(&self) -> Result<BTreeMap<u32, Arc<Tables>>, KernelError> {
        let mut found: BTreeMap<u32, Tables> = BTreeMap::new();
        for (key, prefix) in self.prefixes.list()? {
            let tables = found.entry(key.epoch).or_default();
            tables.prefixes.insert(PrefixKey { epoch: 0, ..key }, prefix);
        }
        for (key, rule) in self.ports.list()? {
            let tables = found.entry(key.epoch).or_default();
            tables.ports.insert(PortKey { epoch: 0, ..key }, rule);
        }
        Ok(found.into_iter().map(|(epoch, tables)| (epoch, Arc::new(tables))).collect())
    }

    /// Removes a policy: everything under it is denied.
    pub fn drop_policy(&mut self, number: u32) -> Result<(), KernelError> {
        self.policies.set(number, Policy::default(), 0).map_err(failed("POLICIES", "write"))
    }

    /// All policies that exist, by number.
    pub fn list_policies(&self) -> Result<Vec<(u32, Policy)>, KernelError> {
        let mut found = Vec::new();
        for number in 0..self.policies.len() {
            let policy = self.policies.get(&number, 0).map_err(failed("POLICIES", "read"))?;
            if policy.epoch != 0 {
                found.push((number, policy));
            }
        }
        Ok(found)
    }
}

/// A hash map.
pub struct Table<K: aya::Pod, V: aya::Pod> {
    name: &'static str,
    map: HashMap<MapData, K, V>,
}

impl<K: aya::Pod, V: aya::Pod> Table<K, V> {
    pub(super) fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Self, LoadError> {
        Ok(Self { name, map: typed(ebpf, name)? })
    }

    /// Writes an entry, new or not.
    pub fn put(&mut self, key: &K, value: &V) -> Result<(), KernelError> {
        self.map.insert(key, value, 0).map_err(failed(self.name, "write"))
    }

    /// Writes an entry unless there is one: what the kernel counts in it is kept.
    pub fn create(&mut self, key: &K, value: &V) -> Result<(), KernelError> {
        const BPF_NOEXIST: u64 = 1;
        match self.map.insert(key, value, BPF_NOEXIST) {
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == std::io::ErrorKind::AlreadyExists =>
            {
                Ok(())
            }
            outcome => outcome.map_err(failed(self.name, "write")),
        }
    }

    /// Removes an entry; one that is not there is no error.
    pub fn remove(&mut self, key: &K) -> Result<(), KernelError> {
        match self.map.remove(key) {
            Err(MapError::KeyNotFound) => Ok(()),
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(())
            }
            outcome => outcome.map_err(failed(self.name, "remove an entry of")),
        }
    }

    /// All entries.
    pub fn list(&self) -> Result<Vec<(K, V)>, KernelError> {
        self.map.iter().collect::<Result<_, _>>().map_err(failed(self.name, "list"))
    }
}

/// Map `COUNTERS`: written by the kernel, read and tidied by the audit path.
pub struct CounterMap {
    map: PerCpuHashMap<MapData, CounterKey, Counter>,
    uncounted: PerCpuArray<MapData, u64>,
    told: Table<CounterKey, Told>,
    id: Option<u32>,
}

impl CounterMap {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        let id = match ebpf.map("COUNTERS") {
            Some(Map::PerCpuHashMap(map)) => map.info().ok().map(|info| info.id()),
            _ => None,
        };
        Ok(Self {
            map: typed(ebpf, "COUNTERS")?,
            uncounted: typed(ebpf, "UNCOUNTED")?,
            told: Table::take(ebpf, "TOLD")?,
            id,
        })
    }

    /// The kernel's id of the map, which no other map has had since it booted (`bpf_map_alloc_id`
    /// goes round once in 2^31); `None`: it does not say.
    #[must_use]
    pub const fn id(&self) -> Option<u32> {
        self.id
    }

    /// All counters, summed over the CPUs. Times and tokens are left out: they have no sum.
    pub fn list(&self) -> Result<Vec<(CounterKey, Counter)>, KernelError> {
        let mut found = Vec::new();
        for entry in &self.map {
            let (key, values) = entry.map_err(failed("COUNTERS", "list"))?;
            found.push((key, values.iter().fold(Counter::default(), |sum, cpu| sum.plus(cpu))));
        }
        Ok(found)
    }

    /// Events that the kernel could make no counter for.
    pub fn uncounted(&self) -> Result<u64, KernelError> {
        let values = self.uncounted.get(&0, 0).map_err(failed("UNCOUNTED", "read"))?;
        Ok(values.iter().sum())
    }

    /// How many of a counter's losses were told.
    pub fn tell(&mut self, key: &CounterKey, told: &Told) -> Result<(), KernelError> {
        self.told.put(key, told)
    }

    /// What was told of all losses, by this daemon and by earlier ones.
    pub fn told(&self) -> Result<Vec<(CounterKey, Told)>, KernelError> {
        self.told.list()
    }

    /// Forgets a counter.
    pub fn remove(&mut self, key: &CounterKey) -> Result<(), KernelError> {
        self.told.remove(key)?;
        match self.map.remove(key) {
            Err(MapError::KeyNotFound) => Ok(()),
            outcome => outcome.map_err(failed("COUNTERS", "remove an entry of")),
        }
    }
}

pub(super) fn typed<T>(ebpf: &mut Ebpf, map: &'static str) -> Result<T, LoadError>
where
    T: TryFrom<Map, Error = MapError>,
{
    let taken = ebpf.take_map(map).ok_or(LoadError::NoMap { map, source: None })?;
    T::try_from(taken).map_err(|source| LoadError::NoMap { map, source: Some(source) })
}

fn failed(map: &'static str, operation: &'static str) -> impl FnOnce(MapError) -> KernelError {
    move |source| KernelError::Map { map, operation, source }
}
