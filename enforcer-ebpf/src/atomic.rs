//! Atomic operations on words in maps.
//!
//! `core::sync::atomic` has no 32-bit and no read-modify-write operations for this target, though
//! the kernel's BPF has them since 5.12 (`BPF_ATOMIC`, instruction set v3): so the intrinsics.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd, atomic_xsub};

/// Sequential consistency: the only order that BPF has for operations that return a value.
const ORDER: AtomicOrdering = AtomicOrdering::SeqCst;

/// Adds; the value before.
///
/// # Safety
/// `word` points into a map value that is valid for this run of the program.
#[inline(always)]
pub unsafe fn fetch_add(word: *mut u32, value: u32) -> u32 {
    // SAFETY: as promised by the caller.
    unsafe { atomic_xadd::<u32, u32, ORDER>(word, value) }
}

/// Subtracts; the value before.
///
/// # Safety
/// As for [`fetch_add`].
#[inline(always)]
pub unsafe fn fetch_sub(word: *mut u32, value: u32) -> u32 {
    // SAFETY: as promised by the caller.
    unsafe { atomic_xsub::<u32, u32, ORDER>(word, value) }
}

/// Adds to a 64-bit total.
///
/// # Safety
/// As for [`fetch_add`].
#[inline(always)]
pub unsafe fn add64(word: *mut u64, value: u64) {
    // SAFETY: as promised by the caller.
    unsafe { atomic_xadd::<u64, u64, ORDER>(word, value) };
}

/// Replaces `old` by `new`; false: something else was there.
///
/// # Safety
/// As for [`fetch_add`].
#[inline(always)]
pub unsafe fn replace(word: *mut u32, old: u32, new: u32) -> bool {
    // SAFETY: as promised by the caller.
    unsafe { atomic_cxchg::<u32, ORDER, ORDER>(word, old, new) }.1
}

/// Replaces `old` by `new` in a word of 64 bits; what was there, which is `old` if it did.
///
/// # Safety
/// As for [`fetch_add`].
#[inline(always)]
pub unsafe fn replace64(word: *mut u64, old: u64, new: u64) -> u64 {
    // SAFETY: as promised by the caller.
    unsafe { atomic_cxchg::<u64, ORDER, ORDER>(word, old, new) }.0
}
