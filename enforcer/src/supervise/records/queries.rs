//! Records of questions to the resolver, which no event of the kernel's is behind: written with the name of
//! whoever asked, or counted.

use std::sync::Arc;

use enforcer_common::abi::counter::CounterKey;

use super::{Records, Shared, draft, lock, now};
use crate::{
    audit::{
        loss::{LossKey, query_reason},
        queue::{Account, Queue},
        record::{Body, Cause, DnsQuery},
    },
    dns::{Asked, Journal},
    model::names::Outcome,
};

/// Where the resolver's questions go. As long as it lives the stream goes on.
pub(in super::super) struct Queries {
    shared: Arc<Shared>,
    queue: Queue,
}

impl Records {
    pub(in super::super) fn queries(&self) -> Queries {
        Queries { shared: Arc::clone(&self.shared), queue: self.queue.clone() }
    }
}

impl Journal for Queries {
    fn write(&self, asked: Asked) {
        let now = now();
        let counter = counter(asked.endpoint, asked.outcome);
        let subject = {
            let mut names = lock(&self.shared.names);
            names.update(&self.shared.owners.borrow(), now.mono_ns);
            names.subject(asked.endpoint)
        };
        let body = Body::DnsQuery(Box::new(DnsQuery {
            subject,
            name: asked.name,
            kind: asked.kind,
            outcome: asked.outcome.name().to_owned(),
            rule: asked.rule,
            addresses: asked.addresses.iter().map(ToString::to_string).collect(),
            groups: asked.groups,
            ttl: asked.ttl.map(|ttl| ttl.as_secs()),
            why: asked.why,
        }));
        let key = LossKey { counter, cause: Cause::Queue };
        self.queue.send(draft(now, body, Account::Event(counter)), key);
    }

    fn suppress(&self, endpoint: u32, outcome: Outcome) {
        self.queue.suppress(counter(endpoint, outcome));
    }
}

const fn counter(endpoint: u32, outcome: Outcome) -> CounterKey {
    CounterKey { owner: endpoint, reason: query_reason(outcome), hook: 0, reserved: 0 }
}
