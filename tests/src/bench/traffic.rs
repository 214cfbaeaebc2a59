//! Traffic that is timed, and what the standard library has no words for: frames as they are, and a connection
//! that ends at once.

use std::{
    ffi::CStr,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{Series, median};

const GO_ON: u8 = 1;
const END: u8 = 0;

/// The median of the round trips of one byte, in nanoseconds.
pub fn round_trips(mut client: &TcpStream, mut server: &TcpStream, time: Duration) -> Result<f64> {
    thread::scope(|scope| {
        // It starts on this thread's CPU, and stays there.
        let answering = scope.spawn(move || -> Result<()> {
            let mut byte = [END];
            loop {
                server.read_exact(&mut byte)?;
                server.write_all(&byte)?;
                if byte == [END] {
                    return Ok(());
                }
            }
        });
        let mut times = Series::new();
        let started = Instant::now();
        let mut byte = [GO_ON];
        while started.elapsed() < time {
            let since = Instant::now();
            client.write_all(&byte)?;
            client.read_exact(&mut byte)?;
            times.push(since.elapsed().as_secs_f64() * 1e9);
        }
        client.write_all(&[END])?;
        client.read_exact(&mut byte)?;
        answering.join().map_err(|panic| anyhow::anyhow!("{panic:?}"))??;
        Ok(median(times))
    })
}

/// The median of the times that `connect` takes, in nanoseconds.
pub fn connects(listener: &TcpListener, to: SocketAddr, count: usize) -> Result<f64> {
    let mut times = Series::new();
    for _ in 0..count {
        let since = Instant::now();
        let client = TcpStream::connect(to)?;
        times.push(since.elapsed().as_secs_f64() * 1e9);
        let (server, _) = listener.accept()?;
        end_by_reset(&client)?;
        drop((client, server));
    }
    Ok(median(times))
}

/// Sends frames on one interface; receives none.
pub struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// On an interface of this thread's network namespace.
    pub fn on(interface: &CStr) -> Result<Self> {
        // SAFETY: takes integers. Protocol 0: nothing is received.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        ensure!(fd >= 0, "a packet socket: {}", io::Error::last_os_error());
        // SAFETY: the kernel has just made it for us.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: a valid C string.
        let index = unsafe { libc::if_nametoindex(interface.as_ptr()) };
        ensure!(index != 0, "no interface {interface:?}");
        // SAFETY: an address is valid when zero.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET)?;
        address.sll_ifindex = i32::try_from(index)?;
        let length = u32::try_from(size_of_val(&address))?;
        // SAFETY: reads one address of that length.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
        ensure!(bound == 0, "bind to {interface:?}: {}", io::Error::last_os_error());
        Ok(Self(socket))
    }

    /// Sends one frame, from its Ethernet header on.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        // SAFETY: reads the frame.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if usize::try_from(sent) == Ok(frame.len()) {
            return Ok(());
        }
        Err(io::Error::last_os_error()).context("send a frame")
    }
}

/// Lets a connection end by a reset: no end of it waits for anything, and no port stays taken.
pub fn end_by_reset(stream: &TcpStream) -> Result<()> {
    let now = libc::linger { l_onoff: 1, l_linger: 0 };
    let length = u32::try_from(size_of_val(&now))?;
    // SAFETY: reads one value of that length.
    let set = unsafe {
        let value = (&raw const now).cast();
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value, length)
    };
    ensure!(set == 0, "SO_LINGER: {}", io::Error::last_os_error());
    Ok(())
}
