//! What the stream hears of the gate: every request that is allowed, and of those that are refused so many that nobody
//! can fill it; the rest is counted, and the count is told (A1).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{identity::Visitor, principal::Principal, verdict::Refusal, wire::Traffic};
use crate::{
    access::grant::Kind,
    audit::record::{About, Body, GateCall},
};

/// Refusals of one principal with a record of their own, in each [`EVERY`].
const MOST: u32 = 20;
/// How long a count of them lasts.
const EVERY: Duration = Duration::from_secs(10);

/// What happened to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is over.
    Request,
    /// It lasts.
    Begun,
    /// Its grant is over, or its client took too long for the answer.
    Cut,
    /// So many refusals were not told.
    LeftOut,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Request, Self::Begun, Self::Cut, Self::LeftOut];

    /// As records have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Begun => "begun",
            Self::Cut => "cut",
            Self::LeftOut => "left_out",
        }
    }
}

/// Requests since the daemon started.
#[derive(Debug, Default)]
pub struct Counts {
    /// Allowed.
    pub allowed: AtomicU64,
    /// Refused.
    pub denied: AtomicU64,
}

/// How many refusals of a principal were told lately, and how many were not.
#[derive(Clone, Copy, Debug)]
struct Meter {
    since: Instant,
    told: u32,
    left_out: u64,
}

impl Meter {
    const fn new(now: Instant) -> Self {
        Self { since: now, told: 0, left_out: 0 }
    }

    /// Whether a refusal is told.
    fn note(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= EVERY {
            (self.since, self.told) = (now, 0);
        }
        let is_told = self.told < MOST;
        if is_told {
            self.told += 1;
        } else {
            self.left_out += 1;
        }
        is_told
    }
}

/// Where records are made. A copy is the same one.
#[derive(Clone, Debug)]
pub struct Desk(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    journal: mpsc::UnboundedSender<Body>,
    counts: Counts,
    meters: Mutex<BTreeMap<Principal, Meter>>,
}

impl Desk {
    /// Records go there.
    #[must_use]
    pub fn new(journal: mpsc::UnboundedSender<Body>) -> Self {
        Self(Arc::new(Inner { journal, counts: Counts::default(), meters: Mutex::default() }))
    }

    /// Requests so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// Begins to tell of a request.
    pub(super) fn begin(&self, principal: &Principal, visitor: Visitor) -> Telling {
        let call = GateCall {
            container_id: visitor.container,
            by: visitor.caller,
            verdict: "deny".to_owned(),
            ..whose(principal)
        };
        Telling {
            desk: self.clone(),
            principal: principal.clone(),
            begun: Instant::now(),
            status: Arc::default(),
            traffic: Arc::default(),
            call,
            is_allowed: false,
        }
    }

    /// Tells what was left out. To be called now and then.
    pub fn settle(&self) {
        let now = Instant::now();
        let mut meters = self.0.meters.lock().unwrap_or_else(PoisonError::into_inner);
        for (principal, meter) in meters.iter_mut().filter(|(_, meter)| meter.left_out > 0) {
            let count = Some(std::mem::take(&mut meter.left_out));
            let verdict = "deny".to_owned();
            self.send(Event::LeftOut, GateCall { verdict, count, ..whose(principal) });
        }
        meters.retain(|_, meter| now.saturating_duration_since(meter.since) < EVERY);
    }

    fn send(&self, event: Event, call: GateCall) {
        let call = GateCall { event: event.name().to_owned(), ..call };
        // Nobody listens any more: the daemon is stopping.
        let _ = self.0.journal.send(Body::Gate(Box::new(call)));
    }
}

fn whose(principal: &Principal) -> GateCall {
    let user = match principal {
        Principal::Hub(_) => None,
        Principal::User(user) => Some(user.name.to_string()),
    };
    GateCall { hub: principal.hub().to_string(), user, ..GateCall::default() }
}

/// A request of which is told when this is dropped, however it ends; refused until somebody says otherwise.
#[derive(Debug)]
pub(super) struct Telling {
    desk: Desk,
    principal: Principal,
    begun: Instant,
    call: GateCall,
    is_allowed: bool,
    /// Status of the answer; 0: none yet.
    pub(super) status: Arc<AtomicU16>,
    /// Bytes.
    pub(super) traffic: Arc<Traffic>,
}

impl Telling {
    /// What is asked for.
    pub(super) fn asks(&mut self, method: &str, target: &str) {
        let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
        self.call.method = Some(method.to_owned());
        self.call.path = Some(path.to_owned());
        self.call.query = query.map(masked);
    }

    /// Whom a hub's request is about, as far as it is known by now.
    pub(super) fn is_about(&mut self, more: About) {
        let about = &mut self.call.about;
        about.user = more.user.or_else(|| about.user.take());
        about.client = more.client.or_else(|| about.client.take());
        about.names.extend(more.names);
    }

    /// What the user may have.
    pub(super) fn granted(&mut self, kind: Kind) {
        self.call.grant = Some(kind.name().to_owned());
    }

