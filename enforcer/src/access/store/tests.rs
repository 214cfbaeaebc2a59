//! What the store promises, on a real disk.

mod crash;
mod damage;

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use super::*;
use crate::{access::grant::Socket, database::FileError};

/// A directory of a test's own, which goes with it.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("enforcer-access-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn hub(name: &str) -> HubName {
    name.parse().expect("a hub")
}

fn group(name: &str) -> GroupName {
    name.parse().expect("a group")
}

fn user(hub_name: &str, name: &str) -> User {
    User { hub: hub(hub_name), name: name.parse().expect("a user") }
}

fn author(now: u64) -> Author {
    let by = By { uid: Some(7), name: "root".to_owned(), via: "control".to_owned() };
    Author { by, reason: "a course".parse().expect("a reason"), now: Seconds(now) }
}

const NOW: Seconds = Seconds(1000);

#[test]
fn s1_a_group_has_the_members_and_the_grant_that_somebody_gave_also_after_a_restart() {
    let dir = Dir::new();
    let (lab, staff, ann) = (hub("lab"), group("staff"), user("lab", "ann"));
    {
        let store = Store::open(&dir.0).expect("opens");
        store.create(&lab, &staff, &author(1000)).expect("created");
        store.add(&ann, &staff, Some(Seconds(2000)), &author(1001)).expect("added");
        let kind = (Kind::Raw, None);
        store.set_grant((&lab, &staff), kind, false, &author(1002)).expect("set");
        assert!(
            matches!(Store::open(&dir.0), Err(StoreError::File(FileError::Busy { .. }))),
            "one process at a time"
        );
    }
    let store = Store::open(&dir.0).expect("opens again");
    let groups = store.groups(&lab, NOW).expect("groups");
    let [found] = groups.as_slice() else { panic!("{groups:?}") };
    assert_eq!((&found.name, found.members), (&staff, 1));
    let grant = found.grant.as_ref().expect("a grant");
    assert_eq!((grant.kind, grant.note.since), (Kind::Raw, Seconds(1002)));
    assert_eq!((grant.note.by.uid, grant.note.reason.as_str()), (Some(7), "a course"));
    let members = store.members(&lab, &staff, NOW).expect("members");
    assert_eq!(
        members.first().map(|(name, note)| (name, note.until)),
        Some((&ann.name, Some(Seconds(2000))))
    );
    let (memberships, grants) = store.standing(&ann).expect("a standing");
    assert_eq!(memberships.first().map(|one| &one.group), Some(&staff));
    assert_eq!(grants.get(&staff).and_then(|grant| grant.kind.socket()), Some(Socket::Raw));
    // Removed as a whole: made again it is another group.
    store.delete(&lab, &staff, &[], &author(1003)).expect("deleted");
    store.create(&lab, &staff, &author(1004)).expect("created");
    assert_eq!(store.standing(&ann).expect("a standing"), (Vec::new(), BTreeMap::new()));
}

#[test]
fn s1_a_user_of_one_hub_is_nobody_in_another() {
    let dir = Dir::new();
    let store = Store::open(&dir.0).expect("opens");
    let staff = group("staff");
    for name in ["lab", "lab-2", "la", "local"] {
        store.create(&hub(name), &staff, &author(1)).expect("created");
    }
    store.add(&user("lab", "ann"), &staff, None, &author(1)).expect("added");
    store.set_grant((&hub("lab"), &staff), (Kind::Raw, None), false, &author(1)).expect("set");
    for other in ["lab-2", "la", "local"] {
        let (memberships, grants) = store.standing(&user(other, "ann")).expect("a standing");
        assert!(memberships.is_empty() && grants.is_empty(), "{other}");
        assert!(store.members(&hub(other), &staff, NOW).expect("members").is_empty(), "{other}");
        assert_eq!(store.groups(&hub(other), NOW).expect("groups").len(), 1, "{other}");
    }
}

