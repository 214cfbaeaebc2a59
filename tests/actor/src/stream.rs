//! TCP: connections and listeners.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use super::{
    registry::{Listener, Open, Registry, lock},
    sys,
};
use crate::{
    hex,
    protocol::{ConnectBy, Connected, Id, Listening, Received, Sent, Serve, Transferred},
};

/// No connection of an actor lives longer than this without a byte.
const IDLE: Duration = Duration::from_mins(2);
/// Most connections that one listener serves.
const MOST_CONNECTIONS: u64 = 100_000;
const CHUNK: usize = 1 << 16;

/// Opens a connection.
pub(super) fn connect(
    registry: &Registry,
    to: SocketAddr,
    by: ConnectBy,
    data: &str,
    timeout_ms: u64,
    hold: bool,
) -> Result<Connected> {
    let data = hex::decode(data)?;
    let started = Instant::now();
    let opened = open(to, by, &data, timeout_ms);
    let took_ms = u64::try_from(started.elapsed().as_millis())?;
    let mut connected = Connected {
        id: None,
        local: None,
        peer: None,
        errno: None,
        took_ms,
        answer: String::new(),
    };
    let mut stream = match opened {
        Ok(stream) => stream,
        Err(error) => {
            connected.errno = Some(match error.raw_os_error() {
                // A blocking connect that ran into SO_SNDTIMEO.
                Some(libc::EINPROGRESS | libc::EAGAIN) | None => libc::ETIMEDOUT,
                Some(errno) => errno,
            });
            return Ok(connected);
        }
    };
    connected.local = stream.local_addr().ok();
    connected.peer = stream.peer_addr().ok();
    if hold {
        connected.id = Some(registry.insert(Open::Connection(stream)));
    } else {
        let mut answer = [0; 256];
        if let Ok(length) = stream.read(&mut answer) {
            connected.answer = hex::encode(answer.get(..length).unwrap_or_default());
        }
    }
    Ok(connected)
}

fn open(to: SocketAddr, by: ConnectBy, data: &[u8], timeout_ms: u64) -> io::Result<TcpStream> {
    let protocol = if by == ConnectBy::Mptcp { libc::IPPROTO_MPTCP } else { 0 };
    let fd = sys::socket(sys::domain(to), libc::SOCK_STREAM, protocol)?;
    sys::set_timeout(&fd, timeout_ms)?;
    if by == ConnectBy::FastOpen {
        sys::send_to(&fd, data, libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL, to)?;
        // With a cookie missing the kernel connects first and returns; wait for the outcome.
        wait_connected(&fd, timeout_ms)?;
        return Ok(TcpStream::from(fd));
    }
    sys::connect(&fd, to)?;
    let mut stream = TcpStream::from(fd);
    stream.write_all(data)?;
    Ok(stream)
}

fn wait_connected(fd: &OwnedFd, timeout_ms: u64) -> io::Result<()> {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    let timeout = i32::try_from(timeout_ms).unwrap_or(i32::MAX);
    // SAFETY: one valid `pollfd`.
    let ready = sys::check(unsafe { libc::poll(&raw mut poll, 1, timeout) })?;
    if ready == 0 {
        return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
    }
    let mut errno = 0_i32;
    sys::query(fd, libc::SOL_SOCKET, libc::SO_ERROR, &mut errno)?;
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}

/// Listens and serves in threads of its own.
pub(super) fn listen(registry: &Registry, at: SocketAddr, serve: Serve) -> Result<Listening> {
    let socket = TcpListener::bind(at).with_context(|| format!("listen on {at}"))?;
    let at = socket.local_addr()?;
    socket.set_nonblocking(true)?;
    let listener = Arc::new(Listener::default());
    let id = registry.insert(Open::Listener(Arc::clone(&listener)));
    thread::spawn(move || {
        let mut accepted = 0;
        while !listener.stop.load(Ordering::Relaxed) && accepted < MOST_CONNECTIONS {
            let Ok((stream, peer)) = socket.accept() else {
                thread::sleep(Duration::from_millis(2));
                continue;
            };
            accepted += 1;
            let mut served = lock(&listener.served);
            served.accepted += 1;
            served.peers.push(peer);
            drop(served);
            let (listener, serve) = (Arc::clone(&listener), serve.clone());
            thread::spawn(move || serve_one(stream, &serve, &listener));
        }
    });
    Ok(Listening { id, at })
}

