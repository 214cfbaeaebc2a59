//! The eBPF programs: entry points only; what they do is told in [`net`].
//!
//! Allow is `TCX_NEXT` (-1, `TC_ACT_UNSPEC`): programs of others behind ours still run. Deny is
//! `TCX_DROP` (2, `TC_ACT_SHOT`), which ends the frame.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![expect(internal_features, reason = "see `atomic`")]
#![expect(missing_docs, reason = "the macro `classifier` drops the comments of the programs")]
#![expect(clippy::needless_pass_by_value, reason = "the macro `classifier` passes the context so")]
#![expect(clippy::needless_borrows_for_generic_args, reason = "a copy would be on the stack")]
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "fields of one map value, reached by one pointer that one comment speaks of"
)]

mod aligned;
mod atomic;
mod call;
mod maps;
mod net;
mod process;
mod skb;

use aya_ebpf::{
    macros::{btf_tracepoint, cgroup_sock_addr, classifier, lsm},
    programs::{BtfTracePointContext, LsmContext, SockAddrContext, TcContext},
};
use enforcer_common::abi::{ABI_VERSION, event::Hook, verdict::Verdict};

use crate::{call::Asked, skb::Skb};

/// Read by the loader before it loads anything.
#[unsafe(no_mangle)]
#[unsafe(link_section = "enforcer_abi")]
pub static ENFORCER_ABI: u32 = ABI_VERSION;

/// The kernel lets GPL-compatible programs call the helpers that are used here.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
pub static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// TC ingress on a guest's veth: every frame a guest sends.
///
/// Fails: closed; every error is a denial with a reason.
/// Kernel: 6.1 (`bpf_timer`, per-CPU hash without preallocation).
/// Cost: see docs/verifier-instructions.toml.
#[classifier]
pub fn from_guest(ctx: TcContext) -> i32 {
    let outcome = net::from_guest(Skb::new(&ctx));
    let action = action(&ctx, Hook::FromGuest, outcome.verdict);
    if outcome.answered { REDIRECT } else { action }
}

/// TC egress on a guest's veth: every frame delivered to a guest.
///
/// Fails: closed; every error is a denial with a reason.
/// Kernel: 6.1.
/// Cost: see docs/verifier-instructions.toml.
#[classifier]
pub fn to_guest(ctx: TcContext) -> i32 {
    action(&ctx, Hook::ToGuest, net::to_guest(Skb::new(&ctx)))
}

/// TC ingress on a guest bridge: what leaves the bridge for the host or beyond.
///
/// Fails: closed; a frame without the stamp is denied.
/// Kernel: 6.1.
/// Cost: see docs/verifier-instructions.toml.
#[classifier]
pub fn from_bridge(ctx: TcContext) -> i32 {
    action(&ctx, Hook::FromBridge, net::from_bridge(Skb::new(&ctx)))
}

/// TC egress on a guest bridge: what the host sends or forwards to guests.
///
/// Fails: closed; `to_guest` denies what this program did not stamp.
/// Kernel: 6.1.
/// Cost: see docs/verifier-instructions.toml.
#[classifier]
pub fn to_bridge(ctx: TcContext) -> i32 {
    action(&ctx, Hook::ToBridge, net::to_bridge(Skb::new(&ctx)))
}

/// Takes flows of another table or of conntrack into `FLOWS`. On no hook: user space calls it by
/// `BPF_PROG_TEST_RUN`, with the flows where a frame would be; see `abi::import`.
///
/// Fails: closed; a flow that is not taken is cut, and counted in what is returned.
/// Kernel: 6.1.
/// Cost: see docs/verifier-instructions.toml.
#[classifier]
pub fn import_flows(ctx: TcContext) -> i32 {
    net::import_flows(Skb::new(&ctx)).word().cast_signed()
}

/// Adds the counts of another table to `COUNTERS`. On no hook, as `import_flows`. Returns how many
/// it took.
///
/// Fails: counted; what finds no place is added to `UNCOUNTED`.
/// Kernel: 6.1.
/// Cost: see docs/verifier-instructions.toml.
#[classifier]
pub fn import_counters(ctx: TcContext) -> i32 {
    net::import_counters(Skb::new(&ctx)).cast_signed()
}

/// Tracepoint `sched_process_exec`: a process has begun to run another program.
///
/// Fails: open; it decides nothing. What it cannot record is counted.
/// Kernel: 6.1.
/// Cost: see docs/verifier-instructions.toml.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn process_exec(ctx: BtfTracePointContext) -> i32 {
    process::exec(&ctx);
    0
}

