//! OTLP: each record a log record, posted as protobuf over HTTP to a collector (opentelemetry-proto,
//! `docs/specification.md`, "OTLP/HTTP"). What the collector takes is taken; what it asks for later is
//! offered again, so that a record may arrive twice; what it refuses for good is told in a gap, like
//! everything else that a sink lacks.

mod answer;
mod encode;
mod headers;
mod owed;
mod post;
#[cfg(test)]
mod tests;

use std::{
    fs, io,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use hyper::Uri;

pub use self::headers::{Headers, pair};
use self::{answer::Answer, encode::Encoder, owed::Owed, post::Client};
use super::{Refused, Sink};
use crate::audit::{record, stream::Line};

/// Records in one request at most.
const AT_ONCE: usize = 1024;
/// Pauses after a failure grow from this to that.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Longest pause that a collector may ask for.
const LONGEST: Duration = Duration::from_mins(2);
/// Pause before a gap is told again that was refused itself.
const TELL: Duration = Duration::from_secs(30);

/// Where and how to post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The whole address, path included.
    pub endpoint: Uri,
    /// More headers.
    pub headers: Headers,
    /// Longest that a request may take.
    pub timeout: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct Otlp {
    client: Client,
    headers: Headers,
    encoder: Encoder,
    /// Number of the last line that the collector answered for; what comes again is skipped.
    done: u64,
    /// What the collector lacks and has not been told.
    owed: Owed,
    /// When it may be told, if it was refused.
    tell: Option<Instant>,
    /// Until when nothing is posted, and why.
    pause: Option<Pause>,
    /// Lines refused since the last question about it.
    refused: u64,
    /// What the collector said last, unless it took everything.
    refusal: Option<String>,
    /// Its last warning.
    warning: Option<String>,
}

#[derive(Debug)]
struct Pause {
    until: Instant,
    /// How long the next one is, unless the collector has a say.
    next: Duration,
    why: String,
}

/// What became of a request.
enum Sent {
    /// The collector took it.
    Taken,
    /// It took it without so many, and does not say which.
    Without(u64),
    /// It refused it for good.
    Refused,
    /// It wants less at once.
    TooLarge(String),
}

impl Otlp {
    /// Starts what serves its connection; connects when there is something to post.
    pub fn new(settings: Settings) -> io::Result<Self> {
        let Settings { endpoint, headers, timeout } = settings;
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Ok(Self {
            client: Client::new(endpoint, timeout)?,
            headers,
            encoder: Encoder::new(host.trim()),
            done: 0,
            owed: Owed::default(),
            tell: None,
            pause: None,
            refused: 0,
            refusal: None,
            warning: None,
        })
    }

    /// Posts these once. An error: nothing is known to have arrived, and it is to be tried again.
    fn post(&mut self, lines: &[Arc<Line>]) -> io::Result<Sent> {
        let headers = self.headers.read()?;
        let body = self.encoder.request(lines, SystemTime::now());
        let answer = match self.client.post(headers, body) {
            Ok(reply) => answer::read(&reply, SystemTime::now()),
            Err(why) => Answer::Later { after: None, why },
        };
        if !matches!(answer, Answer::Later { .. }) {
            self.pause = None;
        }
        match answer {
            Answer::Taken => {
                self.refusal = None;
                Ok(Sent::Taken)
            }
            Answer::Partly { rejected: 0, why } => {
                self.refusal = None;
                if self.warning.as_ref() != Some(&why) {
                    tracing::warn!(why, "the collector takes the records and warns");
                    self.warning = Some(why);
                }
                Ok(Sent::Taken)
            }
            Answer::Partly { rejected, why } => {
                let sent = lines.len() as u64;
                self.refuse(format!("the collector rejects records: {why}"));
                Ok(if rejected < sent { Sent::Without(rejected) } else { Sent::Refused })
            }
            Answer::Refused { why } => {
                self.refuse(format!("the collector refuses records for good: {why}"));
                Ok(Sent::Refused)
            }
            Answer::TooLarge { why } => Ok(Sent::TooLarge(why)),
            Answer::Later { after, why } => {
                let next = self.pause.take().map_or(PAUSES.0, |pause| pause.next);
                let pause = after.map_or_else(|| jittered(next), |after| after.min(LONGEST));
                let until = Instant::now() + pause;
                let next = (next * 2).min(PAUSES.1);
                self.pause = Some(Pause { until, next, why: why.clone() });
                Err(io::Error::other(why))
            }
        }
    }

    fn refuse(&mut self, why: String) {
        // One line in the log for each time that it begins: a collector may word each refusal anew.
        self.refusal.get_or_insert(why);
    }

    /// The failure that holds until the pause is over.
    fn paused(&self) -> io::Result<()> {
        match &self.pause {
            Some(pause) if Instant::now() < pause.until => Err(io::Error::other(pause.why.clone())),
            _ => Ok(()),
        }
    }

    /// Posts what the collector lacks, if it is time to.
    fn tell(&mut self) -> io::Result<()> {
        if self.owed.is_empty() || self.tell.is_some_and(|tell| Instant::now() < tell) {
            return Ok(());
        }
        let owed = self.owed.lines();
        let (mut rest, mut at_once) = (&*owed, AT_ONCE);
        while let Some((lines, behind)) = rest.split_at_checked(at_once.min(rest.len()))
            && !lines.is_empty()
        {
            match self.post(lines)? {
                Sent::Taken => rest = behind,
                Sent::TooLarge(_) if lines.len() > 1 => at_once = lines.len().div_ceil(2),
                Sent::TooLarge(_) | Sent::Without(_) | Sent::Refused => {
                    // Nothing more is lost: it is still owed.
                    self.tell = Some(Instant::now() + TELL);
                    return Ok(());
                }
            }
        }
        self.owed = Owed::default();
        self.tell = None;
        Ok(())
    }

    /// Posts lines, in as many requests as it takes.
    fn hand_over(&mut self, lines: &[Arc<Line>]) -> io::Result<()> {
        let (mut rest, mut at_once) = (lines, AT_ONCE);
        while let Some((lines, behind)) = rest.split_at_checked(at_once.min(rest.len()))
            && let Some(last) = lines.last()
        {
            match self.post(lines)? {
                Sent::Taken => {}
                Sent::Without(rejected) => self.refused += self.owed.reject(lines, rejected),
                Sent::Refused => self.refused += self.owed.refuse(lines),
                Sent::TooLarge(_) if lines.len() > 1 => {
                    at_once = lines.len().div_ceil(2);
                    continue;
                }
                Sent::TooLarge(why) => {
                    self.refuse(format!("the collector refuses a record for good: {why}"));
                    self.refused += self.owed.refuse(lines);
                }
            }
            self.done = last.seq;
            rest = behind;
        }
        Ok(())
    }
}

impl Sink for Otlp {
    fn name(&self) -> &'static str {
        "otlp"
    }

    fn take(&mut self, lines: &[Arc<Line>]) -> io::Result<()> {
        self.paused()?;
        // First what comes first.
        self.tell()?;
        // What was answered for before an error is offered again.
        let new = lines.partition_point(|line| line.seq <= self.done);
        self.hand_over(lines.get(new..).unwrap_or_default())
    }

    fn refused(&mut self) -> Refused {
        Refused { lines: std::mem::take(&mut self.refused), why: self.refusal.clone() }
    }

    fn settle(&mut self) -> io::Result<()> {
        self.paused()?;
        self.tell()?;
        self.refusal.clone().map_or(Ok(()), |why| Err(io::Error::other(why)))
    }
}

/// Somewhere between half of it and all: many daemons shall not come back at the same moment.
fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or_default();
    pause / 2 + (pause / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// Words of a collector, short enough for a log and without anything that a terminal acts on.
fn plain(text: &str) -> String {
    let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    record::text(&shown.collect::<String>()).trim().to_owned()
}
