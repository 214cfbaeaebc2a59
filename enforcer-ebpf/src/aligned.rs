//! Memory that is read and written in words, where the compiler would go byte by byte: BPF has no unaligned access in
//! its eyes, and it is not told how the kernel places what a helper returns.

use core::{arch::asm, hint, mem::MaybeUninit};

/// Where values of maps begin: `htab_elem_value` rounds keys up to this, arrays round up values (`kernel/bpf`).
const OF_VALUES: usize = 8;

/// What the pointer leads to, if it is not null.
///
/// # Safety
/// As for `pointer::as_ref`; it is null or the value of a map, or as well aligned as one.
#[inline(always)]
pub unsafe fn value<'a, T>(pointer: *const T) -> Option<&'a T> {
    // SAFETY: as promised by the caller.
    unsafe {
        hint::assert_unchecked(pointer.addr().is_multiple_of(OF_VALUES));
        pointer.as_ref()
    }
}

/// The same to write to.
///
/// # Safety
/// As for `pointer::as_mut`; it is null or the value of a map, or as well aligned as one.
#[inline(always)]
pub unsafe fn value_mut<'a, T>(pointer: *mut T) -> Option<&'a mut T> {
    // SAFETY: as promised by the caller.
    unsafe {
        hint::assert_unchecked(pointer.addr().is_multiple_of(OF_VALUES));
        pointer.as_mut()
    }
}

/// What a lookup in a map found.
///
/// # Safety
/// Nobody writes it while it is looked at.
#[inline(always)]
pub unsafe fn found<'a, T>(pointer: Option<*const T>) -> Option<&'a T> {
    // SAFETY: as promised by the caller; a map gives nothing or the address of a value.
    unsafe { value(pointer?) }
}

macro_rules! load {
    ($name:ident, $word:ty, $text:literal) => {
        /// A word at any address, in one instruction: the kernel's check allows it on every machine that can
        /// (`CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS`, as x86-64 and arm64).
        #[inline(always)]
        unsafe fn $name(at: *const u8) -> $word {
            let word: $word;
            // SAFETY: the caller knows that the bytes are there; nothing else is touched.
            unsafe {
                asm!($text, word = out(reg) word, at = in(reg) at, options(pure, readonly, nostack));
            }
            word
        }
    };
}

load!(load64, u64, "{word} = *(u64 *)({at} + 0)");
load!(load32, u32, "{word} = *(u32 *)({at} + 0)");
load!(load16, u16, "{word} = *(u16 *)({at} + 0)");
load!(load8, u8, "{word} = *(u8 *)({at} + 0)");

/// `N` bytes of a frame, which may stand at any address.
///
/// # Safety
/// They are there.
#[inline(always)]
pub unsafe fn bytes<const N: usize>(from: *const u8) -> [u8; N] {
    let mut bytes = MaybeUninit::<[u8; N]>::uninit();
    let to = bytes.as_mut_ptr().cast::<u8>();
    let mut done = 0;
    // Unrolled: the length is a constant.
    // SAFETY: reads what the caller promised, and writes each of the `N` bytes once.
    unsafe {
        while done + 8 <= N {
            to.add(done).cast::<u64>().write_unaligned(load64(from.add(done)));
            done += 8;
        }
        if done + 4 <= N {
            to.add(done).cast::<u32>().write_unaligned(load32(from.add(done)));
            done += 4;
        }
        if done + 2 <= N {
            to.add(done).cast::<u16>().write_unaligned(load16(from.add(done)));
            done += 2;
        }
        if done < N {
            to.add(done).write(load8(from.add(done)));
        }
        bytes.assume_init()
    }
}
