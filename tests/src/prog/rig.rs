//! The loaded object, its maps filled with the cast, and one call for each frame.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader, Pod, TestRun as _, TestRunOptions,
    maps::{Array, HashMap, PerCpuHashMap, RingBuf},
    programs::SchedClassifier,
};
use enforcer::kernel::import::{self, Importer};
use enforcer_common::{
    abi::{
        counter::{Buckets, Counter, CounterKey, FLOW_CLOSED, Usage},
        endpoint::{Endpoint, Hub, HubKey, Network, Role},
        event::{Event, FlowEnd, Hook},
        flow::FlowRecord,
        policy::{
            Limits, POLICY_ENTRIES, Policy, PortKey, Prefix, PrefixKey, PublishedKey, Quotas, Rule,
        },
        verdict::DropReason,
    },
    packet::{Family, IPV4, IPV6, TCP, UDP, widen},
};

use super::frame::{
    A, A_MAC, A6, ALLOWED_PORT, B, B_MAC, BRIDGE_MAC, GATEWAY, GATEWAY6, HUB, HUB_MAC, WORLD,
    WORLD6,
};

/// Guest A's port. The ids of endpoints and networks are their interfaces plus [`ID`].
pub const GUEST: u32 = 11;
/// Guest B's port.
pub const OTHER_GUEST: u32 = 12;
/// The hub's port.
pub const HUB_PORT: u32 = 13;
/// A port of the bridge without identity.
pub const UNKNOWN: u32 = 14;
/// A port of the bridge that is neither a guest's nor a hub's.
pub const NEITHER: u32 = 15;
/// The guest bridge.
pub const BRIDGE: u32 = 20;
/// An interface that is none of ours.
pub const STRANGER: u32 = 30;
/// Where the world is.
pub const UPLINK: u32 = 31;
/// What is added to an interface to make an id.
pub const ID: u32 = 100;

/// The stamp of what a guest sent.
pub const FROM_GUEST: u32 = 0x1000_0000;
/// The stamp of what the host sent or forwards.
pub const FROM_HOST: u32 = 0x2000_0000;
/// The bits of both stamps.
pub const MASK: u32 = 0x3000_0000;

/// The number of the policy of every endpoint.
pub const POLICY: u32 = 5;
/// `TCX_NEXT`.
pub const ALLOW: i32 = -1;
/// `TCX_DROP`.
pub const DENY: i32 = 2;

/// Entries of the policies' tables, fewer than those that ship: some tests fill them.
const RULES: u32 = 1 << 16;

/// Metadata of a frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meta {
    /// The interface that the program runs for.
    pub ifindex: u32,
    /// The interface it came from; 0: this host.
    pub ingress: u32,
    /// Its mark.
    pub mark: u32,
    /// Segments of an aggregate; 0: it is none.
    pub segments: u32,
}

/// What a program said and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The return code.
    pub code: i32,
    /// The mark afterwards.
    pub mark: u32,
}

/// See the module.
pub struct Rig {
    /// The loaded object.
    pub ebpf: Ebpf,
    /// Takes flows of another table.
    pub importer: Importer,
    /// Ends of flows that were in the ring beside the events.
    pub ends: Vec<FlowEnd>,
}

