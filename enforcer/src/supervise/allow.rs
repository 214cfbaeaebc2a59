//! Keeps what is open to single guests for a while: takes orders, writes them down before the control loop opens
//! anything, and ends them in time, written down or not.

mod file;
#[cfg(test)]
mod tests;

pub(super) use self::file::remove;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{blocking, explain, records::RecordsHandle};
use crate::{
    api::asked::{AllowanceAsked, Reply},
    audit::{
        record::{AllowanceChange, Body, Subject},
        store::rfc3339,
    },
    causes::causes,
    control::reconcile::State,
    model::{
        allowance::{AllowOrder, AllowanceStatus, RevokeOrder},
        caller::Caller,
        declined::Declined,
        owner::{Owner, Owners},
        status::ExplainQuestion,
    },
    policy::{
        allowance::{Allowance, Allowances, plain, refuse},
        rule::Net,
    },
};

/// What is over is looked for this often.
const PERIOD: Duration = Duration::from_secs(1);
/// Longest wait for the kernel to hold what was ordered.
const PATIENCE: Duration = Duration::from_secs(10);
/// Orders that wait.
const ORDERS: usize = 8;

/// What is known of the guest of a container, by Docker's id.
pub(super) type Subjects = Box<dyn Fn(&str) -> Option<Subject> + Send + Sync>;

/// What keeps them.
pub(super) struct Allower {
    path: PathBuf,
    state: watch::Receiver<Arc<State>>,
    subjects: Subjects,
    journal: mpsc::UnboundedSender<Body>,
    allowances: watch::Sender<Arc<Allowances>>,
    orders: mpsc::Receiver<AllowanceAsked>,
    problems: watch::Sender<Vec<String>>,
    /// Ended while no daemon ran, and not told yet.
    over: Vec<Allowance>,
    /// The file has other ones than there are.
    is_stale: bool,
}

/// What others need of it.
pub(super) struct AllowerHandle {
    /// What is open, for the control loop.
    pub(super) allowances: watch::Receiver<Arc<Allowances>>,
    /// What was when the last daemon ended.
    pub(super) left: Arc<Allowances>,
    /// What is wrong, for people.
    pub(super) problems: watch::Receiver<Vec<String>>,
    /// Takes orders.
    pub(super) orders: mpsc::Sender<AllowanceAsked>,
}

