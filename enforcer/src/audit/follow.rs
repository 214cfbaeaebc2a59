//! Followers: whoever connects to the daemon's events socket gets the stream from the number it asks
//! for, out of memory as far back as that reaches, and then as it goes on. Admins only: the file's mode lets in
//! root alone, and whoever connects is judged again.
//!
//! A follower that reads too slowly misses lines, and a `gap` says which. Nobody waits for it.

use std::{
    collections::VecDeque,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{
        Semaphore,
        broadcast::{self, error::RecvError},
    },
    time::{sleep, timeout},
};

use super::{
    sink::Sink,
    stream::{Line, gap},
};

/// Lines that are remembered, and that a follower may lag behind.
const MEMORY: usize = 16_384;
/// Followers at once; further ones wait in the socket's queue.
const AT_ONCE: usize = 16;
/// Longest question, bytes.
const MAX_QUESTION: u64 = 1024;
/// Longest wait for a question.
const ASKED_WITHIN: Duration = Duration::from_secs(10);
/// Longest wait for the question of somebody who gets no record.
const PARTING: Duration = Duration::from_millis(100);
/// A follower that takes nothing for this long is let go.
const STUCK: Duration = Duration::from_mins(1);

/// The path of the events socket.
#[must_use]
pub fn path(run_dir: &Path) -> PathBuf {
    run_dir.join("events.sock")
}

/// Listens there, in a run directory that this daemon holds.
pub fn listen(run_dir: &Path) -> io::Result<UnixListener> {
    let path = path(run_dir);
    // A dead daemon's. The new one gets its name only once its mode is right.
    let new = run_dir.join("events.sock.new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&new)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
    fs::rename(&new, &path)?;
    Ok(listener)
}

/// What a follower asks for: one line of JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wish {
    /// Number of the first record; absent: the oldest in memory.
    pub from: Option<u64>,
    /// Whether to go on when there is nothing more to send.
    pub follow: bool,
}

/// The stream's end that followers hold.
#[derive(Clone, Debug)]
pub struct Followers {
    memory: Arc<Mutex<VecDeque<Arc<Line>>>>,
    live: broadcast::Sender<Arc<Line>>,
}

impl Default for Followers {
    fn default() -> Self {
        Self { memory: Arc::default(), live: broadcast::Sender::new(MEMORY) }
    }
}

/// The sink that feeds them.
#[derive(Debug)]
pub struct Feed(pub Followers);

