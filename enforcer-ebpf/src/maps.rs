//! Every map: who writes it, who reads it. The names are part of the ABI.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, bpf_timer},
    btf_maps::{Array, HashMap, PerCpuArray, PerCpuHashMap, RingBuf},
    macros::btf_map,
};
use enforcer_common::abi::{
    counter::{Counter, CounterKey, Usage},
    endpoint::{Endpoint, Hub, HubKey, Network},
    event::Event,
    flow::{FlowKey, FlowRecord},
    policy::{Policy, PublishedKey, Rule, RuleKey},
};

/// Entries are made one by one: most hosts use a fraction of what a table may hold.
const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;
/// Size of [`EVENTS`].
pub const RING_BYTES: usize = 4 << 20;

/// Value of [`FLOWS`]: what is remembered, and the timer that ends it.
#[repr(C)]
pub struct Flow {
    /// Read and written by the packet path; read by the daemon.
    pub record: FlowRecord,
    /// Deletes the entry when the flow is over, whether or not the daemon lives.
    pub timer: bpf_timer,
}

/// Ports of guest bridges by ifindex. Written by the daemon.
#[btf_map]
pub static ENDPOINTS: HashMap<u32, Endpoint, 8192, ON_DEMAND> = HashMap::new();

/// Guest bridges by ifindex. Written by the daemon.
#[btf_map]
pub static NETWORKS: HashMap<u32, Network, 256, ON_DEMAND> = HashMap::new();

/// Addresses of hubs' containers. Written by the daemon.
#[btf_map]
pub static HUBS: HashMap<HubKey, Hub, 1024, ON_DEMAND> = HashMap::new();

/// Policies by number. Written by the daemon.
#[btf_map]
pub static POLICIES: Array<Policy, 512> = Array::new();

/// Destinations that policies open. Written by the daemon.
#[btf_map]
pub static RULES: HashMap<RuleKey, Rule, 65536, ON_DEMAND> = HashMap::new();

/// Container ports that Docker publishes. Written by the daemon.
#[btf_map]
pub static PUBLISHED: HashMap<PublishedKey, u32, 65536, ON_DEMAND> = HashMap::new();

/// Live flows of all endpoints; quotas keep one guest from filling it. Written by the packet path.
#[btf_map]
pub static FLOWS: HashMap<FlowKey, Flow, 1048576, ON_DEMAND> = HashMap::new();

/// Flows by state for each endpoint id. The daemon makes the entry, the packet path counts.
#[btf_map]
pub static USAGE: HashMap<u32, Usage, 8192, ON_DEMAND> = HashMap::new();

/// Denials and opened flows by owner, reason and hook. Written by the packet path.
#[btf_map]
pub static COUNTERS: PerCpuHashMap<CounterKey, Counter, 131072, ON_DEMAND> = PerCpuHashMap::new();

/// Records for the daemon.
#[btf_map]
pub static EVENTS: RingBuf<Event, RING_BYTES> = RingBuf::new();

/// Events that no counter could be made for, on each CPU. Written by the packet path.
#[btf_map]
pub static UNCOUNTED: PerCpuArray<u64, 1> = PerCpuArray::new();
