//! Control path 1d: whose processes are in which cgroup. Pure.

use std::collections::BTreeMap;

use enforcer_common::abi::{cgroup::CgroupOwner, endpoint::Role};

use super::plan::container_bytes;
use crate::{
    config::Config,
    model::{
        desired::{Desired, DesiredCgroup, DesiredEndpoint},
        inventory::Inventory,
        observed::Observed,
    },
};

/// Adds the cgroups of the guests. `found` has those that containers were seen in, by container id. Of
/// one that Docker has not told of yet what the kernel holds stays: a cgroup's id is never used again.
pub fn cgroups(
    desired: &mut Desired,
    config: &Config,
    inventory: &Inventory,
    found: &BTreeMap<String, u64>,
    observed: &Observed,
) {
    let mut cgroups = BTreeMap::<u64, DesiredCgroup>::new();
    for (ifindex, endpoint, container) in guests(desired) {
        // Known once the container has been inspected.
        let joined = inventory.containers.get(container).filter(|c| c.sandbox.is_some());
        let held = held(*ifindex, endpoint, observed).filter(|_| joined.is_none());
        let Some(cgroup) = found.get(container).copied().or(held.map(|(cgroup, _)| cgroup)) else {
            continue;
        };
        let only = match joined {
            Some(container) => container.networks.len() == 1,
            None => held.is_some_and(|(_, owner)| owner.ifindex != 0),
        };
        // What the calls' hooks judge are guests' endpoints; others' packets are refused on their way.
        let judged = config.refuse_at_connect && only && endpoint.role == Role::Guest;
        let entry = DesiredCgroup { ifindex: *ifindex, judged };
        // Of several endpoints the first has its records, and none of them is the only one.
        let entry_of = cgroups.entry(cgroup);
        entry_of.and_modify(|first| first.judged = false).or_insert(entry);
    }
    desired.cgroups = cgroups;
}

/// Notes the guests whose denied packets are answered: no program refuses the calls of their processes, and a
/// packet that is dropped in silence would have them wait.
pub fn answered(desired: &mut Desired, config: &Config, calls_are_refused: bool) {
    let is_refused = |ifindex: &u32| {
        let mut cgroups = desired.cgroups.values();
        calls_are_refused && cgroups.any(|cgroup| cgroup.judged && cgroup.ifindex == *ifindex)
    };
    let guests = guests(desired).filter(|_| config.refuse_at_connect);
    let ports = guests.map(|(ifindex, ..)| *ifindex);
    desired.answered = ports.filter(|ifindex| !is_refused(ifindex)).collect();
}

/// Guests whose cgroup is not known, by container id: their names.
#[must_use]
pub fn without(desired: &Desired) -> BTreeMap<String, String> {
    let known = |ifindex: &u32| desired.cgroups.values().any(|c| c.ifindex == *ifindex);
    let has = |container: &str| guests(desired).any(|(i, _, other)| other == container && known(i));
    guests(desired)
        .filter(|(_, _, container)| !has(container))
        .map(|(_, endpoint, container)| (container.to_owned(), endpoint.name.clone()))
        .collect()
}

fn guests(desired: &Desired) -> impl Iterator<Item = (&u32, &DesiredEndpoint, &str)> {
    desired.endpoints.iter().filter_map(|(ifindex, endpoint)| {
        let container = endpoint.container.as_deref()?;
        // A guest that an owner keeps apart on an own network has its processes seen all the same.
        let owned = desired.networks.get(&endpoint.network).is_some_and(|network| network.owned);
        let is_guest = endpoint.role == Role::Guest || owned && endpoint.role == Role::Hub;
        is_guest.then_some((ifindex, endpoint, container))
    })
}

fn held(
    ifindex: u32,
    endpoint: &DesiredEndpoint,
    observed: &Observed,
) -> Option<(u64, CgroupOwner)> {
    let is = observed.endpoints.get(&ifindex)?;
    if is.container != container_bytes(endpoint) {
        return None;
    }
    let of = observed.cgroups.iter().find(|(_, owner)| owner.owner == is.id);
    of.map(|(cgroup, owner)| (*cgroup, *owner))
}

#[cfg(test)]
mod tests {
    use enforcer_common::abi::endpoint::Endpoint;

    use super::*;
    use crate::model::inventory::Container;

    const ID: &str = "aa00000000000000000000000000000000000000000000000000000000000000";

    fn endpoint(role: Role) -> DesiredEndpoint {
        DesiredEndpoint {
            network: 1,
            policy: 1,
            role,
            container: Some(ID.to_owned()),
            name: "ann".to_owned(),
            mac: [2; 6],
            ipv4: None,
            ipv6: None,
            published: Vec::new(),
        }
    }

