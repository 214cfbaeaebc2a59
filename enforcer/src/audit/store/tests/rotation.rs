//! Segments end, begin, are compressed and deleted.

use std::{fs, io::Read as _, os::unix::fs::PermissionsExt as _, time::Duration};

use flate2::read::MultiGzDecoder;
use serde_json::{Value, json};

use super::{Dir, at, line, line_of, lines, open, open_with, report, report_by, three_segments};
use crate::audit::store::{Settings, Store, StoreError, names, scan::Meta};

fn expand(dir: &Dir, name: &str) -> String {
    let mut text = String::new();
    let file = fs::File::open(dir.file(name)).expect("opens");
    MultiGzDecoder::new(file).read_to_string(&mut text).expect("expands");
    text
}

#[test]
fn a_store_is_made_of_files_that_only_its_owner_reads() {
    let dir = Dir::new();
    let inner = dir.file("audit");
    let settings = Settings::new(&inner);
    let (store, recovery) = Store::open(settings, at(0), &mut |_| {}).expect("opens");
    let mode =
        |path: &std::path::Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&inner), 0o700);
    for entry in fs::read_dir(&inner).expect("directory") {
        let path = entry.expect("entry").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let public = fs::read_to_string(inner.join("audit.pub")).expect("reads");
    assert_eq!(public.trim_end(), recovery.new_key.expect("new").to_string());
    drop(store);
}

#[test]
fn two_writers_are_one_too_many() {
    let dir = Dir::new();
    let (store, _) = open(&dir);
    let error = Store::open(Settings::new(&dir.0), at(0), &mut |_| {}).expect_err("locked");
    assert!(matches!(error, StoreError::InUse(_)), "{error:?}");
    drop(store);
    open(&dir);
}

