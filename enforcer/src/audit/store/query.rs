//! Finds records. Reads the index of each segment first and expands only blocks that may have what
//! is asked for; a segment without an index is read once to make one. Says nothing about integrity:
//! that is [`super::verify()`]'s.

mod ask;
mod blocks;
mod open_at;

use std::{io, net::IpAddr, path::Path};

pub use self::ask::{end, moment, parse_peer};
use self::blocks::Segment;
use super::{
    disk::{Directory, Disk},
    entry::{Entry, Side, address_hash},
    index::Block,
    lines,
    open::segments,
    scan,
    time::SECOND,
};

/// How far around [`Query::at`] denials are looked for, microseconds.
const AROUND: u64 = 60 * SECOND;

/// What is asked for; all that is given has to fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Destination.
    pub to: Option<Peer>,
    /// Source.
    pub from: Option<Peer>,
    /// An address at either end.
    pub either: Option<IpAddr>,
    /// The container: one of these names, or how its id begins; empty: any.
    pub guest: Vec<String>,
    /// The user that it was started for, one of these; empty: any.
    pub user: Vec<String>,
    /// The hub that it was started by.
    pub hub: Option<String>,
    /// Texts of which the line has one, anywhere; empty: any line.
    pub mentions: Vec<String>,
    /// `allow` or `deny`.
    pub verdict: Option<String>,
    /// Reason of a denial.
    pub reason: Option<String>,
    /// Flows that were open at this moment, and denials within a minute of it; microseconds since
    /// 1970.
    pub at: Option<u64>,
    /// Not before this moment, microseconds since 1970.
    pub since: Option<u64>,
    /// Not after this moment, microseconds since 1970.
    pub until: Option<u64>,
}

/// One end of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Its port, or ICMP type or code; none: any.
    pub port: Option<u16>,
}

/// Why a store could not be searched.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {file}")]
pub struct QueryError {
    /// What.
    pub file: String,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Blocks of lines in the store.
    pub blocks: u64,
    /// Blocks that were read.
    pub read: u64,
}

/// Hands each record that fits to `found`, as it is stored and read, the oldest first; `found` says
/// whether to go on. Of [`Query::at`], flows that are open still come last.
pub fn query(
    dir: &Path,
    query: &Query,
    found: &mut dyn FnMut(&[u8], &Entry<'_>) -> bool,
) -> Result<Effort, QueryError> {
    let failed = |file: String| move |source| QueryError { file, source };
    let disk = Directory::open(dir).map_err(failed(dir.display().to_string()))?;
    let numbers = segments(&disk).map_err(failed(dir.display().to_string()))?;
    let mut search = Search { wanted: Wanted::new(query), effort: Effort::default(), found };
    let outcome = match query.at {
        None => search.all(&disk, numbers.iter().copied()),
        Some(at) => open_at::search(&mut search, &disk, numbers.iter().copied(), at),
    };
    outcome.map_err(failed(dir.display().to_string()))?;
    Ok(search.effort)
}

/// When the oldest segment that is kept was begun, RFC 3339, if older ones were deleted.
pub fn begins(dir: &Path) -> Result<Option<String>, QueryError> {
    let failed = |source| QueryError { file: dir.display().to_string(), source };
    let disk = Directory::open(dir).map_err(failed)?;
    let first = segments(&disk).map_err(failed)?.into_iter().next();
    let Some(first) = first.filter(|first| *first > 1) else { return Ok(None) };
    scan::begun(&disk, first).map_err(failed)
}

/// A query, ready to be held against blocks and records.
#[derive(Debug)]
struct Wanted<'a> {
    query: &'a Query,
    /// Addresses as records have them, and what stands for them in the index.
    peers: Vec<(Side, String, Option<u16>, u64)>,
    /// The same of the address that may be at either end.
    either: Option<(String, [u64; 2])>,
    /// Of each of these a line has one, if it is worth reading.
    texts: Vec<Vec<&'a str>>,
}

impl<'a> Wanted<'a> {
    fn new(query: &'a Query) -> Self {
        let ends = [(Side::To, &query.to), (Side::From, &query.from)];
        let peers = ends.into_iter().filter_map(|(side, peer)| {
            let peer = peer.as_ref()?;
            let address = peer.address.to_string();
            let hash = address_hash(side, &address, peer.port.map(u64::from));
            Some((side, address, peer.port, hash))
        });
        let either = query.either.map(|address| {
            let text = address.to_string();
            let hashes = [Side::From, Side::To].map(|side| address_hash(side, &text, None));
            (text, hashes)
        });
        let one = |text: &'a Option<String>| text.iter().map(String::as_str).collect();
        let any = |texts: &'a Vec<String>| texts.iter().map(String::as_str).collect();
        let mut texts: Vec<Vec<&str>> = vec![
            any(&query.guest),
            any(&query.user),
            any(&query.mentions),
            one(&query.reason),
            one(&query.verdict),
            one(&query.hub),
        ];
        // A name that JSON escapes is not told by its bytes.
        texts.retain(|texts| !texts.is_empty() && texts.iter().all(|text| is_plain(text)));
        Self { query, peers: peers.collect(), either, texts }
    }

