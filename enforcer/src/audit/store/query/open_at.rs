//! What was open at a moment. A flow that has closed tells it itself: its `start` and its time are
//! around the moment. One that has not closed yet was opened before the moment, and no later record
//! closes it; the index knows which lines open a flow that is not closed in the same segment.

use std::{collections::BTreeMap, io};

use super::{AROUND, Search, blocks::Segment, contains};
use crate::audit::store::{disk::Disk, entry::Entry, index::Block, time::SECOND};

/// Clocks may have been set between the two records of a flow, microseconds.
const SLACK: u64 = 5 * SECOND;

/// A flow that may be open still: the line that opened it, and when.
type Open = BTreeMap<u64, (u64, Vec<u8>)>;

/// Hands over what was open at `at`, and denials around it.
pub(super) fn search(
    search: &mut Search<'_>,
    disk: &dyn Disk,
    numbers: impl Iterator<Item = u64>,
    at: u64,
) -> io::Result<()> {
    let mut open = Open::new();
    for number in numbers {
        let Some(segment) = Segment::open(disk, number)? else { continue };
        search.effort.blocks += segment.len();
        let begins = segment.blocks.iter().map(|block| block.time.0).min().unwrap_or(u64::MAX);
        for block in &segment.blocks {
            let has = Has::of(block, begins, at);
            if has == Has::default() || !search.wanted.may_be_in(block) {
                continue;
            }
            search.effort.read += 1;
            let bytes = segment.read(disk, block)?;
            if !visit(search, &bytes, (block, has), at, &mut open) {
                return Ok(());
            }
        }
    }
    let mut rest: Vec<_> = open.into_values().collect();
    rest.sort();
    for (_, line) in rest {
        if !(search.found)(&line, &Entry::parse(&line)) {
            break;
        }
    }
    Ok(())
}

/// What a block may have that matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Has {
    /// Denials around the moment.
    denials: bool,
    /// Flows that were opened before the moment and stay open in its segment.
    opened: bool,
    /// Flows that close: after the moment and opened before it, or opened in an earlier segment.
    closed: bool,
}

impl Has {
    /// `begins` is the first time of the block's segment.
    fn of(block: &Block, begins: u64, at: u64) -> Self {
        let (first, last) = block.time;
        Self {
            denials: first <= at + AROUND && last + AROUND >= at,
            opened: first <= at && !block.unclosed.is_empty(),
            closed: block.min_start.is_some_and(|start| {
                start <= at.saturating_add(SLACK)
                    && (last >= at || start <= begins.saturating_add(SLACK))
            }),
        }
    }

    /// Whether a line is worth reading. Most of a block is not.
    fn wants(self, line: &[u8], is_unclosed: bool) -> bool {
        is_unclosed
            || (self.closed && contains(line, b"flow_closed"))
            || (self.denials && contains(line, b"denied"))
    }
}

/// Takes the lines of a block; false: it is enough.
fn visit(
    search: &mut Search<'_>,
    bytes: &[u8],
    (block, has): (&Block, Has),
    at: u64,
    open: &mut Open,
) -> bool {
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(0u32..) {
        let is_unclosed = has.opened && block.unclosed.binary_search(&number).is_ok();
        if !has.wants(line, is_unclosed) || !search.wanted.may_be(line) {
            continue;
        }
        let entry = Entry::parse(line);
        if !search.wanted.fits(&entry) {
            continue;
        }
        let time = entry.at();
        let is_found = match entry.kind.as_ref() {
            "denied" => time.abs_diff(at) <= AROUND,
            "flow_closed" => {
                let start = entry.opened_at().unwrap_or(0);
                open.remove(&entry.flow());
                start <= at && at <= time
            }
            "flow_opened" if is_unclosed && time <= at => {
                open.insert(entry.flow(), (time, line.to_owned()));
                false
            }
            _ => false,
        };
        if is_found && !(search.found)(line, &entry) {
            return false;
        }
    }
    true
}
