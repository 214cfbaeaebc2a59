//! Orders that must hold, and a kernel in memory that plans are run against.

use std::net::Ipv4Addr;

use enforcer_common::abi::policy::{Quotas, Rate};

use super::*;
use crate::{
    model::{
        desired::{DesiredCgroup, DesiredNetwork},
        inventory::PublishedPort,
    },
    policy::{
        compile::compile,
        rule::{Net, Ports, Rule},
    },
};

const BRIDGE: u32 = 10;
const PORT: u32 = 20;

fn rule(port: u16) -> Rule {
    Rule {
        action: crate::policy::rule::Action::Allow,
        to: vec![Net::host([10, 10, 10, 10].into())],
        ports: vec![Ports::one(6, port)],
        ..Rule::default()
    }
}

fn guest(container: &str) -> DesiredEndpoint {
    DesiredEndpoint {
        network: BRIDGE,
        policy: 1,
        role: Role::Guest,
        // 64 digits, as Docker's are.
        container: (!container.is_empty()).then(|| container.repeat(64)),
        name: container.to_owned(),
        mac: [2, 66, 0, 0, 0, 2],
        ipv4: Some(Ipv4Addr::new(10, 0, 0, 2)),
        ipv6: None,
        published: vec![PublishedPort { container_port: 80, protocol: 6 }],
    }
}

fn closure(bridge: &str) -> Closure {
    Closure {
        bridges: [bridge.to_owned()].into(),
        mark_mask: 3,
        from_guest: 1,
        from_host: 2,
        by: crate::model::closure::By::Bridge,
    }
}

fn policy(rules: Vec<Rule>) -> DesiredPolicy {
    let tables = compile(&rules).expect("is small").into();
    DesiredPolicy { rules, tables, ..DesiredPolicy::default() }
}

fn desired() -> Desired {
    let network = DesiredNetwork {
        name: "guests".to_owned(),
        bridge: "guests0".to_owned(),
        gateway4: Some((Ipv4Addr::new(10, 0, 0, 1), 24)),
        gateway6: None,
        gateway_link_local: None,
        mac: [2, 0, 0, 0, 0, 1],
        owned: false,
    };
    let quotas = Quotas { closing: 5, ..Quotas::default() };
    let policy =
        DesiredPolicy { name: "guests/guest".to_owned(), quotas, ..policy(vec![rule(1), rule(2)]) };
    Desired {
        closure: Some(closure("guests0")),
        networks: [(BRIDGE, network)].into(),
        endpoints: [(PORT, guest("a"))].into(),
        policies: [(1, policy)].into(),
        ..Desired::default()
    }
}

/// What the kernel would hold after these steps.
fn perform(observed: &mut Observed, actions: &[Action]) {
    for action in actions.iter().cloned() {
        match action {
            Action::Close(closure) => observed.closure = Some(closure),
            Action::Open => observed.closure = None,
            Action::Attach(ifindex, hook) => {
                observed.first.insert((ifindex, hook));
                observed.held.insert((ifindex, hook));
            }
            Action::Detach(ifindex, hook) => {
                observed.first.remove(&(ifindex, hook));
                observed.held.remove(&(ifindex, hook));
            }
            Action::PutNetwork(key, value) => {
                observed.networks.insert(key, value);
            }
            Action::DropNetwork(key) => {
                observed.networks.remove(&key);
            }
            Action::PutEndpoint(key, value) => {
                observed.endpoints.insert(key, value);
            }
            Action::DropEndpoint(key) => {
                observed.endpoints.remove(&key);
            }
            Action::CreateUsage(id) => {
                observed.usage.insert(id);
            }
            Action::DropUsage(id) => {
                observed.usage.remove(&id);
            }
            Action::PutPublished(key) => {
                observed.published.insert(key);
            }
            Action::DropPublished(key) => {
                observed.published.remove(&key);
            }
            Action::PutHub(key, value) => {
                observed.hubs.insert(key, value);
            }
            Action::DropHub(key) => {
                observed.hubs.remove(&key);
            }
            Action::PutCgroup(key, value) => {
                observed.cgroups.insert(key, value);
            }
            Action::DropCgroup(key) => {
                observed.cgroups.remove(&key);
            }
            Action::DropRules(epoch, _) => {
                observed.tables.remove(&epoch);
            }
            Action::DropPolicy(key) => {
                observed.policies.remove(&key);
            }
            Action::PutPolicy(key, value, tables) => {
                observed.tables.insert(value.epoch, tables);
                observed.policies.insert(key, value);
            }
            Action::PutLedger(value) => observed.ledger = value,
            Action::Pin => observed.pinned = true,
            Action::SetPort(key, value) => {
                observed.ports.insert(key, value);
            }
            Action::SetMac(key, value) => {
                observed.fdb.insert(key, value);
            }
        }
    }
}

