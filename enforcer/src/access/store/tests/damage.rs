//! A file that is not what was written: an error, or the very contents. Never fewer, others, or none.

use redb::Durability;

use super::*;
use crate::database::{META, SCHEMA};

/// A store with something in it, closed.
fn filled(dir: &Dir) {
    let store = Store::open(&dir.0).expect("opens");
    let (lab, staff) = (hub("lab"), group("staff"));
    store.create(&lab, &staff, &author(1)).expect("created");
    for name in 0..50 {
        let user = user("lab", &format!("user-{name}"));
        store.add(&user, &staff, None, &author(2)).expect("added");
    }
    store.set_grant((&lab, &staff), (Kind::Filtered, None), false, &author(3)).expect("set");
    // Who was taken out must not be in it again.
    store.remove(&user("lab", "user-7"), &staff, &author(4)).expect("removed");
}

fn contents(store: &Store) -> Result<String, StoreError> {
    let (lab, staff) = (hub("lab"), group("staff"));
    let members = store.members(&lab, &staff, NOW)?;
    Ok(format!("{:?} {members:?} {:?}", store.groups(&lab, NOW)?, store.grants(&lab)?))
}

#[test]
fn s1_a_damaged_file_gives_nobody_a_grant_and_is_left_as_it_is() {
    let dir = Dir::new();
    filled(&dir);
    let path = dir.0.join("access.redb");
    let good = fs::read(&path).expect("is read");
    let known = contents(&Store::open(&dir.0).expect("opens")).expect("is read");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).expect("fits")
    };
    let used: Vec<usize> = (0..good.len()).filter(|at| good[*at] != 0).collect();
    let (mut refused, rounds) = (0, 250);
    for round in 0..rounds {
        let mut bad = good.clone();
        // Half of them where something is written; some cut off.
        let at = if round % 2 == 0 { used[random(used.len())] } else { random(good.len()) };
        if round % 10 == 9 {
            bad.truncate(at);
        } else {
            bad[at] ^= 1 << random(8);
        }
        fs::write(&path, &bad).expect("written");
        match Store::open(&dir.0).and_then(|store| contents(&store)) {
            Ok(found) => assert_eq!(found, known, "round {round}, byte {at}"),
            Err(error) => {
                let told = error.to_string();
                let is_clear = told.contains("damaged") || told.contains("newer");
                assert!(is_clear, "round {round}, byte {at}: {error:?}");
                refused += 1;
            }
        }
    }
    assert!(refused > rounds / 4, "only {refused} of {rounds} were found");
}

#[test]
fn s1_an_empty_or_foreign_file_is_never_taken_for_a_new_store() {
    let dir = Dir::new();
    filled(&dir);
    let path = dir.0.join("access.redb");
    for text in ["", "SQLite format 3\0", &"x".repeat(100_000)] {
        fs::write(&path, text).expect("written");
        let opened = Store::open(&dir.0);
        assert!(matches!(opened, Err(StoreError::File(FileError::Damaged { .. }))), "{opened:?}");
        assert_eq!(fs::read_to_string(&path).expect("is read"), text, "it is left as it is");
    }
}

#[test]
fn s1_a_store_of_a_newer_version_is_refused() {
    let dir = Dir::new();
    filled(&dir);
    let path = dir.0.join("access.redb");
    {
        let database = Database::open(&path).expect("opens");
        let mut transaction = database.begin_write().expect("begins");
        transaction.set_durability(Durability::Immediate).expect("set");
        transaction.open_table(META).expect("a table").insert(SCHEMA, VERSION + 1).expect("put");
        transaction.commit().expect("committed");
    }
    let opened = Store::open(&dir.0);
    assert!(
        matches!(opened, Err(StoreError::File(FileError::Newer { found, .. })) if found == VERSION + 1),
        "{opened:?}"
    );
}

#[test]
fn s1_a_crash_while_the_file_is_made_leaves_none_and_the_next_start_makes_it() {
    let dir = Dir::new();
    fs::create_dir(&dir.0).expect("made");
    fs::write(dir.0.join("access.redb.new"), "half of it").expect("written");
    let store = Store::open(&dir.0).expect("opens");
    assert!(store.groups(&hub("lab"), NOW).expect("groups").is_empty());
    assert!(!dir.0.join("access.redb.new").exists());
}
