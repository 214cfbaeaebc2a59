//! The secrets, one file for each segment. A secret leaves the disk as soon as the next one is in
//! use: who gets hold of this machine later cannot sign the end of an earlier segment.

use std::io;

use zeroize::Zeroizing;

use super::{
    disk::{Disk, read_whole, replace},
    names::{self, Name},
    sign::Secret,
};

/// The secret of a segment; none if its file is missing or no key.
pub(super) fn load(disk: &dyn Disk, segment: u64) -> io::Result<Option<Secret>> {
    let text = read_whole(disk, &names::key(segment))?.map(Zeroizing::new);
    Ok(text.and_then(|text| Secret::from_text(&text)))
}

/// The secret of a segment that is to come. One that is there already is taken: a signed end that
/// was written before a crash may name it.
pub(super) fn prepare(disk: &dyn Disk, segment: u64) -> io::Result<Secret> {
    if let Some(secret) = load(disk, segment)? {
        return Ok(secret);
    }
    let secret = Secret::generate()?;
    replace(disk, &names::key(segment), secret.to_text().as_bytes())?;
    Ok(secret)
}

/// Overwrites and removes the secrets of all segments before this one.
pub(super) fn wipe_before(disk: &dyn Disk, segment: u64) -> io::Result<()> {
    let files = disk.list()?;
    let old = files.iter().filter(|(name, _)| match names::parse(name) {
        Name::Key(number) => number < segment,
        // A crash while a key was written leaves a whole secret behind.
        Name::Temporary => name.contains(".key"),
        _ => false,
    });
    let mut wiped = false;
    for (name, bytes) in old {
        disk.overwrite(name, &vec![0; usize::try_from(*bytes).unwrap_or(0)])?;
        disk.remove(name)?;
        wiped = true;
    }
    if wiped { disk.sync_names() } else { Ok(()) }
}
