//! A crash at every step of everything that the store does.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    Dir, at, line, line_of, lines,
    mem::{Cut, Fault, Mem},
    report, report_by,
};
use crate::audit::store::{
    Fsync, PublicKey, Recovery, Settings, Store, StoreError,
    disk::Disk as _,
    names::{self, Name},
};

fn settings() -> Settings {
    // A segment with its index has about 3.5 kB: two of four stay.
    Settings { segment_bytes: 1, keep_bytes: Some(9_000), ..Settings::new("") }
}

fn counts(seq: u64) -> Value {
    json!({"written": seq})
}

/// What a writer knows when it dies.
#[derive(Debug, Default)]
struct Known {
    promised: u64,
    key: Option<PublicKey>,
    is_open: bool,
}

/// Everything that a store does, in a row.
fn work(disk: &Mem, known: &mut Known) -> Result<(), StoreError> {
    let (mut store, recovery) =
        Store::open_on(Arc::new(disk.clone()), settings(), at(0), &mut |_| {})?;
    known.key = known.key.or(recovery.new_key);
    known.is_open = true;
    let mut seq = recovery.last_seq;
    for round in 0..4 {
        store.append(&lines(seq + 1..=seq + 3))?;
        seq += 3;
        if store.sync(&counts(seq))? {
            known.promised = seq;
        }
        // Behind the head.
        store.append(&[line(seq + 1)])?;
        seq += 1;
        store.rotate_if_due(at(round), &counts(seq))?;
        known.promised = seq;
        store.wait_for_compression();
    }
    let before = counts(seq);
    store.retain(at(100), &before, &mut |retention| {
        seq += 1;
        let mut fields = serde_json::to_value(retention).expect("JSON");
        fields["event.action"] = json!("retention");
        line_of(seq, fields)
    })?;
    known.promised = seq;
    store.append(&lines(seq + 1..=seq + 2))?;
    store.close(&counts(seq + 2))?;
    known.promised = seq + 2;
    Ok(())
}

fn reopen(disk: &Mem) -> Result<(Store, Recovery, u64), StoreError> {
    let mut behind = 0;
    let mut count = |_: &[u8]| behind += 1;
    let (store, recovery) =
        Store::open_on(Arc::new(disk.clone()), settings(), at(200), &mut count)?;
    Ok((store, recovery, behind))
}

/// Goes on after a crash, and finds everything as it was promised.
fn check(disk: &Mem, known: &Known, what: &str) {
    if known.is_open {
        let dir = Dir::new();
        disk.write_to(&dir.0);
        let before = report(&dir.0);
        assert!(before.intact, "{what}, before recovery: {before:#?}\n{:?}", disk.list());
    }
    let (mut store, recovery, behind) = reopen(disk).expect(what);
    assert_eq!(recovery.tampered, None, "{what}");
    assert_eq!(recovery.recovered, behind, "{what}");
    assert!(recovery.last_seq >= known.promised, "{what}: {recovery:?} {known:?}");
    let written = recovery.counts["written"].as_u64().unwrap_or(0);
    // Records of retention are made after the counts that go with them.
    let uncounted = recovery.last_seq - written - recovery.recovered;
    assert!(uncounted <= 2, "{what}: {recovery:?}");
    let seq = recovery.last_seq;
    store.append(&lines(seq + 1..=seq + 2)).expect(what);
    store.sync(&counts(seq + 2)).expect(what);
    let mut seq = seq + 2;
    store
        .retain(at(300), &counts(seq), &mut |retention| {
            seq += 1;
            let mut fields = serde_json::to_value(retention).expect("JSON");
            fields["event.action"] = json!("retention");
            line_of(seq, fields)
        })
        .expect(what);
    store.wait_for_compression();
    store.close(&counts(seq)).expect(what);
    let dir = Dir::new();
    disk.write_to(&dir.0);
    // A crash while the store was made may have left a key that nobody was told of.
    let report = match known.key.or(recovery.new_key) {
        Some(key) => report_by(&dir.0, key),
        None => report(&dir.0),
    };
    assert!(report.key_given || !known.is_open, "{what}");
    assert!(report.intact && report.torn.is_none(), "{what}: {report:#?}");
    assert_eq!((report.last_seq, report.gaps), (seq, 0), "{what}");
    // One that was made for a rotation that did not take place waits for the next.
    let names = dir.names();
    let kinds: Vec<_> = names.iter().map(|name| names::parse(name)).collect();
    let numbers =
        |kind: fn(u64) -> Name| move |name: &&Name| (0..20).any(|number| **name == kind(number));
    let live = kinds.iter().rfind(numbers(Name::Plain)).copied();
    let Some(Name::Plain(live)) = live else { panic!("{what}: {names:?}") };
    let keys: Vec<_> = kinds.iter().filter(numbers(Name::Key)).collect();
    assert!(
        keys == [&Name::Key(live)] || keys == [&Name::Key(live), &Name::Key(live + 1)],
        "{what}: {names:?}"
    );
}