#[test]
fn f19_rotation_splits_and_loses_no_line() {
    let dir = Dir::new();
    let (mut store, recovery) = open(&dir);
    store.settings.segment_bytes = 20_000;
    for start in (1..=20_000).step_by(50) {
        store.append(&lines(start..=start + 49)).expect("appends");
        store.sync(&Value::Null).expect("syncs");
        store.rotate_if_due(at(0), &Value::Null).expect("rotates");
    }
    store.wait_for_compression();
    store.close(&Value::Null).expect("closes");
    let report = report_by(&dir.0, recovery.new_key.expect("new"));
    assert!(report.intact, "{report:#?}");
    assert!(report.segments > 50, "{report:?}");
    let mut seqs = Vec::new();
    for name in dir.names().iter().filter(|name| name.contains(".jsonl")) {
        let is_packed = matches!(names::parse(name), names::Name::Packed(_));
        let text = if is_packed {
            expand(&dir, name)
        } else {
            fs::read_to_string(dir.file(name)).expect("reads")
        };
        let meta = text.lines().map(|line| serde_json::from_str::<Meta<'_>>(line).expect("JSON"));
        seqs.extend(meta.filter_map(|meta| meta.seq));
    }
    assert!(seqs.iter().copied().eq(1..=20_000));
}

#[test]
fn a_long_segment_is_many_gzip_members_and_has_an_index() {
    let dir = Dir::new();
    let (mut store, _) = open(&dir);
    store.append(&lines(1..=6_000)).expect("appends");
    store.settings.segment_bytes = 1;
    let before = fs::read_to_string(dir.file(&names::plain(1))).expect("reads");
    store.rotate_if_due(at(1), &Value::Null).expect("rotates");
    store.wait_for_compression();
    assert_eq!(
        dir.names(),
        [
            "0000000001.idx",
            "0000000001.jsonl.gz",
            "0000000002.jsonl",
            "0000000002.key",
            "audit.pub",
            "head.json"
        ]
    );
    let text = expand(&dir, &names::packed(1));
    assert!(text.starts_with(&before) && text.lines().count() == 6_002);
    let packed = fs::read(dir.file(&names::packed(1))).expect("reads");
    let index = fs::read(dir.file(&names::index(1))).expect("reads");
    let blocks = crate::audit::store::index::decode(&index, packed.len() as u64).expect("index");
    assert!(blocks.len() > 2, "{}", blocks.len());
    for pair in blocks.windows(2) {
        let from = usize::try_from(pair[1].packed).expect("small");
        let mut line = Vec::new();
        MultiGzDecoder::new(&packed[from..]).read_to_end(&mut line).expect("a member begins here");
        let offset = usize::try_from(pair[1].offset).expect("small");
        assert_eq!(line, text.as_bytes()[offset..]);
        assert_eq!(pair[0].seq.1 + 1, pair[1].seq.0);
    }
}

#[test]
fn a_segment_ends_by_age_also_after_a_restart_but_never_without_a_record() {
    let dir = Dir::new();
    let settings = Settings { segment_age: Duration::from_mins(1), ..Settings::new(&dir.0) };
    let (mut store, _) = open_with(settings.clone());
    assert!(!store.rotate_if_due(at(500), &Value::Null).expect("well"), "it is empty");
    store.append(&[line(1)]).expect("appends");
    assert!(!store.rotate_if_due(at(59), &Value::Null).expect("well"));
    store.close(&Value::Null).expect("closes");
    let (mut store, _) = open_with(settings);
    assert!(store.rotate_if_due(at(60), &Value::Null).expect("rotates"));
    assert!(!store.rotate_if_due(at(60), &Value::Null).expect("well"));
}

#[test]
fn a3_the_chain_goes_on_over_segments_and_restarts() {
    let dir = Dir::new();
    let key = three_segments(&dir);
    let (mut store, recovery) = open(&dir);
    assert!(recovery.is_clean() && recovery.last_seq == 30 && recovery.new_key.is_none());
    assert_eq!(recovery.counts, json!({"written": 0}));
    store.append(&lines(31..=32)).expect("appends");
    store.close(&Value::Null).expect("closes");
    let report = report_by(&dir.0, key);
    assert!(report.intact, "{report:#?}");
    assert_eq!((report.records, report.segments, report.last_seq), (32, 3, 32));
}

#[test]
fn a_torn_line_is_cut_and_told_apart_from_tampering() {
    let dir = Dir::new();
    let (mut store, _) = open(&dir);
    store.append(&lines(1..=3)).expect("appends");
    store.sync(&json!(3)).expect("syncs");
    store.append(&lines(4..=5)).expect("appends");
    drop(store);
    let path = dir.file(&names::plain(1));
    let whole = fs::read(&path).expect("reads");
    // A write that was cut short, and one whose block never got to the disk.
    for tail in [b"{\"v\":1,\"se".as_slice(), &[0; 700], b"{\"v\":1\0\0\0\0\n{\"v\""] {
        fs::write(&path, [whole.as_slice(), tail].concat()).expect("writes");
        let found = report(&dir.0);
        assert!(found.intact, "{found:#?}");
        assert_eq!(found.torn.map(|torn| torn.line), Some(7));
        let mut behind = Vec::new();
        let (store, recovery) =
            Store::open(Settings::new(&dir.0), at(9), &mut |line| behind.push(line.to_vec()))
                .expect("opens");
        assert_eq!(recovery.torn, tail.len() as u64);
        assert_eq!((recovery.recovered, recovery.last_seq), (2, 5));
        assert_eq!((recovery.tampered, recovery.counts), (None, json!(3)));
        assert_eq!(
            behind,
            [&whole.split(|byte| *byte == b'\n').collect::<Vec<_>>()[4..6]].concat()
        );
        drop(store);
        assert_eq!(fs::read(&path).expect("reads"), whole);
    }
}

#[test]
fn a3_what_contradicts_the_head_is_left_and_a_new_segment_says_so() {
    type Edit = fn(&Dir);
    let edits: [(&str, Edit); 6] = [
        ("a changed line", |dir| {
            let path = dir.file(&names::plain(3));
            let text = fs::read_to_string(&path).expect("reads").replace("record 25", "record 52");
            fs::write(path, text).expect("writes");
        }),
        ("a truncated tail", |dir| {
            let path = dir.file(&names::plain(3));
            let text = fs::read_to_string(&path).expect("reads");
            let keep: String = text.split_inclusive('\n').take(5).collect();
            fs::write(path, keep).expect("writes");
        }),
        ("a missing segment", |dir| fs::remove_file(dir.file(&names::plain(3))).expect("there")),
        ("a missing head", |dir| fs::remove_file(dir.file("head.json")).expect("there")),
        ("a changed head", |dir| {
            let path = dir.file("head.json");
            let text =
                fs::read_to_string(&path).expect("reads").replace("\"seq\":30", "\"seq\":29");
            fs::write(path, text).expect("writes");
        }),
        ("a missing key", |dir| fs::remove_file(dir.file(&names::key(3))).expect("there")),
    ];
    for (what, edit) in edits {
        let dir = Dir::new();
        let key = three_segments(&dir);
        edit(&dir);
        let left = fs::read(dir.file(&names::plain(3))).ok();
        let (mut store, recovery) = open(&dir);
        let tampered = recovery.tampered.expect(what);
        assert_eq!(tampered.file, names::plain(3), "{what}: {}", tampered.why);
        store.append(&[line(recovery.last_seq + 1)]).expect(what);
        store.sync(&Value::Null).expect(what);
        store.close(&Value::Null).expect(what);
        assert_eq!(fs::read(dir.file(&names::plain(3))).ok(), left, "{what}");
        let report = report_by(&dir.0, key);
        assert!(!report.intact, "{what}");
        assert!(
            report.problems.iter().all(|problem| !problem.file.starts_with("0000000004")
                || what == "a missing segment"
                || what == "a missing key"),
            "{what}: {report:#?}"
        );
        let (_, recovery) = open(&dir);
        assert!(recovery.is_clean(), "{what}: {recovery:?}");
    }
}

#[test]
fn a3_retention_leaves_tombstones_and_records() {
    let dir = Dir::new();
    let key = three_segments(&dir);
    let settings = Settings { keep_for: Some(Duration::from_secs(10)), ..Settings::new(&dir.0) };
    let (mut store, recovery) = open_with(settings.clone());
    let mut seq = recovery.last_seq;
    let mut told = Vec::new();
    let mut record = |retention: &crate::audit::store::Retention| {
        told.push((retention.segment, retention.because.clone(), retention.last_seq));
        seq += 1;
        let mut fields = serde_json::to_value(retention).expect("JSON");
        fields["event.action"] = json!("retention");
        line_of(seq, fields)
    };
    // The first ended at 1 s, the second at 11 s.
    assert_eq!(store.retain(at(11), &Value::Null, &mut record).expect("keeps"), 0);
    assert_eq!(store.retain(at(12), &Value::Null, &mut record).expect("deletes"), 1);
    store.settings.keep_for = None;
    store.settings.keep_bytes = Some(1);
    assert_eq!(store.retain(at(13), &Value::Null, &mut record).expect("deletes"), 1);
    assert_eq!(store.retain(at(13), &Value::Null, &mut record).expect("the live one stays"), 0);
    assert_eq!(told, [(1, "age".to_owned(), 10), (2, "size".to_owned(), 20)]);
    store.close(&Value::Null).expect("closes");
    assert!(dir.names().iter().all(|name| !name.starts_with("0000000001")), "{:?}", dir.names());
    let found = report_by(&dir.0, key);
    assert!(found.intact, "{found:#?}");
    assert_eq!((found.deleted, found.segments, found.records), (2, 1, 12));

    // Somebody deletes one more, with a tombstone as it should be, but cannot write a record.
    let (mut store, recovery) = open_with(settings);
    store.settings.segment_bytes = 1;
    store.append(&[line(recovery.last_seq + 1)]).expect("appends");
    store.rotate_if_due(at(20), &Value::Null).expect("rotates");
    store.append(&[line(recovery.last_seq + 2)]).expect("appends");
    store.wait_for_compression();
    store.close(&Value::Null).expect("closes");
    assert!(report_by(&dir.0, key).intact);
    let text = expand(&dir, &names::packed(3));
    let end = text.lines().last().expect("an end");
    let tombstones = fs::read_to_string(dir.file("tombstones.jsonl")).expect("reads");
    fs::write(dir.file("tombstones.jsonl"), tombstones + end + "\n").expect("writes");
    assert!(!report_by(&dir.0, key).intact, "a deletion that no record asks for");
    fs::remove_file(dir.file(&names::packed(3))).expect("there");
    fs::remove_file(dir.file(&names::index(3))).expect("there");
    let found = report_by(&dir.0, key);
    assert_eq!(found.problems.len(), 1, "{found:#?}");
    assert_eq!((found.problems[0].file.as_str(), found.problems[0].line), ("tombstones.jsonl", 1));
}
