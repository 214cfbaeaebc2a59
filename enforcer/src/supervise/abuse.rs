//! Looks for abuse and answers it: sights from the ring's thread and sums of the kernel's counters in; records,
//! restraints for the control loop and requests to the engine out. Level-triggered: what fails is tried again.

mod cut;
mod deed;
mod file;
mod judged;
mod watchman;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use self::{
    deed::{Deed, Hands},
    file::{PATH, load},
    judged::is_judged,
    watchman::Told,
};
pub(super) use self::{file::remove, judged::is_guest, watchman::Watchman};
use super::{now, outside::Outsiders, records::RecordsHandle};
use crate::{
    abuse::{Answer, Cases, Detector, Finding, Restraint, Restraints},
    api::asked::Reply,
    audit::record::{Abuse, Body, Clock, Subject, sentence},
    config::Config,
    control::{
        outside::{Attempt, Docket},
        reconcile::State,
    },
    model::{
        caller::Caller,
        declined::Declined,
        inventory::Inventory,
        owner::{Owner, Owners},
        restraint::{CutDone, CutOrder},
        status::RestraintStatus,
    },
};

/// Guests are judged this often.
const PERIOD: Duration = Duration::from_secs(1);
/// Orders that wait.
const ORDERS: usize = 8;
/// Sights that are taken in at once.
const BATCH: usize = 512;
/// A paused container that Docker has not named for so long is gone.
const GONE: Duration = Duration::from_mins(1);

/// What an admin wants.
pub(super) enum Wanted {
    /// To let a guest go; the answer is for people.
    Pardon(String, Caller, Reply<Vec<String>>),
    /// To cut one off.
    Cut(CutOrder, Caller, Reply<CutDone>),
}

/// What the loop works on.
pub(super) struct AbuseWatch {
    config: watch::Receiver<Arc<Config>>,
    owners: watch::Receiver<Arc<Owners>>,
    inventory: watch::Receiver<Arc<Inventory>>,
    state: watch::Receiver<Arc<State>>,
    told: Told,
    records: RecordsHandle,
    journal: mpsc::UnboundedSender<Body>,
    /// Who is held now: for the control loop, and for people.
    restraints: watch::Sender<Arc<Restraints>>,
    wanted: mpsc::Receiver<Wanted>,
    /// What is wrong, for people.
    problems: watch::Sender<Vec<String>>,
}

/// What others need of it.
#[derive(Clone)]
pub(super) struct AbuseHandle {
    /// Who is held now.
    pub(super) restraints: watch::Receiver<Arc<Restraints>>,
    /// What is wrong, for people.
    pub(super) problems: watch::Receiver<Vec<String>>,
    /// Takes questions.
    pub(super) wanted: mpsc::Sender<Wanted>,
    missed: Arc<AtomicU64>,
}