/// A kernel that holds nothing but what was pinned at load.
fn kernel() -> Observed {
    Observed { pinned: true, ..Observed::default() }
}

/// Plans and performs until nothing is left; returns the steps of each round.
fn settle(
    desired: &Desired,
    observed: &mut Observed,
    identities: &mut Identities,
) -> Vec<Vec<Action>> {
    let mut rounds = Vec::new();
    loop {
        let actions = plan(desired, observed, identities);
        if actions.is_empty() {
            return rounds;
        }
        perform(observed, &actions);
        rounds.push(actions);
        assert!(rounds.len() < 5, "does not settle: {rounds:#?}");
    }
}

fn position(actions: &[Action], wanted: impl Fn(&Action) -> bool) -> usize {
    actions.iter().position(wanted).unwrap_or_else(|| panic!("not in {actions:#?}"))
}

#[test]
fn a_port_is_denied_before_its_programs_sit_and_known_only_after() {
    let (mut observed, mut identities) = (kernel(), Identities::default());
    let rounds = settle(&desired(), &mut observed, &mut identities);
    assert_eq!(rounds.len(), 2);
    let first = &rounds[0];
    let bridge = position(first, |a| *a == Action::Attach(BRIDGE, Hook::FromBridge));
    let usage = position(first, |a| matches!(a, Action::CreateUsage(_)));
    let entry = position(
        first,
        |a| matches!(a, Action::PutEndpoint(PORT, e) if e.role == Role::Unknown as u8 && e.id != 0),
    );
    let attach = position(first, |a| *a == Action::Attach(PORT, Hook::FromGuest));
    assert!(bridge < usage && usage < entry && entry < attach, "{first:#?}");
    assert!(
        matches!(&rounds[1][..], [Action::PutEndpoint(PORT, e)] if e.role == Role::Guest as u8),
        "{:#?}",
        rounds[1]
    );
}

#[test]
fn a_detached_program_takes_the_identity_away_until_it_is_back() {
    let (mut observed, mut identities) = (kernel(), Identities::default());
    settle(&desired(), &mut observed, &mut identities);
    let id = observed.endpoints[&PORT].id;
    observed.first.remove(&(BRIDGE, Hook::FromBridge));
    let actions = plan(&desired(), &observed, &mut identities);
    assert!(actions.contains(&Action::Attach(BRIDGE, Hook::FromBridge)));
    perform(&mut observed, &actions);
    assert_eq!(observed.endpoints[&PORT].role, Role::Unknown as u8);
    settle(&desired(), &mut observed, &mut identities);
    assert_eq!((observed.endpoints[&PORT].role, observed.endpoints[&PORT].id), (1, id));
}

#[test]
fn another_container_behind_a_port_is_another_id() {
    let (mut observed, mut identities) = (kernel(), Identities::default());
    let mut desired = desired();
    let known = desired.endpoints.insert(
        PORT,
        DesiredEndpoint { role: Role::Unknown, container: None, policy: 0, ..guest("") },
    );
    settle(&desired, &mut observed, &mut identities);
    let first = observed.endpoints[&PORT].id;
    desired.endpoints.insert(PORT, known.expect("guest"));
    settle(&desired, &mut observed, &mut identities);
    assert_eq!(observed.endpoints[&PORT].id, first, "the first identity keeps the id");
    desired.endpoints.insert(PORT, guest("b"));
    settle(&desired, &mut observed, &mut identities);
    let second = observed.endpoints[&PORT].id;
    assert_ne!(second, first);
    assert_eq!(observed.usage, [second].into());
    assert!(observed.published.iter().all(|key| key.endpoint == second));
    desired.endpoints.clear();
    settle(&desired, &mut observed, &mut identities);
    desired.endpoints.insert(PORT, guest("b"));
    settle(&desired, &mut observed, &mut identities);
    assert!(observed.endpoints[&PORT].id > second, "never again");
}

#[test]
fn a_changed_rule_is_put_beside_the_old_one_and_changes_over_at_once() {
    let (mut observed, mut identities) = (kernel(), Identities::default());
    settle(&desired(), &mut observed, &mut identities);
    let epoch = observed.policies[&1].epoch;
    let mut desired = desired();
    *desired.policies.get_mut(&1).expect("policy") =
        DesiredPolicy { quotas: desired.policies[&1].quotas, ..policy(vec![rule(3)]) };
    let actions = plan(&desired, &observed, &mut identities);
    assert!(
        matches!(
            &actions[..],
            [Action::PutLedger(ledger), Action::PutPolicy(1, policy, tables)]
                if policy.epoch > epoch
                    && ledger.last_epoch == policy.epoch
                    && **tables == compile(&[rule(3)]).expect("is small")
        ),
        "{actions:#?}"
    );
    perform(&mut observed, &actions);
    let actions = plan(&desired, &observed, &mut identities);
    assert!(matches!(actions[..], [Action::DropRules(old, ..)] if old == epoch), "{actions:#?}");
    perform(&mut observed, &actions);
    desired.policies.clear();
    assert_eq!(plan(&desired, &observed, &mut identities), [Action::DropPolicy(1)]);
}

