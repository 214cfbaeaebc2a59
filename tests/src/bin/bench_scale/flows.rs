//! Live flows: each guest opens connections by frames that are made by hand, and somebody on the host answers them. Guests have
//! no address, so their kernels take no part in it.

use std::{fs::File, net::Ipv4Addr};

use anyhow::{Context as _, Result};
use enforcer_tests::{
    bench::traffic::PacketSocket,
    frames::{Ip, Ipv4, Mac, Tcp, ethernet, ethertype, flag},
    harness::netns::within,
};

use crate::world::{self, BEYOND, BEYOND_PORT, BRIDGE_MAC};

/// A guest's first port.
const FIRST_PORT: u16 = 1024;
const GUESTS_NUMBER: u32 = 999;
const PEERS_NUMBER: u32 = 4999;

/// Opens so many of each guest: SYN, SYN-ACK and ACK each.
pub fn open(host: &File, guests: u16, each: u16, net: impl Fn(u16) -> Result<File>) -> Result<()> {
    let bridge = within(host, || PacketSocket::on(c"guests0"))?;
    for guest in 0..guests {
        let socket = within(net(guest)?, || PacketSocket::on(c"eth0"))?;
        for port in FIRST_PORT..FIRST_PORT + each {
            let ends = Ends { guest, port };
            let shook = socket
                .send(&ends.sent(flag::SYN, GUESTS_NUMBER, 0))
                .and_then(|()| bridge.send(&ends.answered()))
                .and_then(|()| {
                    socket.send(&ends.sent(flag::ACK, GUESTS_NUMBER + 1, PEERS_NUMBER + 1))
                });
            shook.with_context(|| format!("{}, port {port}", world::name(guest)))?;
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Ends {
    guest: u16,
    port: u16,
}

impl Ends {
    fn sent(self, flags: u8, sequence: u32, acknowledgement: u32) -> Vec<u8> {
        let tcp = Tcp { sequence, acknowledgement, ..Tcp::new(self.port, BEYOND_PORT, flags) };
        framed((BRIDGE_MAC, world::mac(self.guest)), (world::address(self.guest), BEYOND), &tcp)
    }

    fn answered(self) -> Vec<u8> {
        let tcp = Tcp {
            sequence: PEERS_NUMBER,
            acknowledgement: GUESTS_NUMBER + 1,
            ..Tcp::new(BEYOND_PORT, self.port, flag::SYN | flag::ACK)
        };
        framed((world::mac(self.guest), BRIDGE_MAC), (BEYOND, world::address(self.guest)), &tcp)
    }
}

fn framed(
    (to, from): (Mac, Mac),
    (source, destination): (Ipv4Addr, Ipv4Addr),
    tcp: &Tcp,
) -> Vec<u8> {
    let ip = Ip::V4(Ipv4::new(source, destination, 0));
    ethernet(to, from, ethertype::IPV4, &tcp.packet(&ip, &[]))
}
