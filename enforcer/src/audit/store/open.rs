//! Opens a store: finishes what a crash left unfinished, and goes on. What was promised and is not
//! there is never mended: a new segment begins beside it, and says so.
//!
//! A rotation does this, in this order; whoever finds it half done goes on with the first step that
//! is missing:
//!
//! 1. the secret of the next segment is written
//! 2. the signed end, which names the next key, is put behind the last line and is on the disk
//! 3. the next segment is there, with its first line
//! 4. the head names it
//! 5. the secret of the segment that ended is overwritten and removed
//! 6. later, by [`super::compress`]: its compressed form is there, then its index, then the lines go
//!
//! Where a segment's end cannot be written any more, step 2 is left out, and the second line of the
//! next segment has the signed end instead.

use std::{collections::BTreeSet, io};

use super::{
    chain::Chain,
    disk::{Disk, read_whole, replace},
    error::{StoreError, io},
    keys,
    lines::{self, Head, Own, Position},
    live::{Live, abandonment},
    names::{self, HEAD, Name, PUBLIC, TOMBSTONES},
    scan::{self, Scan, Tail, scan},
    sign::{PublicKey, Secret},
};

/// What was found at opening; a record of it belongs into the stream unless it is as
/// [`Recovery::is_clean`] has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Sequence number of the last record that is stored; go on with the next one.
    pub last_seq: u64,
    /// What the caller handed over with the last durable head; null for a new store.
    pub counts: serde_json::Value,
    /// Records that stand behind that head and are kept: the counts do not know of them.
    pub recovered: u64,
    /// Bytes of a line that was not finished, and was removed.
    pub torn: u64,
    /// What contradicts the head; that segment is left as it was found.
    pub tampered: Option<Tampered>,
    /// The key that the oldest segment began with, if this made the store: keep it elsewhere.
    pub new_key: Option<PublicKey>,
}

/// A segment that somebody changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tampered {
    /// The file.
    pub file: String,
    /// What is wrong with it.
    pub why: String,
}

impl Recovery {
    /// Whether the last writer left everything as it should be.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.recovered == 0 && self.torn == 0 && self.tampered.is_none()
    }
}

/// What is to be done.
#[derive(Debug)]
enum Found {
    /// Nothing is there.
    Nothing,
    /// Go on with the last segment.
    Continue(Box<Scan>, Secret),
    /// Step 3 is missing.
    Begin(Position),
    /// What is there cannot be gone on with.
    Abandon(Position, Option<Secret>, String),
}

/// Finishes what is unfinished. `behind` gets each record that stands behind the head.
pub(super) fn open(
    disk: &dyn Disk,
    now: u64,
    behind: &mut dyn FnMut(&[u8]),
) -> Result<(Live, Recovery), StoreError> {
    tidy(disk)?;
    let head_bytes = read_whole(disk, HEAD).map_err(io("read", HEAD))?;
    let head = head_bytes.as_deref().and_then(Head::parse);
    let mut recovered = 0;
    let mut count = |line: &[u8]| {
        recovered += 1;
        behind(line);
    };
    let found = examine(disk, head_bytes.as_deref(), head.as_ref(), &mut count)
        .map_err(io("read", "the last segments"))?;
    let mut recovery = Recovery {
        last_seq: 0,
        counts: head.map_or(serde_json::Value::Null, |head| head.counts),
        recovered,
        torn: 0,
        tampered: None,
        new_key: None,
    };
    let mut live = match found {
        Found::Nothing => {
            let live = create(disk, now)?;
            recovery.new_key = Some(live.secret.public());
            live
        }
        Found::Continue(scan, secret) => {
            let mut live = Live::new(disk, secret, scan.at, scan.digest)
                .map_err(io("open", names::plain(scan.at.segment)))?;
            // Only a store that was being made goes on without a head.
            recovery.new_key = head_bytes.is_none().then(|| live.secret.public());
            (live.first, live.last_time, live.begun) = (scan.first, scan.last_time, scan.begun);
            if let Tail::Torn(bytes) = scan.tail {
                recovery.torn = bytes;
                live.cut().map_err(io("cut", names::plain(live.at.segment)))?;
            }
            live
        }
        Found::Begin(after) => Live::begin(disk, after.segment + 1, &after, None, now)
            .map_err(io("begin", names::plain(after.segment + 1)))?,
        Found::Abandon(at, secret, why) => {
            let file = names::plain(at.segment);
            let live = set_aside(disk, &at, secret.as_ref(), &why, now)
                .map_err(io("begin a segment after", file.clone()))?;
            recovery.tampered = Some(Tampered { file, why });
            live
        }
    };
    live.sink.sync().map_err(io("sync", names::plain(live.at.segment)))?;
    recovery.last_seq = live.at.seq;
    Ok((live, recovery))
}

