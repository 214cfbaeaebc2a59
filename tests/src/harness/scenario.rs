//! Attacks that take more than sending: a live connection to spy on, or one that has ended.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};

use super::topology::{BRIDGE, NOTEBOOK_PORT, PUBLISHED_PORT, Rig, UPLINK};
use crate::{
    attacks::{Attack, Scenario, Scene},
    frames::{Arp, Ip, Ipv4, Tcp, ethernet, ethertype, flag, icmp, protocol, udp_packet},
    hex,
    protocol::{
        Captured, Capturing, Connected, Filter, Id, Listening, Received, Request, Send, Sent, Serve,
    },
};

/// What came of one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Frames that A sent.
    pub sent: u64,
    /// Of these, the ones that had their effect.
    pub reached: u64,
}

/// Performs one.
pub fn perform(rig: &Rig, attack: &Attack, scenario: Scenario) -> Result<Outcome> {
    let scene = rig.scene()?;
    match scenario {
        Scenario::InjectIntoLiveFlow => inject(rig, &scene, &attack.marker),
        Scenario::AnswerAsPeer => answer_as_peer(rig, &scene, &attack.marker),
        Scenario::ResetLiveFlow => reset(rig, &scene, &attack.marker),
        Scenario::SynAfterFin => syn_after_close(rig, &scene, &attack.marker, false),
        Scenario::SynAfterReset => syn_after_close(rig, &scene, &attack.marker, true),
        Scenario::PoisonHost => poison_host(rig, &scene, &attack.marker),
        Scenario::TraceHost => trace_host(rig, &scene, &attack.marker),
    }
}

fn send(rig: &Rig, frame: &[u8]) -> Result<u64> {
    let sent: Sent = rig.a.actor.send(Send {
        interface: "eth0".into(),
        frames: vec![hex::encode(frame)],
        repeat: 1,
        ..Send::default()
    })?;
    Ok(sent.sent)
}

/// A connection that the host opened to B, and where its next segment starts.
struct LiveFlow {
    host_end: Id,
    peer_end: Id,
    listener: Id,
    template: Tcp,
}

impl LiveFlow {
    fn open(rig: &Rig) -> Result<Self> {
        let Listening { id: listener, at } = rig.b.actor.listen(([0, 0, 0, 0], 0), Serve::Hold)?;
        let capture: Capturing = rig.b.actor.call(&Request::Capture {
            interface: "eth0".into(),
            filter: Filter { port: Some(at.port()), ..Filter::default() },
            outgoing: false,
            keep: 16,
        })?;
        let host_end = rig
            .host
            .actor
            .hold(rig.b.at(at.port()), 3000)?
            .id
            .context("the host could not connect to B")?;
        let accepted: Connected =
            rig.b.actor.call(&Request::Accept { id: listener, timeout_ms: 3000 })?;
        let peer_end = accepted.id.context("no connection")?;
        rig.host.actor.call::<Sent>(&Request::Write { id: host_end, data: hex::encode(b"x") })?;
        rig.b.actor.call::<Received>(&Request::Read {
            id: peer_end,
            length: 1,
            timeout_ms: 3000,
        })?;
        let captured: Captured =
            rig.b.actor.call(&Request::CaptureEnd { id: capture.id, settle_ms: 60 })?;
        let last = captured.frames.last().context("saw nothing of the connection")?;
        let template = next_segment(&hex::decode(last)?).context("not TCP")?;
        Ok(Self { host_end, peer_end, listener, template })
    }

    fn read_at_peer(&self, rig: &Rig) -> Result<Received> {
        rig.b.actor.call(&Request::Read { id: self.peer_end, length: 64, timeout_ms: 200 })
    }

    fn close(self, rig: &Rig) {
        // Ends that an attack has already reset are gone; that is no failure.
        let close = |actor: &super::client::Actor, id| {
            let _ = actor.call::<()>(&Request::Close { id, reset: true });
        };
        close(&rig.host.actor, self.host_end);
        close(&rig.b.actor, self.peer_end);
        close(&rig.b.actor, self.listener);
    }
}

