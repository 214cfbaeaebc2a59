//! Longest match by halving: which of the prefixes that cover a number is the longest, in as many
//! lookups as the number's width has binary digits, however many prefixes there are.
//!
//! Waldvogel et al., "Scalable High Speed IP Routing Lookups" (1997): the table also has an entry for
//! each shorter prefix at which the search for a longer one passes by, and each entry says what holds
//! for everything it covers that no longer one says otherwise about.

/// Widest number, bits.
pub const WIDEST: u8 = 128;

/// What `at` has for the longest prefix, in a table whose entries include [`passed`]; `at` looks up the
/// first so many bits. `width` is a power of two.
#[inline(always)]
pub fn longest<T>(width: u8, mut at: impl FnMut(u8) -> Option<T>) -> Option<T> {
    let (mut length, mut step) = (0, width);
    let mut found = None;
    while step > 0 {
        if length + step <= width
            && let Some(value) = at(length + step)
        {
            length += step;
            found = Some(value);
        }
        step /= 2;
    }
    // The whole table's own, which every other entry already takes into account.
    if length == 0 { at(0) } else { found }
}

/// Lengths at which the search for a prefix of `length` bits passes by, shortest first, without its own.
pub fn passed(width: u8, length: u8) -> impl Iterator<Item = u8> {
    let (mut at, mut step) = (0, width);
    core::iter::from_fn(move || {
        while step > 0 && at < length {
            let next = at + step;
            step /= 2;
            if next <= length {
                at = next;
                if at < length {
                    return Some(at);
                }
            }
        }
        None
    })
}

/// The first `length` bits of a number whose highest bits are in the first word; the others are 0.
#[must_use]
#[inline(always)]
pub fn first_bits(words: [u64; 2], length: u8) -> [u64; 2] {
    let [high, low] = words;
    if length <= 64 { [keep(high, length), 0] } else { [high, keep(low, length - 64)] }
}

#[inline(always)]
const fn keep(word: u64, length: u8) -> u64 {
    // A shift by 64 is none.
    if length == 0 { 0 } else { word & (u64::MAX << ((64 - length) & 63)) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// A table of prefixes of 8-bit numbers, with the entries that the search passes by.
    fn table(prefixes: &BTreeMap<(u8, u8), u32>) -> BTreeMap<(u8, u8), u32> {
        let mut table = prefixes.clone();
        for (bits, length) in prefixes.keys() {
            for at in passed(8, *length) {
                let bits = cut(*bits, at);
                let best = naive(prefixes, bits, at).unwrap_or(0);
                table.entry((bits, at)).or_insert(best);
            }
        }
        table
    }

    fn cut(number: u8, length: u8) -> u8 {
        u8::try_from(first_bits([u64::from(number) << 56, 0], length)[0] >> 56).expect("8 bits")
    }

    /// The longest prefix of at most `limit` bits that covers a number.
    fn naive(prefixes: &BTreeMap<(u8, u8), u32>, number: u8, limit: u8) -> Option<u32> {
        (0..=limit).rev().find_map(|length| prefixes.get(&(cut(number, length), length)).copied())
    }

    proptest! {
        #[test]
        fn the_longest_is_found_whatever_the_prefixes(
            raw in prop::collection::btree_map((any::<u8>(), 0u8..=8), 1u32.., 0..24)
        ) {
            let prefixes: BTreeMap<(u8, u8), u32> = raw
                .into_iter()
                .map(|((bits, length), value)| ((cut(bits, length), length), value))
                .collect();
            let table = table(&prefixes);
            for number in 0..=u8::MAX {
                let mut lookups = 0;
                let found = longest(8, |length| {
                    lookups += 1;
                    table.get(&(cut(number, length), length)).copied()
                });
                prop_assert_eq!(found.unwrap_or(0), naive(&prefixes, number, 8).unwrap_or(0));
                prop_assert!(lookups <= 5, "{} lookups", lookups);
            }
        }
    }

    #[test]
    fn the_search_passes_by_the_sums_of_its_steps() {
        for (width, length, expected) in [
            (32, 32, vec![]),
            (32, 0, vec![]),
            (32, 1, vec![]),
            (32, 24, vec![16]),
            (32, 31, vec![16, 24, 28, 30]),
            (128, 64, vec![]),
            (128, 96, vec![64]),
            (128, 127, vec![64, 96, 112, 120, 124, 126]),
            (16, 3, vec![2]),
        ] {
            assert_eq!(passed(width, length).collect::<Vec<_>>(), expected, "{width} {length}");
        }
    }

    #[test]
    fn bits_beyond_the_length_are_zero() {
        const ONES: [u64; 2] = [u64::MAX; 2];
        for (length, expected) in [
            (0, [0, 0]),
            (1, [1 << 63, 0]),
            (64, [u64::MAX, 0]),
            (65, [u64::MAX, 1 << 63]),
            (128, ONES),
        ] {
            assert_eq!(first_bits(ONES, length), expected, "{length}");
        }
    }
}
