//! Resolver: one question from its arrival to its answer, and what is remembered of a client meanwhile.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hickory_proto::op::ResponseCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{
    address::Ranges,
    answer,
    exchange::{Exchange, Verdict},
    judge::{Ruling, judge},
    limit::{Bucket, Limits, Rate, Turn},
    question::{self, MAX_QUESTION, NoQuestion, Question},
    tell::{Asked, Counts, Journal, unread},
};
use crate::{
    config::Dns,
    model::names::{Client, Directory, Leases, Outcome},
};

/// Questions that are being answered at once, of all clients and of one: a package manager asks for dozens.
const IN_FLIGHT: usize = 8192;
const IN_FLIGHT_EACH: usize = 64;
/// Records of one client and outcome.
const RECORDS: Rate = Rate { per_second: 32, burst: 64 };

/// What is remembered of a client while it is in the directory.
pub(super) struct Seen {
    pub(super) limits: Limits,
    records: BTreeMap<Outcome, Bucket>,
    in_flight: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

/// The resolver, whoever hears the questions.
pub struct Resolver {
    pub(super) settings: watch::Receiver<Arc<Dns>>,
    directory: watch::Receiver<Arc<Directory>>,
    pub(super) leases: Arc<dyn Leases>,
    journal: Arc<dyn Journal>,
    counts: Arc<Counts>,
    pub(super) ranges: Ranges,
    begun: Instant,
    in_flight: Arc<Semaphore>,
    seen: Mutex<BTreeMap<u32, Seen>>,
}

/// A question that somebody may ask.
pub(super) struct Admitted {
    pub(super) source: IpAddr,
    pub(super) client: Client,
    pub(super) question: Result<Question, NoQuestion>,
    /// `None`: one too many.
    place: Option<[OwnedSemaphorePermit; 2]>,
}

impl Resolver {
    /// A resolver that was asked nothing yet.
    #[must_use]
    pub fn new(
        settings: watch::Receiver<Arc<Dns>>,
        directory: watch::Receiver<Arc<Directory>>,
        leases: Arc<dyn Leases>,
        journal: Arc<dyn Journal>,
    ) -> Self {
        Self {
            settings,
            directory,
            leases,
            journal,
            counts: Arc::default(),
            ranges: Ranges::default(),
            begun: Instant::now(),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
            seen: Mutex::default(),
        }
    }

