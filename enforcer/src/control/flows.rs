//! Live flows, for people: which of those that the kernel holds are asked for, and what they are called.
//! Pure; memory grows with what is shown, not with what there is.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeSet, BinaryHeap, HashMap},
    net::IpAddr,
};

use enforcer_common::{
    abi::{
        flow::{FlowKey, FlowRecord},
        verdict::DropReason,
    },
    decide::Opener,
    flow::{FlowState, Phase, is_expired},
};

use super::desired::abi_ip;
use crate::{
    audit::enrich::opener_name,
    model::{
        declined::Declined,
        desired::Desired,
        flows::{FlowOrder, FlowStatus, FlowsQuestion, FlowsReport, MOST},
        observed::Observed,
        owner::Owners,
    },
    policy::rule::{Rule, found},
};

/// Least digits of a container's id that stand for it.
const LEAST_DIGITS: usize = 4;

/// What flows are held against.
#[derive(Debug)]
pub struct Known<'a> {
    /// Whose endpoints they are.
    pub owners: &'a Owners,
    /// Rules of each endpoint's policy, by its id, with the epoch under which the kernel holds them.
    pub rules: HashMap<u32, (u32, &'a [Rule])>,
    /// Monotonic ns.
    pub now_ns: u64,
}

/// The rules that the kernel holds, by endpoint. Those that it does not hold yet are left out.
#[must_use]
pub fn rules<'a>(desired: &'a Desired, observed: &Observed) -> HashMap<u32, (u32, &'a [Rule])> {
    let held = |number: &u32| {
        let policy = desired.policies.get(number)?;
        let epoch = observed.policies.get(number)?.epoch;
        let is_same = observed
            .tables
            .get(&epoch)
            .map_or_else(|| policy.tables.is_empty(), |tables| *tables == policy.tables);
        is_same.then_some((epoch, policy.rules.as_slice()))
    };
    let numbers: BTreeSet<u32> = observed.endpoints.values().map(|port| port.policy).collect();
    let held: HashMap<u32, _> =
        numbers.iter().filter_map(|number| Some((*number, held(number)?))).collect();
    let ports = observed.endpoints.values();
    ports.filter_map(|port| Some((port.id, *held.get(&port.policy)?))).collect()
}

/// Flows that are being gathered.
#[derive(Debug)]
pub struct Gathering<'a> {
    known: Known<'a>,
    wanted: Wanted,
    order: FlowOrder,
    limit: usize,
    /// The least of them on top.
    best: BinaryHeap<Reverse<Ranked>>,
    others: u64,
}

#[derive(Debug)]
enum Wanted {
    All,
    Endpoints(BTreeSet<u32>),
    Address(IpAddr),
}

#[derive(Debug)]
struct Ranked {
    rank: u64,
    key: FlowKey,
    flow: FlowRecord,
}

impl<'a> Gathering<'a> {
    /// Nothing so far. An error is for people: nobody is called so.
    pub fn new(asked: &FlowsQuestion, known: Known<'a>) -> Result<Self, Declined> {
        let wanted = match &asked.guest {
            None => Wanted::All,
            Some(guest) => wanted(guest, known.owners)?,
        };
        let limit = usize::try_from(asked.limit.min(MOST)).unwrap_or(usize::MAX);
        let best = BinaryHeap::new();
        Ok(Self { known, wanted, order: asked.order, limit, best, others: 0 })
    }

    /// Takes in a flow. One that is over counts for nothing, whether or not the kernel has looked at it.
    pub fn take(&mut self, key: &FlowKey, flow: &FlowRecord) {
        let state = FlowState::from_word(flow.state);
        let is_wanted = match &self.wanted {
            Wanted::All => true,
            Wanted::Endpoints(ids) => ids.contains(&key.endpoint),
            Wanted::Address(address) => abi_ip(key.local, key.family) == *address,
        };
        if !is_wanted
            || state.phase() == Phase::Dead
            || is_expired(flow, state, key.protocol, self.known.now_ns)
        {
            return;
        }
        let rank = match self.order {
            FlowOrder::Bytes => flow.bytes_out.saturating_add(flow.bytes_in),
            FlowOrder::Packets => flow.packets_out.saturating_add(flow.packets_in),
            FlowOrder::Age => u64::MAX - flow.opened_ns,
            FlowOrder::Recent => flow.last_seen_ns,
        };
        self.best.push(Reverse(Ranked { rank, key: *key, flow: *flow }));
        if self.best.len() > self.limit {
            self.best.pop();
            self.others += 1;
        }
    }

