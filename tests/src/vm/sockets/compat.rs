//! connect(2) as a 32-bit program calls it: `socketcall` of the i386 table, from a 64-bit process by `int 0x80`. A rule
//! that watches the calls of one table does not see it.
//!
//! Source: `arch/x86/entry/syscalls/syscall_32.tbl` and `include/uapi/linux/net.h`, 6.1 to 6.18.

use std::{io, path::Path};

/// Connects to a path; an error is that of the memory for the call, or of the connection.
#[cfg(target_arch = "x86_64")]
pub(super) fn connect(to: &Path) -> io::Result<()> {
    use std::{
        arch::asm,
        os::{
            fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
            unix::ffi::OsStrExt as _,
        },
        ptr,
    };

    /// `socketcall`.
    const SOCKETCALL: i64 = 102;
    /// `SYS_CONNECT`.
    const CONNECT: u64 = 3;
    const PAGE: usize = 4096;
    /// Where the address is, behind the arguments.
    const ADDRESS: usize = 64;

    // SAFETY: plain numbers.
    let socket = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
    // SAFETY: new memory; it stays until the process ends.
    let page = unsafe {
        libc::mmap(ptr::null_mut(), PAGE, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
    };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all zero is an address.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::sa_family_t::try_from(libc::AF_UNIX).unwrap_or_default();
    for (room, byte) in address.sun_path.iter_mut().zip(to.as_os_str().as_bytes()) {
        *room = byte.cast_signed();
    }
    let number = |of: usize| u32::try_from(of).map_err(io::Error::other);
    let arguments = [
        u32::try_from(socket.as_raw_fd()).map_err(io::Error::other)?,
        number(page.addr() + ADDRESS)?,
        number(size_of::<libc::sockaddr_un>())?,
    ];
    // SAFETY: they fit into the page, which is aligned for anything.
    unsafe { page.cast::<[u32; 3]>().write(arguments) };
    // SAFETY: within the page.
    let place = unsafe { page.byte_add(ADDRESS) };
    // SAFETY: as the arguments.
    unsafe { place.cast::<libc::sockaddr_un>().write(address) };
    let outcome: i64;
    // SAFETY: the call reads the page only. rbx is the compiler's, and gets its value back.
    unsafe {
        asm!(
            "xchg rbx, {call}",
            "int 0x80",
            "xchg rbx, {call}",
            call = inout(reg) CONNECT => _,
            inlateout("rax") SOCKETCALL => outcome,
            in("rcx") page,
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    // The low half is what a 32-bit program gets.
    match i32::from_le_bytes(outcome.to_le_bytes().first_chunk().copied().unwrap_or_default()) {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

/// Connects to a path.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn connect(_to: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
