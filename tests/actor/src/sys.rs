//! The system calls that std does not offer, each wrapped once.

use std::{
    ffi::CString,
    io,
    mem::size_of,
    net::SocketAddr,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// A new socket, closed on exec.
pub(super) fn socket(domain: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain integers; the result is checked.
    let fd = unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets a socket option to a plain value.
pub(super) fn set<T: Copy>(fd: &OwnedFd, level: i32, option: i32, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: `value` is valid for `length` bytes during the call.
    let done = unsafe {
        libc::setsockopt(fd.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), length)
    };
    check(done).map(drop)
}

/// Reads a socket option into `value`.
pub(super) fn query<T: Copy>(
    fd: &OwnedFd,
    level: i32,
    option: i32,
    value: &mut T,
) -> io::Result<()> {
    let mut length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: `value` is valid for writes of `length` bytes during the call.
    let done = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            option,
            std::ptr::from_mut(value).cast(),
            &raw mut length,
        )
    };
    check(done).map(drop)
}

/// Index of an interface of this namespace.
pub(super) fn ifindex(name: &str) -> io::Result<i32> {
    let name = CString::new(name).map_err(io::Error::other)?;
    // SAFETY: `name` ends with a zero byte and lives through the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(index).map_err(io::Error::other)
}

/// Binds a packet socket to an interface.
pub(super) fn bind_packet(fd: &OwnedFd, ifindex: i32, protocol: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET.cast_unsigned() as libc::sa_family_t,
        sll_protocol: protocol.to_be(),
        sll_ifindex: ifindex,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or(0);
    // SAFETY: `address` is a valid address of `length` bytes.
    let done = unsafe { libc::bind(fd.as_raw_fd(), std::ptr::from_ref(&address).cast(), length) };
    check(done).map(drop)
}

/// Sends bytes on a bound or connected socket.
pub(super) fn send(fd: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: `bytes` is valid for reads of its length.
    let sent = unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
    usize::try_from(sent).map_err(|_negative| io::Error::last_os_error())
}

/// Sends bytes to an address, with flags.
pub(super) fn send_to(fd: &OwnedFd, bytes: &[u8], flags: i32, to: SocketAddr) -> io::Result<usize> {
    let (address, length) = raw_address(to);
    // SAFETY: `bytes` and `address` are valid for reads of the lengths given.
    let sent = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            flags,
            std::ptr::from_ref(&address).cast(),
            length,
        )
    };
    usize::try_from(sent).map_err(|_negative| io::Error::last_os_error())
}

/// Receives into `buffer`; the length is that of the whole datagram, even when it was cut.
pub(super) fn receive(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `buffer` is valid for writes of its length.
    let got = unsafe {
        libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_TRUNC)
    };
    usize::try_from(got).map_err(|_negative| io::Error::last_os_error())
}

/// Connects a socket.
pub(super) fn connect(fd: &OwnedFd, to: SocketAddr) -> io::Result<()> {
    let (address, length) = raw_address(to);
    // SAFETY: `address` is valid for reads of `length` bytes.
    let done =
        unsafe { libc::connect(fd.as_raw_fd(), std::ptr::from_ref(&address).cast(), length) };
    check(done).map(drop)
}

/// Gives up a blocking call after this many milliseconds: `SO_RCVTIMEO` and `SO_SNDTIMEO`.
pub(super) fn set_timeout(fd: &OwnedFd, milliseconds: u64) -> io::Result<()> {
    let milliseconds = i64::try_from(milliseconds.max(1)).unwrap_or(i64::MAX);
    let time = libc::timeval { tv_sec: milliseconds / 1000, tv_usec: (milliseconds % 1000) * 1000 };
    set(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &time)?;
    set(fd, libc::SOL_SOCKET, libc::SO_SNDTIMEO, &time)
}

/// Domain of an address.
pub(super) fn domain(address: SocketAddr) -> i32 {
    if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }
}

/// Turns a negative result into the error of this thread.
pub(super) fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Room for either kind of socket address.
#[repr(C)]
union RawAddress {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

fn raw_address(address: SocketAddr) -> (RawAddress, libc::socklen_t) {
    match address {
        SocketAddr::V4(address) => (
            RawAddress {
                v4: libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
                    sin_zero: [0; 8],
                },
            },
            size_of::<libc::sockaddr_in>() as libc::socklen_t,
        ),
        SocketAddr::V6(address) => (
            RawAddress {
                v6: libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                    sin6_scope_id: address.scope_id(),
                },
            },
            size_of::<libc::sockaddr_in6>() as libc::socklen_t,
        ),
    }
}
