//! Attacks of one frame: who sends it, where it must not arrive, and why.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, ensure};
use enforcer_common::abi::verdict::DropReason;

use super::world::{BRIDGE, BRIDGE_MAC, GATEWAY, Member, OTHER_PORT, World};
use crate::{
    frames::{Arp, BROADCAST, Ip, Ipv4, Ipv6, Mac, ethernet, ethertype, udp_packet},
    harness::client::Actor,
    hex,
    protocol::{Captured, Capturing, Filter, Request, Send, Sent},
};

/// Milliseconds of quiet after which a capture ends.
const SETTLE_MS: u64 = 100;

/// See the module.
pub(super) struct Probe<'a> {
    /// What it is.
    pub(super) name: &'static str,
    /// Who sends it.
    pub(super) sender: &'a Member,
    /// Who looks for it, and where.
    at: (&'a Actor, &'static str),
    /// The frame, with its name in it.
    frame: Vec<u8>,
    /// Why it is denied.
    pub(super) reason: DropReason,
}

/// All of them.
pub(super) fn all(world: &World) -> Vec<Probe<'_>> {
    let World { a, b, x, .. } = world;
    let nobody: Mac = [2, 0x98, 0, 0, 0, 0x77];
    let asks =
        Arp { operation: 1, sender: (a.port.mac, a.port.ipv4), target: ([0; 6], b.port.ipv4) };
    let at_b = (&b.guest.actor, "eth0");
    let at_host = (&world.host, BRIDGE);
    let probe = |name: &'static str, sender, at, reason, frame: &dyn Fn(&[u8]) -> Vec<u8>| Probe {
        name,
        sender,
        at,
        frame: frame(marker(name).as_bytes()),
        reason,
    };
    let mac = a.port.mac;
    let ours = a.port.ipv4;
    vec![
        probe("raw frame to a guest", a, at_b, DropReason::EtherType, &|marker| {
            ethernet(b.port.mac, mac, ethertype::EXPERIMENT, &padded(marker))
        }),
        probe("ARP for a guest", a, at_b, DropReason::Arp, &|marker| {
            let packet = [asks.bytes(), padded(marker)].concat();
            ethernet(BROADCAST, mac, ethertype::ARP, &packet)
        }),
        probe("datagram to a guest", a, at_b, DropReason::L2Destination, &|marker| {
            datagram(b.port.mac, mac, (ours, b.port.ipv4), marker)
        }),
        probe("datagram to another port of the host", a, at_host, DropReason::Policy, &|marker| {
            datagram(BRIDGE_MAC, mac, (ours, GATEWAY), marker)
        }),
        probe("another guest's address", a, at_host, DropReason::SourceAddress, &|marker| {
            datagram(BRIDGE_MAC, mac, (b.port.ipv4, GATEWAY), marker)
        }),
        probe("another MAC address", a, at_host, DropReason::SourceMac, &|marker| {
            datagram(BRIDGE_MAC, nobody, (ours, GATEWAY), marker)
        }),
        probe("IPv6 where there is none", a, at_host, DropReason::NoFamily, &|marker| {
            let host = Ipv6Addr::new(0xfd98, 0, 0, 0, 0, 0, 0, 1);
            let ip = Ip::V6(Ipv6::new(a.port.ipv6, host, 0));
            let packet = udp_packet(&ip, 4000, OTHER_PORT, marker);
            ethernet(BRIDGE_MAC, mac, ethertype::IPV6, &packet)
        }),
        probe("a port without identity", x, at_host, DropReason::UnknownInterface, &|marker| {
            datagram(BRIDGE_MAC, x.port.mac, (x.port.ipv4, GATEWAY), marker)
        }),
    ]
}

/// A datagram of A's to a port of the host that is closed to it, for floods.
pub(super) fn flood(world: &World) -> Probe<'_> {
    all(world).swap_remove(3)
}

impl Probe<'_> {
    /// Whether it is looked for in that guest.
    pub(super) fn is_at(&self, member: &Member) -> bool {
        std::ptr::eq(self.at.0, &raw const member.guest.actor)
    }

    /// Sends it a number of times; how often it arrived.
    pub(super) fn send(&self, times: u32) -> Result<u64> {
        self.send_during(times, || Ok(()))
    }

    /// As [`Self::send`], and does something meanwhile.
    pub(super) fn send_during(
        &self,
        times: u32,
        meanwhile: impl FnOnce() -> Result<()>,
    ) -> Result<u64> {
        let (looker, interface) = self.at;
        let capturing: Capturing = looker.call(&Request::Capture {
            interface: interface.into(),
            filter: Filter {
                marker: hex::encode(marker(self.name).as_bytes()),
                ..Filter::default()
            },
            outgoing: false,
            keep: 1,
        })?;
        let frames = Send {
            interface: "eth0".into(),
            frames: vec![hex::encode(&self.frame)],
            repeat: times,
            ..Send::default()
        };
        let actor = self.sender.guest.actor.clone();
        let task = std::thread::spawn(move || actor.send(frames));
        let outcome = meanwhile();
        let sent: Sent = task.join().map_err(|_panic| anyhow::anyhow!("sender"))??;
        let captured: Captured =
            looker.call(&Request::CaptureEnd { id: capturing.id, settle_ms: SETTLE_MS })?;
        outcome?;
        ensure!(sent.sent == u64::from(times), "{}: not sent: {sent:?}", self.name);
        ensure!(captured.missed == 0, "{}: the capture missed frames", self.name);
        Ok(captured.count)
    }
}

/// What is looked for. Not in any other frame.
fn marker(name: &str) -> String {
    format!("<<{name}>>")
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    [bytes, &[0; 46]].concat()
}

fn datagram(to: Mac, from: Mac, ips: (Ipv4Addr, Ipv4Addr), payload: &[u8]) -> Vec<u8> {
    let ip = Ip::V4(Ipv4::new(ips.0, ips.1, 0));
    ethernet(to, from, ethertype::IPV4, &udp_packet(&ip, 4000, OTHER_PORT, payload))
}

/// Whether a TCP connection comes about.
pub(super) fn connects(
    from: &Actor,
    to: (impl Into<IpAddr>, u16),
    timeout_ms: u64,
) -> Result<bool> {
    Ok(from.hold((to.0.into(), to.1), timeout_ms)?.errno.is_none())
}
