//! What is compared: the object that ships, loaded once for each size, its maps filled accordingly.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::{maps::Map, programs::SchedClassifier};
use enforcer::policy::{
    compile::compile,
    rule::{Action, Net, Ports, Rule},
};
use enforcer_common::{
    abi::{
        counter::FLOW_OPENED,
        endpoint::{Endpoint, Role},
        event::Hook,
        flow::{FlowKey, FlowRecord},
        policy::{Policy, PortKey, PrefixKey, PublishedKey, Quotas},
    },
    flow::FlowState,
    packet::{IPV4, IPV6, TCP, widen},
};
use enforcer_tests::{
    frames::Ip,
    prog::{
        frame::{A, A6, ALLOWED_PORT, WORLD, WORLD6, into, out, segment, v4, v6},
        raw,
        rig::{ALLOW, BRIDGE, FROM_HOST, GUEST, ID, Meta, POLICY, Rig, UPLINK, context, policy},
    },
};

/// How much a host has.
pub struct Size {
    pub name: &'static str,
    pub rules: u32,
    pub endpoints: u32,
    /// Live flows of each endpoint.
    pub flows: u16,
}

/// The first is what the others are compared with; the second is the first once more, and says how much
/// of a difference is noise.
pub const SIZES: [Size; 6] = [
    Size { name: "1 rule, 1 endpoint", rules: 1, endpoints: 1, flows: 0 },
    Size { name: "the same, again (A/A)", rules: 1, endpoints: 1, flows: 0 },
    Size { name: "10,000 rules, 1 endpoint", rules: 10_000, endpoints: 1, flows: 0 },
    Size { name: "1 rule, 500 endpoints", rules: 1, endpoints: 500, flows: 0 },
    Size { name: "10,000 rules, 500 endpoints", rules: 10_000, endpoints: 500, flows: 0 },
    Size { name: "the same, 49,900 live flows", rules: 10_000, endpoints: 500, flows: 100 },
];

/// Room for the flows of the largest, and for those that are opened while measuring.
const FLOWS: u32 = 1 << 17;
/// The rules' epoch.
const EPOCH: u32 = 9;
/// The first of the other endpoints.
const OTHERS: u32 = 1000;
/// The endpoint of the floor's entries.
const NOBODY: u32 = u32::MAX;
/// A's port of the established flows.
const PORT: u16 = 700;
/// No rule opens it anywhere.
const CLOSED_PORT: u16 = 60_000;
const SYN: u8 = 2;
const ACK: u8 = 16;
const SYN_ACK: u8 = 18;
/// A frame's source port, behind Ethernet and IPv4, and behind Ethernet and IPv6.
const SOURCE_PORT: [u16; 2] = [14 + 20, 14 + 40];

/// One loaded object.
pub struct World {
    pub rig: Rig,
    /// `to_guest` behind the marker; `from_guest` behind a counter of source ports, IPv4 and IPv6.
    marked: OwnedFd,
    counting: [OwnedFd; 2],
    /// A bare lookup and insert in the table of flows.
    inserting: OwnedFd,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// A segment of an established flow, from the guest.
    Sent,
    /// A segment of an established flow, to the guest.
    Received,
    /// A flow that the last rule opens, another one in each run.
    Opened,
    /// A flow to the same address that no rule opens: the search walks both tables to their end.
    Refused,
    /// A lookup and an insert in the table of flows, another key in each run, and nothing else: what
    /// memory costs, and grows by.
    Floor,
}

impl Path {
    pub const ALL: [Self; 5] =
        [Self::Sent, Self::Received, Self::Opened, Self::Refused, Self::Floor];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Sent => "established, from the guest",
            Self::Received => "established, to the guest",
            Self::Opened => "new, allowed by the last rule",
            Self::Refused => "new, denied by policy",
            Self::Floor => "bare lookup and insert of a flow (floor)",
        }
    }

    /// Whether each run makes an entry in the table of flows.
    pub const fn inserts(self) -> bool {
        matches!(self, Self::Opened | Self::Floor)
    }
}

/// A net that has these bits and is one short of a single address: the search for it takes most lookups.
fn pair(address: IpAddr) -> Result<Net> {
    let length = if address.is_ipv4() { 31 } else { 127 };
    Net::new(address, length).context("a network")
}

