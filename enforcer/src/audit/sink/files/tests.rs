use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use enforcer_common::abi::counter::CounterKey;

use super::*;
use crate::audit::{
    queue::Draft,
    record::{Cause, Loss, Subject},
    store::Kind,
    stream::line,
};

/// A directory that goes with its owner.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("enforcer-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn segments(&self) -> usize {
        let names = fs::read_dir(&self.0).expect("directory").map(|entry| entry.expect("entry"));
        names.filter(|entry| entry.file_name().to_string_lossy().starts_with("00")).count()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn counters(map: u32) -> Counters {
    Counters { boot: "this one".to_owned(), map: Some(map) }
}

/// Both ends of what it asks to be recorded.
type Journal = (mpsc::UnboundedSender<Body>, mpsc::UnboundedReceiver<Body>);

fn open(settings: Settings, map: u32, carried: bool) -> (Opened, Journal) {
    let journal = mpsc::unbounded_channel();
    let opened = Files::open(settings, counters(map), carried, &journal.0).expect("opens");
    (opened, journal)
}

/// A record of some of endpoint 7's denials that were lost.
fn loss(seq: u64) -> Arc<Line> {
    let subject = Subject { endpoint: 7, role: "guest".to_owned(), ..Subject::default() };
    let body = Body::Loss(Loss {
        subject,
        hook: "from_guest".to_owned(),
        reason: "policy".to_owned(),
        cause: Cause::Queue,
        count: 3,
    });
    record(seq, body)
}

fn record(seq: u64, body: Body) -> Arc<Line> {
    let account = Account::of(&body);
    let time = "2026-11-22T12:00:00.000000Z".to_owned();
    Arc::new(line(seq, Draft { time, mono_ns: seq, body, account }, &mut Vec::new()))
}

fn accounted(accounts: &Arc<Mutex<Accounts>>) -> u64 {
    let key = CounterKey { owner: 7, reason: 22, hook: 1, reserved: 0 };
    let accounts = accounts.lock().expect("lock");
    accounts.recorded().get(&key).copied().unwrap_or(0)
}

fn intact(dir: &Path) -> bool {
    store::verify(dir, None, &mut |_, _| {}).expect("a store").intact
}

#[test]
fn a1_what_was_written_is_accounted_for_after_any_end() {
    let dir = Dir::new("accounts");
    let settings = || Settings::new(&dir.0);
    let (mut opened, _journal) = open(settings(), 5, false);
    assert_eq!(opened.next, 1);
    opened.files.take(&[loss(1), loss(2)]).expect("taken");
    opened.files.settle().expect("settled");
    // Killed: this one is written and not promised.
    opened.files.take(&[loss(3)]).expect("taken");
    drop(opened);
    let (opened, _journal) = open(settings(), 5, false);
    assert_eq!((opened.next, accounted(&opened.accounts)), (4, 9));
    drop(opened);
    // Carried over to another map it goes on; and from then on under that one.
    let (opened, _journal) = open(settings(), 6, true);
    assert_eq!(accounted(&opened.accounts), 9);
    drop(opened);
    let (opened, _journal) = open(settings(), 6, false);
    assert_eq!(accounted(&opened.accounts), 9);
    drop(opened);
    // Another map counts from zero, whatever the ids in it.
    let (opened, _journal) = open(settings(), 7, false);
    assert_eq!((opened.next, accounted(&opened.accounts)), (4, 0));
    drop(opened);
    let (opened, _journal) = open(settings(), 6, false);
    assert_eq!(accounted(&opened.accounts), 0, "the old numbers came back");
}

