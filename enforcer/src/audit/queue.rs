//! Audit path 3: the bounded queue between those who have something to tell and the stream. Nobody
//! waits; what does not fit is counted, and the count is published.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
    mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
};

use enforcer_common::abi::{
    counter::{CONNECT_REFUSED, CounterKey, EXEC, FLOW_CLOSED, FLOW_OPENED, SOCKET_REFUSED},
    event::Hook,
};

use super::{
    loss::{LossKey, Losses, query_reason, reason_value},
    record::{Body, Cause},
    store::pseudonym_id,
};
use crate::model::names::Outcome;

/// Records that wait at most.
const QUEUE: usize = 16_384;

/// A record without its place in the stream.
#[derive(Debug)]
pub struct Draft {
    /// When, RFC 3339.
    pub time: String,
    /// When, monotonic ns.
    pub mono_ns: u64,
    /// What.
    pub body: Body,
    /// What it accounts for.
    pub account: Account,
}

/// What a written record accounts for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Account {
    /// Nothing that is counted.
    #[default]
    Nothing,
    /// One event of this counter's.
    Event(CounterKey),
    /// So many that were lost, and why.
    Loss(LossKey, u64),
    /// A segment of the store that is deleted.
    Deletion(u64),
    /// A name that was erased, by [`pseudonym_id`].
    Erasure(u64),
}

impl Account {
    /// What a record accounts for, whoever made it.
    #[must_use]
    pub fn of(body: &Body) -> Self {
        let key = |owner, reason, hook: &str| {
            let hook = Hook::ALL.into_iter().find(|known| known.name() == hook);
            let hook = hook.map_or(0, |hook| hook as u8);
            CounterKey { owner, reason, hook, reserved: 0 }
        };
        match body {
            Body::FlowOpened(traffic) => {
                Self::Event(key(traffic.subject.endpoint, FLOW_OPENED, &traffic.hook))
            }
            Body::Denied(traffic) => {
                let reason = traffic.reason.as_deref().and_then(reason_value);
                reason.map_or(Self::Nothing, |reason| {
                    Self::Event(key(traffic.subject.endpoint, reason, &traffic.hook))
                })
            }
            Body::FlowClosed(closed) => Self::Event(key(closed.subject.endpoint, FLOW_CLOSED, "")),
            Body::Exec(exec) => Self::Event(key(exec.subject.endpoint, EXEC, "")),
            Body::ConnectRefused(refused) => {
                Self::Event(key(refused.subject.endpoint, CONNECT_REFUSED, ""))
            }
            Body::SocketRefused(refused) => {
                Self::Event(key(refused.subject.endpoint, SOCKET_REFUSED, ""))
            }
            Body::DnsQuery(query) => {
                let known = Outcome::ALL.into_iter().find(|known| known.name() == query.outcome);
                known.map_or(Self::Nothing, |outcome| {
                    Self::Event(key(query.subject.endpoint, query_reason(outcome), ""))
                })
            }
            Body::Loss(loss) => reason_value(&loss.reason).map_or(Self::Nothing, |reason| {
                let counter = key(loss.subject.endpoint, reason, &loss.hook);
                Self::Loss(LossKey { counter, cause: loss.cause }, loss.count)
            }),
            Body::Retention(retention) => Self::Deletion(retention.segment),
            Body::Erased(erased) => Self::Erasure(pseudonym_id(&erased.pseudonym)),
            Body::Gap(_)
            | Body::Outside(_)
            | Body::Abuse(_)
            | Body::Allowance(_)
            | Body::Repair(_)
            | Body::Takeover(_)
            | Body::Guest(_)
            | Body::Docker(_)
            | Body::Life(_)
            | Body::Policy(_)
            | Body::Group(_)
            | Body::Grant(_)
            | Body::Gate(_)
            | Body::Config(_)
            | Body::Stored(_)
            | Body::Unseen(_)
            | Body::Daemon(_) => Self::Nothing,
        }
    }
}

