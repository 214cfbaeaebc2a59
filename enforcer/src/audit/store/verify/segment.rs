//! Verifies one segment: every line by the chain, its beginning by the segment before, its end by
//! the signature, and what the head or the next segment says of it.

use std::io::{self, Read};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::audit::store::{
    chain::Chain,
    hex,
    lines::{self, Closing, Head, Own, Position, Start},
    scan::Meta,
    sign::PublicKey,
    walk::{Step, Walk},
};

/// What a segment has to go on from; none: whatever it says, for what came before is in doubt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) segment: u64,
    pub(super) key: Option<PublicKey>,
    pub(super) chain: Option<Chain>,
    pub(super) seq: Option<u64>,
}

impl Expected {
    pub(super) const fn anything(segment: u64) -> Self {
        Self { segment, key: None, chain: None, seq: None }
    }
}

/// The head, whose signature is still to be looked at.
#[derive(Debug)]
pub(super) struct Promise {
    pub(super) at: Position,
    pub(super) bytes: Vec<u8>,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The first thing that is wrong, and its line.
    pub(super) problem: Option<(u64, String)>,
    /// What is wrong with the head.
    pub(super) head: Option<(u64, String)>,
    /// The line that was not finished.
    pub(super) torn: Option<u64>,
    pub(super) records: u64,
    /// Numbers that are left out: line, first, last.
    pub(super) jumps: Vec<(u64, u64, u64)>,
    pub(super) gaps: Vec<(u64, u64)>,
    pub(super) retentions: Vec<(u64, String)>,
    /// The signed end, as it is stored.
    pub(super) end: Option<(u64, Vec<u8>)>,
    pub(super) after: Expected,
}

/// Whether a read failed because of what the file has, not because of the disk.
pub(super) fn is_corrupt(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

/// Verifies a segment. `abandoned` is its end as the next one states it, signed.
pub(super) fn verify(
    reader: Box<dyn Read + Send>,
    expected: &Expected,
    promise: Option<&Promise>,
    is_last: bool,
    abandoned: Option<&(Vec<u8>, Closing)>,
) -> io::Result<Outcome> {
    let promise = promise.filter(|promise| promise.at.segment == expected.segment);
    let mut visit = Visit {
        segment: expected.segment,
        seq: expected.seq,
        key: expected.key,
        promised: promise.map(|promise| promise.at),
        is_met: promise.is_none(),
        is_last,
        closing: abandoned.map(|(_, closing)| closing),
        is_closed: false,
        end: None,
        first_seq: None,
        outcome: Outcome {
            problem: None,
            head: None,
            torn: None,
            records: 0,
            jumps: Vec::new(),
            gaps: Vec::new(),
            retentions: Vec::new(),
            end: None,
            after: Expected::anything(expected.segment + 1),
        },
    };
    let mut line = 0;
    match visit.go(reader, expected, &mut line) {
        Ok(Ok(())) => {}
        Ok(Err(what)) => visit.outcome.problem = Some((line, what)),
        Err(error) if is_corrupt(&error) => {
            visit.outcome.problem = Some((line, format!("it cannot be expanded: {error}")));
        }
        Err(error) => return Err(error),
    }
    if let Some(promise) = promise
        && visit.key.is_some_and(|key| !Head::is_signed(&promise.bytes, key))
    {
        visit.outcome.head = Some((1, "it is not signed with its segment's key".to_owned()));
    }
    if visit.outcome.problem.is_none()
        && let Some(closing) = abandoned.map(|(_, closing)| closing).filter(|end| end.tampered)
    {
        let why = closing.why.as_deref().unwrap_or_default();
        let what = format!("it was found changed when the store was opened: {why}");
        visit.outcome.problem = Some((closing.lines + 1, what));
    }
    visit.outcome.end = visit
        .end
        .or_else(|| abandoned.map(|(line, _)| line.clone()))
        .map(|end| (expected.segment, end));
    Ok(visit.outcome)
}

struct Visit<'a> {
    segment: u64,
    /// Number of the last record; none: not known yet.
    seq: Option<u64>,
    key: Option<PublicKey>,
    promised: Option<Position>,
    /// Whether the place that the head names was passed, and is as it says.
    is_met: bool,
    is_last: bool,
    closing: Option<&'a Closing>,
    /// Whether the end was passed, its own or the one that the next segment states.
    is_closed: bool,
    end: Option<Vec<u8>>,
    first_seq: Option<u64>,
    outcome: Outcome,
}

