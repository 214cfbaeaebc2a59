//! A guest that speaks before anybody could have noticed it: its first instructions send what
//! policy forbids, by every door, and it knows the gateway's MAC address already.

use std::{
    io::Write as _,
    net::{Ipv4Addr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::{interface, sys};
use crate::{
    frames::{Arp, BROADCAST, Ip, Ipv4, Mac, Tcp, ethernet, ethertype, flag, udp_packet},
    hex,
};

/// Destination port of everything that it sends.
pub const PORT: u16 = 4477;
/// Rounds of one volley: less than 5 ms.
const ROUNDS: usize = 3;
/// Between two volleys of one that stays.
const PAUSE: Duration = Duration::from_millis(2);

/// `once` or `forever`, the marker in hexadecimal, the gateway's MAC address, the targets.
pub fn run(arguments: &[String]) -> Result<()> {
    let [how, marker, gateway, targets @ ..] = arguments else {
        anyhow::bail!("usage: actor volley once|forever MARKER GATEWAY_MAC TARGET...");
    };
    let marker = hex::decode(marker)?;
    let gateway: Mac = hex::decode(gateway)?.try_into().ok().context("a MAC address")?;
    let targets = targets
        .iter()
        .map(|target| target.parse().context("an IPv4 address"))
        .collect::<Result<Vec<Ipv4Addr>>>()?;
    let mut sent = 0;
    loop {
        for _ in 0..ROUNDS {
            sent += round(&marker, gateway, &targets);
        }
        if how == "once" {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    ensure!(sent > 0, "nothing was sent");
    // The harness looks for it in the log.
    writeln!(std::io::stdout(), "{sent}")?;
    Ok(())
}

/// One round; how many the kernel took.
fn round(marker: &[u8], gateway: Mac, targets: &[Ipv4Addr]) -> usize {
    let mut sent = raw(marker, gateway, targets).unwrap_or_default();
    for target in targets {
        let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
        let datagram = udp.and_then(|udp| udp.send_to(marker, (*target, PORT)));
        sent += usize::from(datagram.is_ok());
        // A SYN leaves at once; nobody answers within a microsecond.
        let at = (*target, PORT).into();
        let _ = TcpStream::connect_timeout(&at, Duration::from_micros(1));
    }
    sent
}

fn raw(marker: &[u8], gateway: Mac, targets: &[Ipv4Addr]) -> Result<usize> {
    let own = interface::describe("eth0")?;
    let address = own.ipv4.context("no address")?;
    let fd = sys::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
    sys::bind_packet(&fd, sys::ifindex("eth0")?, 0)?;
    let mut frames = Vec::new();
    for target in targets {
        let ip = Ip::V4(Ipv4::new(address, *target, 0));
        let syn = Tcp::new(PORT, PORT, flag::SYN).packet(&ip, marker);
        let datagram = udp_packet(&ip, PORT, PORT, marker);
        for to in [gateway, BROADCAST] {
            frames.push(ethernet(to, own.mac, ethertype::IPV4, &syn));
            frames.push(ethernet(to, own.mac, ethertype::IPV4, &datagram));
        }
        let ask =
            Arp { operation: 1, sender: (own.mac, address), target: ([0; 6], *target) }.bytes();
        let ask = [&ask, marker].concat();
        frames.push(ethernet(BROADCAST, own.mac, ethertype::ARP, &ask));
    }
    Ok(frames.iter().filter(|frame| sys::send(&fd, frame).is_ok()).count())
}
