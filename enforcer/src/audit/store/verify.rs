//! Verifies a store: reads only, believes nothing but one public key, and says of each file the
//! first thing that is wrong with it. Works beside a daemon that writes.

mod report;
mod segment;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
};

pub use self::report::{Problem, Report, VerifyError};
use self::{
    report::read,
    segment::{Expected, Outcome, Promise},
};
use super::{
    chain::Chain,
    disk::{Directory, Disk, read_whole},
    lines::{self, Closing, Head, Own},
    names::{self, HEAD, Name, PUBLIC, TOMBSTONES},
    open::segments,
    scan,
    sign::PublicKey,
};

/// How often a head is read that is behind.
const LOOKS: u32 = 10;

/// What has been verified so far, and what the next segment has to go on from.
#[derive(Debug)]
struct Trail {
    expected: Expected,
    problems: Vec<Problem>,
    /// Numbers that are left out: file, line, first, last.
    jumps: Vec<(String, u64, u64, u64)>,
    gaps: Vec<(u64, u64)>,
    /// Segments that a record says are deleted, and the value of the chain at their end.
    retentions: BTreeMap<u64, String>,
    /// Ends of segments that are there, as they are stored.
    ends: BTreeMap<u64, Vec<u8>>,
}

/// Verifies the store in `dir`. `root` is the first public key, from a place that whoever could
/// write here cannot write to; without it the store's own copy is believed. `progress` is told how
/// many bytes of how many are done.
pub fn verify(
    dir: &Path,
    root: Option<PublicKey>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, VerifyError> {
    let disk = Directory::open(dir).map_err(read(dir.display().to_string()))?;
    verify_on(&disk, &dir.display().to_string(), root, progress)
}

fn verify_on(
    disk: &dyn Disk,
    dir: &str,
    root: Option<PublicKey>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, VerifyError> {
    let public = read_whole(disk, PUBLIC).map_err(read(PUBLIC))?;
    let (head, present) = look(disk, dir)?;
    let files = disk.list().map_err(read(dir))?;
    if present.is_empty() && head.is_none() && public.is_none() {
        return Err(VerifyError::Nothing(dir.to_owned()));
    }
    let own = public.as_deref().and_then(parse_public);
    let mut trail = Trail::new(root.or(own));
    if own.is_none() || root.is_some_and(|root| own != Some(root)) {
        trail.problem(PUBLIC, 1, "it is not the key that everything rests on");
    }
    for (name, _) in &files {
        if names::parse(name) == Name::Foreign && name.contains(".jsonl") {
            trail.problem(name, 0, "the store has no file of this name");
        }
    }
    let mut report = Report {
        key: root.or(own).map(|key| key.to_string()).unwrap_or_default(),
        key_given: root.is_some(),
        segments: u64::try_from(present.len()).unwrap_or(u64::MAX),
        ..Report::default()
    };
    let tombstones = trail.tombstones(disk, &present, &mut report)?;
    let promise = trail.promise(head.as_deref(), &present);
    let total = files.iter().map(|(_, size)| size).sum();
    let (mut done, last) = (0, present.last().copied().unwrap_or(0));
    for segment in trail.expected.segment..=last {
        if present.contains(&segment) {
            trail.segment(disk, segment, promise.as_ref(), segment == last, &mut report)?;
        } else {
            trail.problem(&names::plain(segment), 0, "it is missing, and has no tombstone");
            trail.expected = Expected::anything(segment + 1);
        }
        done += size_of(&files, segment);
        progress(done, total);
    }
    trail.compare_tombstones(&tombstones, &present);
    trail.account(&mut report, &tombstones, &present);
    report.last_seq = trail.expected.seq.unwrap_or(0);
    report.gaps = trail.gaps.iter().map(|(from, to)| to.saturating_sub(*from) + 1).sum();
    report.problems = trail.first_of_each_file();
    report.intact = report.problems.is_empty();
    Ok(report)
}

/// The head and the segments, as they belong together. The head is read first: what is written
/// meanwhile stands behind it. A writer may be faster than two looks; a head that was put back is
/// behind at the last look too.
fn look(disk: &dyn Disk, dir: &str) -> Result<(Option<Vec<u8>>, BTreeSet<u64>), VerifyError> {
    let mut looks = 0;
    loop {
        let head = read_whole(disk, HEAD).map_err(read(HEAD))?;
        let mut present = segments(disk).map_err(read(dir))?;
        let (first, last) = (present.first().copied(), present.last().copied().unwrap_or(0));
        if first.is_some_and(|first| last - first + 1 != present.len() as u64) {
            // A segment that is compressed while names are read may be seen in neither form. It is
            // compressed once, so the next look sees it.
            present.extend(segments(disk).map_err(read(dir))?);
        }
        let named = head.as_deref().and_then(Head::parse).map(|head| head.at.segment);
        let last = present.last().copied().unwrap_or(0);
        looks += 1;
        if looks == LOOKS || named.is_none_or(|named| named + 1 >= last) {
            return Ok((head, present));
        }
    }
}

fn size_of(files: &[(String, u64)], segment: u64) -> u64 {
    let of_it = files.iter().filter(|(name, _)| match names::parse(name) {
        Name::Plain(number) | Name::Packed(number) => number == segment,
        _ => false,
    });
    of_it.map(|(_, size)| size).sum()
}

fn parse_public(bytes: &[u8]) -> Option<PublicKey> {
    PublicKey::parse(str::from_utf8(bytes.strip_suffix(b"\n")?).ok()?)
}

impl Trail {
    fn new(root: Option<PublicKey>) -> Self {
        let expected = Expected { segment: 1, key: root, chain: Some(Chain::START), seq: Some(0) };
        Self {
            expected,
            problems: Vec::new(),
            jumps: Vec::new(),
            gaps: Vec::new(),
            retentions: BTreeMap::new(),
            ends: BTreeMap::new(),
        }
    }

    fn problem(&mut self, file: &str, line: u64, what: impl Into<String>) {
        self.problems.push(Problem { file: file.to_owned(), line, what: what.into() });
    }

    /// Follows the chain of keys through the ends of deleted segments.
    fn tombstones(
        &mut self,
        disk: &dyn Disk,
        present: &BTreeSet<u64>,
        report: &mut Report,
    ) -> Result<BTreeMap<u64, (u64, Vec<u8>)>, VerifyError> {
        let mut known = BTreeMap::new();
        let Some(bytes) = read_whole(disk, TOMBSTONES).map_err(read(TOMBSTONES))? else {
            return Ok(known);
        };
        let first = present.first().copied().unwrap_or(u64::MAX);
        for (line, number) in bytes.split_inclusive(|byte| *byte == b'\n').zip(1..) {
            let Some(line) = line.strip_suffix(b"\n") else {
                let what = "the line is not finished".to_owned();
                report.torn = Some(Problem { file: TOMBSTONES.to_owned(), line: number, what });
                break;
            };
            let Some((closing, after)) = closing(line) else {
                self.problem(TOMBSTONES, number, "the line is no end of a segment");
                continue;
            };
            let segment = closing.segment;
            if known.last_key_value().is_some_and(|(last, _)| *last >= segment) {
                self.problem(TOMBSTONES, number, "the line does not follow the one before");
                continue;
            }
            known.insert(segment, (number, line.to_owned()));
            if segment >= first {
                // It is still there: its own end tells more.
                continue;
            }
            if segment != self.expected.segment {
                self.problem(TOMBSTONES, number, "a segment before it has no tombstone");
            } else if self.expected.key.is_some_and(|key| !lines::is_signed(line, key)) {
                self.problem(TOMBSTONES, number, "it is not signed with the segment's key");
            } else if closing.tampered {
                self.problem(TOMBSTONES, number, "the segment had been found changed");
            }
            report.deleted += 1;
            self.expected = Expected {
                segment: segment + 1,
                key: Some(closing.next_key),
                chain: Some(after),
                seq: Some(closing.last_seq),
            };
        }
        Ok(known)
    }

    /// What the head promises, if it can be one.
    fn promise(&mut self, bytes: Option<&[u8]>, present: &BTreeSet<u64>) -> Option<Promise> {
        let Some(bytes) = bytes else {
            self.problem(HEAD, 0, "it is missing");
            return None;
        };
        let Some(head) = Head::parse(bytes) else {
            self.problem(HEAD, 1, "it cannot be read");
            return None;
        };
        let last = present.last().copied().unwrap_or(0);
        let segment = head.at.segment;
        if !present.contains(&segment) {
            self.problem(HEAD, 1, format!("it names segment {segment}, which is missing"));
        } else if segment + 1 < last {
            self.problem(HEAD, 1, format!("it names segment {segment}, and {last} is there"));
        }
        Some(Promise { at: head.at, bytes: bytes.to_vec() })
    }

    /// Verifies each form of a segment that is there.
    fn segment(
        &mut self,
        disk: &dyn Disk,
        segment: u64,
        promise: Option<&Promise>,
        is_last: bool,
        report: &mut Report,
    ) -> Result<(), VerifyError> {
        let (plain, packed) = (names::plain(segment), names::packed(segment));
        let mut forms = Vec::new();
        let expands = scan::packed(disk, segment).map_err(read(packed.as_str()))?;
        match disk.read(&plain, 0) {
            Ok(reader) => forms.push((plain, reader)),
            // It was compressed, or deleted, since the directory was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(read(plain)(error)),
        }
        forms.extend(expands.map(|reader| (packed, reader)));
        let key = self.expected.key;
        let abandoned = match key.filter(|_| !is_last) {
            Some(key) => scan::abandonment(disk, segment, key)
                .or_else(|error| if segment::is_corrupt(&error) { Ok(None) } else { Err(error) })
                .map_err(read(names::plain(segment + 1)))?,
            None => None,
        };
        let Some(last_form) = forms.len().checked_sub(1) else {
            // Retention was faster; what it left tells the rest.
            return Err(read(names::plain(segment))(io::ErrorKind::NotFound.into()));
        };
        let mut after = Expected::anything(segment + 1);
        for (form, (file, reader)) in forms.into_iter().enumerate() {
            let mut outcome =
                segment::verify(reader, &self.expected, promise, is_last, abandoned.as_ref())
                    .map_err(read(file.as_str()))?;
            if form < last_form {
                // The same records twice: compression is at work.
                outcome.records = 0;
            }
            after = self.take(&file, outcome, report);
        }
        self.expected = after;
        Ok(())
    }

    fn take(&mut self, file: &str, outcome: Outcome, report: &mut Report) -> Expected {
        if let Some((line, what)) = outcome.problem {
            self.problem(file, line, what);
        }
        if let Some((line, what)) = outcome.head {
            self.problem(HEAD, line, what);
        }
        if let Some(line) = outcome.torn {
            let what = "the line is not finished".to_owned();
            report.torn = Some(Problem { file: file.to_owned(), line, what });
        }
        report.records += outcome.records;
        let jumps = outcome.jumps.into_iter();
        self.jumps.extend(jumps.map(|(line, from, to)| (file.to_owned(), line, from, to)));
        self.gaps.extend(outcome.gaps);
        self.retentions.extend(outcome.retentions);
        if let Some((segment, end)) = outcome.end {
            self.ends.insert(segment, end);
        }
        outcome.after
    }

    /// Tombstones of segments that are still there have their very ends, and a record that says they go.
    fn compare_tombstones(
        &mut self,
        tombstones: &BTreeMap<u64, (u64, Vec<u8>)>,
        present: &BTreeSet<u64>,
    ) {
        for (segment, (line, tombstone)) in tombstones {
            if self.ends.get(segment).is_some_and(|end| end != tombstone) {
                self.problem(TOMBSTONES, *line, "it is not how the segment ends");
            } else if present.contains(segment) && !self.retentions.contains_key(segment) {
                self.problem(TOMBSTONES, *line, "no record says that this segment is to go");
            }
        }
    }

    /// Numbers that are left out need a gap record, deleted segments a retention record.
    fn account(
        &mut self,
        report: &mut Report,
        tombstones: &BTreeMap<u64, (u64, Vec<u8>)>,
        present: &BTreeSet<u64>,
    ) {
        self.gaps.sort_unstable();
        self.gaps.dedup();
        for (file, line, from, to) in std::mem::take(&mut self.jumps) {
            if !covered(&self.gaps, from, to) {
                let what = format!("records {from} to {to} are missing, and no gap is recorded");
                self.problem(&file, line, what);
            }
        }
        let first = present.first().copied().unwrap_or(u64::MAX);
        let recorded = self.retentions.last_key_value().map_or(0, |(segment, _)| *segment);
        for (segment, (line, tombstone)) in tombstones.range(..first) {
            let head = closing(tombstone).map(|(closing, _)| String::from(closing.head));
            let recorded_head = self.retentions.get(segment);
            if *segment > recorded
                || recorded_head.is_some_and(|known| Some(known) != head.as_ref())
            {
                self.problem(TOMBSTONES, *line, "no record says that this segment was deleted");
            }
        }
        if report
            .torn
            .as_ref()
            .is_some_and(|torn| self.problems.iter().any(|at| at.file == torn.file))
        {
            report.torn = None;
        }
    }

    fn first_of_each_file(&mut self) -> Vec<Problem> {
        self.problems.sort();
        self.problems.dedup_by(|after, before| after.file == before.file);
        std::mem::take(&mut self.problems)
    }
}

/// A stored end of a segment, and the value of the chain that the next segment goes on from.
fn closing(stored: &[u8]) -> Option<(Closing, Chain)> {
    match lines::own(stored)? {
        Own::End(closing) => {
            let after = closing.head.check(stored)?;
            Some((closing, after))
        }
        // Its line stands in the segment that follows.
        Own::Abandoned(closing) => {
            let after = closing.head;
            Some((closing, after))
        }
        Own::Start(_) => None,
    }
}

/// Whether all numbers from `from` to `to` are in sorted ranges.
fn covered(ranges: &[(u64, u64)], mut from: u64, to: u64) -> bool {
    for (first, last) in ranges {
        if *first <= from && from <= *last {
            from = last.saturating_add(1);
        }
    }
    from > to
}