#[test]
fn c1_another_limit_is_another_version_of_the_policy() {
    let (mut observed, mut identities) = (kernel(), Identities::default());
    settle(&desired(), &mut observed, &mut identities);
    let epoch = observed.policies[&1].epoch;
    let mut desired = desired();
    let rate = Rate { per_second: 20, burst_ns: 7 };
    desired.policies.get_mut(&1).expect("policy").limits.new_flows = rate;
    let actions = plan(&desired, &observed, &mut identities);
    let changed = actions.iter().find_map(|action| match action {
        Action::PutPolicy(1, policy, _) => Some(*policy),
        _ => None,
    });
    let changed = changed.expect("the policy");
    assert!(changed.epoch > epoch && changed.limits.new_flows == rate, "{actions:#?}");
    settle(&desired, &mut observed, &mut identities);
    assert!(plan(&desired, &observed, &mut identities).is_empty());
}

#[test]
fn n7_a_new_daemon_goes_on_with_the_ids_of_the_old_one() {
    let (mut observed, mut identities) = (kernel(), Identities::default());
    settle(&desired(), &mut observed, &mut identities);
    let before = observed.clone();
    let mut adopted = Identities::adopt(&observed);
    assert_eq!(settle(&desired(), &mut observed, &mut adopted), Vec::<Vec<Action>>::new());

    // Its programs are gone: another interface has the index, and none of the old one's flows.
    observed.held.retain(|(ifindex, _)| *ifindex != PORT);
    observed.first.retain(|(ifindex, _)| *ifindex != PORT);
    let mut adopted = Identities::adopt(&observed);
    settle(&desired(), &mut observed, &mut adopted);
    assert!(observed.endpoints[&PORT].id > before.endpoints[&PORT].id);
    assert_eq!(observed.networks, before.networks);
    assert_eq!(observed.policies, before.policies);
}

#[test]
fn f03_what_a_tightened_config_no_longer_allows_is_closed_before_anything_else() {
    let (mut observed, mut identities) = (kernel(), Identities::default());
    settle(&desired(), &mut observed, &mut identities);
    let mut tightened = desired();
    tightened.policies.get_mut(&1).expect("policy").tables = Arc::default();
    let mut adopted = Identities::adopt(&observed);
    let actions = plan(&tightened, &observed, &mut adopted);
    assert!(
        matches!(&actions[..], [Action::PutLedger(_), Action::PutPolicy(1, _, tables)] if **tables == Tables::default()),
        "{actions:#?}"
    );
}

#[test]
fn a_lost_pin_is_put_back_first() {
    let (mut observed, mut identities) = (kernel(), Identities::default());
    settle(&desired(), &mut observed, &mut identities);
    observed.pinned = false;
    assert_eq!(plan(&desired(), &observed, &mut identities), [Action::Pin]);
}

#[test]
fn a_port_that_left_is_forgotten_first_and_tidied_last() {
    let (mut observed, mut identities) = (kernel(), Identities::default());
    let mut desired = desired();
    settle(&desired, &mut observed, &mut identities);
    desired.endpoints.clear();
    let actions = plan(&desired, &observed, &mut identities);
    assert!(
        matches!(
            actions[..],
            [
                Action::DropEndpoint(PORT),
                Action::Detach(PORT, Hook::FromGuest),
                Action::Detach(PORT, Hook::ToGuest),
                Action::DropPublished(_),
                Action::DropUsage(_)
            ]
        ),
        "{actions:#?}"
    );
}

#[test]
fn early_veths_get_programs_and_nothing_else() {
    let (mut observed, mut identities) = (kernel(), Identities::default());
    let desired = Desired { early: [30, 31].into(), ..Desired::default() };
    let attach = |ifindex| PORT_HOOKS.map(|hook| Action::Attach(ifindex, hook));
    let rounds = settle(&desired, &mut observed, &mut identities);
    assert_eq!(rounds, [[attach(31), attach(30)].concat()]);
    let rounds = settle(&Desired::default(), &mut observed, &mut identities);
    assert_eq!(rounds[0].len(), 4, "and lose them");
    assert_eq!(observed, kernel());
}

