//! connect(2) without the system call: `IORING_OP_CONNECT`.
//!
//! Source: `include/uapi/linux/io_uring.h`, 6.1 to 6.18.

use std::{
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    ptr,
};

const OP_CONNECT: u8 = 16;
const ENTER_GETEVENTS: u32 = 1;
const OFF_SQ_RING: libc::off_t = 0;
const OFF_CQ_RING: libc::off_t = 0x800_0000;
const OFF_SQES: libc::off_t = 0x1000_0000;
/// Enough for rings of one entry.
const PAGE: usize = 4096;

/// `struct io_sqring_offsets` and `io_cqring_offsets`.
#[repr(C)]
#[derive(Default)]
struct Offsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    /// Of the submission ring: its flags. Of the completion ring: its overflow.
    fifth: u32,
    /// Of the submission ring: how many were dropped. Of the completion ring: its entries.
    sixth: u32,
    /// Of the submission ring: its array.
    seventh: u32,
    rest: [u32; 3],
}

/// `struct io_uring_params`.
#[repr(C)]
#[derive(Default)]
struct Params {
    entries: [u32; 2],
    flags: u32,
    rest: [u32; 7],
    submission: Offsets,
    completion: Offsets,
}

/// `struct io_uring_sqe`, of 64 bytes.
#[repr(C)]
#[derive(Default)]
struct Entry {
    opcode: u8,
    flags: u8,
    priority: u16,
    fd: i32,
    /// Of a connection: the length of the address.
    offset: u64,
    address: u64,
    rest: [u64; 5],
}

const _: () = assert!(size_of::<Entry>() == 64 && size_of::<Params>() == 120);

/// Connects to a path; an error is that of the ring, or of the connection.
pub(super) fn connect(to: &Path) -> io::Result<()> {
    let mut params = Params::default();
    // SAFETY: a number, and a structure of this call's that lives during it.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, &raw mut params) };
    let ring = RawFd::try_from(ring).unwrap_or(-1);
    if ring < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, and nobody else's.
    let ring = unsafe { OwnedFd::from_raw_fd(ring) };
    let submission = Ring::map(&ring, OFF_SQ_RING)?;
    let completion = Ring::map(&ring, OFF_CQ_RING)?;
    let entries = Ring::map(&ring, OFF_SQES)?;

    // SAFETY: plain numbers.
    let socket = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: all zero is an address.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::sa_family_t::try_from(libc::AF_UNIX).unwrap_or_default();
    for (room, byte) in address.sun_path.iter_mut().zip(to.as_os_str().as_bytes()) {
        *room = byte.cast_signed();
    }
    let entry = Entry {
        opcode: OP_CONNECT,
        fd: socket.as_raw_fd(),
        offset: size_of::<libc::sockaddr_un>() as u64,
        address: (&raw const address).expose_provenance() as u64,
        ..Entry::default()
    };
    entries.write(0, entry);
    submission.write(params.submission.seventh, 0u32);
    submission.write(params.submission.tail, 1u32);
    // SAFETY: numbers; what the entry points to lives until the kernel has told the outcome.
    let entered = unsafe {
        libc::syscall(libc::SYS_io_uring_enter, ring.as_raw_fd(), 1, 1, ENTER_GETEVENTS, 0, 0)
    };
    if entered != 1 {
        return Err(io::Error::last_os_error());
    }
    if completion.read::<u32>(params.completion.tail) != 1 {
        return Err(io::Error::other("the ring told no outcome"));
    }
    // Behind 8 bytes of the caller's own.
    let outcome: i32 = completion.read(params.completion.sixth + 8);
    if outcome < 0 { Err(io::Error::from_raw_os_error(-outcome)) } else { Ok(()) }
}

/// A page that is shared with the kernel, for as long as the process lives.
struct Ring(*mut u8);

impl Ring {
    fn map(ring: &OwnedFd, at: libc::off_t) -> io::Result<Self> {
        // SAFETY: a new mapping, at a place that the kernel chooses.
        let mapped = unsafe {
            libc::mmap(
                ptr::null_mut(),
                PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                ring.as_raw_fd(),
                at,
            )
        };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(mapped.cast()))
    }

    fn place<T>(&self, at: u32) -> *mut T {
        assert!(at as usize + size_of::<T>() <= PAGE, "beyond the page: {at}");
        // SAFETY: within the mapping.
        unsafe { self.0.add(at as usize).cast() }
    }

    fn write<T>(&self, at: u32, value: T) {
        // SAFETY: within the mapping, where the kernel says such a value is; it reads after the next call.
        unsafe { self.place::<T>(at).write_volatile(value) };
    }

    fn read<T: Copy>(&self, at: u32) -> T {
        // SAFETY: as above; the kernel wrote it before its call came back.
        unsafe { self.place::<T>(at).read_volatile() }
    }
}