/// Each rule opens a port of its own on networks of its own: classes cannot be put together.
fn rules(count: u32) -> Result<Vec<Rule>> {
    let rule = |number: u32| {
        let four = Ipv4Addr::from_bits(0x5000_0000 + (number << 9));
        let six = Ipv6Addr::from_bits((0xfd50 << 112) | u128::from(number) << 65);
        let to = vec![
            Net::new(four.into(), 24).context("a network")?,
            Net::new(six.into(), 64).context("a network")?,
        ];
        let ports = vec![Ports::one(TCP, u16::try_from(1 + number)?)];
        Ok(Rule { action: Action::Allow, to, ports, ..Rule::default() })
    };
    let mut rules = (1..count).map(rule).collect::<Result<Vec<_>>>()?;
    let to = vec![
        pair(Ipv4Addr::from_bits(WORLD.to_bits() & !1).into())?,
        pair(Ipv6Addr::from_bits(WORLD6.to_bits() & !1).into())?,
    ];
    let ports = vec![Ports { protocol: TCP, first: ALLOWED_PORT - 1, last: ALLOWED_PORT }];
    rules.push(Rule { action: Action::Allow, to, ports, ..Rule::default() });
    Ok(rules)
}

/// A's segment to the world and the world's to A.
fn ends(six: bool) -> (Ip, Ip) {
    if six { (v6(A6, WORLD6), v6(WORLD6, A6)) } else { (v4(A, WORLD), v4(WORLD, A)) }
}

fn program(rig: &Rig, hook: Hook) -> Result<BorrowedFd<'_>> {
    let program: &SchedClassifier =
        rig.ebpf.program(hook.name()).context(hook.name())?.try_into()?;
    Ok(program.fd()?.as_fd())
}

impl World {
    /// Loads and fills one, opens A's flows, and proves that the last rule decides.
    pub fn create(size: &Size) -> Result<Self> {
        let mut rig = Rig::as_shipped(FLOWS)?;
        let tables = compile(&rules(size.rules)?)?;
        let mut prefixes = rig.map("PREFIXES")?;
        for (key, prefix) in tables.prefixes {
            prefixes.insert(PrefixKey { epoch: EPOCH, ..key }, prefix, 0)?;
        }
        let mut open = rig.map("PORTS")?;
        for (key, rule) in tables.ports {
            open.insert(PortKey { epoch: EPOCH, ..key }, rule, 0)?;
        }
        let plenty = Quotas {
            inbound_half_open: 1 << 20,
            outbound_half_open: 1 << 20,
            ..policy(EPOCH).quotas
        };
        rig.policy(POLICY, Policy { quotas: plenty, ..policy(EPOCH) })?;
        // The cast is the first endpoint.
        for number in 1..size.endpoints {
            live_elsewhere(&mut rig, number, size.flows)?;
        }
        let marked = raw::marked(program(&rig, Hook::ToGuest)?, FROM_HOST)?;
        let counting = [
            raw::counting(program(&rig, Hook::FromGuest)?, SOURCE_PORT[0])?,
            raw::counting(program(&rig, Hook::FromGuest)?, SOURCE_PORT[1])?,
        ];
        let Some(Map::HashMap(flows)) = rig.ebpf.map("FLOWS") else { bail!("no table of flows") };
        let inserting = raw::inserting(flows.fd().as_fd(), NOBODY, SOURCE_PORT[0])?;
        let mut world = Self { rig, marked, counting, inserting };
        world.open_flows()?;
        world.prove(size)?;
        Ok(world)
    }

    /// An established flow of each family.
    fn open_flows(&self) -> Result<()> {
        for six in [false, true] {
            let (mine, theirs) = ends(six);
            let sent = |flags, sequence, ack| {
                let frame = out(&mine, &segment(PORT, ALLOWED_PORT, flags, sequence, ack));
                self.rig.sent_by_a(&frame)
            };
            let answer = into(&theirs, &segment(ALLOWED_PORT, PORT, SYN_ACK, 499, 100));
            let codes =
                [sent(SYN, 99, 0)?, self.rig.sent_to_a(UPLINK, &answer)?, sent(ACK, 100, 500)?];
            ensure!(codes == [ALLOW; 3], "the handshake: {codes:?}");
        }
        Ok(())
    }

    /// A's flows were opened by the last rule: so the events say.
    fn prove(&mut self, size: &Size) -> Result<()> {
        let events = self.rig.events()?;
        let rules: Vec<u32> = events.iter().map(|event| event.rule).collect();
        ensure!(rules == [size.rules; 2], "{}: opened by rules {rules:?}", size.name);
        Ok(())
    }

