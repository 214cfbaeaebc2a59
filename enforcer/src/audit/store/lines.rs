//! The store's own lines: how a segment begins and ends, and the head. Pure. None has a sequence
//! number: those belong to the records.

use serde::{Deserialize, Serialize};

use super::{
    chain::{self, Chain},
    hex::encode,
    sign::{PublicKey, Secret},
};

/// Version of these lines.
const VERSION: u32 = 1;
/// How each of the store's own lines begins, and no record does.
const MARK: &[u8] = br#"{"kind":"segment_"#;

/// A line of the store's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub(super) enum Own {
    /// The first line of a segment.
    #[serde(rename = "segment_start")]
    Start(Start),
    /// The last line of a segment.
    #[serde(rename = "segment_end")]
    End(Closing),
    /// The end of the segment before this one, which cannot be written to any more.
    #[serde(rename = "segment_abandoned")]
    Abandoned(Closing),
}

/// How a segment begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) v: u32,
    /// This segment.
    pub(super) segment: u64,
    /// Sequence number that comes next.
    pub(super) first_seq: u64,
    /// When, RFC 3339.
    pub(super) time: String,
    /// Value of the chain before this line.
    pub(super) before: Chain,
    /// Checks the end of this segment.
    pub(super) key: PublicKey,
}

/// How a segment ends: a statement that its key signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Closing {
    pub(super) v: u32,
    /// The segment that ends.
    pub(super) segment: u64,
    /// Lines of it that count; this one is not among them.
    pub(super) lines: u64,
    /// Bytes of these lines.
    pub(super) bytes: u64,
    /// Sequence number of the first record, or the one that would have come.
    pub(super) first_seq: u64,
    /// Sequence number of the last record, or the one before.
    pub(super) last_seq: u64,
    /// Time of the first record, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) first_time: Option<String>,
    /// Time of the last record, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_time: Option<String>,
    /// When it ended, RFC 3339.
    pub(super) time: String,
    /// Value of the chain at the last of these lines.
    pub(super) head: Chain,
    /// SHA-256 of these lines as they are in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sha256: Option<String>,
    /// Checks the end of the next segment.
    pub(super) next_key: PublicKey,
    /// Why it was abandoned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
    /// Whether it was abandoned because somebody had changed it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) tampered: bool,
}

/// How far the store is promised; its segment's key signs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename = "head")]
pub(super) struct Head {
    pub(super) v: u32,
    #[serde(flatten)]
    pub(super) at: Position,
    /// The caller's, as of `at`.
    pub(super) counts: serde_json::Value,
}

/// A place between two lines of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) segment: u64,
    /// Bytes before it.
    pub(super) bytes: u64,
    /// Lines before it.
    pub(super) lines: u64,
    /// Sequence number of the last record before it, in this segment or one before.
    pub(super) seq: u64,
    /// Value of the chain.
    pub(super) chain: Chain,
}

impl Start {
    /// The first line of a segment that goes on from `after`.
    pub(super) fn new(segment: u64, after: &Position, key: PublicKey, time: String) -> Self {
        let (first_seq, before) = (after.seq + 1, after.chain);
        Self { v: VERSION, segment, first_seq, time, before, key }
    }
}

impl Closing {
    /// The end of a segment at a place in it; what else is known of it is filled in by the caller.
    pub(super) fn new(at: &Position, next_key: PublicKey, time: String) -> Self {
        Self {
            v: VERSION,
            segment: at.segment,
            lines: at.lines,
            bytes: at.bytes,
            first_seq: at.seq + 1,
            last_seq: at.seq,
            first_time: None,
            last_time: None,
            time,
            head: at.chain,
            sha256: None,
            next_key,
            why: None,
            tampered: false,
        }
    }

    /// States the SHA-256 of the lines.
    pub(super) fn with_digest(mut self, digest: &[u8]) -> Self {
        self.sha256 = Some(encode(digest));
        self
    }
}

impl Head {
    pub(super) const fn new(at: Position, counts: serde_json::Value) -> Self {
        Self { v: VERSION, at, counts }
    }

    /// The content of its file.
    pub(super) fn to_bytes(&self, secret: &Secret) -> Vec<u8> {
        let mut bytes = secret.sign(&object(self));
        bytes.push(b'\n');
        bytes
    }

    /// Reads what [`Head::to_bytes`] made. The signature is looked at by [`Head::is_signed`].
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let head: Self = serde_json::from_slice(bytes.strip_suffix(b"\n")?).ok()?;
        (head.v == VERSION).then_some(head)
    }

    /// Whether the bytes of the file bear this key's signature.
    pub(super) fn is_signed(bytes: &[u8], key: PublicKey) -> bool {
        bytes.strip_suffix(b"\n").is_some_and(|object| key.signed(object))
    }
}

/// A value as a JSON object. The structures of this module have nothing that cannot be written.
pub(super) fn object(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// Whether a line, stored or not, is the store's own.
pub(super) fn is_own(line: &[u8]) -> bool {
    line.starts_with(MARK)
}

/// Reads a stored line of the store's own.
pub(super) fn own(stored: &[u8]) -> Option<Own> {
    is_own(stored).then(|| serde_json::from_slice(stored).ok()).flatten()
}

/// Whether a stored line bears this key's signature.
pub(super) fn is_signed(stored: &[u8], key: PublicKey) -> bool {
    chain::body(stored).is_some_and(|object| key.signed(&object))
}
