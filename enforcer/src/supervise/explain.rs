//! Answers why a guest may, or may not, begin a conversation, from what the control loop last saw.

use enforcer_common::packet::{TCP, UDP};

use crate::{
    control::{desired::abi_address, reconcile::State},
    model::{
        desired::DesiredEndpoint,
        status::{ExplainQuestion, Explained},
    },
    policy::{
        explain::{Question, explain},
        rule::Net,
    },
};

/// Least digits of a container's id that stand for it.
const LEAST_DIGITS: usize = 4;

/// The answer; an error is for people.
pub(super) fn answer(state: &State, asked: &ExplainQuestion) -> Result<Explained, String> {
    let (ifindex, guest) = find(state, &asked.from)?;
    let unknown = || format!("the kernel does not hold {} yet; try again", asked.from);
    let endpoint = state.observed.endpoints.get(&ifindex).ok_or_else(unknown)?;
    let network = state.observed.networks.get(&endpoint.network).ok_or_else(unknown)?;
    let policy = state.desired.policies.get(&endpoint.policy);
    let rules = policy.map(|policy| policy.rules.as_slice()).unwrap_or_default();
    let (address, _) = abi_address(asked.to);
    // Echo has no ports.
    let port = if matches!(asked.protocol, TCP | UDP) { asked.port } else { 0 };
    let question = Question { to: Net::host(asked.to), address, protocol: asked.protocol, port };
    let explanation = explain(endpoint, network, rules, &question);
    let epoch = state.observed.policies.get(&endpoint.policy).map(|policy| policy.epoch);
    let held = epoch.and_then(|epoch| {
        state.observed.tables.get(&epoch)?.look_up(&question.to, (question.protocol, port))
    });
    let is_allowed_by_rule = explanation.verdict == "allow" && explanation.rule.is_some();
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
        is_held: !is_allowed_by_rule || held == explanation.rule,
        explanation,
    })
}

/// The port of a container, by its name, the beginning of its id, or an address.
fn find<'a>(state: &'a State, from: &str) -> Result<(u32, &'a DesiredEndpoint), String> {
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
        return Err(format!("no guest is called {from}; there are {}", known.join(", ")));
    };
    let others: Vec<&str> = found.map(|(_, endpoint)| endpoint.name.as_str()).collect();
    if others.is_empty() {
        return Ok((*ifindex, endpoint));
    }
    Err(format!(
        "{from} may be {} or {}: name one by its address",
        endpoint.name,
        others.join(" or ")
    ))
}
