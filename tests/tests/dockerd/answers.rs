//! What answers may be used for: those of a published UDP port, and those to a ping that a rule allows.

use std::{fs, net::SocketAddr};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    attacks::{
        Point, Scene,
        icmp::{every_type, large_echo},
    },
    frames::{Ip, Ipv4, ethernet, ethertype, protocol, udp_packet},
    harness::{
        age::LiveFlow,
        capture::Captures,
        client::Actor,
        container::{Container, Spec},
        dockerd::Options,
        enforcer::{Enforcer, Settings},
        residue::Snapshot,
        topology::{Base, GATEWAY, NETWORK, Rig, UPLINK, WORLD},
    },
    hex,
    protocol::{Captured, Capturing, Exchanged, Filter, Request, Send, Sent},
};

use crate::flood::{denied, finish, start};

/// Of the guest, and where Docker publishes it.
const PORT: u16 = 4000;
const PUBLISHED: u16 = 14_000;
/// Another address of the world's.
const ELSEWHERE: std::net::Ipv4Addr = std::net::Ipv4Addr::new(198, 51, 100, 3);
/// Eight bytes each: in what may pass, and in what may not.
const ANSWER: &[u8] = b"EF@reply";
const ABUSE: &[u8] = b"EF@abuse";
/// A second's worth of answers, as fast as a capture misses none.
const ANSWERS: u32 = 10_000;
const RATE: u32 = 10_000;
/// Of each kind of datagram that answers nothing.
const OTHERS: u32 = 200;
/// How long an answered question is good for, seconds.
const LIFETIME: u64 = 180;

/// The guest that is asked.
struct Asked {
    actor: Actor,
    scene: Scene,
}

impl Asked {
    fn start(rig: &Rig) -> Result<Self> {
        let spec = Spec {
            name: "asked",
            network: NETWORK,
            published_udp: &[(PORT, PUBLISHED)],
            ..Spec::default()
        };
        let actor = Container::start(&rig.run, &rig.docker, &spec)?.actor()?;
        actor.udp_echo(([0, 0, 0, 0], PORT))?;
        let (own, mut scene) = (actor.interface("eth0")?, rig.scene()?);
        scene.a.mac = own.mac;
        scene.a.ipv4 = own.ipv4.context("no address")?;
        Ok(Self { actor, scene })
    }

    /// The world asks from this port, and is answered.
    fn ask(rig: &Rig, from_port: u16) -> Result<()> {
        let exchanged: Exchanged = rig.world.actor.call(&Request::UdpExchange {
            from_port,
            to: (UPLINK, PUBLISHED).into(),
            data: hex::encode(b"question"),
            count: 1,
            segment: 0,
            timeout_ms: 3000,
        })?;
        ensure!(exchanged.answer.is_some(), "the published port does not answer: {exchanged:?}");
        Ok(())
    }

    /// Sends datagrams: from one of its ports, to a peer, with a marker.
    fn send(&self, from: u16, to: SocketAddr, marker: &[u8], times: u32) -> Result<u64> {
        let SocketAddr::V4(to) = to else { anyhow::bail!("not IPv4") };
        let ends = Ip::V4(Ipv4::new(self.scene.a.ipv4, *to.ip(), 0));
        let packet = udp_packet(&ends, from, to.port(), marker);
        let frame = ethernet(self.scene.host.mac, self.scene.a.mac, ethertype::IPV4, &packet);
        let sent: Sent = self.actor.send(Send {
            interface: "eth0".into(),
            frames: vec![hex::encode(&frame)],
            repeat: times,
            rate: RATE,
            ..Send::default()
        })?;
        ensure!(sent.sent == u64::from(times), "{sent:?}");
        Ok(sent.sent)
    }

    /// Another port of the visitor's, another visitor, another port of its own.
    fn abuse(&self, visitor: u16) -> Result<u64> {
        let visitors = |address, port| SocketAddr::from((address, port));
        Ok(self.send(PORT, visitors(WORLD, visitor + 1), ABUSE, OTHERS)?
            + self.send(PORT, visitors(ELSEWHERE, visitor), ABUSE, OTHERS)?
            + self.send(PORT + 1, visitors(WORLD, visitor), ABUSE, OTHERS)?)
    }
}

