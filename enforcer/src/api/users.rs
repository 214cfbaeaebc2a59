//! Names and numbers of users, as this host has them. The host may ask a directory service for them, so
//! this blocks.

use std::ffi::{CStr, CString};

/// Longest entry of a user, bytes.
const ENTRY: usize = 16 << 10;

/// The number of a user.
#[must_use]
pub fn uid(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    look_up(
        |entry, buffer, found| {
            // SAFETY: `name` ends with a NUL; the rest is as in `look_up`.
            unsafe {
                libc::getpwnam_r(name.as_ptr(), entry, buffer.as_mut_ptr(), buffer.len(), found)
            }
        },
        |entry| Some(entry.pw_uid),
    )
}

/// The name of a user.
#[must_use]
pub fn name(uid: u32) -> Option<String> {
    look_up(
        |entry, buffer, found| {
            // SAFETY: as in `look_up`.
            unsafe { libc::getpwuid_r(uid, entry, buffer.as_mut_ptr(), buffer.len(), found) }
        },
        |entry| {
            if entry.pw_name.is_null() {
                return None;
            }
            // SAFETY: it points into the buffer, which outlives this, and ends with a NUL.
            let name = unsafe { CStr::from_ptr(entry.pw_name) };
            Some(name.to_string_lossy().into_owned())
        },
    )
}

/// Has the C library fill in an entry, and takes what is wanted of it.
fn look_up<T>(
    ask: impl FnOnce(&mut libc::passwd, &mut [libc::c_char], &mut *mut libc::passwd) -> libc::c_int,
    take: impl FnOnce(&libc::passwd) -> Option<T>,
) -> Option<T> {
    // SAFETY: a C structure of numbers and pointers, for which zeroes are valid.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut buffer = vec![0; ENTRY];
    let mut found = std::ptr::null_mut();
    let failed = ask(&mut entry, &mut buffer, &mut found);
    if failed == 0 && !found.is_null() { take(&entry) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_and_nonsense_is_not() {
        assert_eq!(uid("root"), Some(0));
        assert_eq!(name(0).as_deref(), Some("root"));
        assert_eq!(uid("no such user\n"), None);
        assert_eq!(uid("ro\0ot"), None);
        assert_eq!(name(3_999_999_999), None);
    }
}
