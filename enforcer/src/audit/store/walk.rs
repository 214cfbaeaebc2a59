//! Goes through the lines of a segment and follows the chain.

use std::io::{self, BufRead, BufReader, Read};

use sha2::{Digest as _, Sha256};

use super::{
    chain::{Chain, FIELD_BYTES, MAX_LINE},
    lines::{self, Own, Start},
};

/// Longest stored line with its newline.
const MAX_STORED: usize = MAX_LINE + FIELD_BYTES + 1;

/// A segment's lines, one after the other.
pub(super) struct Walk {
    reader: BufReader<Box<dyn Read + Send>>,
    line: Vec<u8>,
    /// Bytes of the lines that fitted.
    pub(super) bytes: u64,
    /// Number of the lines that fitted.
    pub(super) lines: u64,
    /// Value of the chain after them.
    pub(super) chain: Chain,
    /// SHA-256 of them.
    pub(super) digest: Sha256,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A line that fits the chain: [`Walk::line`].
    Line,
    /// Nothing.
    End,
    /// A line that was not finished, or that never got to the disk.
    Torn,
    /// Something else.
    Broken(&'static str),
}

impl Walk {
    /// Goes through lines that follow `chain`.
    pub(super) fn new(reader: Box<dyn Read + Send>, chain: Chain) -> Self {
        Self {
            reader: BufReader::with_capacity(256 << 10, reader),
            line: Vec::new(),
            bytes: 0,
            lines: 0,
            chain,
            digest: Sha256::new(),
        }
    }

    /// Goes through a segment's lines by what its first line says of those before.
    pub(super) fn begin(reader: Box<dyn Read + Send>) -> io::Result<(Self, Option<Start>, Step)> {
        let mut walk = Self::new(reader, Chain::START);
        walk.read()?;
        let whole = walk.line.strip_suffix(b"\n").and_then(lines::own);
        let Some(Own::Start(start)) = whole else {
            return Ok((walk, None, Step::Broken("the line does not begin a segment")));
        };
        walk.chain = start.before;
        let step = walk.judge();
        Ok((walk, Some(start), step))
    }

    /// Takes the next line.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        self.read()?;
        Ok(self.judge())
    }

    /// The line that was taken last, without its newline.
    pub(super) fn line(&self) -> &[u8] {
        self.line.strip_suffix(b"\n").unwrap_or(&self.line)
    }

    fn read(&mut self) -> io::Result<()> {
        self.line.clear();
        let limit = u64::try_from(MAX_STORED).unwrap_or(u64::MAX);
        (&mut self.reader).take(limit).read_until(b'\n', &mut self.line).map(drop)
    }

    fn judge(&mut self) -> Step {
        if self.line.is_empty() {
            return Step::End;
        }
        if let Some(line) = self.line.strip_suffix(b"\n")
            && let Some(next) = self.chain.check(line)
        {
            self.chain = next;
            self.bytes += u64::try_from(self.line.len()).unwrap_or(u64::MAX);
            self.lines += 1;
            self.digest.update(&self.line);
            return Step::Line;
        }
        // A power cut leaves zeros where bytes were to come.
        if self.line.contains(&0) || (!self.line.ends_with(b"\n") && self.line.len() < MAX_STORED) {
            Step::Torn
        } else if self.line.ends_with(b"\n") {
            Step::Broken("the line does not fit the chain")
        } else {
            Step::Broken("the line is too long")
        }
    }
}