fn steps() -> u64 {
    let disk = Mem::default();
    work(&disk, &mut Known::default()).expect("nothing fails");
    assert!(disk.list().expect("lists").iter().any(|(name, _)| name == "tombstones.jsonl"));
    disk.steps()
}

#[test]
fn a3_a_crash_at_any_step_loses_nothing_that_was_promised() {
    let steps = steps();
    assert!(steps > 100, "{steps}");
    for step in 1..=steps {
        let disk = Mem::default();
        disk.set(Fault::StopAt(step));
        let mut known = Known::default();
        let _ = work(&disk, &mut known);
        for cut in [Cut::Process, Cut::Power] {
            check(&disk.after(cut), &known, &format!("{cut:?} ends at step {step} of {steps}"));
        }
    }
}

#[test]
fn a3_a_crash_while_a_crash_is_mended_loses_nothing_either() {
    let steps = steps();
    for step in (1..=steps).step_by(3) {
        let disk = Mem::default();
        disk.set(Fault::StopAt(step));
        let mut known = Known::default();
        let _ = work(&disk, &mut known);
        for again in (1..).step_by(2) {
            let second = disk.after(Cut::Process);
            second.set(Fault::StopAt(again));
            let mut later = Known { promised: known.promised, ..Known::default() };
            later.key = known.key;
            if reopen(&second).is_ok() {
                break;
            }
            later.is_open = known.is_open;
            for cut in [Cut::Process, Cut::Power] {
                let what = format!("{cut:?} ends at step {step}, then at step {again}");
                check(&second.after(cut), &later, &what);
            }
        }
    }
}