    fn desired(ports: &[(u32, Role)]) -> Desired {
        let endpoints = ports.iter().map(|(ifindex, role)| (*ifindex, endpoint(*role))).collect();
        Desired { endpoints, ..Desired::default() }
    }

    fn inventory(networks: &[&str]) -> Inventory {
        let networks = networks.iter().map(|id| ((*id).to_owned(), String::new())).collect();
        let sandbox = Some("/run/netns".to_owned());
        let container = Container { sandbox, networks, ..Container::default() };
        Inventory { containers: [(ID.to_owned(), container)].into(), ..Inventory::default() }
    }

    fn all(desired: &Desired) -> Vec<(u64, u32, bool)> {
        desired.cgroups.iter().map(|(id, c)| (*id, c.ifindex, c.judged)).collect()
    }

    type Case<'a> = (&'a [(u32, Role)], &'a [&'a str], bool, Vec<(u64, u32, bool)>);

    #[test]
    fn n8_packets_are_answered_where_no_call_is_refused() {
        let none = Observed::default();
        let found = [(ID.to_owned(), 7)].into();
        let ports = |networks: &[&str], found: &BTreeMap<String, u64>, hooks, wanted| {
            let mut desired = desired(&[(11, Role::Guest), (13, Role::Hub)]);
            let config = Config { refuse_at_connect: wanted, ..Config::default() };
            cgroups(&mut desired, &config, &inventory(networks), found, &none);
            answered(&mut desired, &config, hooks);
            desired.answered.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(ports(&["a"], &found, true, true), [0_u32; 0], "a cgroup and programs on it");
        assert_eq!(ports(&["a", "b"], &found, true, true), [11], "several endpoints");
        assert_eq!(ports(&["a"], &BTreeMap::new(), true, true), [11], "no cgroup");
        assert_eq!(ports(&["a"], &found, false, true), [11], "no program");
        assert_eq!(
            ports(&["a", "b"], &BTreeMap::new(), false, false),
            [0_u32; 0],
            "nobody wants it"
        );
    }

    #[test]
    fn only_guests_processes_are_known_and_only_calls_of_one_network_are_judged() {
        // Ports, networks, refused at connect -> cgroups.
        let (guest, hub) = (Role::Guest, Role::Hub);
        let cases: [Case<'_>; 6] = [
            (&[(5, guest)], &["n"], true, vec![(77, 5, true)]),
            (&[(5, guest)], &["n"], false, vec![(77, 5, false)]),
            (&[(5, guest)], &["n", "other"], true, vec![(77, 5, false)]),
            (&[(5, guest), (6, guest)], &["n", "m"], true, vec![(77, 5, false)]),
            (&[(5, hub)], &["n"], true, vec![]),
            (&[(5, Role::Unknown)], &["n"], true, vec![]),
        ];
        for (ports, networks, refuse, expected) in cases {
            let mut desired = desired(ports);
            let config = Config { refuse_at_connect: refuse, ..Config::default() };
            let found = BTreeMap::from([(ID.to_owned(), 77), ("other".to_owned(), 78)]);
            let inventory = inventory(networks);
            cgroups(&mut desired, &config, &inventory, &found, &Observed::default());
            assert_eq!(all(&desired), expected, "{ports:?} {networks:?}");
            assert!(without(&desired).is_empty());
        }
    }

    #[test]
    fn n7_what_the_kernel_holds_of_the_same_container_stays_until_something_else_is_found() {
        let owner = CgroupOwner { owner: 9, ifindex: 5 };
        let held = |container| Observed {
            endpoints: [(5, Endpoint { id: 9, container, ..Endpoint::default() })].into(),
            cgroups: [(77, owner)].into(),
            ..Observed::default()
        };
        let mut same = [0; 32];
        same[0] = 0xaa;
        let none = BTreeMap::new();
        let new = BTreeMap::from([(ID.to_owned(), 80)]);
        let silent = Inventory::default();
        let cases = [
            (held(same), &none, vec![(77, 5, true)]),
            (held([0xbb; 32]), &none, vec![]),
            (held(same), &new, vec![(80, 5, true)]),
            (held([0xbb; 32]), &new, vec![(80, 5, false)]),
        ];
        let told = inventory(&["n"]);
        let mut gone = desired(&[(5, Role::Guest)]);
        cgroups(&mut gone, &Config::default(), &told, &none, &held(same));
        assert!(gone.cgroups.is_empty(), "told, and not found");
        for (observed, found, expected) in cases {
            let mut desired = desired(&[(5, Role::Guest)]);
            cgroups(&mut desired, &Config::default(), &silent, found, &observed);
            assert_eq!(all(&desired), expected);
            let name = without(&desired).into_values().next();
            assert_eq!(name.as_deref(), expected.is_empty().then_some("ann"));
        }
    }
}
