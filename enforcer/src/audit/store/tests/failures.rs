//! A disk that is full, read-only or broken for a while.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Dir, at, line, line_of, lines,
    mem::{Fault, Mem},
    report,
};
use crate::audit::store::{Gap, Line, Settings, Store, StoreError};

fn open() -> (Mem, Store) {
    let disk = Mem::default();
    let (store, _) = Store::open_on(Arc::new(disk.clone()), Settings::new(""), at(0), &mut |_| {})
        .expect("opens");
    (disk, store)
}

fn gap(seq: u64, gap: Gap) -> Line<'static> {
    let mut fields = serde_json::to_value(gap).expect("JSON");
    fields["event.action"] = json!("gap");
    line_of(seq, fields)
}

fn verified(disk: &Mem) -> crate::audit::store::Report {
    let dir = Dir::new();
    disk.write_to(&dir.0);
    report(&dir.0)
}

#[test]
fn f14_on_a_full_disk_no_line_is_half_there_and_the_gap_is_known() {
    // Wherever in the batch the disk is full.
    for room in 0..400 {
        let (disk, mut store) = open();
        store.append(&lines(1..=2)).expect("appends");
        store.sync(&Value::Null).expect("syncs");
        disk.set(Fault::Full(disk.used() + room));
        let error = store.append(&lines(3..=5)).expect_err("full");
        assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
        assert!(!store.is_well());
        assert!(matches!(store.append(&[line(6)]), Err(StoreError::Failed)));
        assert!(matches!(store.sync(&Value::Null), Err(StoreError::Failed)));
        let report = verified(&disk);
        assert!(report.intact && report.torn.is_none() && report.last_seq == 2, "{report:?}");
        disk.set(Fault::None);
        let missing = store.retry(at(1), &Value::Null).expect("goes on").expect("a gap");
        assert_eq!(missing, Gap { from_seq: 3, to_seq: 6 });
        store.append(&[gap(7, missing), line(8)]).expect("appends");
        store.close(&Value::Null).expect("closes");
        let report = verified(&disk);
        assert!(report.intact, "{report:?}");
        assert_eq!((report.last_seq, report.gaps, report.records, report.segments), (8, 4, 4, 1));
    }
}

#[test]
fn f14_a_disk_that_is_read_only_for_a_while_costs_only_what_came_meanwhile() {
    let (disk, mut store) = open();
    store.append(&lines(1..=2)).expect("appends");
    disk.set(Fault::ReadOnly);
    store.append(&[line(3)]).expect_err("read-only");
    for _ in 0..3 {
        store.retry(at(1), &Value::Null).expect_err("still read-only");
    }
    disk.set(Fault::None);
    let missing = store.retry(at(2), &Value::Null).expect("goes on");
    assert_eq!(missing, Some(Gap { from_seq: 3, to_seq: 3 }));
    assert_eq!(store.retry(at(2), &Value::Null).expect("well"), None, "told once");
    store.append(&[gap(4, Gap { from_seq: 3, to_seq: 3 })]).expect("appends");
    store.close(&Value::Null).expect("closes");
    let report = verified(&disk);
    assert!(report.intact && report.segments == 1, "{report:?}");
}

#[test]
fn f14_what_a_broken_disk_took_and_lost_is_in_the_gap() {
    let (disk, mut store) = open();
    store.append(&lines(1..=2)).expect("appends");
    store.sync(&Value::Null).expect("syncs");
    store.append(&lines(3..=5)).expect("the kernel takes it");
    disk.set(Fault::LoseOnSync);
    store.sync(&Value::Null).expect_err("and loses it");
    let missing = store.retry(at(1), &Value::Null).expect("goes on").expect("a gap");
    assert_eq!(missing, Gap { from_seq: 3, to_seq: 5 });
    store.append(&[gap(6, missing), line(7)]).expect("appends");
    store.close(&Value::Null).expect("closes");
    let report = verified(&disk);
    assert!(report.intact, "{report:?}");
    assert_eq!((report.last_seq, report.gaps, report.segments), (7, 3, 2));
}

#[test]
fn a3_numbers_that_are_missing_without_a_gap_record_are_found() {
    let (disk, mut store) = open();
    store.append(&[line(1), line(2), line(5)]).expect("appends");
    store.append(&[gap(6, Gap { from_seq: 3, to_seq: 3 })]).expect("appends");
    store.sync(&Value::Null).expect("syncs");
    let report = verified(&disk);
    assert_eq!(report.problems.len(), 1, "{report:?}");
    assert_eq!(
        (report.problems[0].file.as_str(), report.problems[0].line),
        ("0000000001.jsonl", 4)
    );
    store.append(&[gap(7, Gap { from_seq: 4, to_seq: 4 })]).expect("appends");
    store.sync(&Value::Null).expect("syncs");
    let report = verified(&disk);
    assert!(report.intact && report.gaps == 2, "{report:?}");
}

#[test]
fn f16_a_batch_with_a_line_that_is_none_is_refused_whole() {
    let (disk, mut store) = open();
    let raw = |seq, json: &'static [u8]| Line { seq, time: "".into(), json: json.into() };
    for (bad, why) in [
        (raw(3, b"{\"seq\":3}\n{\"seq\":4}"), "a line break"),
        (raw(3, br#"{"kind":"segment_end"}"#), "the store's own"),
        (raw(3, b""), "nothing"),
        (raw(2, br#"{"event.sequence":2}"#), "a number twice"),
    ] {
        let error = store.append(&[line(1), line(2), bad]).expect_err(why);
        assert!(matches!(error, StoreError::Refused { seq: 2 | 3, .. }), "{why}: {error:?}");
        assert!(store.is_well(), "{why}");
    }
    store.append(&[line(1)]).expect("appends");
    store.sync(&Value::Null).expect("syncs");
    assert_eq!(verified(&disk).records, 1);
}