impl Sink for Feed {
    fn name(&self) -> &'static str {
        "followers"
    }

    fn take(&mut self, lines: &[Arc<Line>]) -> io::Result<()> {
        // Under one lock, so that a new follower misses nothing and gets nothing twice.
        let mut memory = self.0.memory.lock().unwrap_or_else(PoisonError::into_inner);
        for line in lines {
            if memory.len() == MEMORY {
                memory.pop_front();
            }
            memory.push_back(Arc::clone(line));
            // Nobody may be there.
            let _ = self.0.live.send(Arc::clone(line));
        }
        Ok(())
    }

    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Followers {
    /// What is in memory from a number on, and what comes.
    fn subscribe(&self, from: Option<u64>) -> (Vec<Arc<Line>>, broadcast::Receiver<Arc<Line>>) {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let next = memory.back().map_or(1, |line| line.seq + 1);
        // Somebody who is ahead of the stream heard another one: it begins anew for them.
        let from = from.filter(|from| *from <= next).unwrap_or(0);
        let past = memory.iter().filter(|line| line.seq >= from).cloned().collect();
        (past, self.live.subscribe())
    }

    /// What is in memory behind a number, the newest last.
    #[must_use]
    pub fn past(&self, after: u64) -> Vec<Arc<Line>> {
        self.subscribe(after.checked_add(1)).0
    }

    /// Serves followers whom `admits` lets in, until dropped.
    pub async fn serve(self, listener: UnixListener, admits: impl Fn(&UnixStream) -> bool) {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            // The semaphore is never closed.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let followers = admits(&stream).then(|| self.clone());
                    tokio::spawn(async move {
                        // One that goes away is its own business.
                        let _ended = match followers {
                            Some(followers) => followers.attend(stream).await,
                            None => refuse(stream).await,
                        };
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "events socket: connection not accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn attend(&self, stream: UnixStream) -> io::Result<()> {
        let (reader, writer) = stream.into_split();
        let mut follower = Follower { writer, expected: None };
        let mut reader = BufReader::new(reader.take(MAX_QUESTION));
        let mut question = String::new();
        timeout(ASKED_WITHIN, reader.read_line(&mut question)).await??;
        let wish: Wish = match serde_json::from_str(&question) {
            Ok(wish) => wish,
            Err(error) => {
                let answer = serde_json::json!({ "error": format!("not a question: {error}") });
                return follower.write(&answer.to_string()).await;
            }
        };
        follower.expected = wish.from;
        let (past, live) = self.subscribe(wish.from);
        for line in past {
            follower.tell(&line).await?;
        }
        if wish.follow {
            tokio::select! {
                outcome = follower.follow(live) => outcome,
                () = gone(reader.into_inner().into_inner()) => Ok(()),
            }
        } else {
            Ok(())
        }
    }
}

/// Says so to somebody who may not follow.
async fn refuse(stream: UnixStream) -> io::Result<()> {
    let (mut reader, writer) = stream.into_split();
    // With its question unread the answer would be lost with the connection.
    let mut question = Vec::new();
    let asked = (&mut reader).take(MAX_QUESTION);
    let _asked = timeout(PARTING, BufReader::new(asked).read_until(b'\n', &mut question)).await;
    let why = "you are no admin, or your process is not known to be outside of containers";
    let answer = serde_json::json!({ "error": why });
    Follower { writer, expected: None }.write(&answer.to_string()).await
}

/// Ends when the other end of the connection has.
async fn gone(mut reader: OwnedReadHalf) {
    let mut nothing = [0; 64];
    while matches!(reader.read(&mut nothing).await, Ok(length) if length > 0) {}
}

struct Follower {
    writer: OwnedWriteHalf,
    expected: Option<u64>,
}

impl Follower {
    async fn follow(&mut self, mut news: broadcast::Receiver<Arc<Line>>) -> io::Result<()> {
        loop {
            match news.recv().await {
                Ok(line) => self.tell(&line).await?,
                // The next line shows what is missing.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }

    /// Writes a line, and before it a word about those that are missing.
    async fn tell(&mut self, line: &Line) -> io::Result<()> {
        if let Some(expected) = self.expected.filter(|expected| *expected < line.seq) {
            self.write(&gap(expected, line).text).await?;
        }
        self.expected = Some(line.seq + 1);
        self.write(&line.text).await
    }

    async fn write(&mut self, text: &str) -> io::Result<()> {
        let bytes = [text.as_bytes(), b"\n"].concat();
        timeout(STUCK, self.writer.write_all(&bytes)).await?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{
        queue::Account,
        record::{Body, Record},
    };

    fn lines(numbers: std::ops::RangeInclusive<u64>) -> Vec<Arc<Line>> {
        let line = |seq| {
            let text = format!(
                r#"{{"enforcer.v":1,"event.sequence":{seq},"@timestamp":"t","enforcer.monotonic_ns":1,"event.action":"daemon","enforcer.event":"e","service.version":"0","process.pid":1}}"#
            );
            let time = "t".to_owned();
            Arc::new(Line { seq, time, mono_ns: 1, account: Account::Nothing, text })
        };
        numbers.map(line).collect()
    }

    async fn ask(followers: &Followers, question: &str) -> BufReader<UnixStream> {
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        let followers = followers.clone();
        tokio::spawn(async move { followers.attend(theirs).await });
        ours.write_all(question.as_bytes()).await.expect("asked");
        BufReader::new(ours)
    }

    async fn next(reader: &mut BufReader<UnixStream>) -> Option<Record> {
        let mut line = String::new();
        let read = timeout(Duration::from_secs(10), reader.read_line(&mut line));
        read.await.expect("in time").expect("read");
        (!line.is_empty()).then(|| serde_json::from_str(&line).expect(&line))
    }

    #[tokio::test]
    async fn a1_a_follower_goes_on_where_it_was_and_hears_what_is_missing() {
        let followers = Followers::default();
        let mut feed = Feed(followers.clone());
        let many = MEMORY as u64 + 10;
        feed.take(&lines(1..=many)).expect("taken");
        let mut reader = ask(&followers, "{\"from\":5,\"follow\":true}\n").await;
        let first = next(&mut reader).await.expect("a record");
        let Body::Gap(gap) = first.body else { panic!("{first:?}") };
        assert_eq!((gap.from_seq, gap.to_seq, gap.count), (5, 10, 6));
        for seq in 11..=many {
            assert_eq!(next(&mut reader).await.expect("a record").seq, seq);
        }
        feed.take(&lines(many + 1..=many + 3)).expect("taken");
        for seq in many + 1..=many + 3 {
            assert_eq!(next(&mut reader).await.expect("a record").seq, seq);
        }
    }

    #[tokio::test]
    async fn a_reader_of_the_past_gets_it_and_an_end() {
        let followers = Followers::default();
        Feed(followers.clone()).take(&lines(1..=3)).expect("taken");
        let mut reader = ask(&followers, "{}\n").await;
        for seq in 1..=3 {
            assert_eq!(next(&mut reader).await.expect("a record").seq, seq);
        }
        assert_eq!(next(&mut reader).await, None);
        let mut reader = ask(&followers, "{\"from\":-1}\n").await;
        let mut line = String::new();
        reader.read_line(&mut line).await.expect("read");
        assert!(line.contains("error"), "{line}");
    }

    #[tokio::test]
    async fn s17_whoever_is_not_admitted_gets_no_record() {
        let path = std::env::temp_dir().join(format!("enforcer-follow-{}", std::process::id()));
        let listener = UnixListener::bind(&path).expect("bound");
        let followers = Followers::default();
        Feed(followers.clone()).take(&lines(1..=3)).expect("taken");
        // Every other one.
        let strangers = std::sync::atomic::AtomicU32::new(0);
        let admits = move |_: &UnixStream| {
            strangers.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 2 == 1
        };
        let serving = tokio::spawn(followers.serve(listener, admits));
        let connect = async || {
            let mut stream = UnixStream::connect(&path).await.expect("connected");
            stream.write_all(b"{}\n").await.expect("asked");
            let mut text = String::new();
            stream.read_to_string(&mut text).await.expect("read");
            text
        };
        let refused = connect().await;
        assert!(refused.contains("no admin") && !refused.contains("event.sequence"), "{refused}");
        assert_eq!(connect().await.lines().count(), 3);
        serving.abort();
        fs::remove_file(&path).expect("removed");
    }

    #[tokio::test]
    async fn f07_a_follower_that_never_reads_makes_nobody_wait() {
        let followers = Followers::default();
        let mut feed = Feed(followers.clone());
        feed.take(&lines(1..=1)).expect("taken");
        let mut lazy = ask(&followers, "{\"follow\":true}\n").await;
        assert_eq!(next(&mut lazy).await.expect("a record").seq, 1);
        let many = 4 * MEMORY as u64;
        for block in 0..8 {
            let begin = 2 + block * many / 8;
            feed.take(&lines(begin..=begin + many / 8 - 1)).expect("taken");
            tokio::task::yield_now().await;
        }
        let (mut seen, mut missing, mut expected) = (0, 0, 2);
        while expected <= many + 1 {
            let record = next(&mut lazy).await.expect("a record");
            if let Body::Gap(gap) = &record.body {
                assert_eq!(gap.from_seq, expected);
                missing += gap.count;
            } else {
                assert_eq!(record.seq, expected);
                seen += 1;
            }
            expected = record.seq + 1;
        }
        assert_eq!(seen + missing, many);
        assert!(missing > 0, "it missed nothing");
    }
}
