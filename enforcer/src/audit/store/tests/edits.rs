//! Somebody edits a store. Every edit is found; a store that nobody edited is intact.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    sync::Arc,
    time::Duration,
};

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Dir, at, line_of, mem::Mem, open_with, report_by, three_segments};
use crate::audit::store::{
    PublicKey, Settings, Store,
    chain::{self, Chain},
    lines::{self, Closing, Own, object},
    names::{self, Name},
    scan,
};

/// How a store came to be.
#[derive(Clone, Debug)]
struct Life {
    /// Records of each segment.
    segments: Vec<usize>,
    /// How many segments retention deletes.
    deleted: usize,
    /// Whether the writer dies with records behind the head, and comes back.
    is_killed: bool,
    /// Whether a gap was recorded.
    has_gap: bool,
}

fn lives() -> impl Strategy<Value = Life> {
    let segments = prop::collection::vec(1..6usize, 1..5);
    (segments, 0..3usize, any::<bool>(), any::<bool>()).prop_map(
        |(segments, deleted, is_killed, has_gap)| {
            let deleted = deleted.min(segments.len() - 1);
            Life { segments, deleted, is_killed, has_gap }
        },
    )
}

/// Writes such a store; returns its key.
fn live(dir: &Dir, life: &Life) -> PublicKey {
    // Not on the disk itself: it would be waited for thousands of times.
    let disk = Mem::default();
    let open = || {
        let settings = Settings { segment_bytes: 1, ..Settings::new("") };
        Store::open_on(Arc::new(disk.clone()), settings, at(0), &mut |_| {}).expect("opens")
    };
    let (mut store, recovery) = open();
    let mut seq = 0;
    for (number, count) in life.segments.iter().enumerate() {
        if number > 0 {
            let now = at(u64::try_from(number).expect("small"));
            assert!(store.rotate_if_due(now, &Value::Null).expect("rotates"));
        }
        for _ in 0..*count {
            seq += 1;
            let text = format!("record {}", seq % 3);
            store
                .append(&[line_of(seq, json!({"event.action": "denied", "text": text}))])
                .expect("well");
        }
        if life.has_gap && number == life.segments.len() / 2 {
            let gap = json!({"event.action": "gap", "enforcer.from_seq": seq + 1, "enforcer.to_seq": seq + 4});
            seq += 5;
            store.append(&[line_of(seq, gap)]).expect("well");
        }
    }
    store.wait_for_compression();
    if life.is_killed {
        store.sync(&Value::Null).expect("syncs");
        seq += 1;
        store.append(&[line_of(seq, json!({"event.action": "denied"}))]).expect("well");
        drop(store);
        let recovery;
        (store, recovery) = open();
        assert_eq!((recovery.last_seq, recovery.recovered), (seq, 1));
    }
    // Segment n + 1 begins at second n.
    store.settings.keep_for = Some(Duration::from_secs(10));
    let now = at(10 + u64::try_from(life.deleted).expect("small")) + Duration::from_micros(1);
    let mut record = |retention: &crate::audit::store::Retention| {
        seq += 1;
        let mut fields = serde_json::to_value(retention).expect("JSON");
        fields["event.action"] = json!("retention");
        line_of(seq, fields)
    };
    let deleted = store.retain(now, &Value::Null, &mut record).expect("deletes");
    assert_eq!(deleted, life.deleted);
    store.close(&Value::Null).expect("closes");
    disk.write_to(&dir.0);
    recovery.new_key.expect("new")
}

/// What of the store counts, by file: compressed files as what they expand to.
fn content(dir: &Dir) -> BTreeMap<String, Vec<u8>> {
    let names = dir.names().into_iter();
    names
        .filter(|name| !matches!(names::parse(name), Name::Index(_) | Name::Key(_)))
        .map(|name| {
            let bytes = fs::read(dir.file(&name)).expect("reads");
            let mut expanded = Vec::new();
            if is_packed(&name) {
                // What cannot be expanded is told from what can by its own bytes.
                if MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut expanded).is_err() {
                    expanded = bytes;
                }
            } else {
                expanded = bytes;
            }
            (name, expanded)
        })
        .collect()
}