#[test]
fn s1_a_built_in_group_cannot_be_deleted_and_comes_back() {
    let dir = Dir::new();
    let store = Store::open(&dir.0).expect("opens");
    let (hubs, names) = ([hub("local"), hub("lab")], [group(PRIVILEGED), group("gpu")]);
    let made = store.ensure_builtin(&hubs, &names, &author(1)).expect("made");
    let made: Vec<_> =
        made.iter().map(|made| (made.event, made.hub.as_str(), made.group.as_str())).collect();
    let expected = ["local", "lab"].map(|hub| {
        [
            (Event::GroupRecreated, hub, PRIVILEGED),
            (Event::GrantSet, hub, PRIVILEGED),
            (Event::GroupRecreated, hub, "gpu"),
        ]
    });
    assert_eq!(made, expected.concat());
    assert_eq!(store.ensure_builtin(&hubs, &names, &author(2)).expect("nothing to do"), Vec::new());
    for name in &names {
        let refused = store.delete(&hubs[1], name, &names, &author(3));
        assert!(matches!(&refused, Err(StoreError::BuiltIn(of)) if of == name), "{refused:?}");
    }
    let grants = store.grants(&hubs[1]).expect("grants");
    assert_eq!(grants.get(&names[0]).map(|grant| grant.kind), Some(Kind::Filtered));
    assert_eq!(grants.get(&names[1]), None, "only one of them comes with a grant");
    // Somebody took the name out of the config, deleted the group, and put the name back.
    store.set_grant((&hubs[1], &names[0]), (Kind::None, None), false, &author(4)).expect("set");
    store.delete(&hubs[1], &names[1], &names[..1], &author(4)).expect("no longer built in");
    let again = store.ensure_builtin(&hubs, &names, &author(5)).expect("made");
    assert_eq!(again.iter().map(|made| made.group.as_str()).collect::<Vec<_>>(), ["gpu"]);
    let grants = store.grants(&hubs[1]).expect("grants");
    assert_eq!(
        grants.get(&names[0]).map(|grant| grant.kind),
        Some(Kind::None),
        "it was taken away"
    );
}

#[test]
fn s1_a_group_that_comes_back_has_no_grant_that_was_taken_away() {
    let dir = Dir::new();
    let store = Store::open(&dir.0).expect("opens");
    let (hubs, names) = ([hub("lab")], [group(PRIVILEGED)]);
    store.ensure_builtin(&hubs, &names, &author(1)).expect("made");
    assert_eq!(store.grants(&hubs[0]).expect("grants").len(), 1, "it comes with one");
    store.set_grant((&hubs[0], &names[0]), (Kind::None, None), false, &author(2)).expect("set");
    // Somebody took the name out of the config, deleted the group, and put the name back.
    store.delete(&hubs[0], &names[0], &[], &author(3)).expect("not built in meanwhile");
    store.ensure_builtin(&hubs, &names, &author(4)).expect("made");
    assert_eq!(store.groups(&hubs[0], NOW).expect("groups").len(), 1);
    assert_eq!(store.grants(&hubs[0]).expect("grants"), BTreeMap::new());
}

#[test]
fn s1_what_was_prolonged_while_it_ended_goes_on() {
    let dir = Dir::new();
    let store = Store::open(&dir.0).expect("opens");
    let (lab, staff, ann) = (hub("lab"), group("staff"), user("lab", "ann"));
    store.create(&lab, &staff, &author(1)).expect("created");
    let mut found = Vec::new();
    for ends in [100, 300] {
        store.add(&ann, &staff, Some(Seconds(ends)), &author(2)).expect("added");
        let kind = (Kind::Raw, Some(Seconds(ends)));
        store.set_grant((&lab, &staff), kind, false, &author(2)).expect("set");
        found.extend(store.over(Seconds(200)).expect("read"));
    }
    assert_eq!(found.len(), 2, "both were over when they were found");
    assert_eq!(store.end(&found, &author(200)).expect("ended"), Vec::new());
    let (memberships, grants) = store.standing(&ann).expect("a standing");
    assert_eq!((memberships.len(), grants.len()), (1, 1));
    assert_eq!(store.end(&found, &author(300)).expect("ended").len(), 2);
    let (memberships, grants) = store.standing(&ann).expect("a standing");
    assert_eq!((memberships.len(), grants.len()), (0, 0));
}

