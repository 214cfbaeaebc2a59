//! Audit path 5: a sink takes the stream's lines on a thread of its own, behind a queue of its own. A
//! sink that is slow or fails makes neither the stream nor another sink wait; what it missed is a
//! record in it once it goes on.

pub mod files;
pub mod journal;
mod missed;
pub mod otlp;
pub mod stdout;

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use self::missed::Missed;
use super::stream::Line;

/// Lines that wait for one sink at most: 8 MiB and more.
const QUEUE: usize = 16_384;
/// Lines that are handed over at once.
const BATCH: usize = 1024;
/// How often a sink is told to make things durable, and how often one that failed is tried again.
const SETTLE: Duration = Duration::from_millis(500);
/// A sink that is at one call for this long hangs: a disk does not answer, or a pipe is not read.
const HANGS: Duration = Duration::from_secs(3);

/// Where lines go.
pub trait Sink: Send + 'static {
    /// Its name in logs and in status.
    fn name(&self) -> &'static str;

    /// Takes these lines. On an error it has taken none of them: they are offered again.
    fn take(&mut self, lines: &[Arc<Line>]) -> io::Result<()>;

    /// What became of lines that it took, since the last call.
    fn refused(&mut self) -> Refused {
        Refused::default()
    }

    /// Called at least every half a second: what was taken is to get where it is safe.
    fn settle(&mut self) -> io::Result<()>;

    /// Called once, when nothing more comes.
    fn end(&mut self) -> io::Result<()> {
        self.settle()
    }
}

/// What a sink took and could not get rid of: whoever is behind it refused it for good. The sink tells
/// it there, as a gap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// How many lines.
    pub lines: u64,
    /// Why, if it still is so.
    pub why: Option<String>,
}

/// How a sink does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Number of the last line it took.
    pub seq: u64,
    /// Lines it took.
    pub taken: u64,
    /// Lines it missed, in all.
    pub missed: u64,
    /// Why it does not go on.
    pub failing: Option<String>,
    /// Since when it is at what it does now.
    pub busy: Option<Instant>,
}

impl Progress {
    /// What is wrong with it: it fails, or it hangs.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let hangs = self.busy.map(|since| since.elapsed()).filter(|since| *since >= HANGS);
        let hangs = hangs.map(|since| format!("it hangs, for {} s", since.as_secs()));
        self.failing.clone().or(hangs)
    }
}

/// A sink at work.
#[derive(Debug)]
pub struct Running {
    /// Its name.
    pub name: &'static str,
    sender: Option<SyncSender<Arc<Line>>>,
    progress: Arc<Mutex<Progress>>,
    hurry: Arc<AtomicBool>,
    missed: Missed,
    /// It missed the line before.
    misses: bool,
    thread: thread::JoinHandle<()>,
}

impl Running {
    /// Starts its thread.
    pub fn start(sink: impl Sink) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE);
        let (progress, hurry) = (Arc::<Mutex<Progress>>::default(), Arc::<AtomicBool>::default());
        let name = sink.name();
        let missed = Missed::default();
        let mut runner = Runner {
            sink,
            progress: Arc::clone(&progress),
            hurry: Arc::clone(&hurry),
            missed: missed.clone(),
            next: None,
        };
        let thread = thread::Builder::new()
            .name(format!("sink-{name}"))
            .spawn(move || runner.run(&receiver))?;
        Ok(Self { name, sender: Some(sender), progress, hurry, missed, misses: false, thread })
    }

    /// Hands over a line, unless its queue is full: then it misses the line. Never waits.
    pub fn offer(&mut self, line: &Arc<Line>) {
        let Some(sender) = &self.sender else { return };
        match sender.try_send(Arc::clone(line)) {
            Ok(()) => self.misses = false,
            Err(TrySendError::Full(line)) => {
                self.missed.add(&line, !self.misses);
                self.misses = true;
            }
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    /// How it does; shared with whoever asks.
    #[must_use]
    pub fn progress(&self) -> Arc<Mutex<Progress>> {
        Arc::clone(&self.progress)
    }

    /// Lets it take what waits, for so long at most; whether it did.
    #[must_use]
    pub fn finish(mut self, patience: Duration) -> bool {
        drop(self.sender.take());
        let until = Instant::now() + patience;
        while !self.thread.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        self.hurry.store(true, Ordering::Relaxed);
        self.thread.is_finished()
    }
}

impl<S: Sink + ?Sized> Sink for Box<S> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn take(&mut self, lines: &[Arc<Line>]) -> io::Result<()> {
        (**self).take(lines)
    }

    fn refused(&mut self) -> Refused {
        (**self).refused()
    }

    fn settle(&mut self) -> io::Result<()> {
        (**self).settle()
    }

    fn end(&mut self) -> io::Result<()> {
        (**self).end()
    }
}

