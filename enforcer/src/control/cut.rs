//! Control path 1d: guests that are cut off have what is left of their policies, and those that are slowed stricter
//! limits. Pure.

use enforcer_common::abi::endpoint::Role;

use super::{
    numbers::{Numbers, numbers},
    reconcile::State,
};
use crate::{
    abuse::{Answer, Restraints},
    config::{Config, GuestNetwork},
    model::desired::Desired,
};

/// Gives the guests that are held what they have meanwhile. A policy that is not known becomes none.
pub(super) fn restrain(desired: &mut Desired, config: &Config, restraints: &Restraints) {
    let all = [Answer::Cut, Answer::Slow].map(|answer| (answer, restraints.held(answer)));
    if all.iter().all(|(_, containers)| containers.is_empty()) {
        return;
    }
    let numbers = numbers(config);
    let Desired { networks, endpoints, .. } = desired;
    for endpoint in endpoints.values_mut().filter(|endpoint| endpoint.role == Role::Guest) {
        let Some(container) = endpoint.container.as_deref() else { continue };
        let name = networks.get(&endpoint.network).map(|network| &network.name);
        let known = name.and_then(|name| Some((config.networks.get(name)?, numbers.get(name)?)));
        for (answer, _) in all.iter().filter(|(_, held)| held.contains(container)) {
            endpoint.policy = known.map_or(0, |(network, numbers)| {
                number(*answer, endpoint.policy, numbers, (network, config))
            });
        }
    }
}

/// The number that a guest has while it is held; the same, if it is.
fn number(
    answer: Answer,
    number: u32,
    numbers: &Numbers,
    (network, config): (&GuestNetwork, &Config),
) -> u32 {
    match answer {
        // Nobody may be slowed any more.
        Answer::Slow if numbers.slow.is_empty() => number,
        Answer::Slow => numbers.of_slow(number),
        Answer::Cut => {
            let own = numbers.at_full_speed(number);
            let cut = numbers.of_cut(own, network, config);
            if cut == own { number } else { cut }
        }
        Answer::Record | Answer::Pause | Answer::Stop => number,
    }
}

/// What the kernel has of a container that is to be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// All its ports are held so.
    Held,
    /// Not all of them, or nobody knows yet.
    NotYet,
    /// It has no port.
    Gone,
}

