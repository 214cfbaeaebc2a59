//! Ways to somebody's own network that only the wire shows: addresses of who is there, of its gateway, from the same bridge
//! and from another one; and a port of this host that the engine publishes for who is on it.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    attacks::Point,
    frames::{Ip, Ipv4, Mac, Tcp, ethernet, ethertype, flag, udp_packet},
    harness::{
        capture::Captures,
        topology::{Rig, UPLINK},
    },
    hex,
    protocol::{Filter, Interface, Request, Send, Sent},
};

use crate::own_networks::{Member, SQL, gateway};

const MARKER: &[u8] = b"enforcer-test-own-wire";
/// Where the engine publishes a member's port.
pub const PUBLISHED: u16 = 28_432;

/// Somebody whose address is taken.
#[derive(Clone, Copy)]
pub struct Source {
    pub mac: Mac,
    ipv4: Ipv4Addr,
}

impl Source {
    pub fn of(member: &Member) -> Result<Self> {
        let Interface { mac, ipv4, .. } = member.actor.interface("eth0")?;
        Ok(Self { mac, ipv4: ipv4.context("no address")? })
    }

    /// The host, on a member's network.
    pub fn gateway_of(member: &Member, rig: &Rig, bridge: &str) -> Result<Self> {
        let mac = rig.host.actor.interface(bridge)?.mac;
        Ok(Self { mac, ipv4: gateway(member.at.ip())? })
    }
}

/// How many packets of an attacker's arrive at a member: from its own address and from these, to the member and by the
/// attacker's gateway, as datagrams and as connections that begin.
pub fn spoofed(attacker: &Member, by: Mac, victim: &Member, sources: &[Source]) -> Result<u64> {
    let (own, to) = (Source::of(attacker)?, Source::of(victim)?);
    let mut frames = Vec::new();
    for source in [&[own], sources].concat() {
        for from in [own.mac, source.mac] {
            for next in [to.mac, by] {
                let header = |protocol| Ip::V4(Ipv4::new(source.ipv4, to.ipv4, protocol));
                let datagram = udp_packet(&header(0), SQL, SQL, MARKER);
                let begins = Tcp::new(47_000, SQL, flag::SYN).packet(&header(0), MARKER);
                for packet in [datagram, begins] {
                    frames.push(hex::encode(&ethernet(next, from, ethertype::IPV4, &packet)));
                }
            }
        }
    }
    let count = u64::try_from(frames.len())?;
    let filter = Filter { marker: hex::encode(MARKER), ..Filter::default() };
    let captures = Captures::start(&[(Point::Peer, &victim.actor, "eth0")], &filter)?;
    let send = Send { interface: "eth0".into(), frames, repeat: 2, ..Send::default() };
    let Sent { sent, .. } = attacker.actor.send(send)?;
    ensure!(sent == 2 * count, "{sent} of {count} frames, twice, are sent");
    Ok(captures.end()?[&Point::Peer].count)
}

/// How many datagrams from the world arrive at a member for whom the engine publishes a port. (The host itself reaches
/// every guest.)
pub fn published(rig: &Rig, member: &Member) -> Result<u64> {
    let filter = Filter { marker: hex::encode(MARKER), ..Filter::default() };
    let captures = Captures::start(&[(Point::Peer, &member.actor, "eth0")], &filter)?;
    let (to, data) = (SocketAddr::new(UPLINK.into(), PUBLISHED), hex::encode(MARKER));
    let _: Sent = rig.world.actor.call(&Request::UdpSendTo { to, data })?;
    Ok(captures.end()?[&Point::Peer].count)
}
