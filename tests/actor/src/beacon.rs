//! A guest that calls home from its first instruction on, for ever, by every door it has; and says
//! when it hears another one. Whoever captures its frames knows them by `MARKER` or by the port.

use std::{
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::sys;
use crate::frames::{Arp, BROADCAST, ethernet, ethertype};

/// In every frame that has room for it, before the beacon's name.
const MARKER: &str = "enforcer-beacon-";
/// Between two volleys.
const PAUSE: Duration = Duration::from_millis(500);
/// What it serves to whoever may ask.
const PORT: u16 = 8888;

/// Calls `home`; never returns unless it cannot begin.
pub fn run(name: &str, home: SocketAddr) -> Result<()> {
    let marker = format!("{MARKER}{name}");
    let card = sys::socket(libc::AF_PACKET, libc::SOCK_RAW, 0).context("AF_PACKET")?;
    sys::bind_packet(&card, sys::ifindex("eth0")?, 0x0003).context("bind")?;
    let own = marker.clone();
    let served = marker.clone();
    let ears = card.try_clone()?;
    thread::spawn(move || listen(&ears, own.as_bytes()));
    thread::spawn(move || serve(&served));
    let datagrams = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let mac: [u8; 6] = mac("eth0")?;
    let ask = Arp {
        operation: 1,
        sender: (mac, Ipv4Addr::new(169, 254, 1, 1)),
        target: ([0; 6], Ipv4Addr::new(10, 0, 2, 2)),
    };
    let arp = [ask.bytes(), marker.as_bytes().to_vec()].concat();
    let raw = [marker.as_bytes(), &[0; 46]].concat();
    loop {
        // What is refused now is tried again: that is all a beacon does.
        let _refused = datagrams.send_to(marker.as_bytes(), home);
        let _refused = TcpStream::connect_timeout(&home, Duration::from_millis(1));
        for frame in [
            ethernet(BROADCAST, mac, ethertype::ARP, &arp),
            ethernet(BROADCAST, mac, ethertype::EXPERIMENT, &raw),
        ] {
            let _refused = sys::send(&card, &frame);
        }
        thread::sleep(PAUSE);
    }
}

/// Says, for each of its first frames, that another beacon can be heard.
fn listen(card: &std::os::fd::OwnedFd, own: &[u8]) {
    let mut buffer = [0; 2048];
    while let Ok(length) = sys::receive(card, &mut buffer) {
        let frame = buffer.get(..length.min(buffer.len())).unwrap_or_default();
        let holds = |what: &[u8]| frame.windows(what.len()).any(|window| window == what);
        if holds(MARKER.as_bytes()) && !holds(own) {
            println!("HEARD another beacon");
            return;
        }
    }
}

fn serve(name: &str) {
    let Ok(listener) = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)) else { return };
    for mut client in listener.incoming().flatten() {
        let _gone = writeln!(client, "{name}");
    }
}

fn mac(interface: &str) -> Result<[u8; 6]> {
    let text = std::fs::read_to_string(format!("/sys/class/net/{interface}/address"))?;
    let bytes: Vec<u8> = text
        .trim()
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect::<Result<_, _>>()?;
    bytes.try_into().ok().context("not an Ethernet address")
}
