//! Addresses that are this host's without being on an interface: those for all of a network, or for its
//! routers.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    harness::{
        client::Actor,
        dockerd::Options,
        enforcer::{Enforcer, Settings},
        netns::Namespace,
        residue::Snapshot,
        run::wait_for,
        topology::{Base, GATEWAY, SUBNET6},
    },
    hex,
    protocol::{Exchanged, Request},
};

use crate::{
    flood::{denied, finish},
    outside::PATIENCE,
};

const PORT: u16 = 7777;
const WORDS: &[u8] = b"anybody there?";
/// Somebody on the LAN.
const BESIDE: Ipv4Addr = Ipv4Addr::new(10, 60, 0, 2);
const BESIDE6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x60, 0, 0, 0, 0, 0, 2);
/// All of the LAN, by its prefix and by what its administrator gave it.
const ALL: Ipv4Addr = Ipv4Addr::new(10, 60, 3, 255);
const GIVEN: Ipv4Addr = Ipv4Addr::new(10, 60, 3, 254);
/// Its routers: this host.
const ROUTERS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x60, 0, 0, 0, 0, 0, 0);

/// N3: a policy that opens private networks opens a LAN of this host, and nothing that the host itself hears
/// there: no broadcast address, and not the address that stands for the LAN's routers.
#[test]
fn n3_a_lan_that_is_open_leads_to_no_service_of_the_host() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let base = Base::start_ipv6(Options::default())?;
    let lan = Namespace::create(&base.run, "lan")?;
    base.host.ip(&format!("link add lan0 type veth peer name eth0 netns {}", lan.pid()))?;
    base.host.ip(&format!("addr add 10.60.0.1/22 broadcast {GIVEN} dev lan0"))?;
    base.host.ip("addr add fd00:60::1/64 dev lan0 nodad")?;
    base.host.ip("link set lan0 up")?;
    lan.ip(&format!("addr add {BESIDE}/22 dev eth0"))?;
    lan.ip(&format!("addr add {BESIDE6}/64 dev eth0 nodad"))?;
    lan.ip("link set eth0 up")?;
    lan.ip("route add default via 10.60.0.1")?;
    lan.ip("-6 route add default via fd00:60::1")?;
    let rig = base.with_guests()?;
    // The host's own services, and what the LAN's other machine hears.
    let own = Heard::at(&rig.host)?;
    let beside = Heard::at(&lan)?;
    let within: [SocketAddr; 3] =
        [(ALL, PORT).into(), (GIVEN, PORT).into(), (ROUTERS, PORT).into()];
    let others: [SocketAddr; 2] = [(BESIDE, PORT).into(), (BESIDE6, PORT).into()];

    // Nobody polices: the host hears each.
    for to in within {
        ask(&rig.a.actor, to)?;
        ensure!(own.next()?, "{to} does not reach the host");
    }
    let daemon = Enforcer::start_beside(
        &rig,
        &Settings { subnet6: Some(SUBNET6.into()), ..Settings::default() },
    )?;
    let plain = fs::read_to_string(daemon.config())?;
    let gateway = format!("gateway = \"{GATEWAY}\"\n");
    let open = plain.replacen(&gateway, &format!("{gateway}policy = \"lan\"\n"), 1)
        + "\n[policies.lan]\n[[policies.lan.allow]]\nto = [\"10.0.0.0/8\", \"fc00::/7\"]\nprotocol = \"any\"\n";
    fs::write(daemon.config(), open)?;
    let (code, said) = daemon.verb(&rig.host, "reload", &[])?;
    ensure!(code == 0, "{code}: {said}");
    daemon.wait_identified(&rig.host, &rig.a.name, "guest")?;
    wait_for("the policy", PATIENCE, || {
        ask(&rig.a.actor, others[0])?;
        Ok(beside.next()?.then_some(()))
    })?;
    for to in others {
        ask(&rig.a.actor, to)?;
        ensure!(beside.next()?, "{to} is closed");
    }
    let times = u64::try_from(within.len())?;
    denied(&daemon, &rig.host, (times, &["policy"]), || {
        within.iter().try_for_each(|to| ask(&rig.a.actor, *to))
    })?;
    ensure!(!own.next()?, "the host heard a guest");

    // An address that comes later brings its broadcast address along.
    let later = SocketAddr::from((Ipv4Addr::new(10, 61, 0, 255), PORT));
    rig.host.ip("addr add 10.61.0.1/24 dev lan0")?;
    wait_for("the address", PATIENCE, || {
        let before = daemon.counts(&rig.host)?;
        ask(&rig.a.actor, later)?;
        let rise = enforcer_tests::harness::proof::rise(&before, &daemon.counts(&rig.host)?);
        Ok(rise.get("policy").map(drop))
    })?;
    own.forget()?;
    denied(&daemon, &rig.host, (1, &["policy"]), || ask(&rig.a.actor, later))?;
    ensure!(!own.next()?, "the host heard a guest");
    drop(lan);
    finish(rig, daemon, &residue)
}

fn ask(actor: &Actor, to: SocketAddr) -> Result<()> {
    let asked: Exchanged = actor.call(&Request::UdpExchange {
        from_port: 0,
        to,
        data: hex::encode(WORDS),
        count: 1,
        segment: 0,
        timeout_ms: 100,
    })?;
    ensure!(asked.answer.is_none(), "{to} answers");
    Ok(())
}

/// Who listens on all addresses of a namespace.
struct Heard(UdpSocket);

impl Heard {
    fn at(namespace: &Namespace) -> Result<Self> {
        let socket = namespace.udp((Ipv6Addr::UNSPECIFIED, PORT).into())?;
        socket.set_read_timeout(Some(Duration::from_millis(500))).context("a limit")?;
        Ok(Self(socket))
    }

    /// Whether something came, or comes soon.
    fn next(&self) -> Result<bool> {
        let mut bytes = [0; 64];
        match self.0.recv(&mut bytes) {
            Ok(length) => {
                ensure!(&bytes[..length] == WORDS, "something else: {:?}", &bytes[..length]);
                Ok(true)
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What came so far is nobody's business.
    fn forget(&self) -> Result<()> {
        while self.next()? {}
        Ok(())
    }
}
