//! What keeps guest bridges closed where no program of ours sits.

use std::collections::{BTreeMap, BTreeSet};

/// Guest bridges that carry only frames with a stamp, and what a stamp is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closure {
    /// Names of the bridges, whether or not they exist.
    pub bridges: BTreeSet<String>,
    /// Bits of a frame's mark that are ours.
    pub mark_mask: u32,
    /// Their value once a program has let the frame out of a port.
    pub from_guest: u32,
    /// Their value once a program has let the frame of the host in.
    pub from_host: u32,
}

/// Frames that the closure dropped, by where on their way.
pub type Drops = BTreeMap<String, u64>;

/// The two stamps: the lowest two bits of the mask, one for each. The first is `from_guest`'s.
#[must_use]
pub fn stamps(mask: u32) -> Option<(u32, u32)> {
    let first = mask & mask.wrapping_neg();
    let rest = mask & !first;
    let second = rest & rest.wrapping_neg();
    (second != 0).then_some((first, second))
}

#[cfg(test)]
mod tests {
    use super::stamps;

    #[test]
    fn stamps_are_two_bits_of_the_mask() {
        assert_eq!(stamps(0x0600_0000), Some((0x0200_0000, 0x0400_0000)));
        assert_eq!(stamps(0x8000_0001), Some((1, 0x8000_0000)));
        assert_eq!(stamps(0x10), None);
        assert_eq!(stamps(0), None);
    }
}
