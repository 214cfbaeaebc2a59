//! The paths: a program, a frame that takes the path in it, and the proof that it does.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::SchedClassifier;
use enforcer_common::{
    abi::{
        event::Hook,
        policy::{Policy, Quotas},
        verdict::DropReason,
    },
    packet::{Family, IPV4, IPV6},
};
use enforcer_tests::{
    frames::{BROADCAST, Ip, Ipv4, Mac, ethernet, ethertype, icmp, protocol},
    prog::{
        frame::{
            A, A_MAC, A6, ALLOWED_PORT, BRIDGE_MAC, GATEWAY, WORLD, WORLD6, arp, datagram,
            forbidden, into, out, segment, syn, v4, v6,
        },
        raw,
        rig::{
            ALLOW, BRIDGE, DENY, FROM_GUEST, FROM_HOST, GUEST, Meta, POLICY, Rig, STRANGER, UPLINK,
            context, policy,
        },
    },
};

use crate::{floors, measure::Effort};

const SYN: u8 = 2;
const ACK: u8 = 16;
const SYN_ACK: u8 = 18;
/// A's port of the established flows.
pub const PORT: u16 = 40000;
/// A's first port of the flows that are opened.
const FIRST_NEW_PORT: u16 = 1024;
const MDNS_MAC: Mac = [1, 0, 0x5e, 0, 0, 0xfb];

/// How a path is run, and so which run of the empty program is its floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harness {
    /// The same frame again and again.
    Repeated,
    /// The same, with the mark put back before each run.
    Marked(u32),
    /// Another frame for each call: what is measured happens once.
    Single,
}

/// What is measured.
pub struct Path {
    pub program: &'static str,
    pub name: &'static str,
    pub harness: Harness,
    /// At most so many times the empty program.
    pub goal: Option<f64>,
    pub frames: Vec<Vec<u8>>,
    pub context: [u8; 192],
    pub code: i32,
    /// Of an established flow, which floors are in it: those of IPv4 or of IPv6.
    pub family: Option<Family>,
    /// Of a floor: the families whose established flows it is part of.
    pub floor_of: &'static [Family],
    hook: Option<Hook>,
    reason: Option<DropReason>,
    /// The program that sets the mark, or that is a floor.
    own: Option<OwnedFd>,
}

/// All of them, the empty programs first.
pub struct Paths {
    pub all: Vec<Path>,
    empty: OwnedFd,
}

/// Counted so far, by hook and reason; opened flows too, of which a path that is proven has none.
type Counted = BTreeMap<(u8, u16), u64>;

fn counted(rig: &Rig) -> Result<Counted> {
    let mut sums = Counted::new();
    for (key, counter) in rig.counters()? {
        *sums.entry((key.hook, key.reason)).or_default() += counter.packets;
    }
    Ok(sums)
}

impl Path {
    fn empty(name: &'static str, harness: Harness) -> Self {
        Self {
            program: "empty",
            name,
            harness,
            goal: None,
            frames: vec![syn(PORT)],
            context: context(Meta { ifindex: GUEST, ingress: GUEST, ..Meta::default() }),
            code: ALLOW,
            hook: None,
            reason: None,
            family: None,
            floor_of: &[],
            own: None,
        }
    }

    /// A program of a few instructions that does one thing of those that an established flow takes.
    pub fn floor(name: &'static str, floor_of: &'static [Family], own: OwnedFd) -> Self {
        Self {
            program: "floor",
            floor_of,
            own: Some(own),
            // That of the first family: a flow of IPv6 reads a frame of its own.
            frames: vec![mine(floor_of == [IPV6], ACK, 100, 500)],
            ..Self::empty(name, Harness::Repeated)
        }
    }

    fn new(hook: Hook, name: &'static str, meta: Meta, frame: Vec<u8>) -> Self {
        Self {
            program: hook.name(),
            hook: Some(hook),
            frames: vec![frame],
            context: context(meta),
            ..Self::empty(name, Harness::Repeated)
        }
    }

    fn denied(self, reason: DropReason) -> Self {
        Self { code: DENY, reason: Some(reason), ..self }
    }

    fn marked(self, mark: u32) -> Self {
        Self { harness: Harness::Marked(mark), ..self }
    }

    /// Of an established flow: at most so many times the empty program, or the sum of its floors.
    fn goal(self, goal: f64, family: Family) -> Self {
        Self { goal: Some(goal), family: Some(family), ..self }
    }