impl Allower {
    /// Reads what the last daemon left. What cannot be read opens nothing, and is told; what is over is not opened again.
    pub(super) fn new(
        state_dir: &Path,
        state: watch::Receiver<Arc<State>>,
        subjects: Subjects,
        journal: mpsc::UnboundedSender<Body>,
    ) -> (Self, AllowerHandle) {
        let path = state_dir.join(file::NAME);
        let (left, problem) = match file::load(&path) {
            Ok(left) => (left, None),
            Err(problem) => {
                tracing::error!("{problem}");
                (Allowances::default(), Some(problem))
            }
        };
        let mut known = left.clone();
        let over = known.expire(now_s());
        let (allowances, allowances_out) = watch::channel(Arc::new(known));
        let (problems, problems_out) = watch::channel(problem.into_iter().collect());
        let (orders, asked) = mpsc::channel(ORDERS);
        let handle = AllowerHandle {
            allowances: allowances_out,
            left: Arc::new(left),
            problems: problems_out,
            orders,
        };
        let is_stale = !over.is_empty();
        let allower = Self {
            path,
            state,
            subjects,
            journal,
            allowances,
            orders: asked,
            problems,
            over,
            is_stale,
        };
        (allower, handle)
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.expire().await,
                Some(asked) = self.orders.recv() => self.obey(asked).await,
            }
        }
    }

    /// Does what is ordered. Who waited for too long, and has gone, gets nothing of it.
    async fn obey(&mut self, asked: AllowanceAsked) {
        match asked {
            AllowanceAsked::Allow(_, _, reply) | AllowanceAsked::Revoke(_, _, reply)
                if reply.is_closed() => {}
            AllowanceAsked::Allow(order, by, reply) => {
                let is_done = !order.dry_run;
                match self.allow(order, &by).await {
                    Ok((status, question)) if is_done => {
                        // The next order does not wait for the kernel.
                        tokio::spawn(answer(self.state.clone(), status, question, reply));
                    }
                    outcome => drop(reply.send(outcome.map(|(status, _)| status))),
                }
            }
            AllowanceAsked::Revoke(order, by, reply) => {
                drop(reply.send(self.revoke(&order, &by).await));
            }
            AllowanceAsked::List(reply) => {
                drop(reply.send(Ok(self.allowances.borrow().iter().map(status).collect())));
            }
        }
    }

    /// Opens something; the kernel holds it when the answer to the question says so.
    async fn allow(
        &mut self,
        order: AllowOrder,
        by: &Caller,
    ) -> Result<(AllowanceStatus, ExplainQuestion), Declined> {
        let to = plain(order.to);
        refuse(to, order.protocol, order.port, order.for_s, &order.reason)?;
        let state = Arc::clone(&self.state.borrow());
        if state.desired.own.iter().any(|net| net.covers(&Net::host(to))) {
            return Err(Declined::conflict(format!(
                "{to} is this host's, or on a guest network: neither is ever opened for a while"
            )));
        }
        let (container, name, network) = explain::guest(&state, &order.guest)?;
        let question =
            ExplainQuestion { from: order.guest, to, protocol: order.protocol, port: order.port };
        let known = self
            .allowances
            .borrow()
            .of(&container)
            .any(|one| (one.to, one.protocol, one.port) == (to, order.protocol, order.port));
        let explained = explain::answer(&state, &question)?.explanation;
        let reason = explained.reason.as_deref().unwrap_or_default();
        if !known && explained.verdict == "allow" && explained.would_deny.is_none() {
            return Err(Declined::conflict(format!("{name} may already: {}", explained.because)));
        }
        if !known
            && (explained.rule.is_some() || reason != "policy")
            && explained.verdict != "allow"
        {
            return Err(Declined::conflict(format!(
                "nothing is allowed beyond what a policy may open: {}",
                explained.because
            )));
        }
        let since_s = now_s();
        let new = Allowance {
            id: 0,
            container,
            name,
            network,
            to,
            protocol: order.protocol,
            port: if matches!(order.protocol, 6 | 17) { order.port } else { 0 },
            since_s,
            until_s: since_s.saturating_add(order.for_s),
            reason: order.reason,
            by: who(by),
        };
        let mut all = Allowances::clone(&self.allowances.borrow());
        let (new, replaced) = all.put(new)?;
        if order.dry_run {
            return Ok((AllowanceStatus { id: 0, ..status(&new) }, question));
        }
        // What nobody has written down is not opened.
        self.write(&all).await?;
        self.allowances.send_replace(Arc::new(all));
        if let Some(replaced) = replaced {
            self.tell("revoked", &replaced, by.clone());
        }
        self.tell("allowed", &new, by.clone());
        Ok((status(&new), question))
    }

    /// Closes it, whether or not that can be written down.
    async fn revoke(
        &mut self,
        order: &RevokeOrder,
        by: &Caller,
    ) -> Result<AllowanceStatus, Declined> {
        let mut all = Allowances::clone(&self.allowances.borrow());
        let gone = all.revoke(order.id)?;
        if order.dry_run {
            return Ok(status(&gone));
        }
        self.allowances.send_replace(Arc::new(all.clone()));
        self.tell("revoked", &gone, by.clone());
        self.write(&all).await.map_err(|why| {
            Declined::failed(format!("it is closed, and a restart would open it again: {why}"))
        })?;
        Ok(status(&gone))
    }

    /// Closes what is over, and tries to write down what could not be written.
    async fn expire(&mut self) {
        let mut all = Allowances::clone(&self.allowances.borrow());
        let over = all.expire(now_s());
        if all != **self.allowances.borrow() {
            self.is_stale = true;
            self.allowances.send_replace(Arc::new(all.clone()));
        }
        for one in std::mem::take(&mut self.over).into_iter().chain(over) {
            self.tell("expired", &one, Caller::default());
        }
        if self.is_stale {
            // It is told, and tried again at the next look.
            let _failed = self.write(&all).await;
        }
    }

    /// Writes it down.
    async fn write(&mut self, all: &Allowances) -> Result<(), Declined> {
        let was_stale = std::mem::replace(&mut self.is_stale, true);
        let (path, text) = (self.path.clone(), all.write());
        let text = text.map_err(|error| Declined::failed(error.to_string()))?;
        let written = blocking("the list of allowances", move || file::put(&path, &text)).await;
        let problem = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("{}: {error}", self.path.display())),
            Err(error) => Some(causes(&error)),
        };
        let is_news = self.problems.send_if_modified(|known| {
            let problem: Vec<String> = problem.iter().cloned().collect();
            let is_news = *known != problem;
            *known = problem;
            is_news
        });
        let Some(problem) = problem else {
            self.is_stale = false;
            return Ok(());
        };
        if is_news || !was_stale {
            tracing::error!("{problem}");
        }
        Err(Declined::failed(problem))
    }

    fn tell(&self, event: &str, one: &Allowance, by: Caller) {
        // It may be gone for long.
        let subject = (self.subjects)(&one.container).unwrap_or_else(|| Subject {
            network: one.network.clone(),
            container_id: Some(one.container.clone()),
            container: one.name.clone(),
            role: "guest".to_owned(),
            ..Subject::default()
        });
        let change = AllowanceChange {
            event: event.to_owned(),
            subject,
            id: one.id,
            destination: one.to.to_string(),
            destination_port: one.port,
            protocol: one.protocol,
            until: time(one.until_s),
            why: one.reason.clone(),
            by,
        };
        // Nobody listens any more: the daemon is stopping.
        let _ = self.journal.send(Body::Allowance(Box::new(change)));
    }
}