/// How many frames with a marker come to the world while something is done.
fn seen(rig: &Rig, marker: &[u8], work: impl FnOnce() -> Result<()>) -> Result<u64> {
    let filter = Filter { marker: hex::encode(marker), ..Filter::default() };
    let captures = Captures::start(&[(Point::World, &rig.world.actor, "wan0")], &filter)?;
    work()?;
    Ok(captures.end()?[&Point::World].count)
}

/// P24: a datagram from outside lets a guest answer its sender, and nobody else, and for as long as a question
/// is good for: a flood of answers makes that no longer.
#[test]
fn p24_one_datagram_opens_no_pipe() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let rig = Base::start(Options::default())?.with_guests()?;
    rig.world.ip(&format!("addr add {ELSEWHERE}/24 dev wan0"))?;
    let asked = Asked::start(&rig)?;

    // Nobody polices: all of it arrives.
    Asked::ask(&rig, 47_000)?;
    let mut sent = 0;
    let arrived = seen(&rig, ABUSE, || {
        sent = asked.abuse(47_000)?;
        Ok(())
    })?;
    ensure!(arrived == sent, "without enforcer {arrived} of {sent} arrive");

    let daemon = Enforcer::start_beside(&rig, &Settings::default())?;
    daemon.wait_identified(&rig.host, "asked", "guest")?;
    let visitor = 47_010;
    Asked::ask(&rig, visitor)?;
    let guest = SocketAddr::from((asked.scene.a.ipv4, PORT));
    let mut flow = LiveFlow::find(protocol::UDP, guest, (WORLD, visitor).into())?;
    let before = flow.record()?;
    let arrived = seen(&rig, ANSWER, || {
        asked.send(PORT, (WORLD, visitor).into(), ANSWER, ANSWERS).map(drop)
    })?;
    ensure!(arrived == u64::from(ANSWERS), "{arrived} answers arrive");
    let after = flow.record()?;
    ensure!(after.packets_out - before.packets_out == u64::from(ANSWERS), "{after:?}");
    ensure!(after.last_seen_ns == before.last_seen_ns, "answers keep it alive: {after:?}");

    let three = 3 * u64::from(OTHERS);
    let arrived = seen(&rig, ABUSE, || {
        denied(&daemon, &rig.host, (three, &["policy"]), || asked.abuse(visitor).map(drop))
    })?;
    ensure!(arrived == 0, "{arrived} datagrams that answer nothing arrive");

    // A second before its end it is answered, afterwards it is not.
    flow.age(LIFETIME - 1 - (now_s()? - before.last_seen_ns / 1_000_000_000))?;
    let again = |times| asked.send(PORT, (WORLD, visitor).into(), ANSWER, times).map(drop);
    ensure!(seen(&rig, ANSWER, || again(1))? == 1, "over before its time");
    flow.age(2)?;
    let arrived = seen(&rig, ANSWER, || {
        denied(&daemon, &rig.host, (u64::from(OTHERS), &["policy"]), || again(OTHERS))
    })?;
    ensure!(arrived == 0, "{arrived} answers arrive after their time");

    // Whoever asks again is answered again.
    Asked::ask(&rig, visitor)?;
    rig.docker.remove("asked")?;
    finish(rig, daemon, &residue)
}

/// The packet path's clock, whole seconds.
fn now_s() -> Result<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one time.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    ensure!(result == 0, "clock_gettime: {}", std::io::Error::last_os_error());
    Ok(time.tv_sec.try_into()?)
}

/// Ping to the world, and one UDP port of it.
const POLICY: &str = "
[policies.ping]
[[policies.ping.allow]]
to = \"198.51.100.2\"
protocol = \"icmp\"
[[policies.ping.allow]]
to = \"198.51.100.2\"
protocol = \"udp\"
port = 33434
";