    /// Whether a block may have such an address.
    fn may_be_in(&self, block: &Block) -> bool {
        let has = |hash: &u64| block.addresses.may_have(*hash);
        self.peers.iter().all(|(.., hash)| has(hash))
            && self.either.as_ref().is_none_or(|(_, hashes)| hashes.iter().any(has))
    }

    /// Whether a block may have a record of this time.
    fn is_in_time(&self, block: &Block) -> bool {
        self.query.since.is_none_or(|since| block.time.1 >= since)
            && self.query.until.is_none_or(|until| block.time.0 <= until)
    }

    /// Whether a line is worth reading: it has the texts that are asked for somewhere.
    fn may_be(&self, line: &[u8]) -> bool {
        let has = |text: &str| contains(line, text.as_bytes());
        let addresses = self.peers.iter().map(|(_, address, ..)| address);
        self.texts.iter().all(|texts| texts.iter().any(|text| has(text)))
            && addresses.chain(self.either.iter().map(|(address, _)| address)).all(|text| has(text))
    }

    /// Whether a record fits, whatever its time.
    fn fits(&self, entry: &Entry<'_>) -> bool {
        let is =
            |wanted: &Option<String>, has: &str| wanted.as_ref().is_none_or(|text| text == has);
        let any = |wanted: &[String], is: &dyn Fn(&String) -> bool| {
            wanted.is_empty() || wanted.iter().any(is)
        };
        let guest = any(&self.query.guest, &|guest| {
            entry.container == guest.as_str()
                || (guest.len() >= 12 && entry.container_id.starts_with(guest))
        });
        let either = self.either.as_ref().is_none_or(|(address, _)| {
            entry.source == address.as_str() || entry.destination == address.as_str()
        });
        let peers = self.peers.iter().all(|(side, address, port, _)| {
            let (has, has_port) = match side {
                Side::To => (&entry.destination, entry.destination_port),
                Side::From => (&entry.source, entry.source_port),
            };
            has == address && port.is_none_or(|port| has_port == Some(u64::from(port)))
        });
        guest
            && peers
            && either
            && any(&self.query.user, &|user| entry.user == user.as_str())
            && is(&self.query.hub, &entry.hub)
            && is(&self.query.verdict, &entry.verdict)
            && is(&self.query.reason, &entry.reason)
    }

    /// Whether a record's time fits.
    fn is_timely(&self, entry: &Entry<'_>) -> bool {
        let Query { since, until, .. } = self.query;
        (since.is_none() && until.is_none()) || {
            let at = entry.at();
            since.is_none_or(|since| at >= since) && until.is_none_or(|until| at <= until)
        }
    }
}

/// Whether a text stands in a line as it is.
fn is_plain(text: &str) -> bool {
    !text.contains(|c: char| c.is_control() || "\"\\".contains(c))
}

/// Whether `text` is in `line`.
fn contains(line: &[u8], text: &[u8]) -> bool {
    memchr::memmem::find(line, text).is_some()
}

/// A query on its way.
struct Search<'a> {
    wanted: Wanted<'a>,
    effort: Effort,
    found: &'a mut dyn FnMut(&[u8], &Entry<'_>) -> bool,
}

impl Search<'_> {
    fn all(&mut self, disk: &dyn Disk, numbers: impl Iterator<Item = u64>) -> io::Result<()> {
        for number in numbers {
            let Some(segment) = Segment::open(disk, number)? else { continue };
            self.effort.blocks += segment.len();
            for block in &segment.blocks {
                if !self.wanted.is_in_time(block) || !self.wanted.may_be_in(block) {
                    continue;
                }
                self.effort.read += 1;
                let bytes = segment.read(disk, block)?;
                for line in records(&bytes).filter(|line| self.wanted.may_be(line)) {
                    let entry = Entry::parse(line);
                    let fits = self.wanted.fits(&entry) && self.wanted.is_timely(&entry);
                    if fits && !(self.found)(line, &entry) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

/// The records among lines.
fn records(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines.split(|byte| *byte == b'\n').filter(|line| line.ends_with(b"}") && !lines::is_own(line))
}