/// The segment that would follow the one in this IPv4 frame.
fn next_segment(frame: &[u8]) -> Option<Tcp> {
    let word = |at: usize| Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    let long = |at: usize| Some(u32::from_be_bytes(frame.get(at..at + 4)?.try_into().ok()?));
    let start = 14 + usize::from(frame.get(14)? & 15) * 4;
    let length = payload(frame)?.len();
    Some(Tcp {
        sequence: long(start + 4)?.wrapping_add(u32::try_from(length).ok()?),
        acknowledgement: long(start + 8)?,
        ..Tcp::new(word(start)?, word(start + 2)?, flag::PSH | flag::ACK)
    })
}

/// What a TCP segment in an IPv4 frame carries.
fn payload(frame: &[u8]) -> Option<&[u8]> {
    let start = 14 + usize::from(frame.get(14)? & 15) * 4;
    let offset = usize::from(frame.get(start + 12)? >> 4) * 4;
    let total = usize::from(u16::from_be_bytes(frame.get(16..18)?.try_into().ok()?));
    frame.get(start + offset..14 + total)
}

fn inject(rig: &Rig, scene: &Scene, marker: &[u8]) -> Result<Outcome> {
    let flow = LiveFlow::open(rig)?;
    let as_host = Ip::V4(Ipv4::new(scene.host.ipv4, scene.b.ipv4, 0));
    let packet = flow.template.packet(&as_host, marker);
    let sent = send(rig, &ethernet(scene.b.mac, scene.a.mac, ethertype::IPV4, &packet))?;
    let read = flow.read_at_peer(rig)?;
    flow.close(rig);
    Ok(Outcome { sent, reached: u64::from(read.data == hex::encode(marker)) })
}

/// The world visits B's published port; A sends it what B would send next.
fn answer_as_peer(rig: &Rig, scene: &Scene, marker: &[u8]) -> Result<Outcome> {
    let capture: Capturing = rig.b.actor.call(&Request::Capture {
        interface: "eth0".into(),
        filter: Filter { port: Some(NOTEBOOK_PORT), ..Filter::default() },
        outgoing: false,
        keep: 64,
    })?;
    let visit = rig.world.actor.hold((UPLINK, PUBLISHED_PORT + 1), 3000)?;
    let id = visit.id.context("the world could not visit B")?;
    rig.world.actor.call::<Sent>(&Request::Write { id, data: hex::encode(b"x") })?;
    let echo: Received =
        rig.world.actor.call(&Request::Read { id, length: 1, timeout_ms: 3000 })?;
    ensure!(echo.data == hex::encode(b"x"), "B does not echo: {echo:?}");
    let captured: Captured =
        rig.b.actor.call(&Request::CaptureEnd { id: capture.id, settle_ms: 100 })?;
    // What follows the word that B echoed: of a later segment nobody knows whether it acknowledges the echo yet.
    let mut spoken = captured.frames.iter().filter_map(|frame| hex::decode(frame).ok());
    let word = spoken
        .find(|frame| payload(frame) == Some(b"x"))
        .context("saw nothing of the connection")?;
    let theirs = next_segment(&word).context("not TCP")?;
    let theirs = Tcp { acknowledgement: theirs.acknowledgement.wrapping_add(1), ..theirs };
    let forged = Tcp {
        source: theirs.destination,
        destination: theirs.source,
        sequence: theirs.acknowledgement,
        acknowledgement: theirs.sequence,
        ..theirs
    };
    let packet = forged.packet(&Ip::V4(Ipv4::new(scene.b.ipv4, scene.world, 0)), marker);
    let sent = send(rig, &ethernet(scene.host.mac, scene.a.mac, ethertype::IPV4, &packet))?;
    let read: Received =
        rig.world.actor.call(&Request::Read { id, length: marker.len(), timeout_ms: 300 })?;
    rig.world.actor.call::<()>(&Request::Close { id, reset: true })?;
    Ok(Outcome { sent, reached: u64::from(read.data == hex::encode(marker)) })
}

fn reset(rig: &Rig, scene: &Scene, marker: &[u8]) -> Result<Outcome> {
    let flow = LiveFlow::open(rig)?;
    let as_host = Ip::V4(Ipv4::new(scene.host.ipv4, scene.b.ipv4, 0));
    let forged = Tcp { flags: flag::RST | flag::ACK, ..flow.template.clone() };
    let packet = forged.packet(&as_host, marker);
    let sent = send(rig, &ethernet(scene.b.mac, scene.a.mac, ethertype::IPV4, &packet))?;
    let read = flow.read_at_peer(rig)?;
    flow.close(rig);
    Ok(Outcome { sent, reached: u64::from(read.errno == Some(libc::ECONNRESET)) })
}

