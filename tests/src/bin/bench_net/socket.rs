//! What the standard library has no words for: frames as they are, and a connection that ends at once.

use std::{
    ffi::CStr,
    io,
    net::TcpStream,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};

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
