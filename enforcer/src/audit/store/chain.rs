//! The hash chain. Pure: each line's value covers the line and, by the value before it, all lines
//! there ever were. A line carries the first half of its value as its last field, which is put into
//! the bytes of the finished line: nothing is serialised twice.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::hex;

/// Longest line that is taken, bytes without its newline: readers need a bound.
pub(super) const MAX_LINE: usize = 1 << 20;
/// What stands before the digits of the field.
const FIELD: &[u8] = br#","chain":""#;
/// What stands behind them.
const CLOSE: &[u8] = br#""}"#;
/// Bytes of a value that a line carries.
const SHOWN: usize = 16;
/// What the field adds to a line.
pub(super) const FIELD_BYTES: usize = FIELD.len() + 2 * SHOWN + CLOSE.len() - 1;

/// A value of the chain: SHA-256 of the value before it and the line without its chain field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Chain([u8; 32]);

impl Chain {
    /// Before the first line of a store.
    pub(super) const START: Self = Self([0; 32]);

    /// The value of the line that follows.
    pub(super) fn next(self, line: &[u8]) -> Self {
        Self(Sha256::new().chain_update(self.0).chain_update(line).finalize().into())
    }

    /// Adds `line`, a JSON object with at least one field, its chain field and a newline to `out`.
    pub(super) fn splice(self, line: &[u8], out: &mut Vec<u8>) -> Self {
        let next = self.next(line);
        let open = line.strip_suffix(b"}").unwrap_or(line);
        let mut shown = [[0; 2]; SHOWN];
        for (digits, byte) in shown.iter_mut().zip(next.0) {
            *digits = hex::digits(byte);
        }
        out.reserve(line.len() + FIELD_BYTES + 1);
        out.extend_from_slice(open);
        out.extend_from_slice(FIELD);
        out.extend_from_slice(shown.as_flattened());
        out.extend_from_slice(CLOSE);
        out.push(b'\n');
        next
    }

    /// The value of a stored line, without its newline, if it is the one that follows.
    pub(super) fn check(self, stored: &[u8]) -> Option<Self> {
        let (open, shown) = split(stored)?;
        let value = Sha256::new().chain_update(self.0).chain_update(open).chain_update(b"}");
        let next = Self(value.finalize().into());
        (hex::decode::<SHOWN>(shown)? == next.0[..SHOWN]).then_some(next)
    }
}

/// The line as its writer made it, from a stored one.
pub(super) fn body(stored: &[u8]) -> Option<Vec<u8>> {
    let (open, _) = split(stored)?;
    Some([open, b"}"].concat())
}

/// What stands before the field, and the digits in it.
fn split(stored: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = stored.strip_suffix(CLOSE)?;
    let (rest, shown) = rest.split_at_checked(rest.len().checked_sub(2 * SHOWN)?)?;
    Some((rest.strip_suffix(FIELD)?, shown))
}

/// Why a line cannot be taken: it has to be one JSON object on one line. That it is JSON is its
/// writer's promise.
pub(super) fn refuse(line: &[u8]) -> Option<&'static str> {
    if line.len() > MAX_LINE {
        Some("it is longer than 1 MiB")
    } else if !line.starts_with(b"{\"") || !line.ends_with(b"}") {
        Some("it is no JSON object with a field")
    } else if memchr::memchr(b'\n', line).is_some() {
        Some("it has a line break in it")
    } else {
        None
    }
}

impl From<Chain> for String {
    fn from(chain: Chain) -> Self {
        hex::encode(&chain.0)
    }
}

impl TryFrom<String> for Chain {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        hex::decode(text.as_bytes()).map(Self).ok_or("64 hexadecimal digits are expected")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a3_a_value_is_the_hash_of_the_one_before_and_the_line() {
        let mut stored = Vec::new();
        let chain = Chain::START.splice(br#"{"seq":1}"#, &mut stored);
        let hash = Sha256::digest([[0u8; 32].as_slice(), br#"{"seq":1}"#].concat());
        assert_eq!(String::from(chain), hex::encode(&hash));
        let line = format!("{{\"seq\":1,\"chain\":\"{}\"}}\n", hex::encode(&hash[..16]));
        assert_eq!(String::from_utf8(stored.clone()).expect("text"), line);
        assert_eq!(stored.len(), br#"{"seq":1}"#.len() + FIELD_BYTES + 1);
        let value: serde_json::Value = serde_json::from_slice(&stored).expect("still JSON");
        assert_eq!(value["seq"], 1);
    }

    #[test]
    fn f16_what_is_not_one_object_on_one_line_is_refused() {
        let long = [b"{\"a\":\"".as_slice(), &vec![b'x'; MAX_LINE], b"\"}"].concat();
        for wrong in [b"".as_slice(), b"{}", b"[1]", b"{\"a\":1", b"{\"a\":\n1}", &long] {
            assert!(refuse(wrong).is_some(), "{:?}", String::from_utf8_lossy(wrong));
        }
        assert_eq!(refuse(br#"{"a":"\n"}"#), None);
    }

    proptest! {
        #[test]
        fn a3_every_changed_byte_breaks_the_chain(
            text in "[ -~]{0,40}", place in any::<prop::sample::Index>(), xor in 1u8..
        ) {
            let line = serde_json::to_vec(&serde_json::json!({"text": text})).expect("JSON");
            let mut stored = Vec::new();
            let chain = Chain::START.next(b"before");
            let next = chain.splice(&line, &mut stored);
            stored.pop();
            prop_assert_eq!(chain.check(&stored), Some(next));
            prop_assert_eq!(body(&stored), Some(line));
            prop_assert_eq!(Chain::START.check(&stored), None);
            let place = place.index(stored.len());
            stored[place] ^= xor;
            prop_assert_eq!(chain.check(&stored), None);
        }
    }
}
