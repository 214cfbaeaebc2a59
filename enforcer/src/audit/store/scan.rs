//! Reads what an earlier writer left in the last segments, and holds it against the head. Reads
//! only: what is to be done about it is said in [`super::open`].

use std::{
    borrow::Cow,
    io::{self, BufRead as _, BufReader, Read},
};

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use sha2::Sha256;

use super::{
    disk::{Disk, read_whole},
    index,
    lines::{self, Closing, Own, Position, Start},
    names,
    sign::PublicKey,
    time,
    walk::{Step, Walk},
};

/// Longest first line of a segment, bytes.
const MAX_FIRST: u64 = 64 << 10;

/// What of a record the store itself looks at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Meta<'a> {
    #[serde(rename = "event.action", borrow)]
    pub(super) kind: Cow<'a, str>,
    #[serde(rename = "event.sequence")]
    pub(super) seq: Option<u64>,
    #[serde(rename = "@timestamp", borrow)]
    pub(super) time: Cow<'a, str>,
}

/// A segment, read to its end.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) start: Start,
    /// Behind the last good line; behind the signed end if there is one.
    pub(super) at: Position,
    pub(super) digest: Sha256,
    pub(super) first: Option<(u64, String)>,
    pub(super) last_time: Option<String>,
    /// When it was begun, microseconds.
    pub(super) begun: u64,
    /// Its signed end, as it is stored.
    pub(super) end: Option<Vec<u8>>,
    /// The end of the segment before, as it is stored in this one.
    pub(super) abandoned: Option<Vec<u8>>,
    /// Records behind the head.
    pub(super) behind: u64,
    /// What stands behind the last good line.
    pub(super) tail: Tail,
}

