//! The book of names beside a store: found, interrupted, erased.

use std::{fs, sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    Dir, at, line_of,
    mem::{Cut, Fault, Mem},
    open, open_with, report,
};
use crate::audit::store::{Book, Kind, PREFIX, Query, Reveal, Settings, names, query};

const DAY: u64 = 24 * 3600;

fn on(disk: &Mem) -> Book {
    Book::open_on(Arc::new(disk.clone())).expect("opens")
}

/// Alice with a container, and Ben with one.
fn fill(book: &mut Book, seconds: u64) -> Vec<String> {
    let mut pseudonyms = Vec::new();
    for (user, container, id) in
        [("alice", "jupyter-alice", "beef01"), ("ben", "jupyter-ben", "beef02")]
    {
        let user = book.pseudonym((Kind::User, user), "", None, at(seconds)).to_owned();
        let name = (Kind::Container, container);
        let container = book.pseudonym(name, id, Some(&user), at(seconds)).to_owned();
        pseudonyms.extend([user, container]);
    }
    book.settle();
    pseudonyms
}

fn names_of(book: &Book) -> Vec<&str> {
    book.rows().iter().map(|row| row.name.as_str()).collect()
}

fn text(disk: &Mem) -> String {
    let dir = Dir::new();
    disk.write_to(&dir.0);
    fs::read_to_string(dir.file(names::BOOK)).unwrap_or_default()
}

#[test]
fn a_name_keeps_its_pseudonym_over_restarts_and_gets_another_once_it_was_erased() {
    let disk = Mem::default();
    let first = fill(&mut on(&disk), 0);
    assert!(first.iter().all(|pseudonym| pseudonym.len() == 18 && pseudonym.starts_with(PREFIX)));
    let mut book = on(&disk);
    assert_eq!(fill(&mut book, 1), first);
    let erased = book.erase(&[first[0].clone()], at(2)).expect("erases");
    assert_eq!((erased.len(), erased[0].count), (1, 2), "her container goes with her");
    assert_eq!(names_of(&book), ["ben", "jupyter-ben"]);
    assert!(!text(&disk).contains("alice"), "{}", text(&disk));
    assert_eq!(book.erase(&[first[0].clone()], at(2)).expect("nothing to do"), []);
    let again = fill(&mut book, 3);
    assert_eq!(again[2..], first[2..]);
    assert!(!first.contains(&again[0]) && !first.contains(&again[1]), "{again:?}");
    // The word of the erasure stays until its record is kept.
    let mut book = on(&disk);
    assert_eq!(book.erasures(), &erased[..]);
    book.told(&[erased[0].id()]);
    assert_eq!((on(&disk).erasures().len(), names_of(&on(&disk)).len()), (0, 4));
}

#[test]
fn one_name_of_two_users_or_containers_has_two_pseudonyms() {
    let mut book = Book::unkept().expect("random");
    let mut of = |kind, name, scope| book.pseudonym((kind, name), scope, None, at(0)).to_owned();
    let all = [
        of(Kind::User, "gpu", ""),
        of(Kind::Server, "gpu", "p-1"),
        of(Kind::Server, "gpu", "p-2"),
        of(Kind::Container, "gpu", "beef01"),
        of(Kind::Container, "gpu", "beef02"),
    ];
    for (place, one) in all.iter().enumerate() {
        assert!(!all[..place].contains(one), "{all:?}");
    }
    assert_eq!(of(Kind::Server, "gpu", "p-1"), all[1]);
}