    /// What there is; `whole`: all of the table was taken in.
    #[must_use]
    pub fn finish(self, whole: bool) -> FlowsReport {
        let Self { known, best, others, .. } = self;
        let mut best: Vec<Ranked> = best.into_iter().map(|Reverse(ranked)| ranked).collect();
        best.sort_by(|one, other| other.cmp(one));
        let flows = best.iter().map(|ranked| known.status(&ranked.key, &ranked.flow)).collect();
        FlowsReport { flows, others, whole }
    }
}

fn wanted(guest: &str, owners: &Owners) -> Result<Wanted, Declined> {
    let guests = || owners.iter().filter(|(_, owner)| owner.role.is_some());
    let is_it = |id: &str, name: &str| {
        name == guest || guest.len() >= LEAST_DIGITS && id.starts_with(guest)
    };
    let ids: BTreeSet<u32> = guests()
        .filter(|(_, owner)| is_it(owner.container.as_deref().unwrap_or_default(), &owner.name))
        .map(|(id, _)| *id)
        .collect();
    if !ids.is_empty() {
        return Ok(Wanted::Endpoints(ids));
    }
    guest.parse().map(Wanted::Address).map_err(|_not_one| {
        let known = guests().map(|(_, owner)| owner.name.as_str()).filter(|name| !name.is_empty());
        let known: Vec<&str> = known.take(10).collect();
        let known = known.join(", ");
        Declined::unknown(format!("no guest is called {guest}; there are {known}"))
    })
}

impl Known<'_> {
    fn status(&self, key: &FlowKey, flow: &FlowRecord) -> FlowStatus {
        let owner = self.owners.get(&key.endpoint);
        let since = |then: u64| self.now_ns.saturating_sub(then) / 1_000_000;
        let (rule, audited) = found(flow.rule);
        FlowStatus {
            guest: owner.map(|owner| owner.name.clone()).unwrap_or_default(),
            endpoint: key.endpoint,
            network: owner.map(|owner| owner.network.clone()).unwrap_or_default(),
            user: owner.and_then(|owner| owner.provenance.user.clone()),
            opener: opener_name(Opener::from_value(flow.opener)).to_owned(),
            protocol: key.protocol,
            local: abi_ip(key.local, key.family),
            local_port: key.local_port,
            remote: abi_ip(key.remote, key.family),
            remote_port: key.remote_port,
            state: state_name(FlowState::from_word(flow.state)).to_owned(),
            packets_out: flow.packets_out,
            packets_in: flow.packets_in,
            bytes_out: flow.bytes_out,
            bytes_in: flow.bytes_in,
            age_ms: since(flow.opened_ns),
            idle_ms: since(flow.last_seen_ns),
            rule,
            rule_name: rule.and_then(|rule| self.rule_name(key.endpoint, flow.epoch, rule)),
            would_deny: audited.then(|| DropReason::Policy.name().to_owned()),
        }
    }

    fn rule_name(&self, endpoint: u32, epoch: u32, rule: u32) -> Option<String> {
        let (held, rules) = self.rules.get(&endpoint)?;
        let index = usize::try_from(rule).ok()?.checked_sub(1)?;
        (*held == epoch).then(|| rules.get(index).map(|rule| rule.name.clone())).flatten()
    }
}

const fn state_name(state: FlowState) -> &'static str {
    match state.phase() {
        Phase::Dead => "dead",
        Phase::HalfOpen => "half_open",
        Phase::Replied => "replied",
        Phase::Established if state.is_half_closed() => "half_closed",
        Phase::Established => "established",
        Phase::Closing => "closing",
    }
}

/// Of equal rank, the order of what tells flows apart: one table is shown in one order.
impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        let place = |ranked: &Self| {
            let FlowKey { endpoint, local, remote, local_port, remote_port, protocol, .. } =
                ranked.key;
            Reverse((endpoint, protocol, remote, remote_port, local, local_port))
        };
        self.rank.cmp(&other.rank).then_with(|| place(self).cmp(&place(other)))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

#[cfg(test)]
#[path = "flows/tests.rs"]
mod tests;
