//! The eBPF programs: entry points only.
#![no_std]
#![no_main]

use aya_ebpf::{macros::classifier, programs::TcContext};
use enforcer_common::abi::ABI_VERSION;

/// The next program decides.
const NEXT: i32 = -1;

/// Layouts that this object was built with; the loader refuses another version.
#[unsafe(link_section = "enforcer_abi")]
#[unsafe(no_mangle)]
static ENFORCER_ABI: u32 = ABI_VERSION;

/// GPL-compatible, because the kernel keeps some helpers for such programs.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// TC ingress on a guest's host-side veth: every frame that the guest sends.
#[classifier]
fn from_guest(_ctx: TcContext) -> i32 {
    NEXT
}

/// TC egress on a guest's host-side veth: every frame delivered to the guest.
#[classifier]
fn to_guest(_ctx: TcContext) -> i32 {
    NEXT
}

/// TC ingress on the bridge: what leaves it for the host or beyond.
#[classifier]
fn from_bridge(_ctx: TcContext) -> i32 {
    NEXT
}

/// TC egress on the bridge: what the host sends or forwards to guests.
#[classifier]
fn to_bridge(_ctx: TcContext) -> i32 {
    NEXT
}

/// Never reached: the verifier refuses a program that could panic its way into this loop.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