struct Runner<S> {
    sink: S,
    progress: Arc<Mutex<Progress>>,
    hurry: Arc<AtomicBool>,
    missed: Missed,
    next: Option<u64>,
}

impl<S: Sink> Runner<S> {
    fn run(&mut self, receiver: &Receiver<Arc<Line>>) {
        let mut settled = Instant::now();
        loop {
            let first = receiver.recv_timeout(SETTLE);
            let ended = matches!(first, Err(RecvTimeoutError::Disconnected));
            let mut batch: Vec<_> = first.into_iter().collect();
            batch.extend(receiver.try_iter().take(BATCH.saturating_sub(batch.len())));
            if batch.is_empty() {
                self.deliver_rest();
            } else {
                self.deliver(&batch);
            }
            if ended {
                let outcome = self.at_it(Sink::end);
                self.note(outcome.err());
                return;
            }
            if settled.elapsed() >= SETTLE || batch.is_empty() {
                let outcome = self.at_it(Sink::settle);
                self.note(outcome.err());
                settled = Instant::now();
            }
        }
    }

    /// Hands lines over, with a word for those that are missing before each.
    fn deliver(&mut self, lines: &[Arc<Line>]) {
        let mut batch = Vec::with_capacity(lines.len() + 1);
        let mut missed = 0;
        let mut next = self.next;
        for line in lines {
            if let Some(expected) = next.filter(|expected| *expected < line.seq) {
                batch.extend(self.missed.stand_ins(expected, line));
                missed += line.seq - expected;
            }
            next = Some(line.seq + 1);
            batch.push(Arc::clone(line));
        }
        if self.hand_over(&batch, lines.len() as u64, missed) {
            self.next = next;
        }
    }

    /// Hands over a word for those that are missing at the end: nobody knows when a line comes next.
    fn deliver_rest(&mut self) {
        let Some(from) = self.next else { return };
        let Some((batch, last)) = self.missed.rest(from) else { return };
        if self.hand_over(&batch, 0, last + 1 - from) {
            self.next = Some(last + 1);
        }
    }

    /// Does so until they are taken: so many of the stream's own, in place of so many that are missing.
    /// False: the daemon ended before.
    fn hand_over(&mut self, batch: &[Arc<Line>], own: u64, missed: u64) -> bool {
        loop {
            match self.at_it(|sink| sink.take(batch)) {
                Ok(()) => break,
                Err(error) => self.note(Some(error)),
            }
            if self.hurry.load(Ordering::Relaxed) {
                // Nobody waits any longer.
                return false;
            }
            thread::sleep(SETTLE);
        }
        let refused = self.sink.refused();
        let mut progress = lock(&self.progress);
        progress.seq = batch.last().map_or(progress.seq, |line| line.seq);
        progress.taken += own.saturating_sub(refused.lines);
        progress.missed += missed + refused.lines;
        drop(progress);
        self.note(refused.why.map(io::Error::other));
        true
    }

    /// Has the sink do something; whoever asks meanwhile sees since when.
    fn at_it(&mut self, what: impl FnOnce(&mut S) -> io::Result<()>) -> io::Result<()> {
        lock(&self.progress).busy = Some(Instant::now());
        let outcome = what(&mut self.sink);
        lock(&self.progress).busy = None;
        outcome
    }

    fn note(&self, error: Option<io::Error>) {
        let mut progress = lock(&self.progress);
        let failing = error.map(|error| error.to_string());
        if progress.failing != failing {
            let name = self.sink.name();
            if let Some(error) = &failing {
                tracing::error!(sink = name, error, "records are not taken");
            } else {
                tracing::info!(sink = name, "records are taken again");
            }
            progress.failing = failing;
        }
    }
}

fn lock(progress: &Mutex<Progress>) -> std::sync::MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
