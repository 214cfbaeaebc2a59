//! System calls that neither aya nor std offer: names of interfaces, poll, clock, mount.

use std::{
    ffi::CStr,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    time::Duration,
};

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
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// How long the machine is up, sleep included: the clock that nobody sets.
#[must_use]
pub fn since_boot() -> Duration {
    Duration::from_nanos(clock_ns(libc::CLOCK_BOOTTIME))
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a live timespec; both clocks always exist.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Lets a socket keep so many bytes that nobody has read yet, whatever `net.core.rmem_max` says. Needs
/// `CAP_NET_ADMIN`.
pub fn raise_receive_buffer(socket: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    let (value, length) = ((&raw const bytes).cast(), size_of::<i32>());
    let length = libc::socklen_t::try_from(length).map_err(io::Error::other)?;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE);
    // SAFETY: a live integer, of its own length.
    let outcome = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value, length) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether this process runs as root.
#[must_use]
pub fn is_root() -> bool {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Whether a path lies on a BPF file system.
pub(super) fn is_bpffs(path: &Path) -> io::Result<bool> {
    is_of(path, 0xcafe_4a11)
}

/// Whether a path lies in the cgroup v2 hierarchy.
pub(super) fn is_cgroup2(path: &Path) -> io::Result<bool> {
    is_of(path, 0x6367_7270)
}

/// Whether a path lies on a file system of this kind (include/uapi/linux/magic.h).
fn is_of(path: &Path, magic: libc::c_long) -> io::Result<bool> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut found = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: a C string and room for the answer, both alive during the call.
    if unsafe { libc::statfs(path.as_ptr(), found.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed, then written by the kernel.
    Ok(unsafe { found.assume_init() }.f_type == magic)
}

/// Mounts a BPF file system.
pub(super) fn mount_bpffs(at: &Path) -> io::Result<()> {
    let at = std::ffi::CString::new(at.as_os_str().as_bytes()).map_err(io::Error::other)?;
    // SAFETY: C strings that are alive during the call.
    let outcome = unsafe {
        libc::mount(c"bpf".as_ptr(), at.as_ptr(), c"bpf".as_ptr(), 0, c"mode=0700".as_ptr().cast())
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What is left of a file system for root: bytes free and in all, inodes free and in all.
pub fn file_system(path: &Path) -> io::Result<[u64; 4]> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut found = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: a C string and room for the answer, both alive during the call.
    if unsafe { libc::statvfs(path.as_ptr(), found.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed, then written by the C library.
    let found = unsafe { found.assume_init() };
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok([bytes(found.f_bfree), bytes(found.f_blocks), found.f_ffree, found.f_files])
}

/// Whether the kernel was told by whoever keeps its clock that it is right.
pub fn clock_is_synchronised() -> io::Result<bool> {
    let mut clock = std::mem::MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: zeroed, so that nothing is asked to change; the kernel writes the answer into it.
    match unsafe { libc::adjtimex(clock.as_mut_ptr()) } {
        -1 => Err(io::Error::last_os_error()),
        state => Ok(state != libc::TIME_ERROR),
    }
}

/// Lets this process open as many files as it may: each hook takes one.
pub fn raise_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a live struct.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0 {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: a live struct. It only asks for what the process may have anyway.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    }
}