fn is_packed(name: &str) -> bool {
    matches!(names::parse(name), Name::Packed(_))
}

fn write(dir: &Dir, name: &str, lines: &[u8]) {
    let bytes = if is_packed(name) {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(lines).expect("compresses");
        encoder.finish().expect("compresses")
    } else {
        lines.to_vec()
    };
    fs::write(dir.file(name), bytes).expect("writes");
}

/// What somebody does.
#[derive(Clone, Debug)]
enum Edit {
    /// Changes a byte of a file as it is on the disk.
    Byte(Index, u8),
    /// Changes a byte of a line.
    Text(Index, u8),
    /// Cuts a file off.
    Truncate(Index),
    DeleteLine(Index),
    RepeatLine(Index),
    SwapLines(Index, Index),
    /// Puts a line of another file in.
    CopyLine(Index, Index, Index),
    /// Puts a line in whose chain fits, and lets the rest of the file follow.
    Forge(Index),
    DeleteFile,
    /// Gives it the name of another segment, or one that there never was.
    RenameFile(u64),
    /// Puts another file in its place.
    ReplaceFile(Index),
}

fn edits() -> impl Strategy<Value = Edit> {
    let index = any::<Index>;
    prop_oneof![
        (index(), 1u8..).prop_map(|(place, xor)| Edit::Byte(place, xor)),
        (index(), 1u8..).prop_map(|(place, xor)| Edit::Text(place, xor)),
        index().prop_map(Edit::Truncate),
        index().prop_map(Edit::DeleteLine),
        index().prop_map(Edit::RepeatLine),
        (index(), index()).prop_map(|(first, second)| Edit::SwapLines(first, second)),
        (index(), index(), index()).prop_map(|(to, file, from)| Edit::CopyLine(to, file, from)),
        index().prop_map(Edit::Forge),
        Just(Edit::DeleteFile),
        (1..8u64).prop_map(Edit::RenameFile),
        index().prop_map(Edit::ReplaceFile),
    ]
}

fn edit(dir: &Dir, file: Index, edit: &Edit) {
    let all = content(dir);
    let names: Vec<_> = all.keys().cloned().collect();
    let name = file.get(&names).as_str();
    let mut split: Vec<Vec<u8>> =
        all[name].split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let change = |bytes: &mut Vec<u8>, place: &Index, xor: u8| {
        if !bytes.is_empty() {
            let place = place.index(bytes.len());
            bytes[place] ^= xor;
        }
    };
    match edit {
        Edit::Byte(place, xor) => {
            let mut bytes = fs::read(dir.file(name)).expect("reads");
            change(&mut bytes, place, *xor);
            fs::write(dir.file(name), bytes).expect("writes");
            return;
        }
        Edit::Truncate(place) => {
            let bytes = fs::read(dir.file(name)).expect("reads");
            fs::write(dir.file(name), &bytes[..place.index(bytes.len() + 1)]).expect("writes");
            return;
        }
        Edit::DeleteFile => return fs::remove_file(dir.file(name)).expect("there"),
        Edit::RenameFile(segment) => {
            let to = if is_packed(name) { names::packed(*segment) } else { names::plain(*segment) };
            return fs::rename(dir.file(name), dir.file(&to)).expect("renames");
        }
        Edit::ReplaceFile(other) => {
            let bytes = fs::read(dir.file(other.get::<String>(&names))).expect("reads");
            return fs::write(dir.file(name), bytes).expect("writes");
        }
        Edit::Text(place, xor) => {
            let mut bytes = split.concat();
            change(&mut bytes, place, *xor);
            split = vec![bytes];
        }
        Edit::DeleteLine(place) => drop(split.remove(place.index(split.len()))),
        Edit::RepeatLine(place) => {
            let place = place.index(split.len());
            split.insert(place, split[place].clone());
        }
        Edit::SwapLines(first, second) => {
            let length = split.len();
            split.swap(first.index(length), second.index(length));
        }
        Edit::CopyLine(to, file, from) => {
            let other = &all[file.get(&names)];
            let lines: Vec<_> = other.split_inclusive(|byte| *byte == b'\n').collect();
            split.insert(to.index(split.len() + 1), from.get(&lines).to_vec());
        }
        Edit::Forge(place) => {
            let Some(Own::Start(start)) = lines::own(split[0].trim_ascii_end()) else {
                return;
            };
            let mut bodies: Vec<_> = split
                .iter()
                .map(|line| chain::body(line.trim_ascii_end()).expect("ours"))
                .collect();
            let place = place.index(bodies.len());
            bodies.insert(
                place + 1,
                br#"{"enforcer.v":1,"event.action":"forged","event.sequence":1}"#.to_vec(),
            );
            split = vec![chained(start.before, &bodies).0];
        }
    }
    write(dir, name, &split.concat());
}

