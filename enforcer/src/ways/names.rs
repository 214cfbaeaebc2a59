//! What users and groups are called on this host. The host may ask a directory service for them, so this blocks.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{CStr, CString},
    fs::File,
    io::Read as _,
};

use super::judge::{DOCKER, Facts, Named, Names};
use crate::api::{
    acl::{Entry, Holder},
    users,
};

/// Longest entry of a group, bytes: some 50,000 members.
const ENTRY: usize = 1 << 20;
/// Longest file of users that is read, bytes.
const LONGEST: u64 = 8 << 20;

/// Names of all that the facts have by number, and the group that Docker's packages make.
pub(crate) fn names(facts: &Facts) -> Names {
    let listed = facts.sockets.iter().flat_map(|socket| &socket.acl);
    let (mut uids, mut gids) = (BTreeSet::new(), BTreeSet::new());
    for Entry { holder, .. } in listed {
        match holder {
            Holder::User(uid) => drop(uids.insert(*uid)),
            Holder::Group(gid) => drop(gids.insert(*gid)),
        }
    }
    uids.extend(facts.sockets.iter().map(|socket| socket.uid));
    gids.extend(facts.sockets.iter().map(|socket| socket.gid));
    let groups = gids.into_iter().filter_map(group).chain(group_named(DOCKER));
    let mut groups: BTreeMap<u32, Named> = groups.map(|group| (group.gid, group)).collect();
    for (name, gid) in passwd() {
        if let Some(group) = groups.get_mut(&gid) {
            group.members.insert(name);
        }
    }
    let users = uids.into_iter().filter_map(|uid| Some((uid, users::name(uid)?)));
    Names { users: users.collect(), groups }
}

fn group(gid: u32) -> Option<Named> {
    look_up(|entry, buffer, found| {
        // SAFETY: as in `look_up`.
        unsafe { libc::getgrgid_r(gid, entry, buffer.as_mut_ptr(), buffer.len(), found) }
    })
}

fn group_named(name: &str) -> Option<Named> {
    let name = CString::new(name).ok()?;
    look_up(|entry, buffer, found| {
        // SAFETY: `name` ends with a NUL; the rest is as in `look_up`.
        unsafe { libc::getgrnam_r(name.as_ptr(), entry, buffer.as_mut_ptr(), buffer.len(), found) }
    })
}

/// Has the C library fill in an entry.
fn look_up(
    ask: impl FnOnce(&mut libc::group, &mut [libc::c_char], &mut *mut libc::group) -> libc::c_int,
) -> Option<Named> {
    // SAFETY: a C structure of numbers and pointers, for which zeroes are valid.
    let mut entry: libc::group = unsafe { std::mem::zeroed() };
    let mut buffer = vec![0; ENTRY];
    let mut found = std::ptr::null_mut();
    if ask(&mut entry, &mut buffer, &mut found) != 0 || found.is_null() || entry.gr_name.is_null() {
        return None;
    }
    let text = |pointer: *const libc::c_char| {
        // SAFETY: it points into the buffer, which outlives this, and ends with a NUL.
        unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
    };
    let mut members = BTreeSet::new();
    let mut next = entry.gr_mem;
    // SAFETY: a list of pointers in the buffer, which ends with a null one.
    while let Some(member) = unsafe { next.as_ref() }.filter(|member| !member.is_null()) {
        members.insert(text(*member));
        next = next.wrapping_add(1);
    }
    Some(Named { gid: entry.gr_gid, name: text(entry.gr_name), members })
}

/// Users of this host's own file, and their first groups: no list of a group has them.
fn passwd() -> Vec<(String, u32)> {
    let mut text = String::new();
    let read = File::open("/etc/passwd").map(|file| file.take(LONGEST).read_to_string(&mut text));
    if !matches!(read, Ok(Ok(_))) {
        return Vec::new();
    }
    text.lines().filter_map(first_group).collect()
}

fn first_group(line: &str) -> Option<(String, u32)> {
    let mut fields = line.split(':');
    let (name, gid) = (fields.next()?, fields.nth(2)?);
    Some((name.to_owned(), gid.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ways::judge::Socket;

    #[test]
    fn s20_groups_are_known_by_number_and_name_and_users_by_their_first_group() {
        assert_eq!(group(0).map(|group| group.name).as_deref(), Some("root"));
        assert_eq!(group_named("root").map(|group| group.gid), Some(0));
        assert_eq!(group_named("no such group\n"), None);
        assert_eq!(group(3_999_999_999), None);
        let line = "ann:x:1000:999:Ann,,,:/home/ann:/bin/sh";
        assert_eq!(first_group(line), Some(("ann".to_owned(), 999)));
        assert_eq!(first_group("# nothing"), None);
        let facts = Facts { sockets: vec![Socket::default()], ..Facts::default() };
        let names = names(&facts);
        assert_eq!(names.users.get(&0).map(String::as_str), Some("root"));
        assert!(names.groups[&0].members.contains("root"), "{names:?}");
    }
}