/// The entrance to the queue.
#[derive(Clone, Debug)]
pub struct Queue {
    sender: SyncSender<Draft>,
    overflow: Arc<Mutex<Losses>>,
    lost: Lost,
}

/// How many records the daemon lost itself, of all owners that ever were.
#[derive(Clone, Debug, Default)]
pub struct Lost(Arc<AtomicU64>);

impl Lost {
    /// How many by now.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A queue, and where it ends.
#[must_use]
pub fn queue() -> (Queue, Receiver<Draft>) {
    let (sender, receiver) = sync_channel(QUEUE);
    (Queue { sender, overflow: Arc::default(), lost: Lost::default() }, receiver)
}

impl Queue {
    /// Queues a record, or counts it as lost under this key. Never waits.
    pub fn send(&self, draft: Draft, key: LossKey) {
        if !self.try_send(draft) {
            self.count(key);
        }
    }

    /// Queues a record unless the queue is full. Never waits.
    #[must_use]
    pub fn try_send(&self, draft: Draft) -> bool {
        match self.sender.try_send(draft) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    /// Counts a record that will never be written.
    pub fn count(&self, key: LossKey) {
        self.count_many(key, 1);
    }

    /// Counts so many of them.
    pub fn count_many(&self, key: LossKey, count: u64) {
        let mut overflow = self.overflow.lock().unwrap_or_else(PoisonError::into_inner);
        *overflow.entry(key).or_default() += count;
        self.lost.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts an event that is not recorded because there were too many of the kind: it was never on its
    /// way.
    pub fn suppress(&self, counter: CounterKey) {
        let key = LossKey { counter, cause: Cause::RateLimit };
        let mut overflow = self.overflow.lock().unwrap_or_else(PoisonError::into_inner);
        *overflow.entry(key).or_default() += 1;
    }

    /// The sum of all that were ever counted, for whoever must not keep the queue open.
    #[must_use]
    pub fn lost(&self) -> Lost {
        self.lost.clone()
    }

    /// All that were counted, cumulative.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.overflow.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what was counted for an owner.
    pub fn forget(&self, owner: u32) {
        let mut overflow = self.overflow.lock().unwrap_or_else(PoisonError::into_inner);
        overflow.retain(|key, _| key.counter.owner != owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::record::{Daemon, DnsQuery, Subject},
        model::caller::Caller,
    };

    #[test]
    fn a1_questions_that_have_no_record_are_told_as_beyond_the_rate_and_not_as_lost() {
        let (queue, _receiver) = queue();
        let reason = query_reason(Outcome::RefusedName);
        let counter = CounterKey { owner: 7, reason, hook: 0, reserved: 0 };
        for _ in 0..3 {
            queue.suppress(counter);
        }
        let key = LossKey { counter, cause: Cause::RateLimit };
        assert_eq!((queue.losses()[&key], queue.lost().count()), (3, 0));
        let query = DnsQuery {
            subject: Subject { endpoint: 7, ..Subject::default() },
            outcome: Outcome::RefusedName.name().to_owned(),
            ..DnsQuery::default()
        };
        let body = Body::DnsQuery(Box::new(query));
        assert_eq!(Account::of(&body), Account::Event(counter));
    }

    #[test]
    fn a_full_queue_makes_nobody_wait_and_counts() {
        let (queue, receiver) = queue();
        let key = LossKey { counter: CounterKey::default(), cause: Cause::Queue };
        for _ in 0..QUEUE + 7 {
            let daemon = Daemon {
                event: "start".to_owned(),
                version: "0".to_owned(),
                pid: 1,
                by: Caller::default(),
            };
            let draft = Draft {
                time: String::new(),
                mono_ns: 1,
                body: Body::Daemon(daemon),
                account: Account::Nothing,
            };
            queue.send(draft, key);
        }
        assert_eq!(queue.losses()[&key], 7);
        // What an owner lost stays in the sum when the owner is forgotten.
        queue.forget(key.counter.owner);
        assert_eq!((queue.losses().len(), queue.lost().count()), (0, 7));
        assert_eq!(receiver.try_iter().count(), QUEUE);
    }
}