#[test]
fn f19_what_is_not_to_be_kept_goes_once_its_record_is_safe() {
    let dir = Dir::new("retention");
    let mut settings = Settings::new(&dir.0);
    (settings.segment_bytes, settings.keep_bytes) = (2_000, Some(8_000));
    let (Opened { mut files, next, .. }, mut journal) = open(settings, 5, false);
    let now = SystemTime::now();
    let long_ago = now - Duration::from_hours(72);
    let mut book = Book::open(&dir.0).expect("opens");
    for (name, used) in [("alice", long_ago), ("ben", now)] {
        book.pseudonym((Kind::User, name), "", None, used);
    }
    book.settle();
    let names = |files: &Files| {
        let book = files.book.as_ref().expect("a book").lock().expect("lock");
        book.rows().iter().map(|row| row.name.clone()).collect::<Vec<_>>()
    };
    files.book = Some(Arc::new(Mutex::new(book)));
    let mut seq = next;
    let mut tell = |files: &mut Files, body: Option<Body>| {
        let line = body.map_or_else(|| loss(seq), |body| record(seq, body));
        seq += 1;
        files.take(&[line]).expect("taken");
    };
    for _ in 0..200 {
        tell(&mut files, None);
        files.settle().expect("settled");
    }
    let before = dir.segments();
    assert_eq!(names(&files), ["alice", "ben"], "nothing is deleted yet");
    // Compression is somebody else's work, and segments wait for it.
    let mut recorded = 0;
    for _ in 0..100 {
        files.retained = Instant::now().checked_sub(2 * RETAIN).expect("a while ago");
        files.settle().expect("settled");
        while let Ok(body) = journal.1.try_recv() {
            assert!(matches!(body, Body::Retention(_)), "{body:?}");
            assert!(intact(&dir.0), "asked for, and not yet recorded");
            tell(&mut files, Some(body));
            recorded += 1;
        }
        thread::sleep(Duration::from_millis(10));
    }
    files.settle().expect("settled");
    assert!(recorded > 3, "{recorded}");
    assert!(dir.segments() < before, "{} of {before} files", dir.segments());
    assert!(intact(&dir.0));
    assert_eq!(names(&files), ["ben"], "no record has the other one");
    assert!(files.recorded.is_empty() && files.condemned.is_empty(), "{files:?}");
}

#[test]
fn a3_the_word_of_an_erasure_stays_until_its_record_is_promised() {
    let dir = Dir::new("erased");
    let settings = Settings { fsync: store::Fsync::Never, ..Settings::new(&dir.0) };
    let (Opened { mut files, next, .. }, _journal) = open(settings, 5, false);
    let mut book = Book::open(&dir.0).expect("opens");
    let now = SystemTime::now();
    let pseudonym = book.pseudonym((Kind::User, "alice"), "", None, now).to_owned();
    let erased = book.erase(&[pseudonym], now).expect("erases").remove(0);
    let book = Arc::new(Mutex::new(book));
    files = files.with_book(Some(Arc::clone(&book)));
    let words = || book.lock().expect("lock").erasures().len();
    files.take(&[record(next, Body::Erased(erased.into()))]).expect("taken");
    files.settle().expect("settled");
    assert_eq!(words(), 1, "the disk may still lose the record");
    files.end().expect("ends");
    assert_eq!(words(), 0);
    assert!(intact(&dir.0));
}

#[test]
fn f14_lines_that_a_disk_may_lose_are_bounded_whatever_the_policy() {
    let dir = Dir::new("bounded");
    let settings = Settings { fsync: store::Fsync::Never, ..Settings::new(&dir.0) };
    let (Opened { mut files, next, .. }, _journal) = open(settings, 5, false);
    let most = MOST_UNPROMISED as u64;
    let mut seq = next;
    while seq <= most {
        let lines: Vec<_> = (seq..seq + 1024).map(loss).collect();
        seq += 1024;
        files.take(&lines).expect("taken");
        files.settle().expect("settled");
        assert!(files.unpromised.len() <= MOST_UNPROMISED, "{}", files.unpromised.len());
    }
    assert!(!files.unpromised.is_empty(), "every batch was promised");
    files.take(&[loss(seq)]).expect("taken");
    files.settle().expect("settled");
    assert_eq!(files.unpromised.len(), 0);
}
