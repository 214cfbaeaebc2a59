//! The store as a whole: on real files, and on a disk that fails where a test says.

mod book;
mod collectors;
mod crash;
mod edits;
mod failures;
mod mem;
mod query;
mod rotation;

use std::{
    borrow::Cow,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use super::{Line, PublicKey, Recovery, Report, Settings, Store, time, verify};

/// A directory that goes with the test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("enforcer-store-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("temporary directory");
        Self(path)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("directory");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("entry").file_name().into_string().expect("name"))
            .collect();
        names.sort();
        names
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A moment, so many seconds after the first.
fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn line_of(seq: u64, mut fields: Value) -> Line<'static> {
    let time = time::rfc3339(at(seq));
    fields["enforcer.v"] = json!(1);
    fields["event.sequence"] = json!(seq);
    fields["@timestamp"] = json!(time);
    fields["enforcer.monotonic_ns"] = json!(seq);
    let json = serde_json::to_vec(&fields).expect("JSON");
    Line { seq, time: Cow::Owned(time), json: Cow::Owned(json) }
}

fn line(seq: u64) -> Line<'static> {
    line_of(
        seq,
        json!({"event.action": "denied", "event.reason": "policy", "text": format!("record {seq}\n")}),
    )
}

fn lines(seqs: std::ops::RangeInclusive<u64>) -> Vec<Line<'static>> {
    seqs.map(line).collect()
}

fn open(dir: &Dir) -> (Store, Recovery) {
    open_with(Settings::new(&dir.0))
}

fn open_with(settings: Settings) -> (Store, Recovery) {
    Store::open(settings, at(0), &mut |_| {}).expect("opens")
}

fn report(dir: &Path) -> Report {
    verify(dir, None, &mut |_, _| {}).expect("can be read")
}

fn report_by(dir: &Path, key: PublicKey) -> Report {
    verify(dir, Some(key), &mut |_, _| {}).expect("can be read")
}

/// A store of three segments, the first two compressed, with records 1 to 30.
fn three_segments(dir: &Dir) -> PublicKey {
    let (mut store, recovery) = open(dir);
    store.settings.segment_bytes = 1;
    let counts = json!({"written": 0});
    for start in [1, 11, 21] {
        store.append(&lines(start..=start + 9)).expect("appends");
        store.sync(&counts).expect("syncs");
        if start < 21 {
            assert!(store.rotate_if_due(at(start), &counts).expect("rotates"));
        }
    }
    store.wait_for_compression();
    store.close(&counts).expect("closes");
    recovery.new_key.expect("a new store")
}
