use std::sync::mpsc::{Receiver, sync_channel};

use enforcer_common::abi::counter::CounterKey;

use super::{stdout::Lines, *};
use crate::audit::{
    account::Accounts,
    loss::LossKey,
    queue::Account,
    record::{Body, Cause, Record},
};

fn line(seq: u64) -> Arc<Line> {
    let text = format!(
        r#"{{"enforcer.v":1,"event.sequence":{seq},"@timestamp":"t","enforcer.monotonic_ns":1,"event.action":"daemon","enforcer.event":"e","service.version":"0","process.pid":1}}"#
    );
    Arc::new(Line { seq, time: "t".to_owned(), mono_ns: 1, account: Account::Nothing, text })
}

/// Waits at a gate, fails as often as it is told, and remembers.
struct Slow {
    gate: Receiver<io::Result<()>>,
    taken: Arc<Mutex<Vec<Arc<Line>>>>,
}

impl Sink for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn take(&mut self, lines: &[Arc<Line>]) -> io::Result<()> {
        // A gate that is gone stands open.
        self.gate.recv().unwrap_or(Ok(()))?;
        self.taken.lock().expect("lock").extend(lines.iter().cloned());
        Ok(())
    }

    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Every number from 1 to `last` is there once: as a record, or in a gap.
fn is_complete(lines: &[Arc<Line>], last: u64) -> u64 {
    let (mut next, mut missing) = (1, 0);
    for line in lines {
        let record: Record = serde_json::from_str(&line.text).expect("a record");
        assert_eq!(record.seq, line.seq);
        if let Body::Gap(gap) = record.body {
            assert_eq!((gap.from_seq, gap.to_seq), (next, line.seq));
            assert_eq!(gap.count, line.seq + 1 - next);
            missing += gap.count;
        } else {
            assert_eq!(line.seq, next);
        }
        next = line.seq + 1;
    }
    assert_eq!(next, last + 1);
    missing
}

#[test]
fn a1_f14_a_stuck_sink_makes_nobody_wait_and_says_what_it_missed() {
    const LINES: u64 = 3 * QUEUE as u64;
    let (open, gate) = sync_channel(0);
    let (taken, quick) = (Arc::default(), Arc::default());
    let mut slow = Running::start(Slow { gate, taken: Arc::clone(&taken) }).expect("thread");
    let always = Slow { gate: sync_channel(0).1, taken: Arc::clone(&quick) };
    let mut other = Running::start(always).expect("thread");
    for seq in 1..LINES {
        slow.offer(&line(seq));
        other.offer(&line(seq));
        if seq % 1000 == 0 {
            // The other one keeps up: its queue never fills.
            thread::sleep(Duration::from_millis(2));
        }
    }
    assert!(other.finish(Duration::from_secs(10)));
    assert_eq!(is_complete(&quick.lock().expect("lock"), LINES - 1), 0);
    assert_eq!(taken.lock().expect("lock").len(), 0);

    drop(open);
    let progress = slow.progress();
    while lock(&progress).taken < QUEUE as u64 {
        thread::sleep(Duration::from_millis(1));
    }
    // The next one shows what is missing.
    slow.offer(&line(LINES));
    assert!(slow.finish(Duration::from_secs(10)));
    let missing = is_complete(&taken.lock().expect("lock"), LINES);
    assert!(missing >= LINES - 2 * QUEUE as u64, "{missing}");
    assert_eq!(lock(&progress).missed, missing);
}

#[test]
fn a1_f14_what_a_stuck_sink_missed_last_is_told_before_anything_else_happens() {
    const LINES: u64 = 2 * QUEUE as u64;
    let (open, gate) = sync_channel(0);
    let taken = Arc::default();
    let mut slow = Running::start(Slow { gate, taken: Arc::clone(&taken) }).expect("thread");
    for seq in 1..=LINES {
        slow.offer(&line(seq));
    }
    let progress = slow.progress();
    drop(open);
    let begun = Instant::now();
    let is_told = |progress: &Progress| progress.taken + progress.missed == LINES;
    while !is_told(&lock(&progress)) && begun.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(1));
    }
    let missing = is_complete(&taken.lock().expect("lock"), LINES);
    assert!(missing > 0, "it missed nothing");
    let told = lock(&progress).clone();
    assert_eq!((told.seq, told.taken + told.missed, told.missed), (LINES, LINES, missing));
    // Once.
    slow.offer(&line(LINES + 1));
    assert!(slow.finish(Duration::from_secs(10)));
    assert_eq!(is_complete(&taken.lock().expect("lock"), LINES + 1), missing);
}

