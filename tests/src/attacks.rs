//! The catalogue of attacks: data that every suite and the demo share.
//!
//! An entry says what guest A does, where it would be seen, which reasons may deny it, and how far
//! it gets without protection and under the classic recipe. To add one, add a line to the module of
//! its layer; every suite picks it up.

pub mod gate;
pub mod icmp;
mod ip;
mod ipv6;
mod link;
mod multicast;
mod socket;
mod spoof;
mod tcp;

use std::net::{Ipv4Addr, SocketAddr};

use enforcer_common::abi::verdict::DropReason;

use crate::{
    frames::{Ip, Ipv4, Mac, ethernet, ethertype},
    hex,
    protocol::{ConnectBy, Filter, SendBy},
};

/// One end of the link.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// MAC address.
    pub mac: Mac,
    /// IPv4 address.
    pub ipv4: Ipv4Addr,
}

/// What an attacker knows of the network.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// The attacker itself.
    pub a: End,
    /// Its neighbour.
    pub b: End,
    /// The host, on the guests' bridge.
    pub host: End,
    /// A server beyond the uplink.
    pub world: Ipv4Addr,
}

/// Where an attack would be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// In guest B, on its interface.
    Peer,
    /// On the host, as what the guests' bridge delivers to it.
    Host,
    /// In the world, on its interface.
    World,
}

impl Point {
    /// Its name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Peer => "guest B",
            Self::Host => "host",
            Self::World => "world",
        }
    }
}

/// How much of an attack gets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    /// Everything that was sent.
    All,
    /// A part.
    Some,
    /// Nothing.
    Nothing,
}

impl Through {
    /// How much `reached` of `sent` is.
    #[must_use]
    pub fn measure(sent: u64, reached: u64) -> Self {
        match reached {
            0 => Self::Nothing,
            reached if reached >= sent => Self::All,
            _ => Self::Some,
        }
    }

    /// Its name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Some => "some",
            Self::Nothing => "-",
        }
    }
}

/// A procedure that takes more than sending: see [`crate::harness::scenario`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// A injects a segment with a valid sequence number into a live connection of host and B.
    InjectIntoLiveFlow,
    /// A answers the world as B, in the world's live connection with B's published port.
    AnswerAsPeer,
    /// A forges a RST with a valid sequence number in that connection.
    ResetLiveFlow,
    /// A sends a SYN on the tuple of an inbound connection that ended by FIN.
    SynAfterFin,
    /// The same after a RST.
    SynAfterReset,
    /// A tells the host that B's address is at A.
    PoisonHost,
    /// A sends the world packets that may go no further than the host, and hears who ended them.
    TraceHost,
}

/// What guest A does.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sends frames; what arrives is counted by their marker.
    Frames {
        /// The frames.
        frames: Vec<Vec<u8>>,
        /// How often all of them.
        repeat: u32,
        /// How.
        by: SendBy,
    },
    /// Sends IPv4 packets by a raw socket; counted by their marker.
    RawIp {
        /// Where to.
        to: Ipv4Addr,
        /// The packets.
        packets: Vec<Vec<u8>>,
    },
    /// Connects; counted when it is accepted.
    Connect {
        /// Where to, one after the other.
        to: Vec<SocketAddr>,
        /// How.
        by: ConnectBy,
    },
    /// Asks by UDP; counted when answered.
    Ask {
        /// Where to, one after the other.
        to: Vec<SocketAddr>,
    },
    /// Sends segmented UDP (`UDP_SEGMENT`) with the marker; counted by it.
    Segments {
        /// Where to.
        to: SocketAddr,
        /// Size of each.
        size: u16,
        /// How many.
        count: u16,
    },
    /// A procedure.
    Scenario(Scenario),
}

/// One attack.
#[derive(Clone, Debug)]
pub struct Attack {
    /// Row of the threat list.
    pub row: &'static str,
    /// What it is, for people.
    pub name: &'static str,
    /// Bytes that every frame of it carries.
    pub marker: Vec<u8>,
    /// What A does.
    pub step: Step,
    /// Where it would succeed.
    pub at: Point,
    /// Reasons that may deny it; their counters together rise by exactly what was sent.
    pub reasons: &'static [DropReason],
    /// The counters rise by exactly what was sent (a super-packet may count once, or be cut).
    pub exact: bool,
    /// What gets through without protection.
    pub unprotected: Through,
    /// What gets through under the classic recipe.
    pub classic: Through,
    /// `br_netfilter`, where it is on, holds or checks such packets itself: off, they are seen. The
    /// classic recipe needs it on.
    pub without_br_netfilter: bool,
    /// Sysctls of the host that help the attacker: path below `/proc/sys`, value, value after.
    pub sysctls: &'static [(&'static str, &'static str, &'static str)],
}