/// Whether the test can run; says why not.
#[must_use]
pub fn can_run() -> bool {
    // SAFETY: takes nothing.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// A network namespace for this thread and its children, gone with them.
fn enter_namespace() -> Result<()> {
    // SAFETY: changes only this thread.
    ensure!(unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0, "unshare");
    for index in [GUEST, OTHER_GUEST, HUB_PORT, UNKNOWN, NEITHER, BRIDGE, STRANGER, UPLINK] {
        let line = format!("link add name i{index} index {index} type veth peer name p{index}");
        let status = Command::new("ip").args(line.split(' ')).status().context("ip")?;
        ensure!(status.success(), "ip {line}");
    }
    Ok(())
}

impl Rig {
    /// With a small flow table.
    pub fn new() -> Result<Self> {
        Self::with_flows(4096)
    }

    /// With a flow table of so many entries.
    pub fn with_flows(max: u32) -> Result<Self> {
        let mut rig = Self::empty(max)?;
        rig.fill()?;
        Ok(rig)
    }

    /// With a flow table of so many entries, and nobody in any map.
    pub fn empty(max: u32) -> Result<Self> {
        Self::load(max, RULES)
    }

    /// As [`Rig::with_flows`], with tables for rules as large as those that ship.
    pub fn as_shipped(max: u32) -> Result<Self> {
        let mut rig = Self::load(max, POLICY_ENTRIES)?;
        rig.fill()?;
        Ok(rig)
    }

    fn load(max: u32, rules: u32) -> Result<Self> {
        enter_namespace()?;
        let object = enforcer::kernel::object::embedded()?;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("FLOWS", max)
            .map_max_entries("CHECKS_SOON", 2 * max)
            .map_max_entries("CHECKS_LATER", max)
            .map_max_entries("PREFIXES", rules)
            .map_max_entries("PORTS", rules)
            .load(object)?;
        for name in Hook::ALL.map(Hook::name).into_iter().chain(import::PROGRAMS) {
            let program: &mut SchedClassifier = ebpf.program_mut(name).context(name)?.try_into()?;
            program.load().context(name)?;
        }
        let importer = Importer::new(&ebpf)?;
        Ok(Self { ebpf, importer, ends: Vec::new() })
    }

    /// Puts the cast, its policy and its rules into the maps, in place of what they have become.
    pub fn fill(&mut self) -> Result<()> {
        let plain = Endpoint { network: BRIDGE, policy: POLICY, ..Endpoint::default() };
        let a = Endpoint {
            ipv4: A.octets(),
            ipv6: A6.octets(),
            link_local: [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xa],
            mac: A_MAC,
            role: Role::Guest as u8,
            ..plain
        };
        let b = Endpoint { ipv4: B.octets(), mac: B_MAC, role: Role::Guest as u8, ..plain };
        let hub = Endpoint { ipv4: HUB.octets(), mac: HUB_MAC, role: Role::Hub as u8, ..plain };
        self.endpoint(GUEST, a)?;
        self.endpoint(OTHER_GUEST, b)?;
        self.endpoint(HUB_PORT, hub)?;
        self.endpoint(UNKNOWN, Endpoint { role: Role::Unknown as u8, ..a })?;
        self.endpoint(NEITHER, Endpoint { role: Role::Other as u8, ..a })?;
        self.map("NETWORKS")?.insert(BRIDGE, network(), 0)?;
        let key = HubKey {
            network: BRIDGE,
            address: widen(HUB.octets()),
            family: IPV4,
            reserved: [0; 3],
        };
        self.map("HUBS")?.insert(key, Hub { mac: HUB_MAC, reserved: [0; 2] }, 0)?;
        self.policy(POLICY, policy(1))?;
        for (family, address) in
            [(IPV4, widen(WORLD.octets())), (IPV4, widen(HUB.octets())), (IPV6, WORLD6.octets())]
        {
            for protocol in [TCP, UDP] {
                self.open(1, (family, address), (protocol, ALLOWED_PORT), 42)?;
            }
        }
        let key = PublishedKey { endpoint: GUEST + ID, port: 8888, protocol: TCP, reserved: 0 };
        self.map("PUBLISHED")?.insert(key, 1_u32, 0)?;
        Ok(())
    }

    /// Opens a port of one address by this rule. All such addresses are one class.
    pub fn open(
        &mut self,
        epoch: u32,
        (family, address): (Family, [u8; 16]),
        (protocol, port): (u8, u16),
        id: u32,
    ) -> Result<()> {
        let number = u128::from_be_bytes(address);
        let halves = [number >> 64, number & u128::from(u64::MAX)];
        let [high, low] = halves.map(u64::try_from);
        let length = if family == IPV4 { 32 } else { 128 };
        let bits = [high?, low?];
        let key = PrefixKey { epoch, family, length, bits, ..PrefixKey::default() };
        self.map("PREFIXES")?.insert(key, Prefix { class: 1 }, 0)?;
        let key = PortKey { epoch, class: 1, port, length: 16, protocol };
        self.map("PORTS")?.insert(key, Rule { decision: id }, 0)?;
        Ok(())
    }

    /// A map of plain values.
    pub fn map<K: Pod, V: Pod>(
        &mut self,
        name: &'static str,
    ) -> Result<HashMap<&mut aya::maps::MapData, K, V>> {
        Ok(HashMap::try_from(self.ebpf.map_mut(name).context(name)?)?)
    }

    /// Puts an endpoint in place; its id follows from the interface.
    pub fn endpoint(&mut self, ifindex: u32, endpoint: Endpoint) -> Result<()> {
        self.endpoint_as(ifindex, Endpoint { id: ifindex + ID, ..endpoint })
    }

    /// Puts an endpoint in place, with the usage entry of its id.
    pub fn endpoint_as(&mut self, ifindex: u32, endpoint: Endpoint) -> Result<()> {
        self.map("USAGE")?.insert(endpoint.id, Usage::default(), 0)?;
        self.map("ENDPOINTS")?.insert(ifindex, endpoint, 0)?;
        Ok(())
    }

    /// Puts a policy in place.
    pub fn policy(&mut self, number: u32, policy: Policy) -> Result<()> {
        let mut policies =
            Array::<_, Policy>::try_from(self.ebpf.map_mut("POLICIES").context("POLICIES")?)?;
        policies.set(number, policy, 0)?;
        Ok(())
    }

    /// Runs a program over a frame.
    pub fn run(&self, hook: Hook, frame: &[u8], meta: Meta) -> Result<Seen> {
        self.repeat(hook, frame, meta, 1)
    }

    /// Runs a program over the same frame again and again; the last outcome.
    pub fn repeat(&self, hook: Hook, frame: &[u8], meta: Meta, times: u32) -> Result<Seen> {
        self.raw(hook, frame, &context(meta), times)
    }

    /// Runs a program with a context of one's own.
    pub fn raw(&self, hook: Hook, frame: &[u8], context: &[u8; 192], times: u32) -> Result<Seen> {
        let program: &SchedClassifier =
            self.ebpf.program(hook.name()).context(hook.name())?.try_into()?;
        let (mut after, mut data) = ([0_u8; 192], vec![0; frame.len() + 64]);
        let result = program
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut data),
                ctx_in: Some(context),
                ctx_out: Some(&mut after),
                repeat: times,
                ..TestRunOptions::default()
            })
            .with_context(|| format!("test run of {} bytes", frame.len()))?;
        data.truncate(frame.len());
        ensure!(data == frame, "the program changed the frame");
        let mark = u32::from_ne_bytes(after[8..12].try_into()?);
        Ok(Seen { code: result.return_value.cast_signed(), mark })
    }

    /// From A.
    pub fn sent_by_a(&self, frame: &[u8]) -> Result<i32> {
        let meta = Meta { ifindex: GUEST, ingress: GUEST, ..Meta::default() };
        Ok(self.run(Hook::FromGuest, frame, meta)?.code)
    }

    /// To A, from the host (0) or an interface, with the stamp that belongs to it.
    pub fn sent_to_a(&self, ingress: u32, frame: &[u8]) -> Result<i32> {
        let port = matches!(ingress, GUEST..=NEITHER);
        let mark = if port { FROM_GUEST } else { FROM_HOST };
        let meta = Meta { ifindex: GUEST, ingress, mark, ..Meta::default() };
        Ok(self.run(Hook::ToGuest, frame, meta)?.code)
    }

    /// All counters, summed over the CPUs.
    pub fn counters(&self) -> Result<Vec<(CounterKey, Counter)>> {
        let map = PerCpuHashMap::<_, CounterKey, Counter>::try_from(
            self.ebpf.map("COUNTERS").context("COUNTERS")?,
        )?;
        let mut sums = Vec::new();
        for entry in &map {
            let (key, values) = entry?;
            let mut sum = Counter::default();
            for value in &*values {
                ensure!(
                    value.events == value.recorded + value.suppressed + value.lost,
                    "{key:?} does not add up: {value:?}"
                );
                sum.events += value.events;
                sum.packets += value.packets;
                sum.bytes += value.bytes;
                sum.recorded += value.recorded;
                sum.suppressed += value.suppressed;
                sum.lost += value.lost;
            }
            sums.push((key, sum));
        }
        Ok(sums)
    }

    /// One counter; absent is zero.
    pub fn counter(&self, owner: u32, reason: u16, hook: Hook) -> Result<Counter> {
        let key = CounterKey { owner, reason, hook: hook as u8, reserved: 0 };
        let all = self.counters()?;
        Ok(all.iter().find(|(other, _)| *other == key).map(|(_, sum)| *sum).unwrap_or_default())
    }

    /// The counter of an endpoint's flows that ended.
    pub fn closed(&self, owner: u32) -> Result<Counter> {
        let key = CounterKey { owner, reason: FLOW_CLOSED, hook: 0, reserved: 0 };
        let all = self.counters()?;
        Ok(all.iter().find(|(other, _)| *other == key).map(|(_, sum)| *sum).unwrap_or_default())
    }

    /// Takes what is in the ring; ends of flows are kept in [`Rig::ends`].
    pub fn events(&mut self) -> Result<Vec<Event>> {
        let mut ring = RingBuf::try_from(self.ebpf.map_mut("EVENTS").context("EVENTS")?)?;
        let mut events = Vec::new();
        while let Some(item) = ring.next() {
            if item.len() == size_of::<FlowEnd>() {
                // SAFETY: as long as a flow's end, which is plain integers.
                self.ends.push(unsafe { item.as_ptr().cast::<FlowEnd>().read_unaligned() });
                continue;
            }
            ensure!(item.len() == size_of::<Event>(), "an event of {} bytes", item.len());
            // SAFETY: as long as an event, which is plain integers.
            events.push(unsafe { item.as_ptr().cast::<Event>().read_unaligned() });
        }
        Ok(events)
    }

    /// The reason of the only event since the last call; `None`: no denial.
    pub fn only_reason(&mut self) -> Result<Option<DropReason>> {
        let events = self.events()?;
        let denials: Vec<_> = events.iter().filter(|event| event.reason != 0).collect();
        ensure!(denials.len() <= 1, "more than one denial: {denials:?}");
        Ok(denials.first().and_then(|event| DropReason::from_value(event.reason)))
    }

    /// An endpoint's flows by state; without its checks, which flows leave behind, and its buckets.
    pub fn usage(&mut self, id: u32) -> Result<Usage> {
        Ok(Usage {
            checks: 0,
            buckets: Buckets::default(),
            ..self.map::<u32, Usage>("USAGE")?.get(&id, 0)?
        })
    }

    /// An endpoint's checks in the reaper's queues.
    pub fn checks(&mut self, id: u32) -> Result<u32> {
        Ok(self.map::<u32, Usage>("USAGE")?.get(&id, 0)?.checks)
    }

    /// All flows.
    pub fn flows(&mut self) -> Result<Vec<FlowRecord>> {
        let flows = self.map::<[u8; 44], FlowRecord>("FLOWS")?;
        let records: Result<Vec<_>, _> =
            flows.iter().map(|entry| entry.map(|(_, record)| record)).collect();
        Ok(records?)
    }
}

/// The guest network.
#[must_use]
pub fn network() -> Network {
    Network {
        id: BRIDGE + ID,
        gateway4: GATEWAY.octets(),
        subnet4: [10, 7, 0, 0],
        prefix4: 24,
        gateway6: GATEWAY6.octets(),
        gateway_link_local: [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        subnet6: [0xfd, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        prefix6: 64,
        mac: BRIDGE_MAC,
    }
}

/// A policy with generous quotas.
#[must_use]
pub fn policy(epoch: u32) -> Policy {
    Policy {
        epoch,
        traits: 0,
        reserved: 0,
        quotas: Quotas {
            inbound_half_open: 100,
            inbound_established: 100,
            outbound_half_open: 100,
            outbound_established: 100,
            closing: 100,
        },
        limits: Limits::default(),
    }
}

/// A `__sk_buff` with these fields.
#[must_use]
pub fn context(meta: Meta) -> [u8; 192] {
    let mut context = [0; 192];
    for (at, value) in [
        (8, meta.mark),
        (36, meta.ingress),
        (40, meta.ifindex),
        (164, meta.segments),
        (176, if meta.segments > 0 { 1448 } else { 0 }),
    ] {
        context[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    context
}