/// connect(2) of an IPv4 socket, of any process: others than guests' pass.
///
/// Fails: open; the packet is judged by `from_guest`.
/// Kernel: 6.1.
/// Cost: see docs/verifier-instructions.toml.
#[cgroup_sock_addr(connect4)]
pub fn guest_connect4(ctx: SockAddrContext) -> i32 {
    Asked::new(&ctx).connect4()
}

/// connect(2) of an IPv6 socket, of any process: others than guests' pass.
///
/// Fails: open; the packet is judged by `from_guest`.
/// Kernel: 6.1.
/// Cost: see docs/verifier-instructions.toml.
#[cgroup_sock_addr(connect6)]
pub fn guest_connect6(ctx: SockAddrContext) -> i32 {
    Asked::new(&ctx).connect6()
}

/// sendmsg(2) and its like of an IPv4 UDP socket, with an address, of any process.
///
/// Fails: open; the packet is judged by `from_guest`.
/// Kernel: 6.1.
/// Cost: see docs/verifier-instructions.toml.
#[cgroup_sock_addr(sendmsg4)]
pub fn guest_sendmsg4(ctx: SockAddrContext) -> i32 {
    Asked::new(&ctx).sendmsg4()
}

/// sendmsg(2) and its like of an IPv6 UDP socket, with an address, of any process.
///
/// Fails: open; the packet is judged by `from_guest`.
/// Kernel: 6.1.
/// Cost: see docs/verifier-instructions.toml.
#[cgroup_sock_addr(sendmsg6)]
pub fn guest_sendmsg6(ctx: SockAddrContext) -> i32 {
    Asked::new(&ctx).sendmsg6()
}

/// connect(2) of a unix stream or packet socket, of any process: others than guests' pass.
///
/// Fails: closed for guests; what cannot be read is not theirs. Where it cannot be loaded, `status` says so.
/// Kernel: 6.1, with `bpf` among its security modules.
/// Cost: see docs/verifier-instructions.toml.
#[lsm(hook = "unix_stream_connect")]
pub fn guard_socket(ctx: LsmContext) -> i32 {
    refuse_unless(process::may_connect(&ctx))
}

/// A datagram to a unix socket, or connect(2) to one that takes them, of any process.
///
/// Fails: as `guard_socket`.
/// Kernel: 6.1, with `bpf` among its security modules.
/// Cost: see docs/verifier-instructions.toml.
#[lsm(hook = "unix_may_send")]
pub fn guard_datagram(ctx: LsmContext) -> i32 {
    refuse_unless(process::may_send(&ctx))
}

/// A process is given a file by another one (`SCM_RIGHTS`, `pidfd_getfd(2)`): any process, any file.
///
/// Fails: as `guard_socket`; files that are no unix sockets pass.
/// Kernel: 6.1, with `bpf` among its security modules.
/// Cost: see docs/verifier-instructions.toml.
#[lsm(hook = "file_receive")]
pub fn guard_receive(ctx: LsmContext) -> i32 {
    refuse_unless(process::may_receive(&ctx))
}

#[inline(always)]
fn refuse_unless(allowed: bool) -> i32 {
    if allowed || cfg!(feature = "pass") { 0 } else { EPERM }
}

/// What the call fails with.
const EPERM: i32 = -1;

/// `TCX_REDIRECT` (`TC_ACT_REDIRECT`): the frame goes where `bpf_redirect` was told.
const REDIRECT: i32 = 7;

#[inline(always)]
fn action(ctx: &TcContext, hook: Hook, verdict: Verdict) -> i32 {
    log(ctx, hook, verdict);
    if cfg!(feature = "pass") {
        return -1;
    }
    match verdict {
        Verdict::Allow => -1,
        Verdict::Deny(_) => 2,
    }
}

/// A line for a developer; release builds have none, their records are events.
#[cfg(feature = "bpf-log")]
#[inline(always)]
fn log(ctx: &TcContext, hook: Hook, verdict: Verdict) {
    let reason = match verdict {
        Verdict::Allow => 0,
        Verdict::Deny(reason) => reason as u16,
    };
    aya_log_ebpf::info!(ctx, "hook {} reason {} length {}", hook as u8, reason, ctx.len());
}

#[cfg(not(feature = "bpf-log"))]
#[inline(always)]
fn log(_ctx: &TcContext, _hook: Hook, _verdict: Verdict) {}

/// The verifier rejects a program that can reach this: it is an endless loop.
#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
