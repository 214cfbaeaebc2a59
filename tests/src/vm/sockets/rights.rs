//! One descriptor over a unix socket (`SCM_RIGHTS`).

use std::{
    io::{self, Read as _},
    os::{
        fd::{AsRawFd, FromRawFd as _, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
};

/// What the engine says to whoever connects.
pub(super) const BANNER: &[u8] = b"engine";

/// A header and its one descriptor, as they lie behind one another (`CMSG_DATA`).
#[repr(C)]
#[derive(Clone, Copy)]
struct Control {
    length: usize,
    level: i32,
    kind: i32,
    file: RawFd,
    padding: i32,
}

/// `CMSG_LEN` of one descriptor.
const LENGTH: usize = 20;
const _: () = assert!(size_of::<Control>() == 24 && size_of::<libc::cmsghdr>() == 16);

/// Sends a descriptor and one byte.
pub(super) fn send(over: &UnixStream, what: &impl AsRawFd) -> io::Result<()> {
    let mut control = Control {
        length: LENGTH,
        level: libc::SOL_SOCKET,
        kind: libc::SCM_RIGHTS,
        file: what.as_raw_fd(),
        padding: 0,
    };
    let mut byte = b'!';
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let message = message(&mut part, &mut control);
    // SAFETY: everything that the message points to lives during the call.
    let sent = unsafe { libc::sendmsg(over.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    if sent == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Receives one message: its descriptor, if the kernel gave it one.
pub(super) fn receive(over: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut control = Control { length: 0, level: 0, kind: 0, file: -1, padding: 0 };
    let mut byte = 0u8;
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let mut message = message(&mut part, &mut control);
    // SAFETY: everything that the message points to lives during the call.
    if unsafe { libc::recvmsg(over.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    if control.length < LENGTH || control.file < 0 {
        return Ok(None);
    }
    // SAFETY: the kernel just made it for this process, and nobody else knows it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(control.file) }))
}

fn message(part: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: all zero is a message.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = std::ptr::from_mut(control).cast();
    message.msg_controllen = size_of::<Control>();
    message
}

/// Whether a descriptor is a connection to the engine: it speaks first.
pub(super) fn is_engine(file: OwnedFd) -> bool {
    let mut said = [0; BANNER.len()];
    UnixStream::from(file).read_exact(&mut said).is_ok_and(|()| said == BANNER)
}
