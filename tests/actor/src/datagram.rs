//! UDP and echo requests.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
    os::fd::OwnedFd,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    registry::{Listener, Open, Registry, lock},
    sys,
};
use crate::{
    frames, hex,
    protocol::{Connected, Exchanged, Listening, Sent},
};

const SOL_UDP: i32 = 17;
const UDP_SEGMENT: i32 = 103;

/// Receives datagrams in a thread of its own.
pub(super) fn listen(registry: &Registry, at: SocketAddr, echo: bool) -> Result<Listening> {
    let socket = UdpSocket::bind(at).with_context(|| format!("bind {at}"))?;
    let at = socket.local_addr()?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    let listener = Arc::new(Listener::default());
    let id = registry.insert(Open::Listener(Arc::clone(&listener)));
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while !listener.stop.load(Ordering::Relaxed) {
            let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
            let mut served = lock(&listener.served);
            served.accepted += 1;
            served.received += length as u64;
            if served.peers.len() < 64 {
                served.peers.push(peer);
            }
            drop(served);
            if echo {
                let _ = socket.send_to(buffer.get(..length).unwrap_or_default(), peer);
            }
        }
    });
    Ok(Listening { id, at })
}

fn unbound(to: SocketAddr) -> Result<UdpSocket> {
    let any =
        if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    UdpSocket::bind((any, 0)).context("bind")
}

/// Sends one datagram from a socket that is not connected.
pub(super) fn send_to(to: SocketAddr, data: &str) -> Result<Sent> {
    let socket = unbound(to)?;
    Ok(match socket.send_to(&hex::decode(data)?, to) {
        Ok(_) => Sent { sent: 1, ..Sent::default() },
        Err(error) => Sent { refused: 1, errno: error.raw_os_error(), ..Sent::default() },
    })
}

/// Connects a UDP socket and sends nothing.
pub(super) fn connect(to: SocketAddr) -> Result<Connected> {
    let socket = unbound(to)?;
    let since = Instant::now();
    let outcome = socket.connect(to);
    Ok(Connected {
        id: None,
        local: socket.local_addr().ok(),
        peer: socket.peer_addr().ok(),
        errno: outcome.err().and_then(|error| error.raw_os_error()),
        took_ms: u64::try_from(since.elapsed().as_millis())?,
        answer: String::new(),
    })
}

/// Sends datagrams and waits for one answer.
pub(super) fn exchange(
    from_port: u16,
    to: SocketAddr,
    data: &str,
    count: u32,
    segment: u16,
    timeout_ms: u64,
) -> Result<Exchanged> {
    let data = hex::decode(data)?;
    let any =
        if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind((any, from_port)).context("bind")?;
    socket.set_broadcast(true)?;
    let local_port = socket.local_addr()?.port();
    let mut result = Exchanged { local_port, sent: 0, answer: None, errno: None };
    if let Err(error) = socket.connect(to) {
        result.errno = error.raw_os_error();
        return Ok(result);
    }
    socket.set_read_timeout(Some(Duration::from_millis(timeout_ms.max(1))))?;
    let fd = OwnedFd::from(socket);
    if segment > 0 {
        sys::set(&fd, SOL_UDP, UDP_SEGMENT, &i32::from(segment)).context("UDP_SEGMENT")?;
    }
    let segments = if segment > 0 { data.len().div_ceil(usize::from(segment)) } else { 1 };
    for _ in 0..count.max(1) {
        match sys::send(&fd, &data) {
            Ok(_) => result.sent += segments as u64,
            Err(error) => result.errno = error.raw_os_error(),
        }
    }
    receive_answer(&fd, &mut result);
    Ok(result)
}

fn receive_answer(fd: &OwnedFd, result: &mut Exchanged) {
    let mut buffer = vec![0; 1 << 16];
    match sys::receive(fd, &mut buffer) {
        Ok(length) => result.answer = buffer.get(..length).map(hex::encode),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => result.errno = error.raw_os_error(),
    }
}

/// One echo request from a raw socket, as root's `ping` does.
pub(super) fn echo(to: IpAddr, interface: &str, data: &str, timeout_ms: u64) -> Result<Exchanged> {
    let data = hex::decode(data)?;
    let (domain, protocol, request, reply) = match to {
        IpAddr::V4(_) => (libc::AF_INET, libc::IPPROTO_ICMP, 8, 0),
        IpAddr::V6(_) => (libc::AF_INET6, libc::IPPROTO_ICMPV6, 128, 129),
    };
    let fd = sys::socket(domain, libc::SOCK_RAW, protocol).context("SOCK_RAW")?;
    sys::set_timeout(&fd, 20)?;
    let scope = if interface.is_empty() { 0 } else { sys::ifindex(interface)?.cast_unsigned() };
    let peer = match to {
        IpAddr::V4(to) => SocketAddr::from((to, 0)),
        IpAddr::V6(to) => SocketAddrV6::new(to, 0, 0, scope).into(),
    };
    let mut message = vec![request, 0, 0, 0, 0xef, 0xef, 0, 1];
    message.extend_from_slice(&data);
    if to.is_ipv4() {
        // The kernel fills in the checksum of ICMPv6, but not of ICMP.
        let sum = frames::checksum(&[&message]);
        message.splice(2..4, sum.to_be_bytes());
    }
    let mut result = Exchanged { local_port: 0, sent: 0, answer: None, errno: None };
    match sys::send_to(&fd, &message, 0, peer) {
        Ok(_) => result.sent = 1,
        Err(error) => {
            result.errno = error.raw_os_error();
            return Ok(result);
        }
    }
    let deadline = Instant::now() + Duration::from_millis(timeout_ms);
    let mut buffer = [0; 2048];
    while Instant::now() < deadline && result.answer.is_none() {
        let Ok(length) = sys::receive(&fd, &mut buffer) else { continue };
        let packet = buffer.get(..length).unwrap_or_default();
        let start = if to.is_ipv4() { 20 } else { 0 };
        let is_reply = packet.get(start) == Some(&reply)
            && packet.get(start + 4..start + 6) == Some(&[0xef, 0xef]);
        if is_reply {
            result.answer = packet.get(start + 8..).map(hex::encode);
        }
    }
    Ok(result)
}
