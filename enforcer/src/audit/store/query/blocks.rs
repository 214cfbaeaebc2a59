//! The blocks of a segment, in whichever form it is there.

use std::io::{self, BufReader, Read};

use flate2::read::GzDecoder;

use crate::audit::store::{
    compress,
    disk::{Disk, read_whole},
    index::{self, Block, Builder},
    names, scan,
};

/// A segment and what its blocks have.
#[derive(Debug)]
pub(super) struct Segment {
    number: u64,
    is_packed: bool,
    pub(super) blocks: Vec<Block>,
    /// Length of all lines, bytes.
    end: u64,
}

impl Segment {
    /// Reads the index of a segment, or makes one; none if the segment has gone meanwhile.
    pub(super) fn open(disk: &dyn Disk, number: u64) -> io::Result<Option<Self>> {
        let name = names::packed(number);
        let files = disk.list()?;
        let packed = files.iter().find(|(file, _)| *file == name).map(|(_, size)| *size);
        if let Some(size) = packed
            && let Some(bytes) = read_whole(disk, &names::index(number))?
            && let Some(blocks) = index::decode(&bytes, size)
        {
            return Ok(Some(Self { number, is_packed: true, blocks, end: u64::MAX }));
        }
        // Read as lines from the beginning: where the members begin is not known.
        let Some(reader) = scan::lines_of(disk, number)? else { return Ok(None) };
        let mut reader = BufReader::with_capacity(256 << 10, reader);
        let (mut builder, mut end) = (Builder::default(), 0);
        while let Some(block) = compress::block(&mut reader)? {
            builder.block(&block, 0);
            end += u64::try_from(block.len()).unwrap_or(u64::MAX);
        }
        Ok(Some(Self { number, is_packed: false, blocks: builder.finish(), end }))
    }

    /// Number of blocks.
    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.blocks.len()).unwrap_or(u64::MAX)
    }

    /// The lines of a block.
    pub(super) fn read(&self, disk: &dyn Disk, block: &Block) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(300 << 10);
        if self.is_packed {
            let reader = disk.read(&names::packed(self.number), block.packed)?;
            GzDecoder::new(BufReader::new(reader)).read_to_end(&mut bytes)?;
            return Ok(bytes);
        }
        let place = self.blocks.partition_point(|other| other.offset <= block.offset);
        let end = self.blocks.get(place).map_or(self.end, |next| next.offset);
        let length = end.saturating_sub(block.offset);
        match disk.read(&names::plain(self.number), block.offset) {
            Ok(reader) => reader.take(length).read_to_end(&mut bytes)?,
            // It was compressed meanwhile, or its index is damaged.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let Some(mut reader) = scan::packed(disk, self.number)? else { return Ok(bytes) };
                io::copy(&mut (&mut reader).take(block.offset), &mut io::sink())?;
                reader.take(length).read_to_end(&mut bytes)?
            }
            Err(error) => return Err(error),
        };
        Ok(bytes)
    }
}