/// Lines as a store that goes on from `before` would have them.
fn chained(before: Chain, bodies: &[Vec<u8>]) -> (Vec<u8>, Chain) {
    let mut bytes = Vec::new();
    let chain = bodies.iter().fold(before, |chain, body| chain.splice(body, &mut bytes));
    (bytes, chain)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a3_every_edit_is_found_and_no_other_store_is_accused(
        life in lives(), file in any::<Index>(), what in edits()
    ) {
        let dir = Dir::new();
        let key = live(&dir, &life);
        let untouched = report_by(&dir.0, key);
        prop_assert!(untouched.intact && untouched.torn.is_none(), "{:#?}", untouched);
        let before = content(&dir);
        edit(&dir, file, &what);
        if content(&dir) != before {
            let found = report_by(&dir.0, key);
            prop_assert!(!found.intact, "{:?}\n{:#?}", dir.names(), found);
            let problems = &found.problems;
            prop_assert!(problems.iter().all(|problem| !problem.what.is_empty()));
        }
    }
}

/// The end of a segment is no secret: whoever may write can make a tombstone of it.
#[test]
fn a3_a_tombstone_of_somebody_else_deletes_nothing_and_is_found() {
    let dir = Dir::new();
    let key = three_segments(&dir);
    let first = content(&dir)[&names::packed(1)].clone();
    let end = first.split_inclusive(|byte| *byte == b'\n').next_back().expect("an end");
    fs::write(dir.file(names::TOMBSTONES), end).expect("written");
    let found = report_by(&dir.0, key);
    assert_eq!((found.intact, found.problems[0].file.as_str()), (false, names::TOMBSTONES));
    let (mut store, _) = super::open(&dir);
    assert_eq!(store.condemn(Some(at(100))).expect("well"), []);
    // What the settings have deleted goes with its record, and has one tombstone.
    store.settings.keep_for = Some(Duration::from_secs(1));
    let condemned = store.condemn(Some(at(12))).expect("well");
    assert_eq!(condemned.iter().map(|one| one.segment).collect::<Vec<_>>(), [1]);
    assert!(store.bury(2).is_ok_and(|gone| !gone), "an older one is still there");
    assert!(store.bury(1).expect("buried") && store.bury(1).expect("gone already"));
    assert_eq!(fs::read(dir.file(names::TOMBSTONES)).expect("read"), end);
}

#[test]
fn a3_the_line_that_was_changed_is_named() {
    let dir = Dir::new();
    let key = three_segments(&dir);
    for (name, number) in [(names::packed(1), 4), (names::packed(2), 12), (names::plain(3), 2)] {
        let lines = content(&dir)[&name].clone();
        let mut split: Vec<_> =
            lines.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        split[number - 1][10] ^= 1;
        write(&dir, &name, &split.concat());
    }
    let found = report_by(&dir.0, key);
    let places: Vec<_> =
        found.problems.iter().map(|problem| (problem.file.as_str(), problem.line)).collect();
    let expected =
        [("0000000001.jsonl.gz", 4), ("0000000002.jsonl.gz", 12), ("0000000003.jsonl", 2)];
    assert_eq!(places, expected, "{found:#?}");
}

