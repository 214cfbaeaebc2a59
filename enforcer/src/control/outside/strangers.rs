//! Ports of guest bridges that belong to no container of the engine: podman's, or made by hand. They
//! are denied from the first frame on; here is only how long they have been there. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use enforcer_common::abi::endpoint::Role;

use crate::model::desired::Desired;

/// A port without a container for this long is not about to get one.
const PATIENCE: Duration = Duration::from_secs(5);

/// Since when each port has had no container.
#[derive(Debug, Default)]
pub struct Strangers {
    since: BTreeMap<u32, Instant>,
}

impl Strangers {
    /// The ports that have been strangers for a while.
    pub fn update(&mut self, desired: &Desired, now: Instant) -> BTreeSet<u32> {
        let is_stranger = |ifindex: &u32| {
            desired
                .endpoints
                .get(ifindex)
                .is_some_and(|endpoint| matches!(endpoint.role, Role::Unknown | Role::Other))
        };
        self.since.retain(|ifindex, _| is_stranger(ifindex));
        for ifindex in desired.endpoints.keys().filter(|ifindex| is_stranger(ifindex)) {
            self.since.entry(*ifindex).or_insert(now);
        }
        let long = |since: &Instant| now.duration_since(*since) >= PATIENCE;
        self.since.iter().filter(|(_, since)| long(since)).map(|(ifindex, _)| *ifindex).collect()
    }

    /// When the next port becomes one.
    #[must_use]
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        self.since.values().map(|since| *since + PATIENCE).filter(|due| *due > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::desired::DesiredEndpoint;

    fn desired(ports: &[(u32, Role)]) -> Desired {
        let endpoint = |role| DesiredEndpoint {
            network: 1,
            policy: 0,
            role,
            container: None,
            name: String::new(),
            mac: [0; 6],
            ipv4: None,
            ipv6: None,
            published: Vec::new(),
        };
        let endpoints = ports.iter().map(|(ifindex, role)| (*ifindex, endpoint(*role))).collect();
        Desired { endpoints, ..Desired::default() }
    }

    #[test]
    fn d20_a_port_without_a_container_is_a_stranger_after_a_while() {
        let (start, mut strangers) = (Instant::now(), Strangers::default());
        let ports = desired(&[(5, Role::Unknown), (6, Role::Other), (7, Role::Guest)]);
        assert!(strangers.update(&ports, start).is_empty());
        assert_eq!(strangers.next_due(start), Some(start + PATIENCE));
        let later = start + PATIENCE;
        assert_eq!(strangers.update(&ports, later), [5, 6].into());
        assert_eq!(strangers.next_due(later), None);
        // Identified, then not any more: its time begins anew.
        strangers.update(&desired(&[(5, Role::Guest)]), later);
        assert!(strangers.update(&ports, later).is_empty());
    }
}
