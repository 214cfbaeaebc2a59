//! Resolver 5: one question that may be asked: the upstream, the checks of its answer, the leases.

use std::sync::Arc;

use hickory_proto::op::{Message, ResponseCode};

use super::{
    answer::{self, Found},
    judge::{Allowed, Ruling, judge, permits_aliases},
    question::Question,
    serve::{Admitted, Resolver},
    tell::{Asked, of},
    upstream,
};
use crate::{
    causes::causes,
    config::Dns,
    model::names::{Client, DomainName, Lease, Outcome},
};

/// What goes back, and what is told of it.
pub(super) struct Verdict {
    /// `None`: nothing.
    pub(super) message: Option<Message>,
    pub(super) asked: Asked,
}

/// A question that is being answered.
pub(super) struct Exchange<'a> {
    pub(super) resolver: &'a Resolver,
    pub(super) admitted: &'a Admitted,
    pub(super) question: &'a Question,
}

impl Exchange<'_> {
    /// An answer without records.
    pub(super) fn say(&self, code: ResponseCode, outcome: Outcome) -> Verdict {
        let message = answer::refusal(self.question.head, Some(self.question), code);
        let asked = of(self.admitted.client.endpoint, &self.admitted.question, outcome);
        Verdict { message: Some(message), asked }
    }

    pub(super) fn refuse(&self, outcome: Outcome) -> Verdict {
        self.say(ResponseCode::Refused, outcome)
    }

    fn fail(&self, outcome: Outcome, why: String) -> Verdict {
        let mut verdict = self.say(ResponseCode::ServFail, outcome);
        verdict.asked.why = Some(why);
        verdict
    }

    pub(super) async fn forward(&self, allowed: &Allowed<'_>) -> Verdict {
        let Self { resolver, admitted, question } = self;
        let endpoint = admitted.client.endpoint;
        if let Some(name) = question.name.as_ref().filter(|_| allowed.is_by_any())
            && !resolver.with(endpoint, |seen, now| seen.limits.name(name, now))
        {
            return self.refuse(Outcome::RefusedRate);
        }
        let settings = Arc::clone(&resolver.settings.borrow());
        let answer = upstream::ask(&settings.upstream, &question.asked, question.kind).await;
        let found = match answer {
            Ok(message) => answer::read(&message, &question.asked, question.kind),
            Err(error) => return self.fail(Outcome::UpstreamFailed, causes(&error)),
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => return self.fail(Outcome::UpstreamFailed, error.to_string()),
        };
        // Seconds have gone by: what was allowed may be so no longer, and the address be another's.
        let now = resolver.client(admitted.source);
        let Some(client) = now.filter(|client| client.endpoint == endpoint) else {
            return Verdict { message: None, ..self.refuse(Outcome::RefusedName) };
        };
        let name = question.name.as_ref();
        match judge(name, question.kind, &client.policy, &resolver.ranges) {
            Ruling::Forward(allowed) => self.give(&client, &allowed, &found, &settings).await,
            _ => self.refuse(Outcome::RefusedName),
        }
    }

    /// Opens the addresses of an answer, and then says them.
    async fn give(
        &self,
        client: &Client,
        allowed: &Allowed<'_>,
        found: &Found,
        settings: &Dns,
    ) -> Verdict {
        let ranges = &self.resolver.ranges;
        let (own, rules) = (client.policy.own.as_slice(), allowed.rules.as_slice());
        let told = |mut verdict: Verdict| {
            verdict.asked.rule = Some(allowed.told());
            verdict
        };
        let aliases: Result<Vec<DomainName>, _> =
            found.aliases.iter().map(|alias| alias.to_ascii().parse()).collect();
        let policy = &client.policy;
        if !aliases.is_ok_and(|all| permits_aliases(&all, policy, allowed, ranges)) {
            return told(self.refuse(Outcome::RefusedName));
        }
        if let Some(address) = found.forbidden(rules, own, ranges) {
            let mut verdict = told(self.refuse(Outcome::RefusedAddress));
            verdict.asked.addresses = vec![address];
            return verdict;
        }
        let ttl = found.ttl_within(settings.min_ttl, settings.max_ttl);
        let open = ttl.saturating_add(settings.lease_grace);
        let leases = found.leases(client.endpoint, rules, (own, ranges), open);
        let mut groups: Vec<u32> = leases.iter().map(|lease| lease.group).collect();
        groups.sort_unstable();
        groups.dedup();
        if let Err(why) = self.open(leases).await {
            return told(self.fail(Outcome::LeaseFailed, why));
        }
        let outcome = if found.is_missing { Outcome::NoSuchName } else { Outcome::Answered };
        let mut verdict = told(self.refuse(outcome));
        verdict.message = Some(answer::build(self.question, found, ttl));
        verdict.asked = Asked {
            groups,
            addresses: found.addresses.clone(),
            ttl: Some(ttl),
            why: (found.cut > 0).then(|| format!("{} records are left out", found.cut)),
            ..verdict.asked
        };
        verdict
    }

    async fn open(&self, leases: Vec<Lease>) -> Result<(), String> {
        for lease in leases {
            self.resolver.leases.grant(lease).await?;
        }
        Ok(())
    }
}
