//! System calls that neither aya nor std offer: links by ifindex, queries by ifindex, poll, clock.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    time::Duration,
};

const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_LINK_CREATE: libc::c_long = 28;
/// Before all other programs of the hook (no `relative_fd` given).
const BPF_F_BEFORE: u32 = 1 << 3;

/// Where a TCX program sits. Values of the kernel's `enum bpf_attach_type`.
#[derive(Clone, Copy)]
pub(super) enum TcxHook {
    Ingress = 46,
    Egress = 47,
}

#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
    relative_fd: u32,
    pad: u32,
    expected_revision: u64,
    rest: [u64; 6],
}

#[repr(C)]
#[derive(Default)]
struct ProgQuery {
    target_ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_count: u32,
    pad: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<i32> {
    // SAFETY: `attr` is a live, writable, zero-initialised `union bpf_attr` prefix of the size given;
    // pointers within it refer to buffers that the caller keeps alive during the call.
    let outcome =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if outcome < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(i32::try_from(outcome).unwrap_or(0))
    }
}

/// Attaches a program as the first of a TCX hook. The link lives as long as the descriptor.
///
/// Kernel: 6.6. By ifindex, for a name may be another interface's by now.
pub(super) fn attach_tcx(
    program: BorrowedFd<'_>,
    ifindex: u32,
    hook: TcxHook,
) -> io::Result<OwnedFd> {
    let mut attr = LinkCreate {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        target_ifindex: ifindex,
        attach_type: hook as u32,
        flags: BPF_F_BEFORE,
        ..Default::default()
    };
    let fd = bpf(BPF_LINK_CREATE, &mut attr)?;
    // SAFETY: the kernel just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Ids of the programs on a TCX hook, in the order in which they run.
pub(super) fn query_tcx(ifindex: u32, hook: TcxHook) -> io::Result<Vec<u32>> {
    // The kernel's own limit (BPF_MPROG_MAX).
    let mut ids = [0u32; 64];
    let mut attr = ProgQuery {
        target_ifindex: ifindex,
        attach_type: hook as u32,
        prog_ids: ids.as_mut_ptr().expose_provenance() as u64,
        prog_count: 64,
        ..Default::default()
    };
    match bpf(BPF_PROG_QUERY, &mut attr) {
        Ok(_) => Ok(ids.iter().copied().take(attr.prog_count as usize).collect()),
        // Nothing was ever attached there.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Name of an interface of the current network namespace.
pub(super) fn interface_name(ifindex: u32) -> io::Result<String> {
    let mut buffer = [0u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the IF_NAMESIZE bytes that the call may write.
    let name = unsafe { libc::if_indextoname(ifindex, buffer.as_mut_ptr().cast()) };
    if name.is_null() {
        return Err(io::Error::last_os_error());
    }
    CStr::from_bytes_until_nul(&buffer)
        .map_err(io::Error::other)
        .map(|name| name.to_string_lossy().into_owned())
}

/// Waits until the descriptor is readable, at most this long.
pub(super) fn wait_readable(fd: BorrowedFd<'_>, timeout: Duration) {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let timeout = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one live pollfd. Failure (EINTR) is as good as a timeout: the caller looks anyway.
    unsafe { libc::poll(&raw mut poll, 1, timeout) };
}

/// The clock that eBPF programs read, ns.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a live timespec; CLOCK_MONOTONIC always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Whether this process runs as root.
pub(super) fn is_root() -> bool {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

const _: () = assert!(size_of::<LinkCreate>() == 80 && size_of::<ProgQuery>() == 64);
