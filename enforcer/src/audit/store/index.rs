//! What each block of a segment has, so that a query reads few of them. Made from the lines, and
//! can be made again; a damaged one is as good as none. No verdict on integrity rests on it.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::{
    bloom::{self, Bloom},
    entry::Entry,
    lines,
};

/// How the file begins.
const MAGIC: &[u8; 8] = b"enfidx1\n";
/// Bytes of the checksum at its end.
const CHECKSUM: usize = 8;

/// What one block has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Where it begins among the lines, bytes.
    pub(super) offset: u64,
    /// Where it begins in the compressed file, bytes.
    pub(super) packed: u64,
    /// First and last wall time of its records, microseconds; the first is the greater if it has none.
    pub(super) time: (u64, u64),
    /// First and last monotonic time, ns.
    pub(super) mono: (u64, u64),
    /// First and last sequence number.
    pub(super) seq: (u64, u64),
    /// When the longest of the flows that close in it was opened, microseconds.
    pub(super) min_start: Option<u64>,
    /// Lines that open a flow, counted from 0, which no later line of this segment closes.
    pub(super) unclosed: Vec<u32>,
    /// Addresses.
    pub(super) addresses: Bloom,
}

/// Makes the blocks of one segment.
#[derive(Debug, Default)]
pub(super) struct Builder {
    blocks: Vec<Block>,
    offset: u64,
    /// By flow: block and line of each record that opens it.
    open: HashMap<u64, Vec<(usize, u32)>>,
}

impl Builder {
    /// Takes the lines of the next block; `packed` is where it begins in the compressed file.
    pub(super) fn block(&mut self, lines: &[u8], packed: u64) {
        let mut block = Block {
            offset: self.offset,
            packed,
            time: (u64::MAX, 0),
            mono: (u64::MAX, 0),
            seq: (u64::MAX, 0),
            min_start: None,
            unclosed: Vec::new(),
            addresses: Bloom::default(),
        };
        for (line, number) in lines.split(|byte| *byte == b'\n').zip(0..) {
            if line.is_empty() || lines::is_own(line) {
                continue;
            }
            let entry = Entry::parse(line);
            widen(&mut block.time, entry.at());
            widen(&mut block.mono, entry.mono_ns);
            widen(&mut block.seq, entry.seq);
            entry.hashes().for_each(|hash| block.addresses.insert(hash));
            if let Some(start) = entry.opened_at() {
                block.min_start = Some(block.min_start.map_or(start, |least| least.min(start)));
                self.open.remove(&entry.flow());
            } else if entry.kind == "flow_opened" {
                self.open.entry(entry.flow()).or_default().push((self.blocks.len(), number));
            }
        }
        self.offset += u64::try_from(lines.len()).unwrap_or(u64::MAX);
        self.blocks.push(block);
    }

    /// All blocks.
    pub(super) fn finish(mut self) -> Vec<Block> {
        let mut open: Vec<_> = self.open.into_values().flatten().collect();
        open.sort_unstable();
        for (block, line) in open {
            self.blocks[block].unclosed.push(line);
        }
        self.blocks
    }
}

fn widen((first, last): &mut (u64, u64), value: u64) {
    *first = value.min(*first);
    *last = value.max(*last);
}

/// The content of an index file; `packed` is the length of the compressed file.
pub(super) fn encode(blocks: &[Block], packed: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    let mut put = |value: u64| bytes.extend(value.to_le_bytes());
    put(packed);
    put(u64::try_from(blocks.len()).unwrap_or(u64::MAX));
    for block in blocks {
        let numbers = [
            block.offset,
            block.packed,
            block.time.0,
            block.time.1,
            block.mono.0,
            block.mono.1,
            block.seq.0,
            block.seq.1,
            block.min_start.unwrap_or(u64::MAX),
            u64::try_from(block.unclosed.len()).unwrap_or(u64::MAX),
        ];
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        bytes.extend(block.unclosed.iter().flat_map(|line| line.to_le_bytes()));
        bytes.extend(block.addresses.as_bytes());
    }
    let digest = Sha256::digest(&bytes);
    bytes.extend(&digest[..CHECKSUM]);
    bytes
}

