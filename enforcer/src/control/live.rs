//! First installation: which of the connections that were live before go on. Pure.
//!
//! Only those towards an endpoint, and only those that policy would let its opener open now. What an
//! endpoint opened itself is cut: nobody had judged it.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
};

use enforcer_common::{
    abi::{
        endpoint::{Endpoint, HubKey, Role},
        flow::{FlowKey, FlowRecord},
        import::Import,
        policy::{Decision, Direction, LIMITS_SOURCES, PublishedKey},
    },
    decide::{self, Opener, Origin},
    flow::{FlowState, Phase},
    packet::{Family, IPV4, IPV6, TCP, widen},
};

use crate::{
    model::{connection::Connection, observed::Observed},
    policy::rule::Net,
};

/// The flows to import. `local` are this machine's own addresses.
#[must_use]
pub fn imports(
    connections: &[Connection],
    observed: &Observed,
    local: &BTreeSet<IpAddr>,
    now_ns: u64,
) -> Vec<Import> {
    let facts = Facts { owners: owners(observed), observed, local };
    connections.iter().filter_map(|connection| facts.import(connection, now_ns)).collect()
}

struct Facts<'a> {
    /// Endpoints by address.
    owners: HashMap<IpAddr, (u32, &'a Endpoint)>,
    observed: &'a Observed,
    local: &'a BTreeSet<IpAddr>,
}

fn owners(observed: &Observed) -> HashMap<IpAddr, (u32, &Endpoint)> {
    let mut owners = HashMap::new();
    for (ifindex, endpoint) in &observed.endpoints {
        let four = (endpoint.ipv4 != [0; 4]).then(|| IpAddr::from(endpoint.ipv4));
        let six = (endpoint.ipv6 != [0; 16]).then(|| IpAddr::from(endpoint.ipv6));
        owners.extend(four.into_iter().chain(six).map(|ip| (ip, (*ifindex, endpoint))));
    }
    owners
}

impl Facts<'_> {
    fn import(&self, connection: &Connection, now_ns: u64) -> Option<Import> {
        let is_live = connection.assured && (connection.protocol != TCP || connection.established);
        // The answers come from the endpoint itself, whatever address the initiator knows.
        let (ours, peer) = (connection.reply.source, connection.reply.destination);
        let (ifindex, endpoint) = self.owners.get(&ours.ip()).filter(|_| is_live)?;
        let origin = self.origin(connection.initiator(), endpoint);
        // As if the host or a hub had begun it: of a datagram a guest could have made conntrack believe so, and a flow of
        // UDP that its answers keep alive has no end. Theirs open again with their next datagram.
        if connection.protocol != TCP && matches!(origin, Origin::Host | Origin::Hub) {
            return None;
        }
        let published = origin == Origin::Beyond
            && self.observed.published.contains(&PublishedKey {
                endpoint: endpoint.id,
                port: ours.port(),
                protocol: connection.protocol,
                reserved: 0,
            });
        let sources = self.sources(endpoint, peer, (connection.protocol, ours.port()));
        decide::inbound(endpoint, origin, published, sources).ok()?;
        Some(Import {
            key: key(endpoint.id, connection.protocol, ours, peer)?,
            ifindex: *ifindex,
            record: FlowRecord {
                last_seen_ns: now_ns,
                // When it opened nobody knows; older than any flow that a packet opens.
                opened_ns: 0,
                state: FlowState::open(false).with_phase(Phase::Established).word(),
                // No policy has this epoch: its next packet is judged by the one that holds then.
                epoch: 0,
                opener: Opener::Peer(origin).value(),
                ..FlowRecord::default()
            },
        })
    }

    /// What the rules that hold say of who may come in, if they say anything.
    fn sources(&self, endpoint: &Endpoint, peer: SocketAddr, port: (u8, u16)) -> Option<Decision> {
        let Some(policy) = self.observed.policies.get(&endpoint.policy) else {
            return Some(Decision::NONE);
        };
        (policy.traits & LIMITS_SOURCES != 0).then(|| {
            let tables = self.observed.tables.get(&policy.epoch);
            tables.map_or(Decision::NONE, |tables| {
                tables.look_up(Direction::In, &Net::host(peer.ip()), port)
            })
        })
    }

    /// Where the initiator is, as the packet path would see it at the endpoint's port.
    fn origin(&self, initiator: IpAddr, endpoint: &Endpoint) -> Origin {
        let same = |other: &Endpoint| other.network == endpoint.network;
        if self.local.contains(&initiator) || initiator.is_loopback() {
            return Origin::Host;
        }
        let (address, family) = wide(initiator);
        let hub = HubKey { network: endpoint.network, address, family, reserved: [0; 3] };
        match self.owners.get(&initiator) {
            Some((_, other)) if same(other) && other.role == Role::Hub as u8 => Origin::Hub,
            // Of another guest network too: it is a guest, and none may.
            Some(_) => Origin::Guest,
            None if self.observed.hubs.contains_key(&hub) => Origin::Hub,
            None => Origin::Beyond,
        }
    }
}

fn key(endpoint: u32, protocol: u8, ours: SocketAddr, peer: SocketAddr) -> Option<FlowKey> {
    let ((local, family), (remote, other)) = (wide(ours.ip()), wide(peer.ip()));
    (family == other).then_some(FlowKey {
        endpoint,
        local_port: ours.port(),
        remote_port: peer.port(),
        local,
        remote,
        protocol,
        family,
        reserved: [0; 2],
    })
}

fn wide(address: IpAddr) -> ([u8; 16], Family) {
    match address {
        IpAddr::V4(address) => (widen(address.octets()), IPV4),
        IpAddr::V6(address) => (address.octets(), IPV6),
    }
}

#[cfg(test)]
mod tests;