impl Visit<'_> {
    /// Goes through the lines; the inner error is what is wrong with line `line`.
    fn go(
        &mut self,
        reader: Box<dyn Read + Send>,
        expected: &Expected,
        line: &mut u64,
    ) -> io::Result<Result<(), String>> {
        *line = 1;
        let (mut walk, start, mut step) = Walk::begin(reader)?;
        let Some(start) = start else {
            return Ok(Err("the line does not begin a segment".to_owned()));
        };
        if let Err(what) = self.begin(&start, expected) {
            return Ok(Err(what.to_owned()));
        }
        loop {
            match step {
                Step::Line => {}
                Step::End | Step::Torn if self.may_end(step) => {
                    self.outcome.torn = (step == Step::Torn).then_some(*line);
                    self.outcome.after.seq = self.seq;
                    return Ok(Ok(()));
                }
                Step::End => return Ok(Err(self.too_short())),
                Step::Torn => return Ok(Err("the line is not whole".to_owned())),
                Step::Broken(what) => return Ok(Err(what.to_owned())),
            }
            if let Err(what) = self.line(&walk, &start) {
                return Ok(Err(what));
            }
            if self.closing.is_some_and(|closing| closing.bytes == walk.bytes) {
                // What stands behind it, somebody failed to write.
                return Ok(self.stated(&walk));
            }
            *line += 1;
            let before = (walk.chain, walk.lines, walk.bytes, walk.digest.clone());
            step = walk.step()?;
            if step == Step::Line && lines::is_own(walk.line()) {
                let ended = self.own(walk.line(), &start, before);
                if let Err(what) = ended {
                    return Ok(Err(what.to_owned()));
                }
                if self.is_closed {
                    self.outcome.after.chain = Some(walk.chain);
                    if !self.meets(&walk) {
                        return Ok(Err("it does not have what the head names".to_owned()));
                    }
                    *line += 1;
                    return Ok(match walk.step()? {
                        Step::End => Ok(()),
                        _ => Err("something follows the end of the segment".to_owned()),
                    });
                }
            }
        }
    }

    fn begin(&mut self, start: &Start, expected: &Expected) -> Result<(), &'static str> {
        if start.segment != self.segment {
            return Err("the segment has another number than its file");
        }
        if expected.chain.is_some_and(|chain| chain != start.before) {
            return Err("it does not follow the segment before it");
        }
        if expected.key.is_some_and(|key| key != start.key) {
            return Err("its key is not the one that the segment before it names");
        }
        let seq = start.first_seq.checked_sub(1);
        if seq.is_none() || expected.seq.is_some_and(|expected| Some(expected) != seq) {
            return Err("its first sequence number does not follow the segment before it");
        }
        (self.seq, self.key) = (seq, Some(start.key));
        Ok(())
    }

    /// Takes a line that fits the chain and is no end.
    fn line(&mut self, walk: &Walk, start: &Start) -> Result<(), String> {
        if !lines::is_own(walk.line()) {
            self.record(walk.line(), walk.lines)?;
        } else if walk.lines > 2 || start.segment != self.segment {
            return Err("the store writes no such line here".to_owned());
        }
        if self.meets(walk) {
            Ok(())
        } else {
            Err("it does not have what the head names".to_owned())
        }
    }

    /// Whether the place that the head names is as it says, or was not reached yet.
    fn meets(&mut self, walk: &Walk) -> bool {
        let Some(promised) = self.promised else { return true };
        if !self.is_met && walk.bytes >= promised.bytes {
            self.is_met = walk.bytes == promised.bytes
                && walk.lines == promised.lines
                && walk.chain == promised.chain
                && self.seq == Some(promised.seq);
            return self.is_met;
        }
        true
    }

    fn record(&mut self, line: &[u8], number: u64) -> Result<(), String> {
        let meta = serde_json::from_slice::<Meta<'_>>(line)
            .map_err(|_not_json| "the line is no record".to_owned())?;
        let (Some(seq), Some(last)) = (meta.seq, self.seq) else {
            return Err("the record has no sequence number".to_owned());
        };
        if seq <= last {
            return Err(format!("sequence number {seq} comes after {last}"));
        }
        if seq > last + 1 {
            self.outcome.jumps.push((number, last + 1, seq - 1));
        }
        self.seq = Some(seq);
        self.first_seq.get_or_insert(seq);
        self.outcome.records += 1;
        match meta.kind.as_ref() {
            "gap" => {
                if let Ok(gap) = serde_json::from_slice::<GapFields>(line) {
                    self.outcome.gaps.push((gap.from_seq, gap.to_seq));
                }
            }
            "retention" => {
                if let Ok(fields) = serde_json::from_slice::<RetentionFields>(line) {
                    self.outcome.retentions.push((fields.segment, fields.head));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes a line of the store's own that is not the first.
    fn own(
        &mut self,
        line: &[u8],
        start: &Start,
        (chain, lines, bytes, digest): (Chain, u64, u64, Sha256),
    ) -> Result<(), &'static str> {
        let closing = match lines::own(line) {
            Some(Own::End(closing)) => closing,
            Some(Own::Abandoned(closing)) if lines == 1 => {
                // Signed with the key of the segment before: looked at there.
                return if closing.next_key == start.key && closing.head == start.before {
                    Ok(())
                } else {
                    Err("it states the end of another segment")
                };
            }
            _ => return Err("the store writes no such line here"),
        };
        if !lines::is_signed(line, start.key) {
            return Err("the end is not signed with the segment's key");
        }
        let fits = closing.segment == self.segment
            && (closing.lines, closing.bytes, closing.head) == (lines, bytes, chain)
            && closing.first_seq == self.first_seq.unwrap_or(start.first_seq)
            && Some(closing.last_seq) == self.seq
            && closing.sha256 == Some(hex::encode(&digest.finalize()));
        if !fits {
            return Err("the end does not say what the segment has");
        }
        self.is_closed = true;
        self.end = Some(line.to_owned());
        self.outcome.after.key = Some(closing.next_key);
        self.outcome.after.seq = self.seq;
        Ok(())
    }

    /// The end as the next segment states it.
    fn stated(&mut self, walk: &Walk) -> Result<(), String> {
        let Some(closing) = self.closing else { return Ok(()) };
        if closing.lines != walk.lines || closing.head != walk.chain {
            return Err("it does not have what the next segment says it has".to_owned());
        }
        if !self.is_met {
            return Err("it ends before the head".to_owned());
        }
        self.outcome.after = Expected {
            segment: self.segment + 1,
            key: Some(closing.next_key),
            chain: Some(closing.head),
            seq: Some(closing.last_seq),
        };
        Ok(())
    }

    /// Whether a segment may end without an end of its own.
    const fn may_end(&self, step: Step) -> bool {
        self.is_last
            && self.is_met
            && self.closing.is_none()
            && matches!(step, Step::End | Step::Torn)
    }

    fn too_short(&self) -> String {
        let what = if self.is_met {
            "the segment has no end, and is not the last"
        } else {
            "it ends before the head"
        };
        what.to_owned()
    }
}

#[derive(Deserialize)]
struct GapFields {
    #[serde(rename = "enforcer.from_seq")]
    from_seq: u64,
    #[serde(rename = "enforcer.to_seq")]
    to_seq: u64,
}

#[derive(Deserialize)]
struct RetentionFields {
    #[serde(rename = "enforcer.segment")]
    segment: u64,
    #[serde(rename = "enforcer.head")]
    head: String,
}
