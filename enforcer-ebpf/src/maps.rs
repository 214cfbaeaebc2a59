//! Every map: who writes it, who reads it. The names are part of the ABI.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, bpf_timer},
    btf_maps::{Array, HashMap, PerCpuArray, PerCpuHashMap, Queue, RingBuf},
    macros::btf_map,
};
use enforcer_common::{
    abi::{
        cgroup::{CgroupOwner, Gate},
        counter::{Counter, CounterKey, Told, Usage},
        endpoint::{Endpoint, Hub, HubKey, Network},
        event::Event,
        flow::{Check, FlowKey, FlowRecord},
        import::{Import, ImportCounter},
        layout::LAYOUT_BYTES,
        ledger::Ledger,
        policy::{
            Lease, LeaseKey, POLICY_ENTRIES, POLICY_SLOTS, Policy, PortKey, Prefix, PrefixKey,
            PublishedKey, Rule,
        },
    },
    packet::Packet,
};

/// Entries are made one by one: most hosts use a fraction of what a table may hold.
const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;
/// Size of [`FLOWS`] unless the loader is told another.
const MAX_FLOWS: usize = 1 << 18;
/// Size of [`EVENTS`].
pub const RING_BYTES: usize = 4 << 20;

/// The one value of [`REAPER`].
#[repr(C)]
pub struct Reaper {
    /// Fires every tick.
    pub timer: bpf_timer,
    /// 1 while the timer is armed; changed by compare-and-swap only.
    pub armed: u32,
    /// Padding.
    pub reserved: u32,
}

/// Room for what does not fit the 512 bytes of a BPF stack. Programs run with softirqs off, so none
/// interrupts another on the same CPU.
#[repr(C)]
pub struct Scratch {
    /// The frame that is judged.
    pub packet: Packet,
    /// The key of its flow.
    pub key: FlowKey,
    /// A new flow on its way into the table.
    pub flow: FlowRecord,
    /// A check on its way into a queue.
    pub check: Check,
    /// The rule that denied the frame; 0: none.
    pub denied_by: u32,
    /// Padding.
    pub reserved: u32,
    /// What a new counter begins with. Never written.
    pub zero: Counter,
}

/// One for each CPU. Written and read by one run of a program.
#[btf_map]
pub static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// The same for the programs that import: a test run is no softirq, so one may interrupt it.
#[repr(C)]
pub struct ImportScratch {
    /// The flow that is imported.
    pub import: Import,
    /// Its check on its way into a queue.
    pub check: Check,
    /// The counts that are imported.
    pub counter: ImportCounter,
}

/// One for each CPU. Written and read by one test run; user space runs one at a time.
#[btf_map]
pub static IMPORT_SCRATCH: PerCpuArray<ImportScratch, 1> = PerCpuArray::new();

/// Ports of guest bridges by ifindex. Written by the daemon.
#[btf_map]
pub static ENDPOINTS: HashMap<u32, Endpoint, 8192, ON_DEMAND> = HashMap::new();

/// Guests' cgroups by id. Written by the daemon, read by the programs that know the process.
#[btf_map]
pub static CGROUPS: HashMap<u64, CgroupOwner, 8192, ON_DEMAND> = HashMap::new();

/// Sockets that guests may reach though they are not theirs. Written by the daemon, and its own: they
/// end with it.
#[btf_map]
pub static GATES: HashMap<Gate, u32, 8192, ON_DEMAND> = HashMap::new();

/// Which load of program `process_exec` records: while one daemon takes over from another both sit on
/// their tracepoint. Written by the daemon.
#[btf_map]
pub static EXEC_LOAD: Array<u64, 1> = Array::new();

/// Guest bridges by ifindex. Written by the daemon.
#[btf_map]
pub static NETWORKS: HashMap<u32, Network, 256, ON_DEMAND> = HashMap::new();

/// Addresses of hubs' containers. Written by the daemon.
#[btf_map]
pub static HUBS: HashMap<HubKey, Hub, 1024, ON_DEMAND> = HashMap::new();

/// Policies by number. Written by the daemon.
#[btf_map]
pub static POLICIES: Array<Policy, { POLICY_SLOTS as usize }> = Array::new();

/// Classes of destinations, of every policy. Written by the daemon.
#[btf_map]
pub static PREFIXES: HashMap<PrefixKey, Prefix, { POLICY_ENTRIES as usize }, ON_DEMAND> =
    HashMap::new();

/// What policies open to each class of destinations. Written by the daemon.
#[btf_map]
pub static PORTS: HashMap<PortKey, Rule, { POLICY_ENTRIES as usize }, ON_DEMAND> = HashMap::new();

/// Addresses that the resolver told guests, under the names for which they are open. Written by the daemon.
#[btf_map]
pub static LEASES: HashMap<LeaseKey, Lease, 262_144, ON_DEMAND> = HashMap::new();

/// Container ports that Docker publishes. Written by the daemon.
#[btf_map]
pub static PUBLISHED: HashMap<PublishedKey, u32, 65536, ON_DEMAND> = HashMap::new();

/// Live flows of all endpoints; quotas keep one guest from filling it. Written by the packet path.
#[btf_map]
pub static FLOWS: HashMap<FlowKey, FlowRecord, MAX_FLOWS, ON_DEMAND> = HashMap::new();

/// Flows that the reaper looks at in some seconds, in order of time. Twice the flows: those that
/// ended in between leave their check behind.
#[btf_map]
pub static CHECKS_SOON: Queue<Check, { 2 * MAX_FLOWS }> = Queue::new();

/// Flows that the reaper looks at in some minutes, in order of time.
#[btf_map]
pub static CHECKS_LATER: Queue<Check, MAX_FLOWS> = Queue::new();

/// The timer that ends flows, whether or not the daemon lives. Written by the packet path.
#[btf_map]
pub static REAPER: Array<Reaper, 1> = Array::new();

/// Flows by state for each endpoint id. The daemon makes the entry, the packet path counts.
#[btf_map]
pub static USAGE: HashMap<u32, Usage, 8192, ON_DEMAND> = HashMap::new();

/// Denials and opened flows by owner, reason and hook. Written by the packet path.
#[btf_map]
pub static COUNTERS: PerCpuHashMap<CounterKey, Counter, 131_072, ON_DEMAND> = PerCpuHashMap::new();

/// What the daemon told of the losses that [`COUNTERS`] counts. Written and read by it only.
#[btf_map]
pub static TOLD: HashMap<CounterKey, Told, 131_072, ON_DEMAND> = HashMap::new();

/// Numbers that were given out. Written and read by the daemon only.
#[btf_map]
pub static LEDGER: Array<Ledger, 1> = Array::new();
/// What the maps look like, by the names of their fields. Written by the daemon that made the maps,
/// read by one that has others.
#[btf_map]
pub static LAYOUT: Array<[u8; LAYOUT_BYTES], 1> = Array::new();

/// Records for the daemon.
#[btf_map]
pub static EVENTS: RingBuf<Event, RING_BYTES> = RingBuf::new();

/// Events that no counter could be made for, on each CPU. Written by the packet path.
#[btf_map]
pub static UNCOUNTED: PerCpuArray<u64, 1> = PerCpuArray::new();