/// What the control loop last saw of a container that is to be held in this way.
#[must_use]
pub fn seen(state: &State, container: &str, answer: Answer) -> Seen {
    // In the midst of a plan it is not told by which config.
    let Some(config) = &state.config else { return Seen::NotYet };
    let numbers = numbers(config);
    let ports = state.desired.endpoints.iter().filter(|(_, endpoint)| {
        endpoint.role == Role::Guest && endpoint.container.as_deref() == Some(container)
    });
    let mut seen = Seen::Gone;
    for (ifindex, endpoint) in ports {
        let name = state.desired.networks.get(&endpoint.network).map(|network| &network.name);
        let known = name.and_then(|name| Some((config.networks.get(name)?, numbers.get(name)?)));
        let held = state.observed.endpoints.get(ifindex).map(|held| held.policy);
        let is_held = known.zip(held).is_some_and(|((network, numbers), held)| {
            held == number(answer, held, numbers, (network, config))
        });
        if !is_held {
            return Seen::NotYet;
        }
        seen = Seen::Held;
    }
    seen
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use enforcer_common::abi::endpoint::Endpoint;

    use super::*;
    use crate::{
        abuse::{Restraint, Signal},
        config::parse,
        model::{
            desired::{DesiredEndpoint, DesiredNetwork},
            observed::Observed,
        },
    };

    const CONFIG: &str = "[policies.open]\npresets = [\"public-internet\"]\n[networks.a]\n\
                          bridge = \"br-a\"\npolicy = \"open\"\n";

    fn held(answer: Answer, containers: &[&str]) -> Restraints {
        let mut held = Restraints::default();
        for container in containers {
            held.put(Restraint {
                container: (*container).to_owned(),
                name: String::new(),
                network: "a".to_owned(),
                endpoint: 1,
                answer,
                signal: Some(Signal::Smtp),
                until_ns: None,
            });
        }
        held
    }

    fn endpoint(container: &str, role: Role, policy: u32) -> DesiredEndpoint {
        DesiredEndpoint {
            network: 4,
            policy,
            role,
            container: Some(container.to_owned()),
            name: String::new(),
            mac: [0; 6],
            ipv4: None,
            ipv6: None,
            published: Vec::new(),
        }
    }

    #[test]
    fn abuse_whoever_is_cut_off_gets_another_policy_and_nobody_else_does() {
        let config = parse(CONFIG, "x").expect("is good");
        let numbers = numbers(&config)["a"].clone();
        let network = DesiredNetwork {
            name: "a".to_owned(),
            bridge: "br-a".to_owned(),
            gateway4: None,
            gateway6: None,
            gateway_link_local: None,
            mac: [0; 6],
            owned: false,
        };
        let guest = numbers.guest;
        let endpoints = [
            (20, endpoint("ann", Role::Guest, guest)),
            (21, endpoint("ben", Role::Guest, guest)),
            (22, endpoint("hub", Role::Hub, numbers.hub)),
        ];
        let mut desired = Desired {
            networks: [(4, network)].into(),
            endpoints: endpoints.into(),
            ..Desired::default()
        };
        restrain(&mut desired, &config, &held(Answer::Cut, &["ann", "hub"]));
        let policies: Vec<u32> = desired.endpoints.values().map(|one| one.policy).collect();
        assert_eq!(policies, [numbers.cut[&None], guest, numbers.hub], "a hub never is");

        let state = |held: u32, config: Option<Arc<Config>>| State {
            desired: desired.clone(),
            observed: Observed {
                endpoints: [(20, Endpoint { policy: held, ..Endpoint::default() })].into(),
                ..Observed::default()
            },
            config,
            ..State::default()
        };
        let config = Some(Arc::new(config));
        assert_eq!(seen(&state(guest, config.clone()), "ann", Answer::Cut), Seen::NotYet);
        assert_eq!(
            seen(&state(numbers.cut[&None], config.clone()), "ann", Answer::Cut),
            Seen::Held
        );
        assert_eq!(
            seen(&state(numbers.cut[&None], None), "ann", Answer::Cut),
            Seen::NotYet,
            "in the midst"
        );
        assert_eq!(seen(&state(guest, config), "cyn", Answer::Cut), Seen::Gone);
    }

    #[test]
    fn abuse_whoever_is_slowed_keeps_its_rules_with_other_limits_also_while_it_is_cut_off() {
        let slowing = format!("{CONFIG}[abuse.smtp]\nanswer = \"slow\"\n");
        let config = parse(&slowing, "x").expect("is good");
        let numbers = &numbers(&config)["a"];
        let (guest, cut) = (numbers.guest, numbers.cut[&None]);
        let network = &config.networks["a"];
        let slowed = |of| number(Answer::Slow, of, numbers, (network, &config));
        let cut_off = |of| number(Answer::Cut, of, numbers, (network, &config));
        let both = slowed(cut_off(guest));
        let all: std::collections::BTreeSet<u32> = [guest, cut, slowed(guest), both, 0].into();
        assert_eq!(all.len(), 5, "each is another one");
        assert_eq!(
            (slowed(slowed(guest)), slowed(both), cut_off(both)),
            (slowed(guest), both, both)
        );
        assert_eq!(slowed(0), 0, "who has none gets none");
        assert_eq!(numbers.at_full_speed(both), cut);
        let without = parse(CONFIG, "x").expect("is good");
        let plain = &super::numbers(&without)["a"];
        let left = number(Answer::Slow, guest, plain, (&without.networks["a"], &without));
        assert_eq!(left, guest, "a config that slows nobody lets go");
    }
}
