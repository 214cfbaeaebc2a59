//! Events as the kernel writes them: denials by most guests and flows of some, all different.

use std::{sync::Arc, time::SystemTime};

use enforcer::{
    audit::record::Clock,
    model::{
        owner::{Owner, Owners},
        provenance::Provenance,
    },
};
use enforcer_common::{
    abi::{
        endpoint::Role,
        event::{EVENT_ABI, Event, EventKind, Hook},
        verdict::DropReason,
    },
    packet::{IPV4, IPV6, TCP, UDP},
};
use enforcer_tests::bench::Random;

/// Guests that are heard.
const GUESTS: u32 = 64;
/// Id of the first.
const FIRST: u32 = 1001;

/// What kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// A datagram that no rule allows.
    Datagram,
    /// An IPv6 segment that no rule allows.
    Segment6,
    /// A TCP flow that opens.
    Opened,
}

impl Shape {
    pub const ALL: [Self; 3] = [Self::Datagram, Self::Segment6, Self::Opened];
}

/// Events, and who is behind them.
pub struct Workload {
    pub events: Vec<(Shape, Event)>,
    pub owners: Owners,
    pub clock: Clock,
}

impl Workload {
    /// So many events within a second.
    pub fn of(count: usize) -> Self {
        let mut random = Random::default();
        let owners: Owners = (FIRST..FIRST + GUESTS).map(|id| (id, guest(id))).collect();
        let clock = Clock { wall: SystemTime::now(), mono_ns: 5_000_000_000_000 };
        let step = 1_000_000_000 / u64::try_from(count.max(1)).unwrap_or(1);
        let mut time = clock.mono_ns - 1_000_000_000;
        let mut next = || {
            let number = random.number() >> 16;
            let shape = match number % 10 {
                0..6 => Shape::Datagram,
                6..8 => Shape::Segment6,
                _ => Shape::Opened,
            };
            time += step;
            (shape, event(shape, time, number))
        };
        let events = std::iter::repeat_with(&mut next).take(count).collect();
        Self { events, owners, clock }
    }

    /// As they are in the ring, one behind the other.
    pub fn ring(&self) -> Vec<[u8; size_of::<Event>()]> {
        self.events.iter().map(|(_, event)| bytes(event)).collect()
    }
}

/// Names as long as JupyterHub's and Docker's.
pub fn guest(id: u32) -> Owner {
    Owner {
        network: "guests".to_owned(),
        ifindex: id + 5000,
        interface: format!("veth{id:07x}"),
        role: Some(Role::Guest),
        container: Some(format!("{id:064x}")),
        name: format!("jupyter-person{id}"),
        provenance: Arc::new(Provenance {
            user: Some(format!("person{id}")),
            image: Some("quay.io/jupyter/base-notebook:latest".to_owned()),
            ..Provenance::default()
        }),
    }
}

/// An event whose changing fields follow from a number.
fn event(shape: Shape, time_ns: u64, number: u64) -> Event {
    let [who, port @ .., near, far, _, _, _] = number.to_le_bytes();
    let owner = FIRST + u32::from(who) % GUESTS;
    let event = Event {
        owner,
        time_ns,
        ifindex: owner + 5000,
        ingress_ifindex: owner + 5000,
        source_port: 32768 + (u16::from_le_bytes(port) >> 1),
        destination_port: 1024 + (u16::from_le_bytes([far, near]) >> 1),
        source_mac: [2, 0x42, 10, 99, 0, who % 64],
        ..fixed(shape)
    };
    let mut source = event.source;
    let mut destination = event.destination;
    if shape == Shape::Segment6 {
        source[14] = who % 64;
        destination[13] = near | 1;
        destination[15] = far | 1;
    } else {
        source[3] = who % 64 + 2;
        destination[2] = near;
        destination[3] = far;
    }
    Event { source, destination, ..event }
}

/// What is the same in each event of a shape.
pub fn fixed(shape: Shape) -> Event {
    let mut event = Event {
        abi: EVENT_ABI,
        kind: EventKind::Denied as u16,
        reason: DropReason::Policy as u16,
        hook: Hook::FromGuest as u8,
        frame_len: 98,
        ethertype: 0x0800,
        family: IPV4,
        protocol: UDP,
        destination_mac: [2, 0x42, 10, 99, 0, 1],
        ..Event::default()
    };
    event.source[..4].copy_from_slice(&[10, 99, 0, 2]);
    event.destination[..4].copy_from_slice(&[198, 51, 100, 2]);
    match shape {
        Shape::Datagram => {}
        Shape::Segment6 => {
            event.ethertype = 0x86dd;
            event.family = IPV6;
            event.protocol = TCP;
            event.tcp_flags = 2;
            event.source = [0xfd, 0, 0, 0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
            event.destination = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 9];
        }
        Shape::Opened => {
            event.kind = EventKind::FlowOpened as u16;
            event.reason = 0;
            event.rule = 3;
            event.protocol = TCP;
            event.tcp_flags = 2;
        }
    }
    event
}

/// The bytes that the kernel writes.
pub fn bytes(event: &Event) -> [u8; size_of::<Event>()] {
    // SAFETY: `repr(C)` of integers and arrays of them, without padding: any bytes of it are bytes.
    unsafe { std::mem::transmute_copy(event) }
}