    /// It goes on to the engine.
    pub(super) fn allowed(&mut self, rule: &'static str) {
        self.is_allowed = true;
        "allow".clone_into(&mut self.call.verdict);
        self.call.rule = Some(rule.to_owned());
    }

    /// What was judged.
    pub(super) fn judged(&mut self, shown: &serde_json::Value) {
        self.call.request = (!shown.is_null()).then(|| shown.to_string());
    }

    /// It does not.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        self.is_allowed = false;
        "deny".clone_into(&mut self.call.verdict);
        self.call.rule = Some(refusal.rule.to_owned());
        self.call.why = Some(refusal.message.clone());
        self.status.store(refusal.status.as_u16(), Ordering::Relaxed);
    }

    /// The engine did not do it, or not all of it; whether it was allowed stays as it is.
    pub(super) fn failed(&mut self, refusal: &Refusal) {
        if self.is_allowed {
            self.call.why = Some(refusal.to_string());
        }
    }

    /// It lasts.
    pub(super) fn lasts(&self) {
        self.desk.send(Event::Begun, self.with_numbers());
    }

    /// It ended before its time, and why.
    pub(super) fn cut(&mut self, why: String) {
        Event::Cut.name().clone_into(&mut self.call.event);
        self.call.why = Some(why);
    }

    fn with_numbers(&self) -> GateCall {
        let status = self.status.load(Ordering::Relaxed);
        GateCall {
            status: Some(status).filter(|status| *status > 0),
            sent: Some(self.traffic.sent.load(Ordering::Relaxed)),
            received: Some(self.traffic.received.load(Ordering::Relaxed)),
            duration: u64::try_from(self.begun.elapsed().as_nanos()).ok(),
            ..self.call.clone()
        }
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        let inner = &self.desk.0;
        let is_told = if self.is_allowed {
            inner.counts.allowed.fetch_add(1, Ordering::Relaxed);
            true
        } else {
            inner.counts.denied.fetch_add(1, Ordering::Relaxed);
            let now = Instant::now();
            let mut meters = inner.meters.lock().unwrap_or_else(PoisonError::into_inner);
            meters.entry(self.principal.clone()).or_insert_with(|| Meter::new(now)).note(now)
        };
        if is_told {
            let is_cut = self.call.event == Event::Cut.name();
            self.desk.send(if is_cut { Event::Cut } else { Event::Request }, self.with_numbers());
        }
    }
}

/// A query without what builds keep secret in it.
fn masked(query: &str) -> String {
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((key, _)) if key.eq_ignore_ascii_case("buildargs") => format!("{key}=***"),
        _ => pair.to_owned(),
    });
    pairs.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub() -> Principal {
        Principal::Hub("lab".parse().expect("a hub"))
    }

    fn records(out: &mut mpsc::UnboundedReceiver<Body>) -> Vec<GateCall> {
        let bodies = std::iter::from_fn(|| out.try_recv().ok());
        let calls = bodies.map(|body| match body {
            Body::Gate(call) => *call,
            other => panic!("{other:?}"),
        });
        calls.collect()
    }

    #[test]
    fn a1_of_many_refusals_few_have_records_and_the_others_are_counted() {
        let (journal, mut out) = mpsc::unbounded_channel();
        let desk = Desk::new(journal);
        for _ in 0..1000 {
            drop(desk.begin(&hub(), Visitor::default()));
        }
        for _ in 0..50 {
            let mut allowed = desk.begin(&hub(), Visitor::default());
            allowed.asks("GET", "/_ping?buildargs=secret&q=1");
            allowed.allowed("grant.raw");
        }
        desk.settle();
        desk.settle();
        let records = records(&mut out);
        let of = |event: &str, verdict: &str| {
            let all =
                records.iter().filter(|call| (&*call.event, &*call.verdict) == (event, verdict));
            all.count()
        };
        assert_eq!((of("request", "deny"), of("request", "allow")), (20, 50));
        let left_out: Vec<_> = records.iter().filter_map(|call| call.count).collect();
        assert_eq!(left_out, [980]);
        let counts = (&desk.counts().allowed, &desk.counts().denied);
        assert_eq!(
            (counts.0.load(Ordering::Relaxed), counts.1.load(Ordering::Relaxed)),
            (50, 1000)
        );
        let query = records.iter().find_map(|call| call.query.as_deref());
        assert_eq!(query, Some("buildargs=***&q=1"));
    }

    #[test]
    fn s27_a_request_is_told_however_it_ends() {
        let (journal, mut out) = mpsc::unbounded_channel();
        let desk = Desk::new(journal);
        let telling = desk.begin(&hub(), Visitor::default());
        let panicked = std::thread::spawn(move || {
            let mut telling = telling;
            telling.allowed("grant.raw");
            telling.lasts();
            telling.cut("over".to_owned());
            panic!("of a connection");
        });
        assert!(panicked.join().is_err());
        let events: Vec<_> = records(&mut out).into_iter().map(|call| call.event).collect();
        assert_eq!(events, ["begun", "cut"]);
    }
}