    /// Runs it once: it must end as its name says, for the reason it names.
    fn prove(&self, paths: &Paths, rig: &Rig) -> Result<()> {
        if self.reason == Some(DropReason::RateNeighbours) {
            // It is so once the bucket is empty.
            raw::test_run(paths.program(self, rig)?, &self.frames[0], &self.context, SPENDING)?;
        }
        let mut expected = counted(rig)?;
        if let (Some(hook), Some(reason)) = (self.hook, self.reason) {
            *expected.entry((hook as u8, reason as u16)).or_default() += 1;
        }
        let ran = raw::test_run(paths.program(self, rig)?, &self.frames[0], &self.context, 1)?;
        ensure!(ran.code == self.code, "{} {}: verdict {}", self.program, self.name, ran.code);
        let found = counted(rig)?;
        ensure!(found == expected, "{} {}: {found:?}, not {expected:?}", self.program, self.name);
        Ok(())
    }
}

/// Frames that empty a guest's bucket of neighbour messages, with many to spare.
const SPENDING: u32 = 1000;

impl Paths {
    /// Opens the flows, makes the programs, and proves that each frame takes its path.
    pub fn prepare(rig: &mut Rig, effort: &Effort) -> Result<Self> {
        let plenty =
            Quotas { inbound_half_open: 1 << 20, outbound_half_open: 1 << 20, ..policy(1).quotas };
        rig.policy(POLICY, Policy { quotas: plenty, ..policy(1) })?;
        open_flows(rig)?;
        let mut paths = Self { all: every(rig, effort)?, empty: raw::empty()? };
        for index in 0..paths.all.len() {
            if let Harness::Marked(mark) = paths.all[index].harness {
                let marking = raw::marked(paths.program(&paths.all[index], rig)?, mark)?;
                paths.all[index].own = Some(marking);
            }
            // The frames of the others are counted as what they open.
            if paths.all[index].harness != Harness::Single {
                paths.all[index].prove(&paths, rig)?;
            }
        }
        Ok(paths)
    }

    /// The program to call for a path.
    pub fn program<'a>(&'a self, path: &'a Path, rig: &'a Rig) -> Result<BorrowedFd<'a>> {
        if let Some(own) = &path.own {
            return Ok(own.as_fd());
        }
        let Some(hook) = path.hook else {
            return Ok(self.empty.as_fd());
        };
        let program: &SchedClassifier =
            rig.ebpf.program(hook.name()).context(hook.name())?.try_into()?;
        Ok(program.fd()?.as_fd())
    }
}

/// A's segment to the world and the world's to A.
fn ends(six: bool) -> (Ip, Ip) {
    if six { (v6(A6, WORLD6), v6(WORLD6, A6)) } else { (v4(A, WORLD), v4(WORLD, A)) }
}

fn mine(six: bool, flags: u8, sequence: u32, ack: u32) -> Vec<u8> {
    out(&ends(six).0, &segment(PORT, ALLOWED_PORT, flags, sequence, ack))
}

fn theirs(six: bool, flags: u8, sequence: u32, ack: u32) -> Vec<u8> {
    into(&ends(six).1, &segment(ALLOWED_PORT, PORT, flags, sequence, ack))
}

/// An established flow of each family.
fn open_flows(rig: &Rig) -> Result<()> {
    for six in [false, true] {
        let codes = [
            rig.sent_by_a(&mine(six, SYN, 99, 0))?,
            rig.sent_to_a(UPLINK, &theirs(six, SYN_ACK, 499, 100))?,
            rig.sent_by_a(&mine(six, ACK, 100, 500))?,
        ];
        ensure!(codes == [ALLOW; 3], "the handshake: {codes:?}");
    }
    Ok(())
}

/// A's segment behind as many extension headers as are walked.
fn extended() -> Vec<u8> {
    const HOP_BY_HOP: u8 = 0;
    const DESTINATION: u8 = 60;
    let mut frame = mine(true, ACK, 100, 500);
    let headers: Vec<u8> = [DESTINATION, DESTINATION, DESTINATION, protocol::TCP]
        .into_iter()
        .flat_map(|next| [next, 0, 1, 4, 0, 0, 0, 0])
        .collect();
    frame[20] = HOP_BY_HOP;
    // The payload is short: the low byte of its length has room.
    frame[19] += 32;
    frame.splice(54..54, headers);
    frame
}

