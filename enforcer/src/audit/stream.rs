//! Audit path 4: the one stream. A thread numbers the records, writes each down once, and hands the
//! line to every sink.

use std::{
    io,
    sync::{Arc, Mutex, mpsc::Receiver},
    thread,
    time::{Duration, SystemTime},
};

use super::{
    conceal::Conceal,
    queue::{Account, Draft, Queue, queue},
    record::{Body, ECS_VERSION, Gap, Record, VERSION},
    sink::{Progress, Running},
};

/// A record with its place in the stream, as every sink gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number.
    pub seq: u64,
    /// When, RFC 3339.
    pub time: String,
    /// When, monotonic ns.
    pub mono_ns: u64,
    /// What it accounts for.
    pub account: Account,
    /// One JSON object, without a line feed.
    pub text: String,
}

/// The sinks' names and how they do.
pub type Sinks = Vec<(&'static str, Arc<Mutex<Progress>>)>;

/// The thread of the stream.
#[derive(Debug)]
pub struct Stream {
    thread: thread::JoinHandle<Vec<Running>>,
    sinks: Sinks,
}

impl Stream {
    /// Starts it; the first record gets the number `first`, and all get pseudonyms by `conceal`.
    pub fn start(sinks: Vec<Running>, first: u64, conceal: Conceal) -> io::Result<(Queue, Self)> {
        let (queue, receiver) = queue();
        let progress = sinks.iter().map(|sink| (sink.name, sink.progress())).collect();
        let thread = thread::Builder::new()
            .name("stream".to_owned())
            .spawn(move || number(&receiver, sinks, first, &conceal))?;
        Ok((queue, Self { thread, sinks: progress }))
    }

    /// How the sinks do.
    #[must_use]
    pub fn sinks(&self) -> Sinks {
        self.sinks.clone()
    }

    /// After the last [`Queue`] is gone: waits until the sinks have taken everything, for so long at
    /// most; the names of those that have not.
    #[must_use]
    pub fn finish(self, patience: Duration) -> Vec<&'static str> {
        // A panic of its own was reported when it happened.
        let sinks = self.thread.join().unwrap_or_default();
        let late = sinks.into_iter().map(|sink| (sink.name, sink.finish(patience)));
        late.filter(|(_, done)| !done).map(|(name, _)| name).collect()
    }
}

fn number(
    receiver: &Receiver<Draft>,
    mut sinks: Vec<Running>,
    first: u64,
    conceal: &Conceal,
) -> Vec<Running> {
    let mut room = Vec::new();
    for (seq, mut draft) in (first..).zip(receiver) {
        conceal.conceal(&mut draft.body, SystemTime::now());
        let line = Arc::new(line(seq, draft, &mut room));
        for sink in &mut sinks {
            sink.offer(&line);
        }
    }
    sinks
}

/// A record at its place, as every sink gets it. `room` is for the writing, and can be used again.
#[must_use]
pub fn line(seq: u64, draft: Draft, room: &mut Vec<u8>) -> Line {
    let Draft { time, mono_ns, mut body, account } = draft;
    let truncated = body.cut();
    let ecs = ECS_VERSION.into();
    let record = Record { v: VERSION, ecs, seq, time, mono_ns, truncated, body };
    room.clear();
    // Strings, numbers and no map with other keys: that cannot fail.
    let _ = serde_json::to_writer(&mut *room, &record);
    // A copy has the room that it needs: as many lines wait in memory as the queues hold.
    let text = str::from_utf8(room).unwrap_or_default().to_owned();
    Line { seq, time: record.time, mono_ns, account, text }
}

/// The record that stands for those from `from` to the one before `next`; it has the last one's
/// number.
#[must_use]
pub fn gap(from: u64, next: &Line) -> Line {
    gap_to(from, next.seq - 1, next)
}

/// The same, up to `to`; its time is that of `next`.
#[must_use]
pub fn gap_to(from: u64, to: u64, next: &Line) -> Line {
    gap_of(from, to, to + 1 - from, next)
}

/// A gap of `count` lines among those from `from` to `to`; its time is that of `at`.
#[must_use]
pub fn gap_of(from: u64, to: u64, count: u64, at: &Line) -> Line {
    let body = Body::Gap(Gap { from_seq: from, to_seq: to, count });
    beside(to, at, body, Account::Nothing)
}

/// A record with a number of one that is missing, at the time of `next`.
#[must_use]
pub fn beside(seq: u64, next: &Line, body: Body, account: Account) -> Line {
    let draft = Draft { time: next.time.clone(), mono_ns: next.mono_ns, body, account };
    line(seq, draft, &mut Vec::new())
}
