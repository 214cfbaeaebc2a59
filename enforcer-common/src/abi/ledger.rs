//! What the daemon must not forget when it ends.

use super::{layout::layout, pod};

/// Value of map `LEDGER` (an array of one): the numbers that were given out. None is given out twice
/// while the maps live, whichever daemon does it: a flow or a counter may still bear it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The last id of an endpoint or a network.
    pub last_id: u32,
    /// The last epoch of a policy.
    pub last_epoch: u32,
}

const _: () = assert!(size_of::<Ledger>() == 8);
layout!(Ledger { last_id, last_epoch });
pod!(Ledger);