impl Attack {
    /// Identifies it in output.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} {}", self.row, self.name)
    }

    /// What a capture keeps of it.
    #[must_use]
    pub fn filter(&self) -> Filter {
        Filter { marker: hex::encode(&self.marker), ..Filter::default() }
    }

    /// The same, without answers: an error that a host sends about a frame, or about an answer to it, has the marker,
    /// too, and is longer. For a count of what arrived; where nothing is to arrive, they count as well.
    #[must_use]
    pub fn filter_of_its_own(&self) -> Filter {
        let lengths = match &self.step {
            Step::Frames { frames, by: SendBy::Plain, .. } => {
                // A capture shows a frame without its outer VLAN tag.
                let is_tagged =
                    |frame: &[u8]| matches!(frame.get(12..14), Some([0x81, 0] | [0x88, 0xa8]));
                let untagged =
                    frames.iter().filter(|frame| is_tagged(frame)).map(|frame| frame.len() - 4);
                frames.iter().map(Vec::len).chain(untagged).collect()
            }
            _ => Vec::new(),
        };
        Filter { lengths, ..self.filter() }
    }

    /// Sends the frames this many times.
    fn times(&mut self, count: u32) -> &mut Self {
        if let Step::Frames { repeat, .. } = &mut self.step {
            *repeat = count;
        }
        self
    }

    /// Sends the frames through another door.
    fn by(&mut self, door: SendBy) -> &mut Self {
        if let Step::Frames { by, .. } = &mut self.step {
            *by = door;
        }
        self
    }

    /// What gets through under the classic recipe, if not everything.
    fn classic(&mut self, through: Through) -> &mut Self {
        self.classic = through;
        self
    }

    /// What gets through without protection, if not everything.
    fn unprotected(&mut self, through: Through) -> &mut Self {
        self.unprotected = through;
        self
    }

    /// The kernel may cut or refuse what is sent.
    fn inexact(&mut self) -> &mut Self {
        self.exact = false;
        self
    }

    /// Switches `br_netfilter` off for it, except under the classic recipe.
    fn without_br_netfilter(&mut self) -> &mut Self {
        self.without_br_netfilter = true;
        self
    }

    fn sysctls(&mut self, set: &'static [(&'static str, &'static str, &'static str)]) -> &mut Self {
        self.sysctls = set;
        self
    }
}

/// Every attack, in order of the threat list.
#[must_use]
pub fn catalogue(scene: &Scene) -> Vec<Attack> {
    let mut book = Book { scene: *scene, attacks: Vec::new() };
    link::add(&mut book);
    spoof::add(&mut book);
    ip::add(&mut book);
    ipv6::add(&mut book);
    tcp::add(&mut book);
    socket::add(&mut book);
    icmp::add(&mut book);
    multicast::add(&mut book);
    book.attacks.sort_by_key(|attack| attack.row);
    book.attacks
}

/// The catalogue while it is written.
struct Book {
    scene: Scene,
    attacks: Vec<Attack>,
}

impl Book {
    /// Adds one that sends frames; `make` gets the scene and the marker.
    fn frames(
        &mut self,
        row: &'static str,
        name: &'static str,
        at: Point,
        reasons: &'static [DropReason],
        make: impl FnOnce(&Scene, &[u8]) -> Vec<Vec<u8>>,
    ) -> &mut Attack {
        let frames = make(&self.scene, &self.marker());
        self.add(row, name, at, reasons, Step::Frames { frames, repeat: 1, by: SendBy::Plain })
    }

    fn add(
        &mut self,
        row: &'static str,
        name: &'static str,
        at: Point,
        reasons: &'static [DropReason],
        step: Step,
    ) -> &mut Attack {
        let marker = self.marker();
        let index = self.attacks.len();
        self.attacks.push(Attack {
            row,
            name,
            marker,
            step,
            at,
            reasons,
            exact: true,
            unprotected: Through::All,
            classic: Through::All,
            without_br_netfilter: false,
            sysctls: &[],
        });
        &mut self.attacks[index]
    }

    /// Eight bytes that only the next attack carries.
    fn marker(&self) -> Vec<u8> {
        format!("EF@{:05}", self.attacks.len()).into_bytes()
    }
}

impl Scene {
    /// A frame from A to a MAC address.
    fn frame(&self, to: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
        ethernet(to, self.a.mac, ethertype, payload)
    }

    /// An IPv4 packet's frame from A to the host, which forwards what is not its own.
    fn via_host(&self, packet: &[u8]) -> Vec<u8> {
        self.frame(self.host.mac, ethertype::IPV4, packet)
    }

    /// An IPv4 packet's frame from A to B.
    fn via_bridge(&self, packet: &[u8]) -> Vec<u8> {
        self.frame(self.b.mac, ethertype::IPV4, packet)
    }

    /// An honest header from A.
    fn ip(&self, to: Ipv4Addr) -> Ipv4 {
        Ipv4::new(self.a.ipv4, to, 0)
    }

    /// An honest header from A, for TCP and UDP.
    fn ends(&self, to: Ipv4Addr) -> Ip {
        Ip::V4(self.ip(to))
    }
}