/// Those that records tell of.
pub(super) fn subjects(owners: watch::Receiver<Arc<Owners>>, records: RecordsHandle) -> Subjects {
    Box::new(move |container| {
        let owners = Arc::clone(&owners.borrow());
        let is_its = |owner: &Owner| owner.container.as_deref() == Some(container);
        // Ids only grow: the last one is of the port that it has.
        let endpoint = owners.iter().filter(|(_, owner)| is_its(owner)).map(|(id, _)| *id).max()?;
        let subject = records.subject(endpoint);
        subject.container_id.is_some().then_some(subject)
    })
}

/// Answers when the kernel holds what was ordered, or that it does not in time.
async fn answer(
    mut state: watch::Receiver<Arc<State>>,
    status: AllowanceStatus,
    question: ExplainQuestion,
    reply: Reply<AllowanceStatus>,
) {
    let is_held = |state: &Arc<State>| {
        let said = explain::answer(state, &question);
        said.is_ok_and(|said| said.is_held && said.explanation.verdict == "allow")
    };
    let outcome = match timeout(PATIENCE, state.wait_for(is_held)).await {
        Ok(Ok(_held)) => Ok(status),
        // The second: the daemon ends.
        Err(_) | Ok(Err(_)) => {
            Err(Declined::not_yet("it is written down, and the kernel does not hold it yet"))
        }
    };
    // Whoever asked may have gone.
    let _ = reply.send(outcome);
}

/// For people.
fn status(one: &Allowance) -> AllowanceStatus {
    AllowanceStatus {
        id: one.id,
        container: one.name.clone(),
        container_id: one.container.clone(),
        network: one.network.clone(),
        to: one.to,
        protocol: one.protocol,
        port: one.port,
        since: time(one.since_s),
        until: time(one.until_s),
        reason: one.reason.clone(),
        by: one.by.clone(),
    }
}

fn who(by: &Caller) -> String {
    let uid = || by.uid.map_or_else(|| "nobody".to_owned(), |uid| uid.to_string());
    by.user.clone().unwrap_or_else(uid)
}

fn time(seconds: u64) -> String {
    rfc3339(seconds.saturating_mul(1_000_000))
}

/// The wall clock: an allowance goes on after a reboot, where no other clock does.
fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