#[test]
fn a3_who_takes_the_live_key_later_cannot_rewrite_what_was_closed() {
    let dir = Dir::new();
    let key = three_segments(&dir);
    let disk = crate::audit::store::disk::Directory::open(&dir.0).expect("opens");
    let stolen = crate::audit::store::keys::load(&disk, 3).expect("reads").expect("a key");
    // Segment 2 without its first record, with an end that is right but for the key; and segment 3
    // and the head made to follow.
    let all = content(&dir);
    let split = |name: &str| -> Vec<Vec<u8>> {
        let lines = all[name].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| chain::body(line).expect("ours")).collect()
    };
    let mut second = split(&names::packed(2));
    let Some((_, end)) = scan::end_of(&disk, 2).expect("reads") else { panic!("an end") };
    let Some(Own::Start(start)) = lines::own(&second[0]) else { panic!("a start") };
    let record =
        br#"{"enforcer.v":1,"event.action":"denied","event.sequence":11,"@timestamp":"t"}"#;
    second.pop();
    second[1] = record.to_vec();
    let (bytes, head) = chained(start.before, &second);
    let sha256 = Some(crate::audit::store::hex::encode(&Sha256::digest(&bytes)));
    let length = u64::try_from(bytes.len()).expect("small");
    let end = Closing { bytes: length, head, sha256, next_key: stolen.public(), ..end };
    second.push(stolen.sign(&object(&Own::End(end))));
    let (bytes, after) = chained(start.before, &second);
    write(&dir, &names::packed(2), &bytes);
    let mut third = split(&names::plain(3));
    let Some(Own::Start(mut start)) = lines::own(&third[0]) else { panic!("a start") };
    start.before = after;
    third[0] = object(&Own::Start(start));
    let (bytes, chain) = chained(after, &third);
    write(&dir, &names::plain(3), &bytes);
    let mut head = lines::Head::parse(&all["head.json"]).expect("a head");
    (head.at.chain, head.at.bytes) = (chain, u64::try_from(bytes.len()).expect("small"));
    fs::write(dir.file("head.json"), head.to_bytes(&stolen)).expect("writes");
    let found = report_by(&dir.0, key);
    assert_eq!(found.problems.len(), 1, "{found:#?}");
    let problem = &found.problems[0];
    assert_eq!((problem.file.as_str(), problem.line), ("0000000002.jsonl.gz", 12), "{found:#?}");
    assert!(problem.what.contains("not signed"), "{problem:?}");
}

#[test]
fn a3_a_store_that_was_made_anew_is_not_the_one_whose_key_was_kept() {
    let dir = Dir::new();
    let key = three_segments(&dir);
    for name in dir.names() {
        fs::remove_file(dir.file(&name)).expect("there");
    }
    three_segments(&dir);
    assert!(super::report(&dir.0).intact, "it vouches for itself");
    let found = report_by(&dir.0, key);
    assert!(!found.intact && found.problems.iter().any(|at| at.file == "audit.pub"), "{found:#?}");
    let empty = Dir::new();
    let error = crate::audit::store::verify(&empty.0, Some(key), &mut |_, _| {}).expect_err("none");
    assert!(error.to_string().contains("no audit store"), "{error}");
}

#[test]
fn a3_a_store_that_is_written_meanwhile_is_not_accused() {
    let dir = Dir::new();
    let settings = Settings { segment_bytes: 4_000, ..Settings::new(&dir.0) };
    let (mut store, recovery) = open_with(settings);
    let key = recovery.new_key.expect("new");
    let path = dir.0.clone();
    let writer = std::thread::spawn(move || {
        let mut seq = 0;
        while seq < 6_000 {
            let batch: Vec<_> = (seq + 1..=seq + 7).map(super::line).collect();
            seq += 7;
            store.append(&batch).expect("appends");
            store.sync(&Value::Null).expect("syncs");
            store.rotate_if_due(at(seq), &Value::Null).expect("rotates");
        }
        Store::close(store, &Value::Null).expect("closes");
        seq
    });
    let mut looks = 0;
    while !writer.is_finished() {
        let found = report_by(&path, key);
        assert!(found.intact, "{found:#?}");
        looks += 1;
    }
    let seq = writer.join().expect("writes");
    assert!(looks > 3, "{looks}");
    assert_eq!(report_by(&path, key).last_seq, seq);
}