/// A's error about a segment of the established flow.
fn icmp_error() -> Vec<u8> {
    let ip = ends(false).1;
    let inner = segment(ALLOWED_PORT, PORT, ACK, 500, 100).packet(&ip, &[]);
    let error = Ipv4::new(A, WORLD, protocol::ICMP).packet(&icmp(3, 4, [0; 4], &inner));
    ethernet(BRIDGE_MAC, A_MAC, ethertype::IPV4, &error)
}

fn every(rig: &Rig, effort: &Effort) -> Result<Vec<Path>> {
    use Hook::{FromBridge, FromGuest, ToBridge, ToGuest};
    let guest = Meta { ifindex: GUEST, ingress: GUEST, ..Meta::default() };
    let beyond = Meta { ingress: UPLINK, mark: FROM_HOST, ..guest };
    let host = Meta { ingress: 0, mark: FROM_HOST, ..guest };
    let bridge = Meta { ifindex: BRIDGE, ingress: BRIDGE, ..Meta::default() };
    let stranger = Meta { ifindex: STRANGER, ingress: STRANGER, ..Meta::default() };
    let raw_frame = ethernet(BRIDGE_MAC, A_MAC, ethertype::EXPERIMENT, &[0; 50]);
    let announcement = [&MDNS_MAC[..], &datagram([224, 0, 0, 251].into(), 5353)[6..]].concat();
    let from = |name, frame| Path::new(FromGuest, name, guest, frame);
    let to = |name, frame| Path::new(ToGuest, name, beyond, frame).marked(FROM_HOST);
    let new = |six: bool| -> Result<Vec<Vec<u8>>> {
        let frame = |flow| segment(FIRST_NEW_PORT + flow, ALLOWED_PORT, SYN, 999, 0);
        Ok((0..effort.new_flows()?).map(|flow| out(&ends(six).0, &frame(flow))).collect())
    };
    let new_flow = |name, six| -> Result<Path> {
        let frames = new(six)?;
        Ok(Path { frames, harness: Harness::Single, ..from(name, Vec::new()) })
    };
    let forbidden6 = out(&ends(true).0, &segment(PORT, 22, SYN, 999, 0));
    let mut paths = vec![
        Path::empty("", Harness::Repeated),
        Path::empty("again (A/A)", Harness::Repeated),
        Path::empty("behind the marker", Harness::Marked(FROM_HOST)),
        Path::empty("one run a call", Harness::Single),
    ];
    paths.extend(floors::all(rig)?);
    paths.extend([
        from("established TCP, IPv4", mine(false, ACK, 100, 500)).goal(3.0, IPV4),
        from("established TCP, IPv6", mine(true, ACK, 100, 500)).goal(4.0, IPV6),
        from("the same, 4 extension headers", extended()),
        new_flow("new flow, TCP, IPv4", false)?,
        new_flow("new flow, TCP, IPv6", true)?,
        from("denied: policy, IPv4", forbidden()).denied(DropReason::Policy),
        from("denied: policy, IPv6", forbidden6).denied(DropReason::Policy),
        from("denied: ethertype", raw_frame).denied(DropReason::EtherType),
        from("ARP for the gateway, too often", arp((BROADCAST, A_MAC), 1, (A_MAC, A), GATEWAY))
            .denied(DropReason::RateNeighbours),
        from("ICMP error, live flow", icmp_error()),
        Path::new(FromGuest, "an interface not ours", stranger, syn(PORT)),
        to("established TCP, IPv4", theirs(false, ACK, 500, 100)).goal(3.0, IPV4),
        to("established TCP, IPv6", theirs(true, ACK, 500, 100)).goal(4.0, IPV6),
        Path::new(ToGuest, "the host's multicast", host, announcement)
            .denied(DropReason::NotAddressed),
        Path::new(ToGuest, "an interface not ours", stranger, syn(PORT)),
        Path::new(FromBridge, "stamped", bridge, syn(PORT)).marked(FROM_GUEST),
        Path::new(FromBridge, "denied: unstamped", bridge, syn(PORT)).denied(DropReason::Unstamped),
        Path::new(ToBridge, "from the host", Meta { ingress: 0, ..bridge }, syn(PORT)),
        Path::new(ToBridge, "denied: hairpin", bridge, syn(PORT)).denied(DropReason::Hairpin),
    ]);
    Ok(paths)
}
