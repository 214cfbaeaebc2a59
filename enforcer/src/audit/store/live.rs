//! The segment that is written. What is put into it is there wholly or not at all.

use std::io;

use sha2::{Digest as _, Sha256};

use super::{
    Line,
    chain::Chain,
    disk::{Disk, Sink, draft, publish, write_all},
    keys,
    lines::{Closing, Own, Position, Start, object},
    names,
    sign::Secret,
    time,
};

/// The live segment.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) sink: Box<dyn Sink>,
    pub(super) secret: Secret,
    /// Its end.
    pub(super) at: Position,
    /// SHA-256 of its lines.
    pub(super) digest: Sha256,
    /// Sequence number and time of the first record.
    pub(super) first: Option<(u64, String)>,
    /// Time of the last record.
    pub(super) last_time: Option<String>,
    /// When it was begun, microseconds.
    pub(super) begun: u64,
    buffer: Vec<u8>,
}

impl Live {
    /// Goes on with a segment that is there.
    pub(super) fn new(
        disk: &dyn Disk,
        secret: Secret,
        at: Position,
        digest: Sha256,
    ) -> io::Result<Self> {
        let sink = disk.append(&names::plain(at.segment))?;
        let (first, last_time, begun, buffer) = (None, None, 0, Vec::new());
        Ok(Self { sink, secret, at, digest, first, last_time, begun, buffer })
    }

    /// Begins a segment that goes on from `after`. `abandoned` is the end of the segment before,
    /// if that could not be written where it belongs.
    ///
    /// Its lines are on the disk before it has its name, so it begins wholly or not at all.
    pub(super) fn begin(
        disk: &dyn Disk,
        segment: u64,
        after: &Position,
        abandoned: Option<&[u8]>,
        now: u64,
    ) -> io::Result<Self> {
        let secret = keys::prepare(disk, segment)?;
        let start = Start::new(segment, after, secret.public(), time::text(now));
        let mut bytes = Vec::new();
        let mut chain = after.chain.splice(&object(&Own::Start(start)), &mut bytes);
        if let Some(closing) = abandoned {
            chain = chain.splice(closing, &mut bytes);
        }
        let name = names::plain(segment);
        let mut sink = draft(disk, &name)?;
        write_all(sink.as_mut(), &bytes)?;
        publish(disk, &name, sink)?;
        let at = Position {
            segment,
            bytes: length(&bytes),
            lines: 1 + u64::from(abandoned.is_some()),
            seq: after.seq,
            chain,
        };
        let mut live = Self::new(disk, secret, at, Sha256::new_with_prefix(&bytes))?;
        live.begun = now;
        Ok(live)
    }

    /// Puts lines at the end. When it fails, some bytes may stand behind [`Live::at`].
    pub(super) fn append(&mut self, lines: &[Line<'_>]) -> io::Result<()> {
        self.buffer.clear();
        let mut chain = self.at.chain;
        for line in lines {
            chain = chain.splice(&line.json, &mut self.buffer);
        }
        write_all(self.sink.as_mut(), &self.buffer)?;
        if let (Some(first), Some(last)) = (lines.first(), lines.last()) {
            self.first.get_or_insert_with(|| (first.seq, first.time.clone().into_owned()));
            self.last_time = Some(last.time.clone().into_owned());
            self.at.seq = last.seq;
        }
        let count = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        self.advance(chain, count);
        Ok(())
    }

    /// Puts the signed end behind the last line; `next` is the secret of the segment that follows.
    pub(super) fn end(&mut self, next: &Secret, now: u64) -> io::Result<()> {
        let mut closing = Closing::new(&self.at, next.public(), time::text(now))
            .with_digest(&self.digest.clone().finalize());
        if let Some((seq, time)) = &self.first {
            closing.first_seq = *seq;
            closing.first_time = Some(time.clone());
            closing.last_time.clone_from(&self.last_time);
        }
        self.buffer.clear();
        let object = self.secret.sign(&object(&Own::End(closing)));
        let chain = self.at.chain.splice(&object, &mut self.buffer);
        write_all(self.sink.as_mut(), &self.buffer)?;
        self.advance(chain, 1);
        Ok(())
    }

    /// Removes what stands behind the last line.
    pub(super) fn cut(&mut self) -> io::Result<()> {
        self.sink.set_len(self.at.bytes)
    }

    fn advance(&mut self, chain: Chain, lines: u64) {
        self.at.chain = chain;
        self.at.lines += lines;
        self.at.bytes += length(&self.buffer);
        self.digest.update(&self.buffer);
    }
}

/// The statement, signed by the segment's key, that it ends at `at` and why it has no end of its own.
pub(super) fn abandonment(
    secret: &Secret,
    next: &Secret,
    at: &Position,
    (why, tampered): (&str, bool),
    now: u64,
) -> Vec<u8> {
    let mut closing = Closing::new(at, next.public(), time::text(now));
    closing.why = Some(why.to_owned());
    closing.tampered = tampered;
    secret.sign(&object(&Own::Abandoned(closing)))
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
