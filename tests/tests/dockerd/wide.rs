//! Rows of the threat list under other circumstances, and with many frames that nobody wrote by
//! hand.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

use anyhow::{Result, ensure};
use enforcer_tests::{
    attacks::catalogue,
    frames::{Ip, Ipv4, Tcp, ethernet, ethertype, flag, link_local},
    harness::{
        capture::Captures,
        enforcer::Mode,
        netns::run_beside,
        proof::{NO_DENIALS, judge, observe},
        topology::{BRIDGE, HUB_PORT},
    },
    hex,
    protocol::{Exchanged, Filter, Request, Send, SendBy, Sent},
};

use crate::shared::{self, Shared};

const MARKER: &[u8] = b"EF@many!";
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

#[test]
fn p02_vlan_tags_on_a_bridge_that_filters_vlans() -> Result<()> {
    shared::with(|shared| {
        let filtering =
            |on| shared.rig.host.ip(&format!("link set {BRIDGE} type bridge vlan_filtering {on}"));
        if let Err(error) = filtering(1) {
            let lacks = format!("{error:#}").contains("not supported");
            ensure!(lacks, "{error:#}");
            eprintln!("skipped: this kernel's bridges do not filter VLANs");
            return Ok(());
        }
        let mut complaints = Vec::new();
        for attack in catalogue(&shared.rig.scene()?) {
            if attack.row == "P02" {
                let seen = observe(&shared.rig, Mode::Enforcing, Some(&shared.daemon), &attack)?;
                complaints
                    .extend(judge(Mode::Enforcing, &attack, &seen).iter().map(ToString::to_string));
            }
        }
        let legal = shared.ensure_legal();
        filtering(0)?;
        ensure!(complaints.is_empty(), "\n{}", complaints.join("\n"));
        legal
    })
}

#[test]
fn p06_ipv6_enabled_at_runtime_opens_nothing() -> Result<()> {
    shared::with(|shared| {
        let rig = &shared.rig;
        let set = |off: u8| -> Result<()> {
            for guest in [&rig.a, &rig.b] {
                let line = format!("/bin/busybox sysctl -w net.ipv6.conf.eth0.disable_ipv6={off}");
                run_beside(guest.pid, &line)?;
            }
            rig.host.sysctl(&format!("net/ipv6/conf/{BRIDGE}/disable_ipv6"), &off.to_string())
        };
        set(0)?;
        let result = no_ipv6(shared);
        set(1)?;
        result?;
        shared.ensure_legal()
    })
}

fn no_ipv6(shared: &Shared) -> Result<()> {
    let rig = &shared.rig;
    let scene = rig.scene()?;
    let a = &rig.a.actor;
    let scope = a.interface("eth0")?.ifindex;
    // An address is of use a second or two after its interface came up.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    let filter = Filter {
        ethertype: Some(ethertype::IPV6),
        source_mac: Some(scene.a.mac),
        ..Filter::default()
    };
    let captures = Captures::start(&rig.points(), &filter)?;
    let everybody: Exchanged = a.call(&Request::Echo {
        to: ALL_NODES.into(),
        interface: "eth0".into(),
        data: hex::encode(MARKER),
        timeout_ms: 500,
    })?;
    ensure!(everybody.answer.is_none(), "somebody answered: {everybody:?}");
    ensure!(everybody.sent == 1, "A could not send: {everybody:?}");
    for mac in [scene.host.mac, scene.b.mac] {
        for port in [22, HUB_PORT] {
            let to = SocketAddr::from(SocketAddrV6::new(link_local(mac), port, 0, scope));
            ensure!(a.connect(to, 300)?.errno.is_some(), "{to} answered");
        }
    }
    for (point, seen) in captures.end()? {
        ensure!(seen.count == 0, "{} frames at {}", seen.count, point.name());
    }
    Ok(())
}

/// An honest but forbidden SYN, bent at random places: whatever it has become, it is denied.
#[test]
fn p20_five_hundred_bent_frames() -> Result<()> {
    shared::with(|shared| {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let honest = forbidden(shared)?;
        let bent: Vec<_> = std::iter::repeat_with(|| {
            let mut frame = honest.clone();
            for _ in 0..=random.below(3) {
                // From the ethertype to the end of the TCP header; the marker stays.
                let at = 12 + random.below(42);
                if let Some(byte) = frame.get_mut(at) {
                    *byte = random.byte();
                }
            }
            frame
        })
        .filter(|frame| frame.get(36..38) != Some(&HUB_PORT.to_be_bytes()))
        .take(500)
        .collect();
        let filter = Filter { marker: hex::encode(MARKER), ..Filter::default() };
        let captures = Captures::start(&shared.rig.points(), &filter)?;
        let mut sent = Sent::default();
        let counts = shared.counting(|| {
            sent = shared.rig.a.actor.send(Send {
                interface: "eth0".into(),
                frames: bent.iter().map(|frame| hex::encode(frame)).collect(),
                repeat: 1,
                ..Send::default()
            })?;
            Ok(())
        })?;
        for (point, seen) in captures.end()? {
            ensure!(seen.count == 0, "at {}: {:?}", point.name(), seen.frames);
        }
        let denied: u64 = counts
            .iter()
            .filter(|(reason, _)| !NO_DENIALS.contains(&reason.as_str()))
            .map(|(_, count)| count.events)
            .sum();
        ensure!(denied == sent.sent, "{sent:?}, denied {denied}: {counts:?}");
        println!("{} bent frames: {:?}", sent.sent, counts.keys().collect::<Vec<_>>());
        shared.ensure_legal()
    })
}

#[test]
fn p37_thousand_random_virtio_headers() -> Result<()> {
    shared::with(|shared| {
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        let frame = hex::encode(&forbidden(shared)?);
        let filter = Filter { marker: hex::encode(MARKER), ..Filter::default() };
        let captures = Captures::start(&shared.rig.points(), &filter)?;
        let (mut taken, mut refused) = (0, 0);
        let counts = shared.counting(|| {
            for _ in 0..1000 {
                let mut header = [0; 10];
                header.fill_with(|| random.byte());
                // Half of them as small as in a header that tells the truth.
                if random.below(2) == 0 {
                    for high in [3, 5, 7, 9] {
                        header[high] = 0;
                    }
                    header[0] &= 1;
                    header[1] = [0, 1, 3, 4, 5][random.below(5)];
                }
                let sent: Sent = shared.rig.a.actor.send(Send {
                    interface: "eth0".into(),
                    frames: vec![frame.clone()],
                    repeat: 1,
                    by: SendBy::VnetHeader(hex::encode(&header)),
                    rate: 0,
                })?;
                taken += sent.sent;
                refused += sent.refused;
            }
            Ok(())
        })?;
        for (point, seen) in captures.end()? {
            ensure!(seen.count == 0, "{} frames at {}", seen.count, point.name());
        }
        println!("{taken} taken by A's kernel, {refused} refused; {counts:?}");
        ensure!(taken > 0, "the kernel took none");
        shared.ensure_legal()
    })
}

/// A SYN to a service of the host that is not the hub.
fn forbidden(shared: &Shared) -> Result<Vec<u8>> {
    let scene = shared.rig.scene()?;
    let ends = Ip::V4(Ipv4::new(scene.a.ipv4, scene.host.ipv4, 0));
    let packet = Tcp::new(5000, 22, flag::SYN).packet(&ends, &[MARKER, &[0; 64]].concat());
    Ok(ethernet(scene.host.mac, scene.a.mac, ethertype::IPV4, &packet))
}

/// xorshift64: the same frames in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()])) % limit
    }
}