    /// What became of questions so far.
    #[must_use]
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Forgets clients that leave the directory, and what was counted under other settings.
    pub async fn forget(&self) {
        let (mut settings, mut directory) = (self.settings.clone(), self.directory.clone());
        loop {
            tokio::select! {
                Ok(()) = settings.changed() => self.lock().clear(),
                Ok(()) = directory.changed() => {
                    let now = Arc::clone(&directory.borrow_and_update());
                    let there: std::collections::BTreeSet<u32> =
                        now.values().map(|client| client.endpoint).collect();
                    self.lock().retain(|endpoint, _| there.contains(endpoint));
                }
                else => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of how many clients something is remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn client(&self, source: IpAddr) -> Option<Client> {
        self.directory.borrow().get(&source.to_canonical()).cloned()
    }

    /// What is remembered of a client; remembers it.
    pub(super) fn with<T>(
        &self,
        endpoint: u32,
        use_it: impl FnOnce(&mut Seen, Duration) -> T,
    ) -> T {
        let now = self.begun.elapsed();
        let mut seen = self.lock();
        let new = || {
            let settings = self.settings.borrow();
            let (per_second, burst) = (settings.queries_per_second, settings.burst);
            let rate = Rate { per_second, burst };
            Seen {
                limits: Limits::new(rate, settings.names_per_10min, now),
                records: BTreeMap::new(),
                in_flight: Arc::new(Semaphore::new(IN_FLIGHT_EACH)),
                connections: Arc::new(Semaphore::new(settings.tcp_connections)),
            }
        };
        use_it(seen.entry(endpoint).or_insert_with(new), now)
    }

    /// A place for a connection of this client's, while it lives.
    pub(super) fn connect(&self, source: IpAddr) -> Option<OwnedSemaphorePermit> {
        let Some(client) = self.client(source) else {
            self.counts.count_stranger();
            return None;
        };
        let endpoint = client.endpoint;
        let place =
            self.with(endpoint, |seen, _| Arc::clone(&seen.connections).try_acquire_owned());
        if place.is_err() {
            self.tell(unread(endpoint, Outcome::RefusedRate));
        }
        place.ok()
    }

    /// A question that is too long to be read at all.
    pub(super) fn too_long(&self, source: IpAddr) {
        if let Some(client) = self.client(source) {
            self.tell(unread(client.endpoint, Outcome::Malformed));
        }
    }

    /// Whether there is to be an answer; reads the question, unless nobody will answer it: a flood costs little. Never
    /// waits.
    pub(super) fn admit(&self, source: IpAddr, bytes: &[u8]) -> Option<Admitted> {
        let Some(client) = self.client(source) else {
            self.counts.count_stranger();
            return None;
        };
        let (turn, own) = self.with(client.endpoint, |seen, now| {
            let turn = seen.limits.question(now);
            let own = Some(Arc::clone(&seen.in_flight)).filter(|_| turn == Turn::Take);
            (turn, own)
        });
        if turn == Turn::Drop {
            self.tell(unread(client.endpoint, Outcome::RefusedRate));
            return None;
        }
        let question = question::read(bytes);
        let place = own.and_then(|own| {
            let own = own.try_acquire_owned().ok()?;
            Some([own, Arc::clone(&self.in_flight).try_acquire_owned().ok()?])
        });
        Some(Admitted { source, client, question, place })
    }

    /// The answer, as long as there is room for; `None`: there is none.
    pub(super) async fn answer(&self, admitted: Admitted, is_stream: bool) -> Option<Vec<u8>> {
        let room = match &admitted.question {
            _ if is_stream => usize::from(u16::MAX),
            Ok(question) => question.head.room.into(),
            Err(_) => MAX_QUESTION,
        };
        let Verdict { message, asked } = self.decide(&admitted).await;
        self.tell(asked);
        answer::encode(&message?, room)
    }

    async fn decide(&self, admitted: &Admitted) -> Verdict {
        let endpoint = admitted.client.endpoint;
        let question = match &admitted.question {
            Ok(question) => question,
            Err(error) => {
                let message = match *error {
                    NoQuestion::Silent => None,
                    NoQuestion::Tell(head, code) => Some(answer::refusal(head, None, code)),
                };
                return Verdict { message, asked: unread(endpoint, Outcome::Malformed) };
            }
        };
        let exchange = Exchange { resolver: self, admitted, question };
        if admitted.place.is_none() {
            return exchange.refuse(Outcome::RefusedRate);
        }
        let policy = &admitted.client.policy;
        match judge(question.name.as_ref(), question.kind, policy, &self.ranges) {
            Ruling::Refuse(outcome) => exchange.refuse(outcome),
            Ruling::NoSuchName => exchange.say(ResponseCode::NXDomain, Outcome::NoSuchName),
            Ruling::Empty(allowed) => {
                let mut verdict = exchange.say(ResponseCode::NoError, Outcome::Answered);
                verdict.asked.rule = Some(allowed.told());
                verdict
            }
            Ruling::Forward(allowed) => exchange.forward(&allowed).await,
        }
    }

    /// Counts a question, and records it unless there are too many of the kind.
    fn tell(&self, asked: Asked) {
        self.counts.count(asked.outcome);
        let now = self.begun.elapsed();
        let may = match self.lock().get_mut(&asked.endpoint) {
            Some(seen) => {
                let bucket = seen.records.entry(asked.outcome);
                bucket.or_insert_with(|| Bucket::new(RECORDS, now)).take(now)
            }
            // It left meanwhile: these are the last, and no more than could be in flight.
            None => true,
        };
        if may {
            self.journal.write(asked);
        } else {
            self.journal.suppress(asked.endpoint, asked.outcome);
        }
    }
}