/// Whatever step the process or the power stops at: a pseudonym that was settled has its name, or was
/// erased as a whole.
#[test]
fn an_interrupted_write_loses_no_name_that_was_settled_and_brings_none_back() {
    for cut in [Cut::Process, Cut::Power] {
        for step in 1.. {
            let disk = Mem::default();
            let mut book = on(&disk);
            disk.set(Fault::StopAt(disk.steps() + step));
            let settled = fill(&mut book, 0);
            let was_settled = book.problem().is_none();
            let erased = book.erase(&settled[..1], at(1)).is_ok();
            let after = disk.after(cut);
            let mut found = on(&after);
            let names = names_of(&found);
            if erased {
                assert_eq!(names, ["ben", "jupyter-ben"], "{cut:?} {step}");
                assert_eq!(found.erasures().len(), 1);
                assert!(!text(&after).contains("alice"));
            } else if was_settled {
                assert!(
                    names.len() == 4 || found.erasures().len() == 1,
                    "{cut:?} {step}: {names:?}"
                );
                assert!(names.contains(&"ben") && names.contains(&"jupyter-ben"));
            }
            // It goes on, and what nobody has used may get another pseudonym.
            let again = fill(&mut found, 2);
            assert_eq!(names_of(&on(&after)).len(), 4, "{cut:?} {step}");
            assert!(!was_settled || again[2..] == settled[2..], "{cut:?} {step}");
            if erased {
                break;
            }
        }
    }
}

#[test]
fn a_disk_that_is_full_or_fails_for_a_while_costs_no_name() {
    for fault in [Fault::Full(0), Fault::ReadOnly, Fault::LoseOnSync] {
        let disk = Mem::default();
        let mut book = on(&disk);
        let fault = if fault == Fault::Full(0) { Fault::Full(disk.used() + 20) } else { fault };
        disk.set(fault);
        let given = fill(&mut book, 0);
        assert!(book.problem().is_some(), "{fault:?}");
        let error = book.erase(&given[..1], at(0));
        // A disk that fails once is well again.
        assert_eq!(error.is_ok(), fault == Fault::LoseOnSync, "{fault:?}");
        disk.set(Fault::None);
        std::thread::sleep(Duration::from_millis(1100));
        book.settle();
        let found = on(&disk);
        assert_eq!(found.rows().len(), if error.is_ok() { 2 } else { 4 }, "{fault:?}");
    }
}

#[test]
fn what_is_not_understood_is_neither_dropped_nor_rewritten() {
    let dir = Dir::new();
    let mut book = Book::lock(&dir.0).expect("opens");
    fill(&mut book, 0);
    assert!(Book::lock(&dir.0).is_err(), "somebody writes there");
    drop(book);
    let good = fs::read(dir.file(names::BOOK)).expect("reads");
    let mut bad = b"{\"is\":\"something\",\"name\":\"alice\"}\n".to_vec();
    bad.extend(&good);
    fs::write(dir.file(names::BOOK), &bad).expect("writes");
    let error = Book::lock(&dir.0).expect_err("a strange line");
    assert_eq!(error.to_string(), "names.jsonl:1 is not understood");
    assert_eq!(fs::read(dir.file(names::BOOK)).expect("reads"), bad);
    // Half a line is what a crash leaves.
    fs::write(dir.file(names::BOOK), &good[..good.len() - 5]).expect("writes");
    assert_eq!(Book::lock(&dir.0).expect("opens").rows().len(), 3);
    let mode = std::os::unix::fs::PermissionsExt::mode;
    for name in [names::BOOK, names::BOOK_KEY] {
        let metadata = fs::metadata(dir.file(name)).expect("there");
        assert_eq!(mode(&metadata.permissions()) & 0o777, 0o600, "{name}");
    }
}

#[test]
fn names_go_with_the_last_record_that_may_have_their_pseudonyms() {
    let disk = Mem::default();
    let mut book = on(&disk);
    fill(&mut book, 0);
    // Ben goes on, for ten days; one use a day is written down.
    let before = disk.steps();
    for hour in 0..240 {
        book.pseudonym((Kind::User, "ben"), "", None, at(hour * 3600));
        book.settle();
    }
    assert!(disk.steps() - before < 9 * 6, "{}", disk.steps() - before);
    book.forget_before(at(DAY - 1));
    assert_eq!(names_of(&book).len(), 4, "a use is written a day late at most");
    let mut book = on(&disk);
    book.forget_before(at(DAY + 1));
    assert_eq!(names_of(&book), ["ben"]);
    assert_eq!(names_of(&on(&disk)), ["ben"]);
    assert!(!text(&disk).contains("alice"));
}

