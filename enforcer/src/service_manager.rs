//! Tells systemd, if it started us, how far we are, and leaves descriptors with it that the next daemon gets back.

use std::{
    env, io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// The first descriptor that a service manager hands over.
const FIRST: RawFd = 3;
/// Most that are taken; more is nonsense.
const MOST: RawFd = 65_536;

/// Sends one message to `$NOTIFY_SOCKET`. Without one, or if nobody listens, nothing happens.
pub(crate) fn send(message: &str) {
    let sent = to_manager(|socket| socket.send(message.as_bytes()).map(drop));
    if let Some(Err(error)) = sent {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}

/// Leaves a descriptor with the service manager under a name; whether somebody took it. It comes back with
/// [`handed_over`] in the next daemon, if the unit has `FileDescriptorStoreMax=`.
pub(crate) fn keep(name: &str, descriptor: BorrowedFd<'_>) -> bool {
    let message = format!("FDSTORE=1\nFDNAME={name}");
    match to_manager(|socket| send_with(socket, message.as_bytes(), descriptor)) {
        None => false,
        Some(Ok(())) => true,
        Some(Err(error)) => {
            tracing::warn!(%error, name, "the service manager does not keep a socket for the next daemon");
            false
        }
    }
}

/// The service manager need not keep what has this name.
pub(crate) fn forget(name: &str) {
    send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"));
}

/// What the service manager kept, with names. To be called once, before anything else could have these numbers.
pub(crate) fn handed_over() -> Vec<(String, OwnedFd)> {
    let told = |name: &str| env::var(name).ok();
    let told =
        Told { pid: told("LISTEN_PID"), count: told("LISTEN_FDS"), names: told("LISTEN_FDNAMES") };
    let taken = told.descriptors(std::process::id()).into_iter().filter_map(|(name, number)| {
        // SAFETY: a number; whether it is open is what the answer says.
        if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
            return None;
        }
        // SAFETY: it is open, and by its number the service manager's, for us and nobody else in this process.
        Some((name, unsafe { OwnedFd::from_raw_fd(number) }))
    });
    taken.collect()
}

/// What the environment says of descriptors.
struct Told {
    pid: Option<String>,
    count: Option<String>,
    names: Option<String>,
}

impl Told {
    /// Names and numbers; nothing where it is another process's, or unnamed.
    fn descriptors(&self, own: u32) -> Vec<(String, RawFd)> {
        let number = |text: &Option<String>| text.as_deref()?.parse::<u32>().ok();
        let count = number(&self.count).and_then(|count| RawFd::try_from(count).ok());
        let (Some(count), Some(names)) = (count, &self.names) else { return Vec::new() };
        let names: Vec<&str> = names.split(':').collect();
        if number(&self.pid) != Some(own)
            || count > MOST
            || names.len() != count.unsigned_abs() as usize
        {
            return Vec::new();
        }
        names.into_iter().map(str::to_owned).zip(FIRST..FIRST + count).collect()
    }
}

/// Has something done with a socket that leads to the service manager, if there is one.
fn to_manager(act: impl FnOnce(&UnixDatagram) -> io::Result<()>) -> Option<io::Result<()>> {
    let path = env::var_os("NOTIFY_SOCKET")?;
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&path),
    };
    let connected = address.and_then(|address| {
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        Ok(socket)
    });
    Some(connected.and_then(|socket| act(&socket)))
}