#[test]
fn f14_a_failure_at_any_step_costs_no_more_than_its_gap() {
    let steps = steps();
    // One step, or some in a row: the first steps of going on fail as well.
    let cases = (1..=steps).flat_map(|step| {
        [(step, 1, None), (step, 1, Some(9_000)), (step, 2, None), (step, 3, None), (step, 7, None)]
    });
    for (step, count, keep_bytes) in cases {
        let disk = Mem::default();
        disk.set(Fault::FailAt(step, count));
        let what = format!("{count} steps from {step} on fail, {keep_bytes:?} are kept");
        let settings = Settings { keep_bytes, ..settings() };
        let opened = (0..20).find_map(|_| {
            let disk = Arc::new(disk.clone());
            Store::open_on(disk, settings.clone(), at(0), &mut |_| {}).ok()
        });
        let (mut store, _) = opened.expect(&what);
        let (mut seq, mut lost, mut untold) = (0, 0, Vec::new());
        for round in 0..5 {
            let _ = store.append(&lines(seq + 1..=seq + 3));
            seq += 3;
            let _ = store.sync(&counts(seq));
            let _ = store.append(&[line(seq + 1)]);
            seq += 1;
            let _ = store.rotate_if_due(at(round), &counts(seq));
            store.wait_for_compression();
            let _ = store.retain(at(100), &counts(seq), &mut |retention| {
                seq += 1;
                let mut fields = serde_json::to_value(retention).expect("JSON");
                fields["event.action"] = json!("retention");
                line_of(seq, fields)
            });
            for _ in 0..20 {
                if let Ok(Some(gap)) = store.retry(at(round), &counts(seq)) {
                    seq += 1;
                    let mut fields = serde_json::to_value(gap).expect("JSON");
                    fields["event.action"] = json!("gap");
                    if store.append(&[line_of(seq, fields)]).is_ok() {
                        lost += gap.to_seq - gap.from_seq + 1;
                        break;
                    }
                    // Its own record is missing as well, and the next gap begins with it.
                    untold.push((gap.from_seq, gap.to_seq));
                }
            }
            for (from_seq, to_seq) in std::mem::take(&mut untold) {
                lost += to_seq - from_seq + 1;
                seq += 1;
                let fields = json!({"event.action": "gap", "enforcer.from_seq": from_seq, "enforcer.to_seq": to_seq});
                store.append(&[line_of(seq, fields)]).expect(&what);
            }
        }
        if store.close(&counts(seq)).is_err() {
            assert!(disk.steps() < step + count + 2, "{what}: it is over");
            continue;
        }
        let dir = Dir::new();
        disk.write_to(&dir.0);
        let report = report(&dir.0);
        assert!(report.intact && report.torn.is_none(), "{what}: {report:#?}");
        assert_eq!(report.last_seq, seq, "{what}");
        // The gap's record goes with its segment.
        assert!(report.gaps == lost || report.deleted > 0, "{what}: {report:?}");
        assert_eq!(report.deleted > 0, keep_bytes.is_some(), "{what}");
    }
}

#[test]
fn a3_secrets_leave_the_disk_when_their_segment_has_ended() {
    let disk = Mem::default();
    let shared = Arc::new(disk.clone());
    let (mut store, _) = Store::open_on(shared, settings(), at(0), &mut |_| {}).expect("opens");
    let secret = store.live.secret.to_text();
    let secret = secret.trim_end();
    store.append(&lines(1..=3)).expect("appends");
    store.sync(&counts(3)).expect("syncs");
    assert!(disk.ever_has(secret));
    assert!(store.rotate_if_due(at(1), &counts(3)).expect("rotates"));
    assert!(!disk.ever_has(secret), "not even in a file that was removed");
    let next = store.live.secret.to_text();
    assert!(disk.ever_has(next.trim_end()));
}

#[test]
fn only_what_a_sync_promised_outlives_a_power_cut_without_it() {
    let (soon, late) = (Fsync::Interval(Duration::ZERO), Fsync::Interval(Duration::MAX));
    for (fsync, kept) in [(Fsync::Batch, 3), (soon, 3), (late, 0), (Fsync::Never, 0)] {
        let disk = Mem::default();
        let settings = Settings { fsync, ..Settings::new("") };
        let (mut store, _) =
            Store::open_on(Arc::new(disk.clone()), settings, at(0), &mut |_| {}).expect("opens");
        // The first sync names the segment, whatever the policy.
        store.sync(&counts(0)).expect("syncs");
        store.append(&lines(1..=3)).expect("appends");
        assert_eq!(store.sync(&counts(3)).expect("syncs"), kept == 3, "{fsync:?}");
        let lost = disk.after(Cut::Power);
        let (_, recovery, _) = reopen(&lost).expect("opens");
        assert_eq!((recovery.last_seq, recovery.is_clean()), (kept, true), "{fsync:?}");
        let (_, recovery, behind) = reopen(&disk.after(Cut::Process)).expect("opens");
        assert_eq!((recovery.last_seq, behind), (3, 3 - kept), "{fsync:?}");
        assert_eq!(recovery.counts, if kept == 3 { counts(3) } else { counts(0) });
    }
}
