//! Which connections go on when enforcer comes.

use std::net::SocketAddr;

use enforcer_common::{
    abi::{
        endpoint::{Hub, Network},
        policy::Policy,
    },
    packet::UDP,
};

use super::*;
use crate::model::connection::Direction;

const BRIDGE: u32 = 20;
const NOW: u64 = 1_000;

fn at(text: &str) -> SocketAddr {
    text.parse().expect("a literal")
}

fn observed() -> Observed {
    let endpoint = |id: u32, last: u8, role: Role| Endpoint {
        id,
        network: BRIDGE,
        ipv4: [10, 7, 0, last],
        ipv6: [0xfd, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last],
        role: role as u8,
        policy: 3,
        ..Endpoint::default()
    };
    let published = |port, protocol| PublishedKey { endpoint: 110, port, protocol, reserved: 0 };
    let hub =
        HubKey { network: BRIDGE, address: widen([10, 7, 0, 12]), family: IPV4, reserved: [0; 3] };
    Observed {
        networks: [(BRIDGE, Network { id: 1, ..Network::default() })].into(),
        endpoints: [
            (10, endpoint(110, 10, Role::Guest)),
            (11, endpoint(111, 11, Role::Guest)),
            (12, endpoint(112, 12, Role::Hub)),
            (13, endpoint(113, 13, Role::Unknown)),
        ]
        .into(),
        hubs: [(hub, Hub::default())].into(),
        published: [published(8888, TCP), published(6000, UDP)].into(),
        policies: [(3, Policy { epoch: 9, ..Policy::default() })].into(),
        ..Observed::default()
    }
}

fn local() -> BTreeSet<IpAddr> {
    ["10.7.0.1", "192.0.2.1", "fd07::1"].map(at_ip).into()
}

fn at_ip(text: &str) -> IpAddr {
    text.parse().expect("a literal")
}

/// A connection without address translation.
fn plain(from: &str, to: &str) -> Connection {
    let (from, to) = (at(from), at(to));
    Connection {
        protocol: TCP,
        original: Direction { source: from, destination: to },
        reply: Direction { source: to, destination: from },
        assured: true,
        established: true,
    }
}

fn import(connection: Connection) -> Option<Import> {
    let imports = imports(&[connection], &observed(), &local(), NOW);
    imports.first().copied()
}

fn opener(connection: Connection) -> Option<Opener> {
    import(connection).map(|import| Opener::from_value(import.record.opener))
}

#[test]
fn n7_what_the_host_or_a_hub_opened_goes_on_to_any_port() {
    let host = Some(Opener::Peer(Origin::Host));
    assert_eq!(opener(plain("10.7.0.1:50000", "10.7.0.10:9999")), host);
    assert_eq!(opener(plain("127.0.0.1:50000", "10.7.0.10:9999")), host);
    assert_eq!(opener(plain("[fd07::1]:50000", "[fd07::a]:9999")), host);
    let hub = Some(Opener::Peer(Origin::Hub));
    assert_eq!(opener(plain("10.7.0.12:50000", "10.7.0.10:9999")), hub);
    assert_eq!(opener(plain("[fd07::c]:50000", "[fd07::a]:9999")), hub);
}

#[test]
fn n4_from_beyond_only_published_ports_go_on() {
    let beyond = Some(Opener::Peer(Origin::Beyond));
    assert_eq!(opener(plain("198.51.100.7:50000", "10.7.0.10:8888")), beyond);
    assert_eq!(import(plain("198.51.100.7:50000", "10.7.0.10:8889")), None);
    assert_eq!(import(plain("198.51.100.7:50000", "10.7.0.11:8888")), None, "another's port");
    let datagram = Connection {
        protocol: UDP,
        established: false,
        ..plain("198.51.100.7:50000", "10.7.0.10:8888")
    };
    assert_eq!(import(datagram), None, "published for TCP only");
}

/// A guest's datagram to a neighbour, as if the host had sent it, would be answered for ever.
#[test]
fn n3_a_datagram_is_no_word_of_the_host_s_or_a_hub_s() {
    for from in ["10.7.0.1:161", "192.0.2.1:161", "10.7.0.12:53"] {
        let datagram =
            Connection { protocol: UDP, established: false, ..plain(from, "10.7.0.10:5000") };
        assert_eq!(import(datagram), None, "{from}");
    }
}

#[test]
fn n1_what_a_guest_opened_is_cut() {
    for (from, to) in [
        ("10.7.0.10:40000", "198.51.100.7:443"),
        ("10.7.0.10:40000", "10.7.0.1:22"),
        ("10.7.0.10:40000", "10.7.0.11:8888"),
        ("[fd07::a]:40000", "[2001:db8::9]:443"),
    ] {
        assert_eq!(import(plain(from, to)), None, "{from} {to}");
    }
    // Seen from outside as the host's: masqueraded.
    let masqueraded = Connection {
        reply: Direction { source: at("198.51.100.7:443"), destination: at("192.0.2.1:61000") },
        ..plain("10.7.0.10:40000", "198.51.100.7:443")
    };
    assert_eq!(import(masqueraded), None);
    // Over a port that the host publishes, back to another guest.
    let hairpin = Connection {
        reply: Direction { source: at("10.7.0.11:8888"), destination: at("10.7.0.1:61000") },
        ..plain("10.7.0.10:40000", "192.0.2.1:8000")
    };
    assert_eq!(import(hairpin), None);
}

#[test]
fn n7_address_translation_is_seen_through() {
    // Published port 8000 of the host, on the way to the guest's 8888.
    let published = Connection {
        reply: Direction { source: at("10.7.0.10:8888"), destination: at("198.51.100.7:50000") },
        ..plain("198.51.100.7:50000", "192.0.2.1:8000")
    };
    let import = import(published).expect("goes on");
    assert_eq!((import.ifindex, import.key.endpoint), (10, 110));
    assert_eq!((import.key.local_port, import.key.remote_port), (8888, 50000));
    assert_eq!(import.key.remote, widen([198, 51, 100, 7]));
    assert_eq!((import.record.epoch, import.record.opened_ns), (0, 0));
    assert_eq!(import.record.last_seen_ns, NOW);
    // Masqueraded on its way in: the guest sees the gateway, but who opened it counts.
    let masqueraded = Connection {
        reply: Direction { source: at("10.7.0.10:8889"), destination: at("10.7.0.1:61000") },
        ..plain("198.51.100.7:50000", "192.0.2.1:8000")
    };
    assert_eq!(imports(&[masqueraded], &observed(), &local(), NOW), []);
}

#[test]
fn n6_what_is_not_fully_open_or_has_no_identity_is_cut() {
    let live = plain("10.7.0.1:50000", "10.7.0.10:9999");
    assert!(import(live).is_some());
    assert_eq!(import(Connection { assured: false, ..live }), None);
    assert_eq!(import(Connection { established: false, ..live }), None);
    assert_eq!(import(plain("10.7.0.1:50000", "10.7.0.13:9999")), None, "an unknown port");
    let datagrams = Connection {
        protocol: UDP,
        established: false,
        ..plain("198.51.100.7:50000", "10.7.0.10:6000")
    };
    assert!(import(datagrams).is_some());
    assert_eq!(import(Connection { assured: false, ..datagrams }), None);
}