/// Removes what no step needs any more.
fn tidy(disk: &dyn Disk) -> Result<(), StoreError> {
    keys::wipe_before(disk, 0).map_err(io("remove", "an unfinished key"))?;
    let files = disk.list().map_err(io("list", "the store"))?;
    for (name, _) in files.iter().filter(|(name, _)| names::parse(name) == Name::Temporary) {
        disk.remove(name).map_err(io("remove", name))?;
    }
    let tombstones = read_whole(disk, TOMBSTONES).map_err(io("read", TOMBSTONES))?;
    if let Some(bytes) = tombstones.filter(|bytes| bytes.last().is_some_and(|byte| *byte != b'\n'))
    {
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
        let whole = u64::try_from(whole).unwrap_or(0);
        let cut = disk.append(TOMBSTONES).and_then(|mut sink| {
            sink.set_len(whole)?;
            sink.sync()
        });
        cut.map_err(io("cut", TOMBSTONES))?;
    }
    Ok(())
}

fn create(disk: &dyn Disk, now: u64) -> Result<Live, StoreError> {
    let secret = keys::prepare(disk, 1).map_err(io("write", names::key(1)))?;
    let key = secret.public();
    replace(disk, PUBLIC, format!("{key}\n").as_bytes()).map_err(io("write", PUBLIC))?;
    let nothing = Position { segment: 0, bytes: 0, lines: 0, seq: 0, chain: Chain::START };
    let live = Live::begin(disk, 1, &nothing, None, now).map_err(io("begin", names::plain(1)))?;
    let head = Head::new(live.at, serde_json::Value::Null);
    replace(disk, HEAD, &head.to_bytes(&live.secret)).map_err(io("write", HEAD))?;
    Ok(live)
}

/// Begins a segment after one that is left as it is.
fn set_aside(
    disk: &dyn Disk,
    at: &Position,
    secret: Option<&Secret>,
    why: &str,
    now: u64,
) -> io::Result<Live> {
    let number = segments(disk)?.last().copied().unwrap_or(0).max(at.segment) + 1;
    let next = keys::prepare(disk, number)?;
    let statement = secret.map(|secret| abandonment(secret, &next, at, (why, true), now));
    Live::begin(disk, number, at, statement.as_deref(), now)
}

/// Numbers of the segments that are there, in any form.
pub(super) fn segments(disk: &dyn Disk) -> io::Result<BTreeSet<u64>> {
    let files = disk.list()?;
    Ok(files
        .iter()
        .filter_map(|(name, _)| match names::parse(name) {
            Name::Plain(number) | Name::Packed(number) => Some(number),
            _ => None,
        })
        .collect())
}