#[test]
fn f14_what_a_failing_sink_did_not_take_is_offered_again() {
    let (open, gate) = sync_channel(3);
    let taken = Arc::default();
    for _ in 0..2 {
        open.send(Err(io::Error::from_raw_os_error(libc::ENOSPC))).expect("room");
    }
    let mut sink = Running::start(Slow { gate, taken: Arc::clone(&taken) }).expect("thread");
    let progress = sink.progress();
    for seq in 1..=5 {
        sink.offer(&line(seq));
    }
    while lock(&progress).failing.is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    drop(open);
    assert!(sink.finish(Duration::from_secs(10)));
    assert_eq!(is_complete(&taken.lock().expect("lock"), 5), 0);
    let progress = lock(&progress).clone();
    assert_eq!(progress, Progress { seq: 5, taken: 5, ..Progress::default() });
}

#[test]
fn a_daemon_that_ends_does_not_wait_for_a_sink_that_never_takes() {
    let (_shut, gate) = sync_channel(0);
    let taken = Arc::default();
    let mut sink = Running::start(Slow { gate, taken: Arc::clone(&taken) }).expect("thread");
    sink.offer(&line(1));
    assert!(!sink.finish(Duration::from_millis(20)));
    assert_eq!(taken.lock().expect("lock").len(), 0);
}

/// Takes a few bytes at a time, and none while it is full.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

impl io::Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut disk = self.0.lock().expect("lock");
        let length = bytes.len().min(7).min(disk.1);
        if length == 0 {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        disk.1 -= length;
        disk.0.extend(bytes.get(..length).unwrap_or_default());
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn f14_a_full_disk_leaves_no_half_line_once_there_is_room() {
    let disk = Disk::default();
    let mut sink = Lines::new("file", disk.clone());
    disk.0.lock().expect("lock").1 = 50;
    assert!(sink.take(&[line(1)]).is_ok(), "it is taken, and not all of it is written");
    assert!(sink.settle().is_err());
    assert!(sink.take(&[line(2)]).is_err(), "nothing more is taken");
    disk.0.lock().expect("lock").1 = 10_000;
    assert!(sink.take(&[line(2), line(3)]).is_ok());
    assert!(sink.settle().is_ok());
    let text = String::from_utf8(disk.0.lock().expect("lock").0.clone()).expect("text");
    let wanted: Vec<String> = (1..=3).map(|seq| line(seq).text.clone()).collect();
    assert!(text.ends_with('\n') && text.lines().eq(wanted), "{text}");
}

#[test]
fn a1_what_a_stuck_sink_missed_is_told_of_each_whose_it_was() {
    const LINES: u64 = 2 * QUEUE as u64;
    let counter = |owner| CounterKey { owner, reason: 22, hook: 1, reserved: 0 };
    let about = |seq: u64| match seq % 100 {
        0 => Account::Nothing,
        1 => Account::Loss(LossKey { counter: counter(9), cause: Cause::RateLimit }, 5),
        _ if seq.is_multiple_of(2) => Account::Event(counter(7)),
        _ => Account::Event(counter(8)),
    };
    let (open, gate) = sync_channel(0);
    let taken = Arc::default();
    let mut sink = Running::start(Slow { gate, taken: Arc::clone(&taken) }).expect("thread");
    let mut expected = Accounts::default();
    for seq in 1..=LINES {
        sink.offer(&Arc::new(Line { account: about(seq), ..Line::clone(&line(seq)) }));
        expected.take(&about(seq));
    }
    drop(open);
    let progress = sink.progress();
    while lock(&progress).taken < QUEUE as u64 {
        thread::sleep(Duration::from_millis(1));
    }
    sink.offer(&line(LINES + 1));
    assert!(sink.finish(Duration::from_secs(10)));
    let taken = taken.lock().expect("lock");
    is_complete(&taken, LINES + 1);
    let mut told = Accounts::default();
    for line in taken.iter() {
        told.take(&line.account);
    }
    assert_eq!(told.recorded(), expected.recorded(), "of each counter");
    assert_eq!(told.told_of_kernel(), expected.told_of_kernel());
    assert!((taken.len() as u64) < LINES, "it missed nothing");
}

#[test]
fn f14_a_sink_that_hangs_is_told_apart_from_one_that_is_quick() {
    let since = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds));
    let progress = |busy, failing: Option<&str>| Progress {
        busy,
        failing: failing.map(str::to_owned),
        ..Progress::default()
    };
    // At it since, failing -> what is wrong.
    let cases = [
        (progress(None, None), None),
        (progress(since(1), None), None),
        (progress(since(70), None), Some("it hangs, for 70 s")),
        (progress(since(70), Some("no room")), Some("no room")),
    ];
    for (progress, wanted) in cases {
        assert_eq!(progress.trouble().as_deref(), wanted, "{progress:?}");
    }
    let (open, gate) = sync_channel(0);
    let mut sink = Running::start(Slow { gate, taken: Arc::default() }).expect("thread");
    sink.offer(&line(1));
    let progress = sink.progress();
    while lock(&progress).busy.is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    drop(open);
    assert!(sink.finish(Duration::from_secs(10)));
    assert_eq!(lock(&progress).busy, None);
}
