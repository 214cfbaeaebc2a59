//! A set that may say yes to what is not in it, and never no to what is. Pure.

/// Size of a set: with the 1,000 or so addresses of a block it is wrong about once in 400 times.
pub(super) const BYTES: usize = 2048;
const HASHES: u64 = 4;

/// The set.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Bloom(Box<[u8; BYTES]>);

impl Default for Bloom {
    fn default() -> Self {
        Self(Box::new([0; BYTES]))
    }
}

impl std::fmt::Debug for Bloom {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bits: u32 = self.0.iter().map(|byte| byte.count_ones()).sum();
        write!(formatter, "Bloom of {bits} bits")
    }
}

impl Bloom {
    pub(super) fn insert(&mut self, hash: u64) {
        for (byte, bit) in places(hash) {
            self.0[byte] |= bit;
        }
    }

    pub(super) fn may_have(&self, hash: u64) -> bool {
        places(hash).all(|(byte, bit)| self.0[byte] & bit != 0)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(Box::new(bytes.try_into().ok()?)))
    }
}

/// Bits of a value, by double hashing.
fn places(hash: u64) -> impl Iterator<Item = (usize, u8)> {
    let (start, step) = (hash & 0xffff_ffff, hash >> 32 | 1);
    (0..HASHES).map(move |turn| {
        let bit = usize::try_from(start + turn * step).unwrap_or(0) % (BYTES * 8);
        (bit / 8, 1 << (bit % 8))
    })
}

/// A hash that is the same in every build, for it is kept on the disk (FNV-1a, mixed once more).
pub(super) fn hash(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for part in parts {
        // 0xff is in no text, so that parts cannot run into one another.
        for byte in part.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_is_found_and_little_else() {
        let mut bloom = Bloom::default();
        let hash_of = |number: u32| hash(&[b"to", &number.to_le_bytes()]);
        (0..1000).for_each(|number| bloom.insert(hash_of(number)));
        assert!((0..1000).all(|number| bloom.may_have(hash_of(number))));
        let wrong = (1000..101_000).filter(|number| bloom.may_have(hash_of(*number))).count();
        assert!(wrong < 1000, "{wrong} of 100000");
        assert_eq!(Bloom::from_bytes(bloom.as_bytes()), Some(bloom));
        assert_eq!(Bloom::from_bytes(&[0]), None);
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
    }
}