fn examine(
    disk: &dyn Disk,
    head_bytes: Option<&[u8]>,
    head: Option<&Head>,
    behind: &mut dyn FnMut(&[u8]),
) -> io::Result<Found> {
    let last = segments(disk)?.last().copied();
    let (Some(bytes), Some(head)) = (head_bytes, head) else {
        return without_head(disk, last, head_bytes.is_some(), behind);
    };
    let (at, number) = (head.at, head.at.segment);
    let abandon = |at: Position, secret, why: &str| Ok(Found::Abandon(at, secret, why.to_owned()));
    let Some(secret) = keys::load(disk, number)? else {
        return abandon(at, None, "the key that the head names is missing");
    };
    if !Head::is_signed(bytes, secret.public()) {
        // It promises nothing, so all that fits is kept.
        let scanned = scan(disk, number, (None, None), behind)?;
        let at = scanned.map_or(at, |scan| scan.at);
        return abandon(at, Some(secret), "head.json is not signed with its segment's key");
    }
    if let Some((_, closing)) = scan::abandonment(disk, number, secret.public())? {
        // Written by a rotation without step 2, before step 4.
        if closing.bytes > at.bytes {
            scan(disk, number, (Some(&at), Some(closing.bytes)), behind)?;
        }
        return follow(disk, number + 1, &closing.head, behind);
    }
    let Some(scan) = scan(disk, number, (Some(&at), None), behind)? else {
        return abandon(at, Some(secret), "it is missing, or does not begin as it did");
    };
    if scan.start.key != secret.public() {
        return abandon(at, None, "its key is not the one that it names");
    }
    let is_last = last.is_none_or(|last| last <= number);
    match (scan.tail, &scan.end) {
        (Tail::Contradicts(why), _) => abandon(at, Some(secret), why),
        (Tail::Broken(why), _) => abandon(scan.at, Some(secret), why),
        (_, None) if is_last => Ok(Found::Continue(Box::new(scan), secret)),
        (_, None) => abandon(scan.at, Some(secret), "a segment follows that it does not name"),
        (_, Some(end)) => {
            let next = match lines::own(end) {
                Some(Own::End(closing)) if lines::is_signed(end, secret.public()) => {
                    closing.next_key
                }
                _ => return abandon(at, Some(secret), "its end is not signed with its key"),
            };
            let prepared = keys::load(disk, number + 1)?;
            if prepared.is_none_or(|prepared| prepared.public() != next) {
                return abandon(at, Some(secret), "the key that its end names is missing");
            }
            if is_last {
                return Ok(Found::Begin(scan.at));
            }
            follow(disk, number + 1, &scan.at.chain, behind)
        }
    }
}

/// The segment after the one that the head names: a crash kept the head from naming it.
fn follow(
    disk: &dyn Disk,
    number: u64,
    before: &Chain,
    behind: &mut dyn FnMut(&[u8]),
) -> io::Result<Found> {
    let secret = keys::load(disk, number)?;
    let nothing = Position { segment: number, bytes: 0, lines: 0, seq: 0, chain: *before };
    let Some(scan) = scan(disk, number, (None, None), behind)? else {
        let why = "it is missing, or does not begin as it did".to_owned();
        return Ok(Found::Abandon(nothing, secret, why));
    };
    let secret = secret.filter(|secret| secret.public() == scan.start.key);
    let why = match (scan.tail, &scan.end) {
        (Tail::Contradicts(why) | Tail::Broken(why), _) => why,
        _ if scan.start.before != *before => "it does not follow the segment before it",
        (_, Some(_)) => "it has ended, and the head does not know of it",
        (_, None) => match secret {
            Some(secret) => return Ok(Found::Continue(Box::new(scan), secret)),
            None => "its key is missing",
        },
    };
    Ok(Found::Abandon(scan.at, secret, why.to_owned()))
}

/// There is no head, or none that can be read.
fn without_head(
    disk: &dyn Disk,
    last: Option<u64>,
    is_garbled: bool,
    behind: &mut dyn FnMut(&[u8]),
) -> io::Result<Found> {
    let Some(last) = last else {
        // Nothing was ever promised, or everything is gone: then `verify` with the key says so.
        return Ok(Found::Nothing);
    };
    let why = if is_garbled { "head.json cannot be read" } else { "head.json is missing" };
    let secret = keys::load(disk, last)?;
    let Some(scan) = scan(disk, last, (None, None), behind)? else {
        let end = scan::end_of(disk, last)?;
        let (seq, chain) = end.map_or((0, Chain::START), |(line, closing)| {
            (closing.last_seq, closing.head.check(&line).unwrap_or(closing.head))
        });
        let at = Position { segment: last, bytes: 0, lines: 0, seq, chain };
        return Ok(Found::Abandon(at, secret, why.to_owned()));
    };
    let is_fresh = !is_garbled && last == 1 && scan.at.lines == 1 && scan.tail == Tail::Clean;
    match secret.filter(|secret| secret.public() == scan.start.key) {
        // The store was being made.
        Some(secret) if is_fresh => Ok(Found::Continue(Box::new(scan), secret)),
        secret => Ok(Found::Abandon(scan.at, secret, why.to_owned())),
    }
}
