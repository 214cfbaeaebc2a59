//! The stamp: a masked part of `skb->mark` that carries a yes from one program to the next. It
//! never decides alone where a frame came from; see design note in `to_guest`.

use crate::skb::Skb;

/// Bits of the mark that are ours. Set by the loader.
#[unsafe(no_mangle)]
static MARK_MASK: u32 = 0x3000_0000;
/// Value of those bits after `from_guest` allowed the frame. Set by the loader.
#[unsafe(no_mangle)]
static MARK_FROM_GUEST: u32 = 0x1000_0000;
/// Value of those bits after `to_bridge` let the host's frame in. Set by the loader.
#[unsafe(no_mangle)]
static MARK_FROM_HOST: u32 = 0x2000_0000;

/// Who said yes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    FromGuest,
    FromHost,
    /// `from_guest` sends it back to its sender: see `refuse`. The bits of both others.
    Answer,
}

impl Stamp {
    #[inline(always)]
    fn bits(self) -> u32 {
        match self {
            Self::FromGuest => global(&raw const MARK_FROM_GUEST),
            Self::FromHost => global(&raw const MARK_FROM_HOST),
            Self::Answer => global(&raw const MARK_FROM_GUEST) | global(&raw const MARK_FROM_HOST),
        }
    }

    /// Whether the frame carries this stamp.
    #[inline(always)]
    pub fn is_on(self, skb: Skb) -> bool {
        skb.mark() & global(&raw const MARK_MASK) == self.bits()
    }

    /// Puts this stamp on the frame, in place of any other.
    #[inline(always)]
    pub fn put(self, skb: Skb) {
        skb.set_mark(skb.mark() & !global(&raw const MARK_MASK) | self.bits());
    }
}

/// Takes any stamp off; the rest of the mark belongs to others.
#[inline(always)]
pub fn clear(skb: Skb) {
    skb.set_mark(skb.mark() & !global(&raw const MARK_MASK));
}

#[inline(always)]
fn global(value: *const u32) -> u32 {
    // SAFETY: points to a static of this module; volatile, because the loader changes it.
    unsafe { value.read_volatile() }
}
