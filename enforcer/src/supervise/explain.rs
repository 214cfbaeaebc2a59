//! Answers why a guest may, or may not, begin a conversation, from what the control loop last saw.

use enforcer_common::{
    abi::{endpoint::Role, policy::Direction},
    packet::{TCP, UDP},
};

use crate::{
    control::{desired::abi_address, reconcile::State},
    model::{
        declined::Declined,
        desired::DesiredEndpoint,
        limits::LimitsInForce,
        status::{ExplainQuestion, Explained, ExplainedName, NameQuestion},
    },
    policy::{
        explain::{Question, explain},
        rule::{Net, opens},
    },
};

/// Least digits of a container's id that stand for it.
const LEAST_DIGITS: usize = 4;

/// The answer; an error is for people.
pub(super) fn answer(state: &State, asked: &ExplainQuestion) -> Result<Explained, Declined> {
    let (ifindex, guest) = find(state, &asked.from)?;
    let unknown =
        || Declined::not_yet(format!("the kernel does not hold {} yet; try again", asked.from));
    let endpoint = state.observed.endpoints.get(&ifindex).ok_or_else(unknown)?;
    let network = state.observed.networks.get(&endpoint.network).ok_or_else(unknown)?;
    let policy = state.desired.policies.get(&endpoint.policy);
    let rules = policy.map(|policy| policy.rules.as_slice()).unwrap_or_default();
    let (address, _) = abi_address(asked.to);
    // Echo has no ports.
    let port = if matches!(asked.protocol, TCP | UDP) { asked.port } else { 0 };
    let by_rule_only = policy.is_some_and(|policy| policy.by_rule_only);
    let (to, protocol) = (Net::host(asked.to), asked.protocol);
    let question = Question { to, address, protocol, port, by_rule_only };
    let explanation = explain(endpoint, network, rules, &question);
    let in_force = state.observed.policies.get(&endpoint.policy);
    let limits = in_force.map(|policy| LimitsInForce::from(&policy.limits)).unwrap_or_default();
    let epoch = state.observed.policies.get(&endpoint.policy).map(|policy| policy.epoch);
    let held = epoch.and_then(|epoch| {
        let tables = state.observed.tables.get(&epoch)?;
        tables.look_up(Direction::Out, &question.to, (question.protocol, port)).opened_by()
    });
    let said = opens(rules, &question.to, question.protocol, port);
    let is_allowed_by_rule = explanation.verdict == "allow" && said.is_some();
    Ok(Explained {
        guest: guest.name.clone(),
        container_id: guest.container.clone(),
        network: state
            .desired
            .networks
            .get(&endpoint.network)
            .map(|network| network.name.clone())
            .unwrap_or_default(),
        policy: policy.map(|policy| policy.name.clone()),
        is_held: !is_allowed_by_rule || held == said,
        limits,
        explanation,
    })
}

/// The same of a name; an error is for people.
pub(super) fn answer_name(state: &State, asked: &NameQuestion) -> Result<ExplainedName, Declined> {
    let (_, guest) = find(state, &asked.from)?;
    let name = asked
        .name
        .parse()
        .map_err(|error| Declined::unknown(format!("{}: {error}", asked.name)))?;
    let port = if matches!(asked.protocol, TCP | UDP) { asked.port } else { 0 };
    let policy = state.desired.policies.get(&guest.policy);
    let rules = policy.map(|policy| policy.rules.as_slice()).unwrap_or_default();
    let has_resolver = state.config.as_ref().is_some_and(|config| config.dns.is_some());
    let names = policy.map(|policy| &*policy.names).filter(|_| has_resolver);
    Ok(ExplainedName {
        guest: guest.name.clone(),
        container_id: guest.container.clone(),
        network: state
            .desired
            .networks
            .get(&guest.network)
            .map(|network| network.name.clone())
            .unwrap_or_default(),
        policy: policy.map(|policy| policy.name.clone()),
        explanation: crate::dns::explain::explain(&name, (asked.protocol, port), rules, names),
    })
}

/// The guest that somebody means: its container, its name and its network.
pub(super) fn guest(state: &State, from: &str) -> Result<(String, String, String), Declined> {
    let (_, endpoint) = find(state, from)?;
    let network = state.desired.networks.get(&endpoint.network);
    match (&endpoint.container, network) {
        (Some(container), Some(network)) if endpoint.role == Role::Guest => {
            Ok((container.clone(), endpoint.name.clone(), network.name.clone()))
        }
        _ => Err(Declined::conflict(format!("{from} is no guest"))),
    }
}

/// The port of a container, by its name, the beginning of its id, or an address.
fn find<'a>(state: &'a State, from: &str) -> Result<(u32, &'a DesiredEndpoint), Declined> {
    let is_it = |endpoint: &DesiredEndpoint| {
        let id = endpoint.container.as_deref().unwrap_or_default();
        endpoint.name == from
            || from.len() >= LEAST_DIGITS && id.starts_with(from)
            || endpoint.ipv4.is_some_and(|address| address.to_string() == from)
            || endpoint.ipv6.is_some_and(|address| address.to_string() == from)
    };
    let mut found = state.desired.endpoints.iter().filter(|(_, endpoint)| is_it(endpoint));
    let Some((ifindex, endpoint)) = found.next() else {
        let known = state.desired.endpoints.values().map(|endpoint| endpoint.name.as_str());
        let known: Vec<&str> = known.filter(|name| !name.is_empty()).take(10).collect();
        let known = known.join(", ");
        return Err(Declined::unknown(format!("no guest is called {from}; there are {known}")));
    };
    let others: Vec<&str> = found.map(|(_, endpoint)| endpoint.name.as_str()).collect();
    if others.is_empty() {
        return Ok((*ifindex, endpoint));
    }
    Err(Declined::conflict(format!(
        "{from} may be {} or {}: name one by its address",
        endpoint.name,
        others.join(" or ")
    )))
}
