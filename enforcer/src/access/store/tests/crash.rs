//! A process that writes, and is killed while it does: what it was told is done is there, and never a half.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    time::Duration,
};

use super::*;

/// Where the child finds its directory.
const HERE: &str = "ENFORCER_TEST_ACCESS_DIR";
/// Kills.
const ROUNDS: u64 = 30;

/// What step `number` does, from 1. Six make a group, fill it, and delete every other one again.
fn step(store: &Store, number: u64) -> Result<(), StoreError> {
    let (lab, staff) = (hub("lab"), of(number));
    let author = author(number);
    let (ann, ben) = (user("lab", "ann"), user("lab", "ben"));
    match (number - 1) % 6 {
        0 => store.create(&lab, &staff, &author),
        1 => store.add(&ann, &staff, None, &author),
        2 => store.add(&ben, &staff, None, &author),
        3 => store.set_grant((&lab, &staff), (Kind::Raw, None), false, &author),
        4 => store.remove(&ann, &staff, &author),
        _ if is_deleted(number) => store.delete(&lab, &staff, &[], &author),
        _ => store.remove(&ben, &staff, &author),
    }
    .map(drop)
}

fn of(number: u64) -> GroupName {
    group(&format!("group-{:06}", (number - 1) / 6))
}

const fn is_deleted(number: u64) -> bool {
    ((number - 1) / 6).is_multiple_of(2)
}

/// Groups with members and grant after so many steps.
fn expected(steps: u64) -> Vec<(GroupName, usize, Option<Kind>)> {
    let mut groups = Vec::new();
    for first in (1..=steps).step_by(6) {
        let done = (steps - first + 1).min(6);
        let members = [0, 1, 2, 2, 1, 0][usize::try_from(done - 1).expect("fits")];
        if done < 6 || !is_deleted(first) {
            groups.push((of(first), members, (done >= 4).then_some(Kind::Raw)));
        }
    }
    groups
}

/// Steps that were made.
fn made(store: &Store) -> u64 {
    store.untold().expect("untold").last().map_or(0, |last| last.number)
}

#[test]
#[ignore = "the child of the next test, which kills it"]
fn writes_until_it_is_killed() {
    let dir = std::env::var_os(HERE).expect("the parent says where");
    let store = Store::open(Path::new(&dir)).expect("opens");
    for number in made(&store) + 1.. {
        step(&store, number).expect("a step");
        // On standard error, which tests do not keep back, and in one piece.
        io::stderr().write_all(format!("done {number}\n").as_bytes()).expect("the parent reads");
    }
}

#[test]
fn s1_a_change_that_was_acknowledged_outlives_kill_9_and_none_is_half_there() {
    let dir = Dir::new();
    let mut before = 0;
    for round in 0..ROUNDS {
        let exe = std::env::current_exe().expect("this binary");
        let mut child = Command::new(exe)
            .args(["--exact", "--ignored", "--nocapture"])
            .arg("access::store::tests::crash::writes_until_it_is_killed")
            .env(HERE, &dir.0)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut lines = BufReader::new(child.stderr.take().expect("its output")).lines();
        let first = lines.next().expect("a line").expect("is text");
        assert_eq!(first, format!("done {}", before + 1), "it goes on where the last one was");
        std::thread::sleep(Duration::from_micros(round * 977));
        child.kill().expect("killed");
        child.wait().expect("ended");
        // The last line may be cut off: then nobody was told.
        let told = lines.map_while(Result::ok).filter(|line| line.starts_with("done "));
        let told = told.last().unwrap_or(first);
        let told: u64 = told.trim_start_matches("done ").parse().expect("a number");
        let store = Store::open(&dir.0).expect("opens after a crash");
        let found = made(&store);
        assert!(found == told || found == told + 1, "{told} told, {found} found");
        let groups = store.groups(&hub("lab"), NOW).expect("groups").into_iter();
        let groups: Vec<_> = groups
            .map(|group| (group.name, group.members, group.grant.map(|grant| grant.kind)))
            .collect();
        assert_eq!(groups, expected(found), "after {found} steps");
        before = found;
    }
    assert!(before > ROUNDS, "only {before} changes in all");
}
