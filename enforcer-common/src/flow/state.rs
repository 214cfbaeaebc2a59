//! The state of a flow in one word, so that it changes by a single compare-and-swap.

/// Where a flow is in its life.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not a flow any more: its entry waits to be deleted.
    Dead = 0,
    /// Only the initiator has spoken.
    HalfOpen = 1,
    /// TCP: the responder sent its SYN-ACK.
    Replied = 2,
    /// Both have spoken.
    Established = 3,
    /// Reset or finished; late segments still pass.
    Closing = 4,
}

/// Which limit a flow counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaClass {
    /// None: the flow is dead.
    None,
    /// Half-open flows.
    HalfOpen,
    /// Established flows.
    Established,
    /// Closed flows that linger.
    Closing,
}

const PHASE: u32 = 0xff;
const OUTBOUND: u32 = 1 << 8;
const FIN_INITIATOR: u32 = 1 << 9;
const FIN_RESPONDER: u32 = 1 << 10;
const RESET: u32 = 1 << 11;
const SUSPECT: u32 = 1 << 12;
const SEEN_INITIATOR: u32 = 1 << 13;
const SEEN_RESPONDER: u32 = 1 << 14;

/// Phase, initiator and history of a flow, packed as in [`crate::abi::flow::FlowRecord::state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowState(u32);

impl FlowState {
    /// A dead flow.
    pub const DEAD: Self = Self(Phase::Dead as u32);

    /// A flow with its first packet; `outbound` when the endpoint is the initiator.
    #[must_use]
    #[inline(always)]
    pub const fn open(outbound: bool) -> Self {
        Self(Phase::HalfOpen as u32 | if outbound { OUTBOUND } else { 0 })
    }

    /// From the word in the map.
    #[must_use]
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        Self(word)
    }

    /// The word in the map.
    #[must_use]
    #[inline(always)]
    pub const fn word(self) -> u32 {
        self.0
    }

    /// Its phase; an unknown value is dead.
    #[must_use]
    #[inline(always)]
    pub const fn phase(self) -> Phase {
        match self.0 & PHASE {
            1 => Phase::HalfOpen,
            2 => Phase::Replied,
            3 => Phase::Established,
            4 => Phase::Closing,
            _ => Phase::Dead,
        }
    }

    /// Whether the endpoint is the initiator.
    #[must_use]
    #[inline(always)]
    pub const fn is_outbound(self) -> bool {
        self.0 & OUTBOUND != 0
    }

    /// Whether one side, and only one, has finished.
    #[must_use]
    #[inline(always)]
    pub const fn is_half_closed(self) -> bool {
        self.0 & (FIN_INITIATOR | FIN_RESPONDER) != 0
    }

    /// Whether a RST closed it.
    #[must_use]
    #[inline(always)]
    pub const fn is_reset(self) -> bool {
        self.0 & RESET != 0
    }

    /// Whether a RST was seen that perhaps ended it, and not both sides since.
    #[must_use]
    #[inline(always)]
    pub const fn is_suspect(self) -> bool {
        self.0 & SUSPECT != 0
    }

    /// The same flow in another phase.
    #[must_use]
    #[inline(always)]
    pub const fn with_phase(self, phase: Phase) -> Self {
        Self(self.0 & !PHASE | phase as u32)
    }

    /// After a FIN of one side; the second one closes it.
    #[must_use]
    #[inline(always)]
    pub const fn with_fin(self, from_initiator: bool) -> Self {
        let word = self.0 | if from_initiator { FIN_INITIATOR } else { FIN_RESPONDER };
        let both = word & FIN_INITIATOR != 0 && word & FIN_RESPONDER != 0;
        if both { Self(word).with_phase(Phase::Closing) } else { Self(word) }
    }

    /// With the FINs that `other` has seen too; those of both sides close it.
    #[must_use]
    #[inline(always)]
    pub(super) const fn with_fins_of(self, other: Self) -> Self {
        let word = self.0 | other.0 & (FIN_INITIATOR | FIN_RESPONDER);
        let both = word & FIN_INITIATOR != 0 && word & FIN_RESPONDER != 0;
        if both { Self(word).with_phase(Phase::Closing) } else { Self(word) }
    }

    /// After a RST that fits.
    #[must_use]
    #[inline(always)]
    pub const fn with_reset(self) -> Self {
        Self(self.0 | RESET).with_phase(Phase::Closing)
    }

    /// After a RST that does not fit.
    #[must_use]
    #[inline(always)]
    pub const fn with_suspicion(self) -> Self {
        Self(self.0 & !(SEEN_INITIATOR | SEEN_RESPONDER) | SUSPECT)
    }

    /// After a segment of one side. Only both sides prove that a suspect flow lives: one that was
    /// reset may still have segments of the other on the way.
    #[must_use]
    #[inline(always)]
    pub const fn with_sign_of_life(self, from_initiator: bool) -> Self {
        let both = SEEN_INITIATOR | SEEN_RESPONDER;
        let word = self.0 | if from_initiator { SEEN_INITIATOR } else { SEEN_RESPONDER };
        if word & both == both { Self(word & !(both | SUSPECT)) } else { Self(word) }
    }

    /// Perhaps alive again: the initiator goes on after a RST.
    #[must_use]
    #[inline(always)]
    pub const fn revived(self) -> Self {
        Self(self.0 & !RESET)
            .with_phase(Phase::Established)
            .with_suspicion()
            .with_sign_of_life(true)
    }

    /// The limit it counts against.
    #[must_use]
    #[inline(always)]
    pub const fn quota_class(self) -> QuotaClass {
        match self.phase() {
            Phase::Dead => QuotaClass::None,
            Phase::HalfOpen | Phase::Replied => QuotaClass::HalfOpen,
            Phase::Established => QuotaClass::Established,
            Phase::Closing => QuotaClass::Closing,
        }
    }
}