impl AbuseHandle {
    /// Sights for which there was no room.
    pub(super) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

/// What the loop remembers.
#[derive(Default)]
struct Memory {
    detector: Detector,
    cases: Cases,
    /// What is to be done, and the record of it.
    wanted: BTreeMap<Deed, Abuse>,
    docket: Docket<Deed>,
    acts: JoinSet<(Deed, Attempt)>,
    /// Paused containers that Docker does not name, and since when, monotonic ns.
    absent: BTreeMap<String, u64>,
}

impl AbuseWatch {
    /// Looks at what the watch for guests outside looks at, and goes on with those whom an earlier daemon held.
    pub(super) fn beside(
        other: &Outsiders,
        told: Told,
        owners: watch::Receiver<Arc<Owners>>,
        records: RecordsHandle,
    ) -> (Self, AbuseHandle) {
        let config = Arc::clone(&other.config.borrow());
        let (held, problem) = match load(&config.run_dir, &config.abuse) {
            Ok(held) => (held, None),
            Err(problem) => {
                tracing::error!("{problem}");
                (Restraints::default(), Some(problem))
            }
        };
        let (restraints, restraints_out) = watch::channel(Arc::new(held));
        let (problems, problems_out) = watch::channel(problem.into_iter().collect());
        let (wanted, asked) = mpsc::channel(ORDERS);
        let handle = AbuseHandle {
            restraints: restraints_out,
            problems: problems_out,
            wanted,
            missed: Arc::clone(&told.missed),
        };
        let watch = Self {
            config: other.config.clone(),
            owners,
            inventory: other.inventory.clone(),
            state: other.state.clone(),
            told,
            records,
            journal: other.journal.clone(),
            restraints,
            wanted: asked,
            problems,
        };
        (watch, handle)
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        let mut memory = Memory::default();
        let hands = Hands::new(self.state.clone());
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sights = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                count = self.told.sights.recv_many(&mut sights, BATCH) => {
                    if count == 0 {
                        return;
                    }
                    let config = self.config.borrow();
                    for sight in sights.drain(..) {
                        memory.detector.see(&sight, &config.abuse.limits);
                    }
                    continue;
                }
                _ = ticks.tick() => self.look(&mut memory).await,
                // Whoever asked may have gone.
                Some(wanted) = self.wanted.recv() => match wanted {
                    Wanted::Pardon(_, _, reply) if reply.is_closed() => {}
                    Wanted::Cut(_, _, reply) if reply.is_closed() => {}
                    Wanted::Pardon(who, by, reply) => {
                        let _ = reply.send(self.pardon(&mut memory, &who, &by).await);
                    }
                    Wanted::Cut(order, by, reply) => {
                        self.cut(&mut memory, &order, &by, reply).await;
                    }
                },
                Some(done) = memory.acts.join_next() => match done {
                    Ok((deed, attempt)) => self.note(&mut memory, &deed, &attempt),
                    Err(error) => tracing::error!(%error, "an answer to abuse was lost"),
                },
            }
            let wanted: BTreeSet<Deed> = memory.wanted.keys().cloned().collect();
            for deed in memory.docket.take_due(&wanted, Instant::now()) {
                let socket = self.config.borrow().docker_socket.clone();
                let hands = hands.clone();
                memory.acts.spawn(async move {
                    let attempt = hands.act(&deed, &socket).await;
                    (deed, attempt)
                });
            }
        }
    }

    /// Judges everybody, and ends what has lasted its time.
    async fn look(&mut self, memory: &mut Memory) {
        let (config, clock) = (Arc::clone(&self.config.borrow()), now());
        let owners = Arc::clone(&self.owners.borrow());
        let Some(counted) = self.told.counted.borrow().clone() else { return };
        let guests = owners.iter().filter(|(_, owner)| is_judged(&config, owner));
        let guests: BTreeSet<u32> = guests.map(|(id, _)| *id).collect();
        let rules = (&config.abuse.limits, config.abuse.window);
        let mut held = Restraints::clone(&self.restraints.borrow());
        let before = held.clone();
        for finding in memory.detector.judge(&guests, counted, rules, clock.mono_ns) {
            if let Some(owner) = owners.get(&finding.owner) {
                self.answer(memory, &mut held, (&finding, owner), (&config, clock));
            }
        }
        let containers = owners.values().filter_map(|owner| owner.container.as_deref()).collect();
        memory.cases.keep(&containers);
        for ended in held.expire(clock.mono_ns) {
            memory.wanted.remove(&Deed::Hold(ended.answer, ended.container.clone()));
            self.tell(Abuse { answer: "expire".to_owned(), ..self.record_of(&ended) });
        }
        self.leave(memory, &mut held, clock.mono_ns);
        if held != before {
            self.hold(held).await;
        }
    }

    /// Does what is due about a finding.
    fn answer(
        &self,
        memory: &mut Memory,
        held: &mut Restraints,
        (finding, owner): (&Finding, &Owner),
        (config, clock): (&Config, Clock),
    ) {
        let (Some(container), Some(limit)) =
            (&owner.container, config.abuse.limits.get(&finding.signal))
        else {
            return;
        };
        let window = config.abuse.window;
        let of = (container.as_str(), finding.signal);
        let due = memory.cases.answer(of, &limit.answers, window, clock.mono_ns);
        let Some(answer) = due else { return };
        let nanos = |lasts: Duration| u64::try_from(lasts.as_nanos()).unwrap_or(u64::MAX);
        let lasts = config.abuse.lasts(answer);
        let until_ns = lasts.map(|lasts| clock.mono_ns.saturating_add(nanos(lasts)));
        let record = Abuse {
            subject: self.records.subject(finding.owner),
            signal: finding.signal.name().to_owned(),
            measured: Some(finding.measured),
            threshold: Some(finding.more_than),
            window_s: Some(window.as_secs()),
            answer: answer.name().to_owned(),
            outcome: "done".to_owned(),
            until: until_ns.map(|until| clock.rfc3339(until)),
            error: String::new(),
            why: String::new(),
            by: Caller::default(),
        };
        // At most once for each signal of a guest in a window.
        let (name, signal, measured) = (&owner.name, finding.signal.name(), finding.measured);
        tracing::warn!(name, signal, measured, answer = answer.name(), "a guest does too much");
        let Some(deed) = Deed::of(answer, container) else {
            self.tell(record);
            return;
        };
        let mut until = record.until.clone();
        if matches!(answer, Answer::Slow | Answer::Cut | Answer::Pause) {
            let kept = held.put(Restraint {
                container: container.clone(),
                name: owner.name.clone(),
                network: owner.network.clone(),
                endpoint: finding.owner,
                answer,
                signal: Some(finding.signal),
                until_ns,
            });
            // It may be held for longer already.
            until = kept.until_ns.map(|until| clock.rfc3339(until));
        }
        self.want(memory, deed, Abuse { until, ..record });
    }

    /// Has something be done, and tells of what was to be done for an earlier cause: nobody would else.
    fn want(&self, memory: &mut Memory, deed: Deed, record: Abuse) {
        if let Some(earlier) = memory.wanted.insert(deed, record) {
            let error = "a later one took its place before it was seen to be done".to_owned();
            self.tell(Abuse { outcome: "failed".to_owned(), error, ..earlier });
        }
    }

    /// Forgets paused containers that are gone.
    fn leave(&self, memory: &mut Memory, held: &mut Restraints, now_ns: u64) {
        let inventory = self.inventory.borrow();
        // Docker has not spoken yet.
        if inventory.version == 0 {
            return;
        }
        let paused = held.iter().filter(|one| one.answer == Answer::Pause);
        let absent = paused.filter(|one| !inventory.containers.contains_key(&one.container));
        let absent: BTreeSet<String> = absent.map(|one| one.container.clone()).collect();
        memory.absent.retain(|container, _| absent.contains(container));
        for container in absent {
            memory.absent.entry(container).or_insert(now_ns);
        }
        let patience = u64::try_from(GONE.as_nanos()).unwrap_or(u64::MAX);
        held.leave(|container| {
            memory.absent.get(container).is_some_and(|since| now_ns - since > patience)
        });
    }

    /// Lets a guest go, and holds nothing against it that it did before.
    async fn pardon(
        &mut self,
        memory: &mut Memory,
        who: &str,
        by: &Caller,
    ) -> Result<Vec<String>, Declined> {
        let mut held = Restraints::clone(&self.restraints.borrow());
        let ended = held.pardon(who)?;
        let mut told = Vec::new();
        for one in ended {
            memory.cases.forget(&one.container);
            for (id, owner) in self.owners.borrow().iter() {
                if owner.container.as_ref() == Some(&one.container) {
                    memory.detector.forget(*id);
                }
            }
            let answer = "pardon".to_owned();
            let record = Abuse { answer, by: by.clone(), ..self.record_of(&one) };
            if one.answer == Answer::Pause {
                memory.wanted.remove(&Deed::Pause(one.container.clone()));
                memory.wanted.insert(Deed::Unpause(one.container.clone()), record);
                told.push(format!("{} goes on: it was paused for {}", one.name, one.cause()));
            } else {
                memory.wanted.remove(&Deed::Hold(one.answer, one.container.clone()));
                self.tell(record);
                let (name, signal) = (&one.name, one.cause());
                let held = if one.answer == Answer::Slow { "slowed" } else { "cut off" };
                told.push(format!("{name} is no longer {held}: it was for {signal}"));
            }
        }
        self.hold(held).await;
        Ok(told)
    }

    /// Writes down who is held, and then has it be so.
    async fn hold(&self, held: Restraints) {
        let path = self.config.borrow().run_dir.join(PATH);
        let problem = file::write(path, &held).await.err();
        if let Some(problem) = &problem {
            tracing::error!("{problem}");
        }
        self.problems.send_replace(problem.into_iter().collect());
        self.restraints.send_replace(Arc::new(held));
    }

    /// Tells what came of a deed; one that failed stays wanted.
    fn note(&self, memory: &mut Memory, deed: &Deed, attempt: &Attempt) {
        let is_news = memory.docket.note(deed, attempt, Instant::now());
        let record = match &attempt.outcome {
            Ok(outcome) => {
                let record = memory.wanted.remove(deed);
                record.map(|record| Abuse { outcome: (*outcome).to_owned(), ..record })
            }
            Err(error) => {
                let record = memory.wanted.get(deed).cloned();
                let (outcome, error) = ("failed".to_owned(), sentence(error));
                record.map(|record| Abuse { outcome, error, ..record })
            }
        };
        // Pardoned meanwhile: there is nothing to tell.
        if let Some(record) = record
            && is_news
        {
            self.tell(record);
        }
    }

    /// The record of somebody who is held, to be completed.
    fn record_of(&self, held: &Restraint) -> Abuse {
        let mut subject = self.records.subject(held.endpoint);
        if subject.container_id.is_none() {
            // It is gone for long, or was another daemon's.
            subject = Subject {
                network: held.network.clone(),
                container_id: Some(held.container.clone()),
                container: held.name.clone(),
                role: "guest".to_owned(),
                ..subject
            };
        }
        let signal = held.cause().to_owned();
        Abuse { subject, signal, outcome: "done".to_owned(), ..Abuse::default() }
    }

    fn tell(&self, record: Abuse) {
        // Nobody listens any more: the daemon is stopping.
        let _ = self.journal.send(Body::Abuse(Box::new(record)));
    }
}

/// Those who are held, for people.
pub(super) fn status(held: &Restraints) -> Vec<RestraintStatus> {
    let clock = now();
    let status = |one: &Restraint| RestraintStatus {
        container: one.name.clone(),
        container_id: one.container.clone(),
        network: one.network.clone(),
        answer: one.answer.name().to_owned(),
        signal: one.cause().to_owned(),
        until: one.until_ns.map(|until| clock.rfc3339(until)),
    };
    held.iter().map(status).collect()
}
