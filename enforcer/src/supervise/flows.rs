//! Answers which flows there are: the kernel's table is read when it is asked for, in a task of its own,
//! one question at a time. Neither the control loop nor the packet path waits.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, watch};

use crate::{
    api::asked::Reply,
    control::{
        flows::{Gathering, Known, rules},
        path::PacketPath,
        reconcile::State,
    },
    kernel::{flows::FlowTable, monotonic_ns},
    model::{
        declined::Declined,
        flows::{FlowsQuestion, FlowsReport},
        owner::Owners,
    },
};

/// Longest look at the table; a full one of the largest size takes longer.
const LONGEST: Duration = Duration::from_secs(6);
/// Flows between two looks at the clock.
const AT_ONCE: u64 = 4096;

/// Who answers.
pub(super) struct Viewer {
    table: FlowTable,
    owners: watch::Receiver<Arc<Owners>>,
    state: watch::Receiver<Arc<State>>,
    turn: Arc<Semaphore>,
}

impl Viewer {
    /// Of the flows of a packet path.
    pub(super) fn new(
        path: &PacketPath,
        owners: watch::Receiver<Arc<Owners>>,
        state: watch::Receiver<Arc<State>>,
    ) -> Self {
        let table = path.lock().maps.flow_table.clone();
        Self { table, owners, state, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Answers as soon as those who asked before have their answers.
    pub(super) fn answer(&self, asked: FlowsQuestion, reply: Reply<FlowsReport>) {
        let (table, turn) = (self.table.clone(), Arc::clone(&self.turn));
        let (owners, state) = (self.owners.clone(), self.state.clone());
        tokio::spawn(async move {
            // The semaphore is never closed.
            let Ok(_turn) = turn.acquire_owned().await else { return };
            // Whoever asked may have gone meanwhile.
            if reply.is_closed() {
                return;
            }
            let (owners, state) = (Arc::clone(&owners.borrow()), Arc::clone(&state.borrow()));
            let look = move || look(&table, &owners, &state, &asked);
            let report = super::blocking("flows", look).await;
            let _ =
                reply.send(report.unwrap_or_else(|error| Err(Declined::failed(error.to_string()))));
        });
    }
}

fn look(
    table: &FlowTable,
    owners: &Owners,
    state: &State,
    asked: &FlowsQuestion,
) -> Result<FlowsReport, Declined> {
    let begun = Instant::now();
    let rules = rules(&state.desired, &state.observed);
    let known = Known { owners, rules, now_ns: monotonic_ns() };
    let mut gathering = Gathering::new(asked, known)?;
    let (mut seen, mut whole) = (0u64, true);
    let outcome = table.each(&mut |key, flow| {
        gathering.take(key, flow);
        seen += 1;
        whole = !seen.is_multiple_of(AT_ONCE) || begun.elapsed() < LONGEST;
        whole
    });
    outcome.map_err(|error| Declined::failed(format!("cannot read map FLOWS: {error}")))?;
    Ok(gathering.finish(whole))
}