#[test]
fn the_second_layer_is_closed_for_guests_and_open_for_hubs() {
    let open = PortSettings {
        isolated: false,
        learning: true,
        unicast_flood: true,
        multicast_flood: true,
    };
    let (mut observed, mut identities) = (kernel(), Identities::default());
    observed.ports.insert(PORT, open);
    settle(&desired(), &mut observed, &mut identities);
    let closed = values::port_settings(Role::Guest, false);
    assert!(
        closed.isolated && !closed.learning && !closed.unicast_flood && !closed.multicast_flood
    );
    assert_eq!(observed.ports[&PORT], closed);
    assert_eq!(observed.fdb[&PORT], [2, 66, 0, 0, 0, 2]);
    assert!(!values::port_settings(Role::Hub, false).isolated);
    assert!(values::port_settings(Role::Guest, true).multicast_flood);
}

#[test]
fn d02_bridges_are_closed_before_anything_else() {
    let actions = plan(&desired(), &Observed::default(), &mut Identities::default());
    assert_eq!(actions.first(), Some(&Action::Close(closure("guests0"))));
}

#[test]
fn n7_a_closure_that_was_changed_or_removed_is_written_again() {
    let (mut observed, mut identities) = (Observed::default(), Identities::default());
    settle(&desired(), &mut observed, &mut identities);
    for found in [None, Some(closure("other"))] {
        observed.closure = found;
        let actions = plan(&desired(), &observed, &mut identities);
        assert_eq!(actions, [Action::Close(closure("guests0"))]);
    }
}

#[test]
fn a_closure_that_the_config_no_longer_wants_is_opened_last() {
    let (mut observed, mut identities) = (Observed::default(), Identities::default());
    settle(&desired(), &mut observed, &mut identities);
    let actions = plan(&Desired::default(), &observed, &mut identities);
    assert_eq!(actions.last(), Some(&Action::Open));
}

#[test]
fn f15_nobody_is_judged_by_rules_that_its_number_stands_for_next() {
    let (mut observed, mut identities) = (kernel(), Identities::default());
    settle(&desired(), &mut observed, &mut identities);
    let mut shifted = desired();
    let same = shifted.policies[&1].clone();
    shifted.policies.insert(3, same);
    shifted.policies.get_mut(&1).expect("policy").tables = policy(vec![rule(9)]).tables;
    shifted.endpoints.get_mut(&PORT).expect("port").policy = 3;
    let actions = plan(&shifted, &observed, &mut identities);
    let denied = position(&actions, |a| matches!(a, Action::PutEndpoint(PORT, e) if e.policy == 0));
    let changed = position(&actions, |a| matches!(a, Action::PutPolicy(1, ..)));
    let named = position(&actions, |a| matches!(a, Action::PutEndpoint(PORT, e) if e.policy == 3));
    assert!(denied < changed && changed < named, "{actions:#?}");
    let id = observed.endpoints[&PORT].id;
    settle(&shifted, &mut observed, &mut identities);
    assert_eq!((observed.endpoints[&PORT].id, observed.endpoints[&PORT].policy), (id, 3));
}

#[test]
fn a2_a_cgroup_is_written_behind_its_endpoint_and_goes_before_it() {
    let (mut observed, mut identities) = (kernel(), Identities::default());
    let mut desired = desired();
    desired.cgroups = [(77, DesiredCgroup { ifindex: PORT, judged: true })].into();
    let rounds = settle(&desired, &mut observed, &mut identities);
    let entry = position(&rounds[0], |a| matches!(a, Action::PutEndpoint(PORT, _)));
    let cgroup = position(&rounds[0], |a| matches!(a, Action::PutCgroup(77, _)));
    assert!(entry < cgroup, "{rounds:#?}");
    let id = observed.endpoints[&PORT].id;
    assert_eq!(observed.cgroups, [(77, CgroupOwner { owner: id, ifindex: PORT })].into());

    // Records only; and another container behind the port: another cgroup, and another endpoint.
    desired.cgroups = [(77, DesiredCgroup { ifindex: PORT, judged: false })].into();
    settle(&desired, &mut observed, &mut identities);
    assert_eq!(observed.cgroups[&77], CgroupOwner { owner: id, ifindex: 0 });
    desired.endpoints.insert(PORT, guest("b"));
    desired.cgroups = [(78, DesiredCgroup { ifindex: PORT, judged: false })].into();
    settle(&desired, &mut observed, &mut identities);
    let id = observed.endpoints[&PORT].id;
    assert_eq!(observed.cgroups, [(78, CgroupOwner { owner: id, ifindex: 0 })].into());

    desired.endpoints.clear();
    desired.cgroups.clear();
    let rounds = settle(&desired, &mut observed, &mut identities);
    let cgroup = position(&rounds[0], |a| *a == Action::DropCgroup(78));
    let entry = position(&rounds[0], |a| *a == Action::DropEndpoint(PORT));
    assert!(cgroup < entry && observed.cgroups.is_empty(), "{rounds:#?}");
}
