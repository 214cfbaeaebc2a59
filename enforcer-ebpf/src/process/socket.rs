//! Unix sockets: a guest reaches those that were made in its own cgroup, and the gates that the daemon
//! named for it. A path, a mount, a link or another namespace changes nothing: what counts is the socket
//! at the other end.
//!
//! A socket bears the cgroup of the process that made it, whoever holds it later (`sock_cgroup_data`,
//! set by `sk_alloc`). Rust has no CO-RE: the loader tells where fields lie.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    bindings::file,
    helpers::generated::{
        bpf_probe_read_kernel, bpf_ringbuf_reserve, bpf_ringbuf_submit, bpf_sock_from_file,
    },
    programs::LsmContext,
};
use enforcer_common::abi::{
    cgroup::{CgroupOwner, Gate},
    counter::{CounterKey, SOCKET_REFUSED},
    event::{EVENT_ABI, EventKind, SOCKET_NAME_BYTES, SOCKET_NAME_ROOM, SocketCall, SocketRefused},
};

use super::who;
use crate::{
    maps::GATES,
    net::{
        count::OfProcess,
        emit::{ring, wakeup},
    },
};

/// Place of a field in this kernel's structures, bytes; set by the loader.
macro_rules! places {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        $($(#[$doc])* #[unsafe(no_mangle)] static $name: u32 = 0;)+
    };
}
places! {
    /// Of `sock.sk_cgrp_data.cgroup`.
    SOCK_CGROUP,
    /// Of `sock.__sk_common.skc_cookie`.
    SOCK_COOKIE,
    /// Of `sock.__sk_common.skc_family`.
    SOCK_FAMILY,
    /// Of `socket.sk`.
    SOCKET_SOCK,
    /// Of `unix_sock.peer`.
    UNIX_PEER,
    /// Of `unix_sock.addr`.
    UNIX_ADDRESS,
    /// Of `unix_address.len`.
    ADDRESS_LEN,
    /// Of `unix_address.name`.
    ADDRESS_NAME,
    /// Of `cgroup.self`.
    CGROUP_SELF,
    /// Of `cgroup_subsys_state.parent`.
    CSS_PARENT,
    /// Of `cgroup.kn`.
    CGROUP_NODE,
    /// Of `kernfs_node.id`.
    NODE_ID,
}

/// `AF_UNIX`.
const UNIX: u16 = 1;
/// `sun_family`, before the name in an address.
const FAMILY_BYTES: u32 = 2;
/// Cgroups that a guest may have made one in another. What is made deeper down is nobody's.
const NESTED: u32 = 16;
#[expect(clippy::cast_possible_truncation, reason = "a hundred")]
const NAME_BYTES: u32 = SOCKET_NAME_BYTES as u32;
#[expect(clippy::cast_possible_truncation, reason = "a hundred")]
const NAME_MASK: u32 = SOCKET_NAME_ROOM as u32 - 1;

/// A `struct sock` of a unix socket.
#[derive(Clone, Copy)]
struct Sock(u64);

/// `unix_stream_connect(sock, other, newsk)`: `other` listens.
#[inline(always)]
pub fn may_connect(ctx: &LsmContext) -> bool {
    let Some((home, owner)) = who::home() else { return true };
    let other = Sock(argument(ctx, 1));
    other.is_made_in(home) || other.is_gate_of(home) || refuse(owner, SocketCall::Connect, other)
}

/// `unix_may_send(sock, other)`. One without an address can be reached only by whoever was given its
/// other end: a pair of sockets that a runtime made before it joined the cgroup.
#[inline(always)]
pub fn may_send(ctx: &LsmContext) -> bool {
    let Some((home, owner)) = who::home() else { return true };
    let other = Sock(pointer(argument(ctx, 1) + place(&SOCKET_SOCK)));
    other.is_made_in(home)
        || other.is_gate_of(home)
        || other.has_no_name()
        || refuse(owner, SocketCall::Send, other)
}

/// `file_receive(file)`. Both ends of an accepted connection bear the cgroup of whoever connected.
#[inline(always)]
pub fn may_receive(ctx: &LsmContext) -> bool {
    let Some((home, owner)) = who::home() else { return true };
    // SAFETY: the hook's only argument, which the verifier knows to be a file.
    let socket = unsafe { bpf_sock_from_file(ctx.as_ptr().cast::<*mut file>().read()) };
    if socket.is_null() {
        return true;
    }
    let sock = Sock(pointer(socket as u64 + place(&SOCKET_SOCK)));
    if sock.family().is_some_and(|family| family != UNIX) {
        return true;
    }
    let peer = sock.peer();
    match peer {
        // Not connected: where it goes is judged when it does.
        Some(Sock(0)) => true,
        Some(peer) => peer.is_made_in(home) || refuse(owner, SocketCall::Receive, peer),
        None => refuse(owner, SocketCall::Receive, Sock(0)),
    }
}

impl Sock {
    /// Whether a process of the cgroup made it, or of one within it.
    #[inline(always)]
    fn is_made_in(self, home: u64) -> bool {
        let mut cgroup = self.cgroup();
        for _ in 0..NESTED {
            if cgroup == 0 {
                return false;
            }
            if id(cgroup) == home {
                return true;
            }
            let parent = pointer(cgroup + place(&CGROUP_SELF) + place(&CSS_PARENT));
            if parent == 0 {
                return false;
            }
            cgroup = parent.wrapping_sub(place(&CGROUP_SELF));
        }
        false
    }

    /// Whether the daemon named it for the cgroup.
    #[inline(always)]
    fn is_gate_of(self, home: u64) -> bool {
        let gate = Gate { cgroup: home, cookie: pointer(self.0 + place(&SOCK_COOKIE)) };
        // One that nobody asked for its cookie has none.
        // SAFETY: entries are replaced as a whole by the daemon.
        gate.cookie != 0 && unsafe { GATES.get(gate) }.is_some()
    }

    /// Its cgroup; 0: not readable.
    #[inline(always)]
    fn cgroup(self) -> u64 {
        pointer(self.0 + place(&SOCK_CGROUP))
    }

    /// `None`: not readable.
    #[inline(always)]
    fn family(self) -> Option<u16> {
        let mut family = 0u16;
        // SAFETY: the helper checks the address that it reads.
        let read = unsafe {
            let at = (self.0 + place(&SOCK_FAMILY)) as *const c_void;
            bpf_probe_read_kernel((&raw mut family).cast(), 2, at)
        };
        (read == 0).then_some(family)
    }

    /// What it is connected to, null: nothing; `None`: not readable.
    #[inline(always)]
    fn peer(self) -> Option<Self> {
        word(self.0 + place(&UNIX_PEER)).map(Self)
    }

    /// Whether it was never bound; what is not readable counts as bound.
    #[inline(always)]
    fn has_no_name(self) -> bool {
        word(self.0 + place(&UNIX_ADDRESS)) == Some(0)
    }
}

/// Counts it, and records it as far as the guest's rate goes. Never true.
#[inline(always)]
fn refuse(owner: &CgroupOwner, call: SocketCall, other: Sock) -> bool {
    let key = CounterKey { owner: owner.owner, reason: SOCKET_REFUSED, hook: 0, reserved: 0 };
    let Some(counter) = OfProcess::one(&key) else { return false };
    let now = who::now_ns();
    if !counter.take_token(now) {
        counter.suppressed();
        return false;
    }
    // SAFETY: the map is a ring buffer, and the length is a constant, as the verifier wants it.
    let slot = unsafe { bpf_ringbuf_reserve(ring(), size_of::<SocketRefused>() as u64, 0) };
    if slot.is_null() {
        counter.lost();
        return false;
    }
    let event = slot.cast::<SocketRefused>();
    // SAFETY: the slot is as long as a `SocketRefused` and 8-byte aligned; `name` is written as far as
    // `name_len` says, everything else wholly.
    unsafe {
        (*event).abi = EVENT_ABI;
        (*event).kind = EventKind::SocketRefused as u16;
        (*event).owner = owner.owner;
        (*event).time_ns = now;
        who::describe(&raw mut (*event).process, 0);
        (*event).maker = id(other.cgroup());
        (*event).name_len = name(other, (&raw mut (*event).name).cast());
        (*event).call = call as u8;
        (*event).reserved = [0; 3];
    }
    counter.recorded();
    // SAFETY: reserved above, and given back once.
    unsafe { bpf_ringbuf_submit(slot, wakeup()) };
    false
}

/// Copies a socket's address to where there is room for [`SOCKET_NAME_ROOM`] bytes; its length.
///
/// # Safety
/// `room` points into a slot of the ring.
#[inline(always)]
unsafe fn name(of: Sock, room: *mut c_void) -> u32 {
    let address = pointer(of.0 + place(&UNIX_ADDRESS));
    if address == 0 {
        return 0;
    }
    let mut length = 0u32;
    // SAFETY: the helper checks the address that it reads; the mask keeps the length within the room.
    unsafe {
        let at = (address + place(&ADDRESS_LEN)) as *const c_void;
        if bpf_probe_read_kernel((&raw mut length).cast(), 4, at) != 0 {
            return 0;
        }
        let length = length.saturating_sub(FAMILY_BYTES);
        if length > NAME_BYTES {
            return 0;
        }
        let at = (address + place(&ADDRESS_NAME) + u64::from(FAMILY_BYTES)) as *const c_void;
        let length = length & NAME_MASK;
        if bpf_probe_read_kernel(room, length, at) == 0 { length } else { 0 }
    }
}

/// What the loader set.
#[inline(always)]
fn place(global: &'static u32) -> u64 {
    // SAFETY: a word that lives as long as the program, and is frozen since before it was loaded.
    u64::from(unsafe { core::ptr::from_ref(global).read_volatile() })
}

/// The id of a cgroup; 0: not readable.
#[inline(always)]
fn id(cgroup: u64) -> u64 {
    pointer(pointer(cgroup + place(&CGROUP_NODE)) + place(&NODE_ID))
}

/// The word at an address of the kernel; 0: not readable.
#[inline(always)]
fn pointer(at: u64) -> u64 {
    word(at).unwrap_or(0)
}

#[inline(always)]
fn word(at: u64) -> Option<u64> {
    let mut found = 0u64;
    // SAFETY: the helper checks the address that it reads.
    let read = unsafe { bpf_probe_read_kernel((&raw mut found).cast(), 8, at as *const c_void) };
    (read == 0).then_some(found)
}

/// An argument of the hook.
#[inline(always)]
fn argument(ctx: &LsmContext, index: usize) -> u64 {
    // SAFETY: the context is an array of words, one for each argument, of which there are more.
    unsafe { ctx.as_ptr().cast::<u64>().add(index).read() }
}