/// The promise as a whole: records have pseudonyms, a reader gets names, and after the erasure no byte of
/// the name is anywhere, and every line is as it was.
#[test]
fn a3_an_erasure_leaves_the_chain_as_it_is_and_no_byte_of_the_name() {
    let dir = Dir::new();
    let settings = Settings { segment_bytes: 1, ..Settings::new(&dir.0) };
    let (mut store, _) = open_with(settings);
    let mut book = Book::open(&dir.0).expect("the store has the lock");
    let pseudonyms = fill(&mut book, 0);
    for seq in 1..=30u64 {
        let place = if seq % 2 == 0 { 2 } else { 0 };
        let fields = json!({"event.action": "denied", "user.name": pseudonyms[place],
            "container.name": pseudonyms[place + 1], "event.reason": "policy"});
        store.append(&[line_of(seq, fields)]).expect("appends");
        store.sync(&Value::Null).expect("syncs");
        if seq % 10 == 0 {
            store.rotate_if_due(at(seq), &Value::Null).expect("rotates");
        }
    }
    store.wait_for_compression();
    let found = |user: &str| {
        let reveal = Reveal::read(&dir.0).expect("reads");
        let wanted = Query { user: reveal.with_pseudonyms(user), ..Query::default() };
        let mut lines = Vec::new();
        let all = query(&dir.0, &wanted, &mut |line, _| {
            lines.push(String::from_utf8(reveal.line(line).into_owned()).expect("text"));
            true
        });
        all.expect("can be read");
        lines
    };
    let hers = found("alice");
    assert_eq!(hers.len(), 15);
    assert!(hers.iter().all(|line| line.contains(r#""user.name":"alice","#)), "{}", hers[0]);
    assert!(hers.iter().all(|line| line.contains(r#""container.name":"jupyter-alice","#)));
    assert!(!has_anywhere(&dir, "alice", names::BOOK) && has_anywhere(&dir, "alice", ""));

    book.erase(&pseudonyms[..1], at(40)).expect("erases");
    drop((book, store));
    assert!(!has_anywhere(&dir, "alice", ""));
    assert!(report(&dir.0).intact, "{:?}", report(&dir.0).problems);
    assert_eq!(
        (found("alice").len(), found(&pseudonyms[0]).len(), found("ben").len()),
        (0, 15, 15)
    );
}

/// Whether a file, other than `but`, has a text, also when expanded.
fn has_anywhere(dir: &Dir, text: &str, but: &str) -> bool {
    let has = |bytes: &[u8]| memchr::memmem::find(bytes, text.as_bytes()).is_some();
    dir.names().iter().filter(|name| *name != but).any(|name| {
        let bytes = fs::read(dir.file(name)).expect("reads");
        let mut expanded = Vec::new();
        if name.contains(".gz") {
            let mut reader = flate2::read::MultiGzDecoder::new(&bytes[..]);
            std::io::Read::read_to_end(&mut reader, &mut expanded).expect("expands");
            assert!(!expanded.is_empty());
        }
        has(&bytes) || has(&expanded)
    })
}

#[test]
fn a_reader_puts_names_into_lines_and_leaves_the_rest() {
    let dir = Dir::new();
    let (store, _) = open(&dir);
    let mut book = Book::open(&dir.0).expect("opens");
    let odd = book.pseudonym((Kind::User, "a \"b\"\n"), "", None, at(0)).to_owned();
    book.settle();
    let reveal = Reveal::read(&dir.0).expect("reads");
    for (line, expected) in [
        (format!(r#"{{"user.name":"{odd}"}}"#), r#"{"user.name":"a \"b\"\n"}"#.to_owned()),
        (format!(r#"{{"a":"/home/{odd}/x-p-"}}"#), r#"{"a":"/home/a \"b\"\n/x-p-"}"#.to_owned()),
        (
            r#"{"a":"p-0123456789abcdef p-"}"#.to_owned(),
            r#"{"a":"p-0123456789abcdef p-"}"#.to_owned(),
        ),
    ] {
        assert_eq!(reveal.line(line.as_bytes()), expected.as_bytes(), "{line}");
    }
    drop(store);
}
