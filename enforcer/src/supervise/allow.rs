//! Keeps what is open to single guests for a while: takes orders, writes them down before the control loop hears of
//! them, and ends them in time.

mod file;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};

use super::{blocking, explain};
use crate::{
    api::asked::AllowanceAsked,
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

/// What keeps them.
pub(super) struct Allower {
    path: PathBuf,
    state: watch::Receiver<Arc<State>>,
    journal: mpsc::UnboundedSender<Body>,
    allowances: watch::Sender<Arc<Allowances>>,
    orders: mpsc::Receiver<AllowanceAsked>,
    problems: watch::Sender<Vec<String>>,
}

/// What others need of it.
pub(super) struct AllowerHandle {
    /// What is open, for the control loop.
    pub(super) allowances: watch::Receiver<Arc<Allowances>>,
    /// What is wrong, for people.
    pub(super) problems: watch::Receiver<Vec<String>>,
    /// Takes orders.
    pub(super) orders: mpsc::Sender<AllowanceAsked>,
}

impl Allower {
    /// Reads what the last daemon left. What cannot be read opens nothing, and is told.
    pub(super) fn new(
        state_dir: &std::path::Path,
        state: watch::Receiver<Arc<State>>,
        journal: mpsc::UnboundedSender<Body>,
    ) -> (Self, AllowerHandle) {
        let path = state_dir.join(file::NAME);
        let (known, problem) = match file::load(&path, now_s()) {
            Ok(known) => (known, None),
            Err(problem) => {
                tracing::error!("{problem}");
                (Allowances::default(), Some(problem))
            }
        };
        let (allowances, allowances_out) = watch::channel(Arc::new(known));
        let (problems, problems_out) = watch::channel(problem.into_iter().collect());
        let (orders, asked) = mpsc::channel(ORDERS);
        let handle = AllowerHandle { allowances: allowances_out, problems: problems_out, orders };
        (Self { path, state, journal, allowances, orders: asked, problems }, handle)
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.expire().await,
                Some(asked) = self.orders.recv() => match asked {
                    // Whoever asked may have gone.
                    AllowanceAsked::Allow(order, by, reply) => {
                        drop(reply.send(self.allow(order, &by).await));
                    }
                    AllowanceAsked::Revoke(order, by, reply) => {
                        drop(reply.send(self.revoke(&order, &by).await));
                    }
                    AllowanceAsked::List(reply) => {
                        drop(reply.send(Ok(self.allowances.borrow().iter().map(status).collect())));
                    }
                },
            }
        }
    }

    async fn allow(&self, order: AllowOrder, by: &Caller) -> Result<AllowanceStatus, Declined> {
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
        let new = all.put(new)?;
        if order.dry_run {
            return Ok(AllowanceStatus { id: 0, ..status(&new) });
        }
        self.keep(all).await?;
        self.tell("allowed", &new, by.clone());
        self.until(|| {
            let said = explain::answer(&self.state.borrow(), &question);
            said.is_ok_and(|said| said.is_held && said.explanation.verdict == "allow")
        })
        .await?;
        Ok(status(&new))
    }

    async fn revoke(&self, order: &RevokeOrder, by: &Caller) -> Result<AllowanceStatus, Declined> {
        let mut all = Allowances::clone(&self.allowances.borrow());
        let gone = all.revoke(order.id)?;
        if !order.dry_run {
            self.keep(all).await?;
            self.tell("revoked", &gone, by.clone());
        }
        Ok(status(&gone))
    }

    async fn expire(&self) {
        let mut all = Allowances::clone(&self.allowances.borrow());
        let over = all.expire(now_s());
        if over.is_empty() {
            return;
        }
        // Told even where it cannot be written down: what is over is over.
        let kept = self.keep(all.clone()).await;
        if kept.is_err() {
            self.allowances.send_replace(Arc::new(all));
        }
        for one in over {
            self.tell("expired", &one, Caller::default());
        }
    }

    /// Writes it down, and then has it be so.
    async fn keep(&self, all: Allowances) -> Result<(), Declined> {
        let (path, text) = (self.path.clone(), all.write());
        let text = text.map_err(|error| Declined::failed(error.to_string()))?;
        let written = blocking("the list of allowances", move || file::put(&path, &text)).await;
        let problem = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("{}: {error}", self.path.display())),
            Err(error) => Some(causes(&error)),
        };
        self.problems.send_replace(problem.iter().cloned().collect());
        if let Some(problem) = problem {
            tracing::error!("{problem}");
            return Err(Declined::failed(problem));
        }
        self.allowances.send_replace(Arc::new(all));
        Ok(())
    }

    /// Waits until the kernel holds it.
    async fn until(&self, is_so: impl Fn() -> bool) -> Result<(), Declined> {
        let mut state = self.state.clone();
        let held = async {
            while !is_so() {
                if state.changed().await.is_err() {
                    return;
                }
            }
        };
        let late =
            |_late| Declined::not_yet("it is written down, and the kernel does not hold it yet");
        tokio::time::timeout(PATIENCE, held).await.map_err(late)
    }

    fn tell(&self, event: &str, one: &Allowance, by: Caller) {
        let subject = Subject {
            network: one.network.clone(),
            container_id: Some(one.container.clone()),
            container: one.name.clone(),
            role: "guest".to_owned(),
            ..Subject::default()
        };
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
