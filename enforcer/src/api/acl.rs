//! Opens a file of root's to some users and to nobody else: a POSIX access control list.

use std::{
    collections::BTreeSet,
    ffi::{CStr, CString},
    fs, io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::Path,
};

const NAME: &CStr = c"system.posix_acl_access";

/// `ACL_EA_VERSION`, as `linux/posix_acl_xattr.h` has it, like the tags.
const VERSION: u32 = 2;
const USER_OBJ: u16 = 1;
const USER: u16 = 2;
const GROUP_OBJ: u16 = 4;
const GROUP: u16 = 8;
const MASK: u16 = 16;
const OTHER: u16 = 32;
const NO_ID: u32 = u32::MAX;
const WRITE: u16 = 2;
/// Longest list, bytes: more than file systems keep.
const LONGEST: usize = 64 << 10;

/// Gives `users` the rights `theirs` (as in one digit of a mode) to a file, and its group none. Without users
/// the file has its mode `alone` again.
pub(crate) fn open_to(
    path: &Path,
    users: &BTreeSet<u32>,
    theirs: u16,
    alone: u32,
) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    if users.is_empty() {
        // SAFETY: two texts that end with a NUL.
        let failed = unsafe { libc::removexattr(name.as_ptr(), NAME.as_ptr()) } != 0;
        let error = io::Error::last_os_error();
        let had_none = [libc::ENODATA, libc::EOPNOTSUPP].map(Some);
        return match failed {
            true if had_none.contains(&error.raw_os_error()) => Ok(()),
            true => Err(error),
            // What is left of a list is its mask, in the group's place.
            false => fs::set_permissions(path, fs::Permissions::from_mode(alone)),
        };
    }
    let mode = fs::metadata(path)?.mode();
    let digit = |shift: u32| u16::try_from(mode >> shift & 7).unwrap_or_default();
    let list = list(users, (digit(6), theirs, digit(0)));
    // SAFETY: two texts that end with a NUL, and a buffer with its length.
    let failed = unsafe {
        libc::setxattr(name.as_ptr(), NAME.as_ptr(), list.as_ptr().cast(), list.len(), 0)
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The list as the kernel reads it, in the order that it demands: the owner, users by number, the group, the
/// mask, everybody else.
fn list(users: &BTreeSet<u32>, (owner, theirs, others): (u16, u16, u16)) -> Vec<u8> {
    let named = users.iter().map(|uid| (USER, theirs, *uid));
    let entries = [(USER_OBJ, owner, NO_ID)].into_iter().chain(named).chain([
        (GROUP_OBJ, 0, NO_ID),
        (MASK, theirs, NO_ID),
        (OTHER, others, NO_ID),
    ]);
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(rights.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// Whom an entry of a list is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A user, by number.
    User(u32),
    /// A group, by number.
    Group(u32),
}

/// An entry of a list, as far as it lets somebody write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Who.
    pub(crate) holder: Holder,
    /// Whether they may.
    pub(crate) may_write: bool,
}

/// Who is on the list of a file whose group is `gid`; empty: it has none.
pub(crate) fn entries(path: &Path, gid: u32) -> io::Result<Vec<Entry>> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut bytes = vec![0; LONGEST];
    // SAFETY: two texts that end with a NUL, and a buffer with its length.
    let read = unsafe {
        libc::getxattr(name.as_ptr(), NAME.as_ptr(), bytes.as_mut_ptr().cast(), bytes.len())
    };
    let Ok(read) = usize::try_from(read) else {
        let error = io::Error::last_os_error();
        let had_none = [libc::ENODATA, libc::EOPNOTSUPP].map(Some);
        return if had_none.contains(&error.raw_os_error()) { Ok(Vec::new()) } else { Err(error) };
    };
    bytes.truncate(read);
    parse(&bytes, gid).ok_or_else(|| io::Error::other("its access control list is not understood"))
}

/// The users and groups of a list; what the mask takes away is taken away.
fn parse(bytes: &[u8], gid: u32) -> Option<Vec<Entry>> {
    let (version, rest) = bytes.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != VERSION || !rest.len().is_multiple_of(8) {
        return None;
    }
    let number =
        |entry: &[u8], at: usize| Some(u16::from_le_bytes([*entry.get(at)?, *entry.get(at + 1)?]));
    let mut read = Vec::new();
    for entry in rest.chunks_exact(8) {
        let id = u32::from_le_bytes(*entry.last_chunk::<4>()?);
        read.push((number(entry, 0)?, number(entry, 2)?, id));
    }
    let mask = read.iter().find(|(tag, ..)| *tag == MASK).map_or(7, |(_, rights, _)| *rights);
    let entry = |(tag, rights, id)| {
        let holder = match tag {
            USER => Holder::User(id),
            GROUP_OBJ => Holder::Group(gid),
            GROUP => Holder::Group(id),
            _ => return None,
        };
        Some(Entry { holder, may_write: rights & mask & WRITE != 0 })
    };
    Some(read.into_iter().filter_map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_as_the_kernel_reads_it() {
        let list = list(&[5, 1000].into(), (6, 6, 0));
        let entry = |tag: u8, rights: u8, id: u32| {
            [[tag, 0], [rights, 0]]
                .concat()
                .into_iter()
                .chain(id.to_le_bytes())
                .collect::<Vec<u8>>()
        };
        let expected = [
            vec![2, 0, 0, 0],
            entry(1, 6, NO_ID),
            entry(2, 6, 5),
            entry(2, 6, 1000),
            entry(4, 0, NO_ID),
            entry(16, 6, NO_ID),
            entry(32, 0, NO_ID),
        ];
        assert_eq!(list, expected.concat());
    }

    #[test]
    fn s20_a_list_is_read_with_what_its_mask_takes_away() {
        let written = list(&[5, 1000].into(), (6, 6, 0));
        let entry = |holder, may_write| Entry { holder, may_write };
        let expected = [
            entry(Holder::User(5), true),
            entry(Holder::User(1000), true),
            entry(Holder::Group(9), false),
        ];
        assert_eq!(parse(&written, 9), Some(expected.to_vec()));
        // The mask is the entry before the last one.
        let mut masked = written.clone();
        let at = masked.len() - 16 + 2;
        masked[at] = 4;
        let none = parse(&masked, 9).expect("a list");
        assert!(none.iter().all(|entry| !entry.may_write), "{none:?}");
        assert_eq!(parse(&written[..written.len() - 1], 9), None);
        assert_eq!(parse(&[1, 0, 0, 0], 9), None);
        assert_eq!(parse(&[], 9), None);
    }
}