    /// The program to call, the frame, and its context.
    pub fn call(&self, path: Path, six: bool) -> Result<(BorrowedFd<'_>, Vec<u8>, [u8; 192])> {
        let (mine, theirs) = ends(six);
        let guest = Meta { ifindex: GUEST, ingress: GUEST, ..Meta::default() };
        let beyond = Meta { ingress: UPLINK, mark: FROM_HOST, ..guest };
        let sent = |from, to, flags, sequence| {
            out(&mine, &segment(from, to, flags, sequence, if flags == SYN { 0 } else { 500 }))
        };
        Ok(match path {
            Path::Sent => {
                let frame = sent(PORT, ALLOWED_PORT, ACK, 100);
                (program(&self.rig, Hook::FromGuest)?, frame, context(guest))
            }
            Path::Received => {
                let frame = into(&theirs, &segment(ALLOWED_PORT, PORT, ACK, 500, 100));
                (self.marked.as_fd(), frame, context(beyond))
            }
            Path::Opened => {
                let frame = sent(Self::FIRST_PORT - 1, ALLOWED_PORT, SYN, 999);
                (self.counting[usize::from(six)].as_fd(), frame, context(guest))
            }
            Path::Floor => {
                let frame = sent(Self::FIRST_PORT - 1, ALLOWED_PORT, SYN, 999);
                (self.inserting.as_fd(), frame, context(guest))
            }
            Path::Refused => {
                let frame = sent(PORT, CLOSED_PORT, SYN, 999);
                (program(&self.rig, Hook::FromGuest)?, frame, context(guest))
            }
        })
    }

    /// Source port of the first flow that a call opens.
    pub const FIRST_PORT: u16 = 1024;

    /// Moves the source port of a frame on, as so many runs of the counting program do.
    pub fn advance(frame: &mut [u8], six: bool, by: u16) {
        let at = usize::from(SOURCE_PORT[usize::from(six)]);
        let port = u16::from_be_bytes([frame[at], frame[at + 1]]) + by;
        frame[at..at + 2].copy_from_slice(&port.to_be_bytes());
    }

    /// Takes away what calls of so many runs put into the table of flows, one by one; each must be there.
    pub fn forget(&mut self, path: Path, six: bool, count: u16) -> Result<()> {
        let mut flows = self.rig.map::<FlowKey, FlowRecord>("FLOWS")?;
        for port in Self::FIRST_PORT..Self::FIRST_PORT + count {
            let key = match path {
                Path::Floor => FlowKey { endpoint: NOBODY, local_port: port, ..FlowKey::default() },
                _ => key_of_a(six, port),
            };
            flows.remove(&key).with_context(|| format!("no flow was opened from port {port}"))?;
        }
        Ok(())
    }

    /// Flows that A opened so far.
    pub fn opened(&self) -> Result<u64> {
        Ok(self.rig.counter(GUEST + ID, FLOW_OPENED, Hook::FromGuest)?.events)
    }
}

fn key_of_a(six: bool, port: u16) -> FlowKey {
    let (family, local, remote) = if six {
        (IPV6, A6.octets(), WORLD6.octets())
    } else {
        (IPV4, widen(A.octets()), widen(WORLD.octets()))
    };
    FlowKey {
        endpoint: GUEST + ID,
        local_port: port,
        remote_port: ALLOWED_PORT,
        local,
        remote,
        protocol: TCP,
        family,
        reserved: [0; 2],
    }
}

/// Another endpoint of the same network, with a published port and live flows of its own.
fn live_elsewhere(rig: &mut Rig, number: u32, flows: u16) -> Result<()> {
    let ifindex = OTHERS + number;
    let [_, _, high, low] = number.to_be_bytes();
    let ipv4 = [10, 8, high, low];
    let endpoint = Endpoint {
        network: BRIDGE,
        policy: POLICY,
        role: Role::Guest as u8,
        mac: [2, 0, 0, 8, high, low],
        ipv4,
        ..Endpoint::default()
    };
    rig.endpoint(ifindex, endpoint)?;
    let id = ifindex + ID;
    let key = PublishedKey { endpoint: id, port: 8888, protocol: TCP, reserved: 0 };
    rig.map("PUBLISHED")?.insert(key, 1_u32, 0)?;
    let mut table = rig.map("FLOWS")?;
    for flow in 0..flows {
        let key = FlowKey {
            endpoint: id,
            local: widen(ipv4),
            ..key_of_a(false, World::FIRST_PORT + flow)
        };
        let state = FlowState::open(true).word();
        table.insert(key, FlowRecord { state, epoch: EPOCH, ..FlowRecord::default() }, 0)?;
    }
    Ok(())
}