/// Reads what [`encode`] made for a compressed file of this length; none if it is damaged or of
/// another file.
pub(super) fn decode(bytes: &[u8], packed: u64) -> Option<Vec<Block>> {
    let (bytes, sum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
    if Sha256::digest(bytes)[..CHECKSUM] != *sum {
        return None;
    }
    let mut reader = Reader(bytes.strip_prefix(MAGIC)?);
    if reader.number()? != packed {
        return None;
    }
    let blocks = (0..reader.number()?).map(|_| reader.block()).collect::<Option<Vec<_>>>()?;
    reader.0.is_empty().then_some(blocks)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    fn block(&mut self) -> Option<Block> {
        let (offset, packed) = (self.number()?, self.number()?);
        let time = (self.number()?, self.number()?);
        let mono = (self.number()?, self.number()?);
        let seq = (self.number()?, self.number()?);
        let min_start = Some(self.number()?).filter(|start| *start != u64::MAX);
        let count = usize::try_from(self.number()?).ok()?;
        let (lines, rest) = self.0.split_at_checked(count.checked_mul(4)?)?;
        let unclosed = lines.as_chunks().0.iter().map(|line| u32::from_le_bytes(*line)).collect();
        let (addresses, rest) = rest.split_at_checked(bloom::BYTES)?;
        self.0 = rest;
        let addresses = Bloom::from_bytes(addresses)?;
        Some(Block { offset, packed, time, mono, seq, min_start, unclosed, addresses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::store::entry::{Side, address_hash};

    fn blocks() -> Vec<Block> {
        let mut builder = Builder::default();
        let line = |kind: &str, second: u32, port: u32| {
            format!(
                "{{\"event.action\":\"{kind}\",\"event.sequence\":{second},\"@timestamp\":\"1970-01-01T00:00:0{second}Z\",\
                 \"enforcer.monotonic_ns\":{second},\"source.ip\":\"10.0.0.2\",\"source.port\":{port},\
                 \"event.start\":\"1970-01-01T00:00:01Z\"}}\n"
            )
        };
        let first = line("flow_opened", 1, 5) + &line("flow_opened", 2, 6);
        builder.block(first.as_bytes(), 0);
        builder.block(line("flow_closed", 3, 5).as_bytes(), 90);
        builder.finish()
    }

    #[test]
    fn a_block_knows_its_times_its_addresses_and_what_stays_open() {
        let blocks = blocks();
        assert_eq!((blocks[0].time, blocks[0].seq), ((1_000_000, 2_000_000), (1, 2)));
        assert_eq!((blocks[0].min_start, blocks[1].min_start), (None, Some(1_000_000)));
        assert_eq!((&blocks[0].unclosed, &blocks[1].unclosed), (&vec![1], &vec![]));
        let has = |port| blocks[0].addresses.may_have(address_hash(Side::From, "10.0.0.2", port));
        assert_eq!([has(None), has(Some(5)), has(Some(7))], [true, true, false]);
    }

    #[test]
    fn an_index_reads_back_and_a_damaged_one_is_none() {
        let blocks = blocks();
        let bytes = encode(&blocks, 120);
        assert_eq!(decode(&bytes, 120).as_ref(), Some(&blocks));
        assert_eq!(decode(&bytes, 121), None, "of another file");
        for place in (0..bytes.len()).step_by(7) {
            let mut damaged = bytes.clone();
            damaged[place] ^= 4;
            assert_eq!(decode(&damaged, 120), None, "byte {place}");
        }
        assert_eq!(decode(&bytes[..bytes.len() / 2], 120), None);
        assert_eq!(decode(&[], 0), None);
    }
}