fn serve_one(mut stream: TcpStream, serve: &Serve, listener: &Listener) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    match serve {
        Serve::Hold => {
            lock(&listener.waiting).push_back(stream);
            Ok(())
        }
        Serve::Banner(text) => {
            stream.write_all(text.as_bytes())?;
            stream.shutdown(Shutdown::Write)
        }
        Serve::Source(bytes) => {
            write_pattern(&mut stream, *bytes, None)?;
            stream.shutdown(Shutdown::Write)
        }
        Serve::Echo | Serve::Sink => {
            let mut hash = Sha256::new();
            let mut buffer = vec![0; CHUNK];
            loop {
                let length = stream.read(&mut buffer)?;
                let Some(part) = buffer.get(..length).filter(|part| !part.is_empty()) else {
                    break;
                };
                lock(&listener.served).received += length as u64;
                hash.update(part);
                if *serve == Serve::Echo {
                    stream.write_all(part)?;
                }
            }
            lock(&listener.served).sha256 = hex::encode(&hash.finalize());
            stream.shutdown(Shutdown::Write)
        }
    }
}

/// The next connection of a holding listener.
pub(super) fn accept(registry: &Registry, id: Id, timeout_ms: u64) -> Result<Connected> {
    let listener = registry.listener(id)?;
    let started = Instant::now();
    loop {
        let next = lock(&listener.waiting).pop_front();
        if let Some(stream) = next {
            return Ok(Connected {
                local: stream.local_addr().ok(),
                peer: stream.peer_addr().ok(),
                id: Some(registry.insert(Open::Connection(stream))),
                errno: None,
                took_ms: u64::try_from(started.elapsed().as_millis())?,
                answer: String::new(),
            });
        }
        if started.elapsed() > Duration::from_millis(timeout_ms) {
            bail!("no connection came");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Writes to a held connection.
pub(super) fn write(registry: &Registry, id: Id, data: &str) -> Result<Sent> {
    let data = hex::decode(data)?;
    let mut sent = Sent::default();
    match registry.connection(id)?.write_all(&data) {
        Ok(()) => sent.sent = data.len() as u64,
        Err(error) => {
            sent.refused = 1;
            sent.errno = error.raw_os_error();
        }
    }
    Ok(sent)
}

/// Reads from a held connection.
pub(super) fn read(
    registry: &Registry,
    id: Id,
    length: usize,
    timeout_ms: u64,
) -> Result<Received> {
    let mut stream = registry.connection(id)?;
    let deadline = Instant::now() + Duration::from_millis(timeout_ms);
    let mut buffer = vec![0; length.min(1 << 20)];
    let mut filled = 0;
    let (mut ended, mut errno) = (false, None);
    while filled < buffer.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(buffer.get_mut(filled..).unwrap_or_default()) {
            Ok(0) => {
                ended = true;
                break;
            }
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => {
                errno = error.raw_os_error();
                break;
            }
        }
    }
    buffer.truncate(filled);
    Ok(Received { data: hex::encode(&buffer), ended, errno })
}

/// Connects and moves bytes.
pub(super) fn transfer(to: SocketAddr, send: u64, timeout_ms: u64) -> Result<Transferred> {
    let timeout = Duration::from_millis(timeout_ms);
    let started = Instant::now();
    let mut stream = TcpStream::connect_timeout(&to, timeout)?;
    stream.set_write_timeout(Some(timeout))?;
    stream.set_read_timeout(Some(timeout))?;
    let mut hash = Sha256::new();
    let mut bytes = 0_u64;
    if send > 0 {
        write_pattern(&mut stream, send, Some(&mut hash))?;
        stream.shutdown(Shutdown::Write)?;
        bytes = send;
        // The sink closes after the last byte: then all of it has arrived.
        match stream.read_exact(&mut [0]) {
            Ok(()) => bail!("a sink does not speak"),
            Err(error) => ensure!(error.kind() == io::ErrorKind::UnexpectedEof, "sink: {error}"),
        }
    } else {
        let mut buffer = vec![0; CHUNK];
        loop {
            let length = stream.read(&mut buffer)?;
            let Some(part) = buffer.get(..length).filter(|part| !part.is_empty()) else { break };
            hash.update(part);
            bytes += length as u64;
            ensure!(started.elapsed() < timeout, "not done in {timeout_ms} ms: {bytes} bytes");
        }
    }
    let took_ms = u64::try_from(started.elapsed().as_millis())?;
    Ok(Transferred { bytes, sha256: hex::encode(&hash.finalize()), took_ms })
}

fn write_pattern(
    stream: &mut TcpStream,
    bytes: u64,
    mut hash: Option<&mut Sha256>,
) -> io::Result<()> {
    let chunk: Vec<u8> = (0..CHUNK).map(|at| (at % 251) as u8).collect();
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let part = chunk.get(..length).unwrap_or_default();
        stream.write_all(part)?;
        if let Some(hash) = hash.as_deref_mut() {
            hash.update(part);
        }
        left -= length as u64;
    }
    Ok(())
}
