//! First installation: connections to guests that were live before go on, if policy allows them.

use std::{sync::Arc, time::Duration};

use enforcer_common::abi::endpoint::Role;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::blocking;
use crate::{
    audit::record::{self, Body},
    control::{live, reconcile::State},
    kernel::{import::Importer, monotonic_ns, takeover::Takeover},
    netlink::conntrack,
};

/// Longest wait for every port to be known; what is known then is imported.
const PATIENCE: Duration = Duration::from_secs(10);

/// Imports once, if it is wanted at all.
pub(super) struct Importing {
    pub(super) wanted: bool,
    pub(super) importer: Importer,
    pub(super) netlink: rtnetlink::Handle,
    pub(super) state: watch::Receiver<Arc<State>>,
    pub(super) journal: mpsc::UnboundedSender<Body>,
}

impl Importing {
    /// Never returns: what it has to do is done once.
    pub(super) async fn run(mut self) {
        if self.wanted {
            self.import().await;
        }
        std::future::pending::<()>().await;
    }

    async fn import(&mut self) {
        let known = |state: &Arc<State>| {
            let mut ports = state.observed.endpoints.values();
            state.runs > 0 && ports.all(|port| Role::from_value(port.role) != Role::Unknown)
        };
        // What is not known by then has no flows to import.
        let _ = timeout(PATIENCE, self.state.wait_for(known)).await;
        let observed = self.state.borrow().observed.clone();
        if observed.endpoints.is_empty() {
            return;
        }
        let connections = match blocking("conntrack", conntrack::dump).await {
            Ok(Ok(connections)) => connections,
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "connections that were live before are cut");
                return;
            }
            Err(_panicked) => return,
        };
        let local = match conntrack::local_addresses(&self.netlink).await {
            Ok(local) => local,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "connections that were live before are cut");
                return;
            }
        };
        let imports = live::imports(&connections, &observed, &local, monotonic_ns());
        match self.importer.import(imports) {
            Ok(imported) => {
                let (flows, cut) = (imported.taken(), imported.refused());
                tracing::info!(flows, cut, "connections that were live before go on");
                // Nobody listens any more: the daemon is stopping.
                let _ = self.journal.send(Body::Takeover(record::Takeover {
                    flows: Some(flows),
                    cut: Some(cut),
                    ..event("imported")
                }));
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "connections that were live before are cut");
            }
        }
    }
}

fn event(event: &str) -> record::Takeover {
    record::Takeover {
        event: event.to_owned(),
        from: None,
        hooks: None,
        flows: None,
        cut: None,
        why: None,
    }
}

/// The record of what was taken over.
pub(super) fn told(takeover: &Takeover) -> Body {
    let count = |hooks: usize| u64::try_from(hooks).ok();
    Body::Takeover(match takeover {
        Takeover::Fresh => event("fresh"),
        Takeover::Same { links } => record::Takeover { hooks: count(*links), ..event("same") },
        Takeover::Migrated { from, links, flows, cut } => record::Takeover {
            from: Some(*from),
            hooks: count(*links),
            flows: Some(*flows),
            cut: Some(*cut),
            ..event("migrated")
        },
        Takeover::Rebuilt { from, cut, why } => record::Takeover {
            from: Some(*from),
            cut: Some(*cut),
            why: Some(why.clone()),
            ..event("rebuilt")
        },
    })
}