/// Sends a message and, beside it, a descriptor (`SCM_RIGHTS`).
fn send_with(socket: &UnixDatagram, message: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let number = descriptor.as_raw_fd();
    let size = u32::try_from(size_of::<RawFd>()).map_err(io::Error::other)?;
    // Aligned as a header of control data is to be, and longer than one with a single number.
    let mut control = [0_u64; 8];
    let mut part =
        libc::iovec { iov_base: message.as_ptr().cast_mut().cast(), iov_len: message.len() };
    // SAFETY: a C structure of numbers and pointers, for which zeroes are valid.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    // SAFETY: arithmetic on a length.
    header.msg_controllen = unsafe { libc::CMSG_SPACE(size) } as usize;
    // SAFETY: the header's control data is ours and has room for one entry.
    let entry = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    let Some(of) = std::ptr::NonNull::new(entry) else {
        return Err(io::Error::other("no room for a descriptor"));
    };
    // SAFETY: arithmetic on a length.
    let length = unsafe { libc::CMSG_LEN(size) } as usize;
    let filled = libc::cmsghdr {
        cmsg_len: length,
        cmsg_level: libc::SOL_SOCKET,
        cmsg_type: libc::SCM_RIGHTS,
    };
    // SAFETY: within `control`, which is aligned for it.
    unsafe { of.as_ptr().write(filled) };
    // SAFETY: the entry's data, for which `CMSG_SPACE` left room.
    let data = unsafe { libc::CMSG_DATA(of.as_ptr()) };
    // SAFETY: there is room for one number; it need not be aligned.
    unsafe { data.cast::<RawFd>().write_unaligned(number) };
    // SAFETY: the header points to what outlives this call.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::{fd::AsFd as _, unix::net::UnixStream},
    };

    use super::*;

    #[test]
    fn n7_what_is_kept_for_another_process_or_badly_named_is_not_taken() {
        let text = |text: &str| Some(text.to_owned());
        let told = |pid: &str, count: &str, names: &str| Told {
            pid: text(pid),
            count: text(count),
            names: text(names),
        };
        let found = told("7", "2", "gate-h-lab:gate-u-lab-00").descriptors(7);
        assert_eq!(found, [("gate-h-lab".to_owned(), 3), ("gate-u-lab-00".to_owned(), 4)]);
        for bad in [
            told("8", "2", "a:b"),
            told("7", "1", "a:b"),
            told("7", "3", "a:b"),
            told("", "2", "a:b"),
            told("7", "-1", "a"),
            told("7", "4294967295", "a"),
            Told { pid: text("7"), count: text("1"), names: None },
            Told { pid: None, count: text("1"), names: text("a") },
        ] {
            assert_eq!(bad.descriptors(7), []);
        }
    }

    #[test]
    fn n7_a_descriptor_goes_over_a_socket_with_its_name() {
        let (ours, manager) = UnixDatagram::pair().expect("a pair");
        let (left, mut other) = UnixStream::pair().expect("a pair");
        send_with(&ours, b"FDSTORE=1\nFDNAME=x", left.as_fd()).expect("sent");
        drop(left);
        let (text, descriptor) = receive(&manager);
        assert_eq!(text, b"FDSTORE=1\nFDNAME=x");
        let mut got = UnixStream::from(descriptor);
        got.write_all(b"it lives").expect("written");
        drop(got);
        let mut read = String::new();
        other.read_to_string(&mut read).expect("read");
        assert_eq!(read, "it lives");
    }

    /// A message with one descriptor, as a service manager takes it.
    fn receive(socket: &UnixDatagram) -> (Vec<u8>, OwnedFd) {
        let (mut text, mut control) = ([0_u8; 256], [0_u64; 8]);
        let mut part = libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: text.len() };
        // SAFETY: zeroes are valid.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control);
        // SAFETY: the header points to what is ours.
        let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, 0) };
        let length = usize::try_from(length).expect("received");
        // SAFETY: the kernel has filled the header in.
        let entry = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
        assert!(!entry.is_null(), "no control data");
        // SAFETY: it is there, and holds one number.
        let data = unsafe { libc::CMSG_DATA(entry) };
        // SAFETY: as above.
        let number = unsafe { data.cast::<RawFd>().read_unaligned() };
        // SAFETY: the kernel has just made it for us.
        (text[..length].to_vec(), unsafe { OwnedFd::from_raw_fd(number) })
    }
}
