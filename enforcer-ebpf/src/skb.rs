//! A frame as the kernel hands it to a TC program.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_INVALIDATE_HASH, BPF_F_RECOMPUTE_CSUM},
    helpers::generated::{bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_store_bytes},
    programs::TcContext,
};
use enforcer_common::packet::{Bytes, ETHERNET_LEN};

use crate::aligned;

const IPV4_TRANSPORT: u32 = ETHERNET_LEN + 20;
const IPV6_TRANSPORT: u32 = ETHERNET_LEN + 40;

/// The frame and its metadata.
#[derive(Clone, Copy)]
pub struct Skb(*mut __sk_buff);

impl Skb {
    /// The frame of this call.
    #[inline(always)]
    pub fn new(ctx: &TcContext) -> Self {
        Self(ctx.skb.skb)
    }

    /// The frame of a global function that was given the context.
    #[inline(always)]
    pub fn from_context(context: *mut __sk_buff) -> Self {
        Self(context)
    }

    /// The context, for a global function.
    #[inline(always)]
    pub fn context(self) -> *mut __sk_buff {
        self.0
    }

    /// Interface that the program is attached to.
    #[inline(always)]
    pub fn ifindex(self) -> u32 {
        // SAFETY: the kernel passes a valid context; the verifier checks the field.
        unsafe { (*self.0).ifindex }
    }

    /// Interface by which the frame entered the machine last; 0: the host made it.
    #[inline(always)]
    pub fn ingress_ifindex(self) -> u32 {
        // SAFETY: as in `ifindex`.
        unsafe { (*self.0).ingress_ifindex }
    }

    /// The mark.
    #[inline(always)]
    pub fn mark(self) -> u32 {
        // SAFETY: as in `ifindex`.
        unsafe { (*self.0).mark }
    }

    /// Sets the mark.
    #[inline(always)]
    pub fn set_mark(self, mark: u32) {
        // SAFETY: as in `ifindex`; TC programs may write this field.
        unsafe { (*self.0).mark = mark }
    }

    /// Packets that this frame becomes on a wire.
    #[inline(always)]
    pub fn segments(self) -> u32 {
        // SAFETY: as in `ifindex`.
        let segments = unsafe { (*self.0).gso_segs };
        if segments == 0 { 1 } else { segments }
    }

    /// Copies bytes of the frame over `value`; false: the frame is too short.
    ///
    /// # Safety
    /// Any bytes are a valid `T`.
    #[inline(always)]
    pub unsafe fn copy_into<T>(self, offset: u32, value: &mut T) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "a few hundred bytes")]
        let len = size_of::<T>() as u32;
        // SAFETY: the helper writes `len` bytes, the size of the value, or fails.
        let result =
            unsafe { bpf_skb_load_bytes(self.0.cast(), offset, (&raw mut *value).cast(), len) };
        result == 0
    }

    /// Makes this frame `bytes`, which begin it, and nothing else; false: it is none of both any more.
    #[inline(always)]
    pub fn become_bytes<const N: usize>(self, bytes: &[u8; N], len: u32) -> bool {
        if len as usize > N {
            return false;
        }
        // SAFETY: the helper checks the length.
        if unsafe { bpf_skb_change_tail(self.0, len, 0) } != 0 {
            return false;
        }
        let flags = u64::from(BPF_F_RECOMPUTE_CSUM | BPF_F_INVALIDATE_HASH);
        // SAFETY: `len` of the array's bytes are there, and the helper checks the frame.
        let stored =
            unsafe { bpf_skb_store_bytes(self.0.cast(), 0, bytes.as_ptr().cast(), len, flags) };
        stored == 0
    }

    /// Copies bytes of the frame; false: it is too short.
    #[inline(always)]
    pub fn read_into<const N: usize>(self, offset: u32, bytes: &mut [u8], at: usize) -> bool {
        let Some(room) = bytes.get_mut(at..at + N) else { return false };
        #[expect(clippy::cast_possible_truncation, reason = "headers are short")]
        let len = N as u32;
        // SAFETY: there is room for `N` bytes, and the helper checks the frame.
        unsafe { bpf_skb_load_bytes(self.0.cast(), offset, room.as_mut_ptr().cast(), len) == 0 }
    }

    /// `N` bytes in linear memory, without a helper call.
    #[inline(always)]
    fn read_linear<const N: usize>(self, offset: u32) -> Option<[u8; N]> {
        // SAFETY: as in `ifindex`.
        let (data, end) = unsafe { ((*self.0).data as usize, (*self.0).data_end as usize) };
        let start = data + offset as usize;
        if start + N > end {
            return None;
        }
        // SAFETY: `start..start + N` lies in the linear part, checked above.
        Some(unsafe { aligned::bytes(start as *const u8) })
    }

    /// `N` bytes wherever they are.
    #[inline(always)]
    fn read_paged<const N: usize>(self, offset: u32) -> Option<[u8; N]> {
        #[expect(clippy::cast_possible_truncation, reason = "headers are short")]
        let len = N as u32;
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the helper writes `N` bytes into the array, or fails.
        let result =
            unsafe { bpf_skb_load_bytes(self.0.cast(), offset, bytes.as_mut_ptr().cast(), len) };
        // In the same words as `read_linear`: where both ways meet, nothing is taken apart.
        // SAFETY: written in full when the helper succeeds.
        (result == 0).then(|| unsafe { aligned::bytes(bytes.as_ptr().cast()) })
    }
}

impl Bytes for Skb {
    #[inline(always)]
    fn len(&self) -> u32 {
        // SAFETY: as in `ifindex`.
        unsafe { (*self.0).len }
    }

    #[inline(always)]
    fn has_vlan_tag(&self) -> bool {
        // SAFETY: as in `ifindex`.
        unsafe { (*self.0).vlan_present != 0 }
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        // Headers without options stand at these places, mostly in linear memory. A constant offset
        // is cheap for the verifier; any other goes through the helper.
        let linear = match offset {
            0 => self.read_linear(0),
            ETHERNET_LEN => self.read_linear(ETHERNET_LEN),
            IPV4_TRANSPORT => self.read_linear(IPV4_TRANSPORT),
            IPV6_TRANSPORT => self.read_linear(IPV6_TRANSPORT),
            _ => None,
        };
        linear.or_else(|| self.read_paged(offset))
    }
}