/// The world visits A's published port; after that A tries to go out on the same tuple.
fn syn_after_close(rig: &Rig, scene: &Scene, marker: &[u8], by_reset: bool) -> Result<Outcome> {
    let to: SocketAddr = (UPLINK, PUBLISHED_PORT).into();
    let visit = rig.world.actor.hold(to, 3000)?;
    let id = visit.id.context("the world could not visit A")?;
    let port = visit.local.context("no local address")?.port();
    rig.world.actor.call::<()>(&Request::Close { id, reset: by_reset })?;
    std::thread::sleep(std::time::Duration::from_millis(100));
    let capture: Capturing = rig.world.actor.call(&Request::Capture {
        interface: "wan0".into(),
        filter: Filter { marker: hex::encode(marker), ..Filter::default() },
        outgoing: false,
        keep: 1,
    })?;
    let to_world = Ip::V4(Ipv4::new(scene.a.ipv4, scene.world, 0));
    let packet = Tcp::new(NOTEBOOK_PORT, port, flag::SYN).packet(&to_world, marker);
    let sent = send(rig, &ethernet(scene.host.mac, scene.a.mac, ethertype::IPV4, &packet))?;
    let captured: Captured =
        rig.world.actor.call(&Request::CaptureEnd { id: capture.id, settle_ms: 60 })?;
    Ok(Outcome { sent, reached: captured.count })
}

/// Messages of the host about packets of A's that made one hop. Each has the packet in it.
fn trace_host(rig: &Rig, scene: &Scene, marker: &[u8]) -> Result<Outcome> {
    let capture: Capturing = rig.a.actor.call(&Request::Capture {
        interface: "eth0".into(),
        filter: Filter { marker: hex::encode(marker), ..Filter::default() },
        outgoing: false,
        keep: 0,
    })?;
    let one_hop = Ipv4 { ttl: 1, ..Ipv4::new(scene.a.ipv4, scene.world, 0) };
    let ends = Ip::V4(one_hop.clone());
    let echo = Ipv4 { protocol: protocol::ICMP, ..one_hop };
    let mut sent = 0;
    for packet in [
        udp_packet(&ends, 5000, 33434, marker),
        echo.packet(&icmp(8, 0, [0, 11, 0, 1], marker)),
        Tcp::new(5000, 80, flag::SYN).packet(&ends, marker),
    ] {
        sent += send(rig, &ethernet(scene.host.mac, scene.a.mac, ethertype::IPV4, &packet))?;
    }
    let captured: Captured =
        rig.a.actor.call(&Request::CaptureEnd { id: capture.id, settle_ms: 300 })?;
    Ok(Outcome { sent, reached: captured.count })
}

fn poison_host(rig: &Rig, scene: &Scene, marker: &[u8]) -> Result<Outcome> {
    // The host must know B before somebody can lie about B.
    rig.host.actor.connect(rig.b.at(22), 2000)?;
    let packet = Arp {
        operation: 2,
        sender: (scene.a.mac, scene.b.ipv4),
        target: (scene.host.mac, scene.host.ipv4),
    };
    // An entry is locked against change for a second after it was confirmed.
    rig.host.sysctl(&format!("net/ipv4/neigh/{BRIDGE}/locktime"), "0")?;
    let payload = [&packet.bytes()[..], marker].concat();
    let sent = send(rig, &ethernet(scene.host.mac, scene.a.mac, ethertype::ARP, &payload))?;
    std::thread::sleep(std::time::Duration::from_millis(50));
    let table = rig.host.ip(&format!("neigh show {} dev {BRIDGE}", scene.b.ipv4))?;
    let lie = hex::encode(&scene.a.mac);
    let reached = table.replace(':', "").contains(&lie);
    rig.host.ip(&format!("neigh flush dev {BRIDGE}"))?;
    Ok(Outcome { sent, reached: u64::from(reached) })
}