/// What stands behind the last good line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing.
    Clean,
    /// So many bytes of a line that was not finished.
    Torn(u64),
    /// Something that no writer leaves, and no crash.
    Broken(&'static str),
    /// It is not what the head promises.
    Contradicts(&'static str),
}

/// When a segment was begun, as its first line says; none if it is missing or says nothing.
pub(super) fn begun(disk: &dyn Disk, segment: u64) -> io::Result<Option<String>> {
    let Some(reader) = lines_of(disk, segment)? else { return Ok(None) };
    let mut line = Vec::new();
    BufReader::new(reader.take(MAX_FIRST)).read_until(b'\n', &mut line)?;
    let own = lines::own(line.strip_suffix(b"\n").unwrap_or(&line));
    Ok(own.and_then(|own| match own {
        Own::Start(start) => Some(start.time),
        Own::End(_) | Own::Abandoned(_) => None,
    }))
}

/// Reads a segment, up to byte `until` if that is given; none if it is missing or begins as none
/// does. `behind` gets each record that stands behind the head, once the head was met.
pub(super) fn scan(
    disk: &dyn Disk,
    segment: u64,
    (head, until): (Option<&Position>, Option<u64>),
    behind: &mut dyn FnMut(&[u8]),
) -> io::Result<Option<Scan>> {
    let name = names::plain(segment);
    let size = disk.list()?.into_iter().find(|(file, _)| *file == name).map_or(0, |(_, size)| size);
    let (mut walk, start, mut step) = match disk.read(&name, 0).map(Walk::begin) {
        Ok(begun) => begun?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(start) = start.filter(|start| start.segment == segment) else { return Ok(None) };
    let mut scan = Scan {
        at: Position {
            segment,
            bytes: 0,
            lines: 0,
            seq: start.first_seq.saturating_sub(1),
            chain: start.before,
        },
        digest: walk.digest.clone(),
        first: None,
        last_time: None,
        begun: time::micros(&start.time).unwrap_or(0),
        end: None,
        abandoned: None,
        behind: 0,
        tail: Tail::Clean,
        start,
    };
    let mut is_met = false;
    while step == Step::Line {
        if scan.end.is_some() {
            step = Step::Broken("something follows the end of the segment");
            break;
        }
        let is_behind = is_met || head.is_none();
        if !scan.take(walk.line()) {
            step = Step::Broken("the line is no record with a sequence number that follows");
            break;
        }
        if is_behind && !lines::is_own(walk.line()) {
            scan.behind += 1;
            behind(walk.line());
        }
        (scan.at.bytes, scan.at.lines, scan.at.chain) = (walk.bytes, walk.lines, walk.chain);
        is_met |= head.is_some_and(|head| *head == scan.at);
        if head.is_some_and(|head| !is_met && scan.at.bytes >= head.bytes) {
            scan.tail = Tail::Contradicts("it does not have what the head names");
            return Ok(Some(scan));
        }
        step = if until == Some(scan.at.bytes) { Step::End } else { walk.step()? };
    }
    scan.digest = walk.digest;
    scan.tail = match step {
        _ if head.is_some() && !is_met => Tail::Contradicts("it ends before the head"),
        Step::Torn => Tail::Torn(size.saturating_sub(scan.at.bytes)),
        Step::Broken(why) => Tail::Broken(why),
        Step::Line | Step::End => Tail::Clean,
    };
    Ok(Some(scan))
}

impl Scan {
    /// Takes note of a line that fits the chain; false if no writer writes such a line there.
    fn take(&mut self, line: &[u8]) -> bool {
        if lines::is_own(line) {
            return match lines::own(line) {
                Some(Own::Start(_)) => self.at.lines == 0,
                Some(Own::Abandoned(_)) if self.at.lines == 1 => {
                    self.abandoned = Some(line.to_owned());
                    true
                }
                Some(Own::End(_)) if self.at.lines > 0 => {
                    self.end = Some(line.to_owned());
                    true
                }
                _ => false,
            };
        }
        let meta = serde_json::from_slice::<Meta<'_>>(line).unwrap_or_default();
        let Some(seq) = meta.seq.filter(|seq| *seq > self.at.seq) else { return false };
        let time = meta.time.into_owned();
        self.first.get_or_insert_with(|| (seq, time.clone()));
        self.last_time = Some(time);
        self.at.seq = seq;
        true
    }
}

/// The end of a segment that the one after it states: signed with the segment's key, and naming
/// the key and the chain that the one after it goes on with. As it is stored, and read.
pub(super) fn abandonment(
    disk: &dyn Disk,
    segment: u64,
    key: PublicKey,
) -> io::Result<Option<(Vec<u8>, Closing)>> {
    let (mut walk, start, step) = match disk.read(&names::plain(segment + 1), 0).map(Walk::begin) {
        Ok(begun) => begun?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let Some(reader) = packed(disk, segment + 1)? else { return Ok(None) };
            Walk::begin(reader)?
        }
        Err(error) => return Err(error),
    };
    let Some(start) = start.filter(|_| step == Step::Line) else { return Ok(None) };
    if walk.step()? != Step::Line {
        return Ok(None);
    }
    let Some(Own::Abandoned(closing)) = lines::own(walk.line()) else { return Ok(None) };
    let fits = closing.segment == segment
        && closing.next_key == start.key
        && closing.head == start.before
        && lines::is_signed(walk.line(), key);
    Ok(fits.then(|| (walk.line().to_owned(), closing)))
}

/// The lines of a compressed segment, if there is one.
pub(super) fn packed(disk: &dyn Disk, segment: u64) -> io::Result<Option<Box<dyn Read + Send>>> {
    match disk.read(&names::packed(segment), 0) {
        Ok(reader) => Ok(Some(Box::new(MultiGzDecoder::new(reader)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The lines of a segment in whichever form it is there.
pub(super) fn lines_of(disk: &dyn Disk, segment: u64) -> io::Result<Option<Box<dyn Read + Send>>> {
    match disk.read(&names::plain(segment), 0) {
        Ok(reader) => Ok(Some(reader)),
        // It may be compressed between two looks.
        Err(error) if error.kind() == io::ErrorKind::NotFound => packed(disk, segment),
        Err(error) => Err(error),
    }
}

/// The signed end of a closed segment, as it is stored. Its signature is not looked at.
pub(super) fn end_of(disk: &dyn Disk, segment: u64) -> io::Result<Option<(Vec<u8>, Closing)>> {
    let Some(reader) = last_block(disk, segment)?
        .map_or_else(|| lines_of(disk, segment), |reader| Ok(Some(reader)))?
    else {
        return Ok(None);
    };
    let mut reader = BufReader::with_capacity(256 << 10, reader);
    let (mut last, mut line) = (Vec::new(), Vec::new());
    while reader.read_until(b'\n', &mut line)? > 0 {
        std::mem::swap(&mut last, &mut line);
        line.clear();
    }
    last.pop();
    Ok(match lines::own(&last) {
        Some(Own::End(closing)) => Some((last, closing)),
        _ => None,
    })
}

/// How a segment ended, by itself or as the one after it states; with the number of the line's segment.
pub(super) fn closing_of(disk: &dyn Disk, segment: u64) -> io::Result<Option<(Vec<u8>, Closing)>> {
    if let Some(end) = end_of(disk, segment)? {
        return Ok(Some(end));
    }
    let Some(reader) = lines_of(disk, segment)? else { return Ok(None) };
    let (_, start, _) = Walk::begin(reader)?;
    start.map_or(Ok(None), |start| abandonment(disk, segment, start.key))
}

/// The last block of a compressed segment, if its index says where that is.
fn last_block(disk: &dyn Disk, segment: u64) -> io::Result<Option<Box<dyn Read + Send>>> {
    let name = names::packed(segment);
    let Some((_, size)) = disk.list()?.into_iter().find(|(file, _)| *file == name) else {
        return Ok(None);
    };
    let blocks = read_whole(disk, &names::index(segment))?;
    let Some(last) = blocks.and_then(|bytes| index::decode(&bytes, size)?.pop()) else {
        return Ok(None);
    };
    Ok(Some(Box::new(MultiGzDecoder::new(disk.read(&name, last.packed)?))))
}