#[test]
fn s1_what_has_expired_is_gone_for_good_and_told_once() {
    let dir = Dir::new();
    let store = Store::open(&dir.0).expect("opens");
    let (lab, staff, ann) = (hub("lab"), group("staff"), user("lab", "ann"));
    store.create(&lab, &staff, &author(1000)).expect("created");
    store.add(&ann, &staff, Some(Seconds(1100)), &author(1000)).expect("added");
    let raw = (Kind::Raw, Some(Seconds(1200)));
    store.set_grant((&lab, &staff), raw, false, &author(1000)).expect("set");
    assert_eq!(store.sweep(&author(1099)).expect("swept"), Vec::new());
    let told = store.sweep(&author(1100)).expect("swept");
    assert_eq!(told.iter().map(|told| told.event).collect::<Vec<_>>(), [Event::MemberExpired]);
    assert!(store.members(&lab, &staff, Seconds(0)).expect("members").is_empty(), "for good");
    let told = store.sweep(&author(1300)).expect("swept");
    assert_eq!(
        told.iter().map(|told| (told.event, told.kind)).collect::<Vec<_>>(),
        [(Event::GrantExpired, Some(Kind::Raw))]
    );
    assert!(store.grants(&lab).expect("grants").is_empty());
    assert_eq!(store.sweep(&author(1400)).expect("swept"), Vec::new());
    for until in [0, 1000, 253_402_300_800, u64::MAX] {
        let added = store.add(&ann, &staff, Some(Seconds(until)), &author(1000));
        assert!(matches!(added, Err(StoreError::NoEnd)), "{until}: {added:?}");
    }
}

#[test]
fn s1_every_change_waits_until_the_stream_has_it_and_a_refused_one_leaves_nothing() {
    let dir = Dir::new();
    let (lab, staff, ann) = (hub("lab"), group("staff"), user("lab", "ann"));
    {
        let store = Store::open(&dir.0).expect("opens");
        store.create(&lab, &staff, &author(1)).expect("created");
        store.add(&ann, &staff, None, &author(2)).expect("added");
        for (refused, why) in [
            (store.create(&lab, &staff, &author(3)), "already"),
            (store.create(&lab, &staff, &author(3)), "already"),
            (store.add(&ann, &group("other"), None, &author(3)), "no group \"other\""),
            (store.remove(&user("lab", "ben"), &staff, &author(3)), "ben of hub lab is not in"),
            (store.delete(&hub("hub"), &staff, &[], &author(3)), "no group"),
            (
                store.set_grant((&lab, &group("x")), (Kind::Raw, None), false, &author(3)),
                "no group",
            ),
        ] {
            let error = refused.expect_err(why);
            assert!(error.to_string().contains(why) && error.is_request_s(), "{error}");
        }
        store.remove(&ann, &staff, &author(4)).expect("removed");
    }
    let store = Store::open(&dir.0).expect("opens again");
    let untold = store.untold().expect("untold");
    let seen: Vec<_> = untold.iter().map(|one| (one.number, one.event, one.at.0)).collect();
    let expected =
        [(1, Event::GroupCreated, 1), (2, Event::MemberAdded, 2), (3, Event::MemberRemoved, 4)];
    assert_eq!(seen, expected);
    assert_eq!(
        (untold[1].user.as_deref(), untold[1].by.uid, untold[1].reason.as_str()),
        (Some("ann"), Some(7), "a course")
    );
    store.told(2).expect("forgotten");
    assert_eq!(store.untold().expect("untold").len(), 1);
    store.told(3).expect("forgotten");
    let next = store.add(&ann, &staff, None, &author(5)).expect("added");
    assert_eq!(next.first().map(|one| one.number), Some(4), "no number is given out twice");
}

#[test]
fn s1_a_store_that_others_could_write_is_not_used() {
    let dir = Dir::new();
    drop(Store::open(&dir.0).expect("opens"));
    let file = dir.0.join("access.redb");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&dir.0), mode(&file)), (0o700, 0o600));
    let is_unsafe = |what| {
        let opened = Store::open(&dir.0);
        assert!(
            matches!(opened, Err(StoreError::File(FileError::Unsafe { .. }))),
            "{what}: {opened:?}"
        );
    };
    let set = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("set");
    };
    set(&file, 0o660);
    is_unsafe("a file that a group may write");
    set(&file, 0o600);
    set(&dir.0, 0o777);
    is_unsafe("a directory that all may write");
    set(&dir.0, 0o700);
    drop(Store::open(&dir.0).expect("opens"));
    let elsewhere = dir.0.join("elsewhere");
    fs::rename(&file, &elsewhere).expect("moved");
    symlink(&elsewhere, &file).expect("linked");
    let opened = Store::open(&dir.0);
    assert!(matches!(opened, Err(StoreError::File(FileError::Io { .. }))), "a link: {opened:?}");
    fs::remove_file(&file).expect("removed");
    fs::create_dir(&file).expect("made");
    assert!(Store::open(&dir.0).is_err(), "a directory");
}
