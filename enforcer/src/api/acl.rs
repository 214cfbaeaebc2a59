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
const MASK: u16 = 16;
const OTHER: u16 = 32;
const NO_ID: u32 = u32::MAX;

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
}