/// P25, P42: a rule for ping opens echo to where it says, and no other message; and of a packet that it allows
/// a guest learns what any host says of it, at the address that the guest knows.
#[test]
fn p25_p42_where_a_rule_allows_ping_nothing_else_of_icmp_passes() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, daemon) = start(&Settings::default())?;
    let (scene, a) = (rig.scene()?, &rig.a.actor);
    let ping = |to: std::net::Ipv4Addr, timeout_ms| -> Result<bool> {
        let data = hex::encode(&ANSWER.repeat(170));
        let echo = Request::Echo { to: to.into(), interface: String::new(), data, timeout_ms };
        Ok(a.call::<Exchanged>(&echo)?.answer.is_some())
    };
    ensure!(!ping(WORLD, 250)?, "the world answers before there is a rule");
    let text = fs::read_to_string(daemon.config())?;
    let gateway = format!("gateway = \"{GATEWAY}\"\n");
    let open = text.replacen(&gateway, &format!("{gateway}policy = \"ping\"\n"), 1) + POLICY;
    crate::policies::reload(&daemon, &rig, &open)?;
    ensure!(ping(WORLD, 2000)?, "the world does not answer a ping that a rule allows");
    // Of its neighbour it does not even learn where it is.
    denied(&daemon, &rig.host, (3, &["policy", "arp"]), || {
        for to in [GATEWAY, UPLINK, rig.b.ipv4] {
            ensure!(!ping(to, 250)?, "{to} answers");
        }
        Ok(())
    })?;

    let send = |packets: &[Vec<u8>]| -> Result<()> {
        let frame = |packet: &Vec<u8>| {
            hex::encode(&ethernet(scene.host.mac, scene.a.mac, ethertype::IPV4, packet))
        };
        let frames: Vec<_> = packets.iter().map(frame).collect();
        let expected = frames.len() as u64;
        let sent =
            a.send(Send { interface: "eth0".into(), frames, repeat: 1, ..Send::default() })?;
        ensure!(sent.sent == expected, "{sent:?}");
        Ok(())
    };
    // Of all types the request passes, and only to the address of the rule. Its own flow lives while the
    // others come, the reply that nobody asked for among them.
    let world = every_type(&scene, WORLD, ABUSE);
    let (before, request) = (&world[..8], &world[8..9]);
    ensure!(seen(&rig, ABUSE, || send(request))? == 1, "an echo request does not pass");
    for (packets, reasons) in [
        (before, &["icmp_type", "icmp_no_flow"][..]),
        (&world[9..], &["icmp_type", "icmp_no_flow"]),
        (&large_echo(&scene, WORLD, ABUSE), &["fragment"]),
        (&every_type(&scene, ELSEWHERE, ABUSE), &["icmp_type", "icmp_no_flow", "policy"]),
    ] {
        let times = packets.len() as u64;
        let arrived =
            seen(&rig, ABUSE, || denied(&daemon, &rig.host, (times, reasons), || send(packets)))?;
        ensure!(arrived == 0, "{arrived} of {times} for {reasons:?} arrive");
    }

    // One hop: the host ends it, and says so of what a rule allows.
    let one_hop = |port| {
        let ip = Ip::V4(Ipv4 { ttl: 1, ..Ipv4::new(scene.a.ipv4, WORLD, 0) });
        [udp_packet(&ip, 5000, port, ANSWER)]
    };
    let told = heard(a, || send(&one_hop(33_434)))?;
    ensure!(told.count == 1, "of an allowed packet: {told:?}");
    let message = hex::decode(told.frames.first().context("no frame")?)?;
    ensure!(message.get(26..30) == Some(&GATEWAY.octets()[..]), "not the gateway: {told:?}");
    ensure!(message.get(34..36) == Some(&[11, 0][..]), "not time exceeded: {told:?}");
    denied(&daemon, &rig.host, (1, &["policy"]), || {
        let told = heard(a, || send(&one_hop(33_435)))?;
        ensure!(told.count == 0, "of a denied packet: {told:?}");
        Ok(())
    })?;
    finish(rig, daemon, &residue)
}

/// What a guest is sent that has its own packet in it.
fn heard(guest: &Actor, work: impl FnOnce() -> Result<()>) -> Result<Captured> {
    let capture: Capturing = guest.call(&Request::Capture {
        interface: "eth0".into(),
        filter: Filter { marker: hex::encode(ANSWER), ..Filter::default() },
        outgoing: false,
        keep: 2,
    })?;
    work()?;
    guest.call(&Request::CaptureEnd { id: capture.id, settle_ms: 150 })
}
