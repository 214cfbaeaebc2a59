//! A daemon that takes over, before and after Docker has spoken.

use std::net::Ipv4Addr;

use enforcer_common::abi::{
    endpoint::{Hub, HubKey, Network},
    policy::{Policy, PublishedKey, Quotas},
};

use super::*;
use crate::{
    abuse::Restraints,
    config::{GuestNetwork, Guests, HubRule, PolicyOverride},
    control::{
        allow,
        compiled::Compiled,
        rules::{Here, hub_rule},
    },
    model::{
        desired::DesiredPolicy,
        inventory::{Attachment, Container, DockerNetwork, Mac},
        provenance::Provenance,
    },
    policy::{allowance::Allowance, compile::compile},
};

const BRIDGE: u32 = 10;
const PORT: u32 = 20;
const MAC: Mac = [2, 66, 0, 0, 0, 2];

fn id() -> String {
    "ab".repeat(32)
}

fn config() -> Config {
    let hubs = vec![HubRule { at: HubPlace::Container("hub".into()), port: 8081, protocol: 6 }];
    let network = GuestNetwork {
        bridge: "guests0".to_owned(),
        create: false,
        subnet4: None,
        gateway4: None,
        subnet6: None,
        policy: None,
        overrides: Vec::new(),
        hubs,
        services: Vec::new(),
        quotas: Quotas::default(),
        limits: crate::config::Limits::default(),
        owned: None,
    };
    Config { networks: [("guests".to_owned(), network)].into(), ..Config::default() }
}

/// What is wanted while Docker is silent.
fn blank() -> Desired {
    let endpoint = DesiredEndpoint {
        network: BRIDGE,
        policy: 0,
        role: Role::Unknown,
        container: None,
        name: String::new(),
        mac: [0; 6],
        ipv4: None,
        ipv6: None,
        published: Vec::new(),
    };
    let network = DesiredNetwork {
        name: "guests".to_owned(),
        bridge: "guests0".to_owned(),
        gateway4: None,
        gateway6: None,
        gateway_link_local: None,
        mac: [2, 0, 0, 0, 0, 1],
        owned: false,
    };
    Desired {
        networks: [(BRIDGE, network)].into(),
        endpoints: [(PORT, endpoint)].into(),
        policies: [1, 2].map(policy).into(),
        ..Desired::default()
    }
}

/// The hub's container is not known.
fn policy(number: u32) -> (u32, DesiredPolicy) {
    let hub = HubRule { at: HubPlace::Container("hub".into()), port: 8081, protocol: 6 };
    (number, DesiredPolicy { rules: vec![hub_rule(&hub, Vec::new())], ..DesiredPolicy::default() })
}

fn hub_key() -> HubKey {
    let mut address = [0; 16];
    address[..4].copy_from_slice(&[10, 0, 0, 9]);
    HubKey { network: BRIDGE, address, family: 4, reserved: [0; 3] }
}

fn hub_address() -> Net {
    Net::host(abi_ip(hub_key().address, 4))
}

/// What an earlier daemon left.
fn left() -> Observed {
    let endpoint = Endpoint {
        id: 7,
        network: BRIDGE,
        // The config had other networks then.
        policy: 5,
        ipv4: [10, 0, 0, 2],
        mac: MAC,
        role: Role::Guest as u8,
        container: [0xab; 32],
        ..Endpoint::default()
    };
    let network = Network { gateway4: [10, 0, 0, 1], prefix4: 24, ..Network::default() };
    let published = PublishedKey { endpoint: 7, port: 8888, protocol: 6, reserved: 0 };
    let hub = |port| HubRule { at: HubPlace::Container("hub".into()), port, protocol: 6 };
    let rules = [8081, 22].map(|port| hub_rule(&hub(port), vec![hub_address().address()]));
    let tables = compile(&rules).expect("is small");
    Observed {
        networks: [(BRIDGE, network)].into(),
        endpoints: [(PORT, endpoint)].into(),
        hubs: [(hub_key(), Hub { mac: [2; 6], reserved: [0; 2] })].into(),
        policies: [(5, Policy { epoch: 3, ..Policy::default() })].into(),
        tables: [(3, tables.into())].into(),
        published: [published].into(),
        held: [(PORT, Hook::FromGuest)].into(),
        ..Observed::default()
    }
}

fn inventory(sandbox: Option<&str>) -> Inventory {
    let attachment = Attachment { mac: Some(MAC), ..Attachment::default() };
    let network = DockerNetwork {
        id: "n".into(),
        name: "guests".into(),
        bridge: "guests0".into(),
        subnets: Vec::new(),
        attachments: [(id(), attachment)].into(),
    };
    let container =
        Container { id: id(), sandbox: sandbox.map(str::to_owned), ..Container::default() };
    Inventory {
        version: 1,
        networks: [("n".to_owned(), network)].into(),
        containers: [(id(), container)].into(),
        ..Inventory::default()
    }
}

fn held(inventory: &Inventory, observed: &Observed) -> Desired {
    let mut desired = blank();
    hold(&mut desired, &config(), inventory, observed);
    desired
}

fn hold(desired: &mut Desired, config: &Config, inventory: &Inventory, observed: &Observed) {
    hold_allowed((desired, config, inventory, observed), [&Allowances::default(); 2]);
}

fn hold_allowed(
    (desired, config, inventory, observed): (&mut Desired, &Config, &Inventory, &Observed),
    allowed: [&Allowances; 2],
) {
    networks(desired, config, inventory, observed);
    assert!(Compiled::default().fill(desired).is_empty());
    endpoints(desired, config, inventory, observed, allowed);
}

/// Something that is open to the guest for a while.
fn allowances() -> Allowances {
    let mut all = Allowances::default();
    let one = Allowance {
        id: 0,
        container: id(),
        name: "ann".to_owned(),
        network: "guests".to_owned(),
        to: [192, 0, 2, 9].into(),
        protocol: 6,
        port: 443,
        since_s: 0,
        until_s: 100,
        reason: "why".to_owned(),
        by: "root".to_owned(),
    };
    all.put(one).expect("room");
    all
}

/// What the daemon wants before Docker has spoken is what the kernel holds, in its slot: no flow meets another epoch.
#[test]
fn n7_a_restart_leaves_a_guest_what_is_allowed_to_it_with_overrides_and_without() {
    const SLOT: u32 = 300;
    let mut overridden = config();
    overridden.policies.insert("exam".to_owned(), crate::config::Policy::default());
    overridden.networks.get_mut("guests").expect("there").overrides = vec![PolicyOverride {
        guests: Guests::Group("exam".to_owned()),
        policy: "exam".to_owned(),
    }];
    let wanted = || {
        let mut desired = blank();
        desired.policies.insert(3, DesiredPolicy::default());
        desired
    };
    let all = allowances();
    let mut observed = left();
    let mut base = wanted();
    networks(&mut base, &config(), &Inventory::default(), &observed);
    let mut rules = base.policies[&1].rules.clone();
    rules.extend(all.iter().map(|one| one.rule(&[])));
    let tables = std::sync::Arc::new(compile(&rules).expect("is small"));
    observed.endpoints.get_mut(&PORT).expect("there").policy = SLOT;
    observed.policies = [(SLOT, Policy { epoch: 3, ..Policy::default() })].into();
    observed.tables = [(3, std::sync::Arc::clone(&tables))].into();
    let silent = Inventory::default();
    let held = |config: &Config, now: &Allowances, before: &Allowances| {
        let mut desired = wanted();
        hold_allowed((&mut desired, config, &silent, &observed), [now, before]);
        let none = Restraints::default();
        let told = allow::allow(&mut desired, now, &none, &observed, &mut Compiled::default());
        assert_eq!(told, [""; 0]);
        desired
    };
    for config in [config(), overridden] {
        let desired = held(&config, &all, &all);
        assert_eq!(desired.endpoints[&PORT].policy, SLOT);
        assert_eq!(desired.policies[&SLOT].tables, tables);
        // It ended while no daemon ran: what the guest has otherwise stays.
        assert_eq!(held(&config, &Allowances::default(), &all).endpoints[&PORT].policy, 1);
    }
}

#[test]
fn n7_while_docker_is_silent_what_the_kernel_holds_stays() {
    let desired = held(&Inventory::default(), &left());
    let endpoint = &desired.endpoints[&PORT];
    assert_eq!(
        (endpoint.role, endpoint.policy, endpoint.mac, endpoint.ipv4),
        (Role::Guest, 1, MAC, Some(Ipv4Addr::new(10, 0, 0, 2)))
    );
    assert_eq!(endpoint.container, Some(id()));
    assert_eq!(endpoint.published.len(), 1);
    assert_eq!(desired.networks[&BRIDGE].gateway4, Some((Ipv4Addr::new(10, 0, 0, 1), 24)));
    assert!(desired.hubs.contains_key(&hub_key()));
    // Port 22 was open once; the config does not say so any more.
    let rules = &desired.policies[&1].rules;
    assert_eq!(rules.len(), 1);
    assert_eq!((rules[0].to.as_slice(), rules[0].ports[0].first), (&[hub_address()][..], 8081));
}

#[test]
fn a_container_that_docker_has_not_told_all_about_stays_what_it_was() {
    assert_eq!(held(&inventory(None), &left()).endpoints[&PORT].role, Role::Guest);
    // From here on Docker's word counts, here: that the veth is not this container's.
    let told = inventory(Some("/run/netns/1"));
    assert_eq!(held(&told, &left()).endpoints[&PORT].role, Role::Unknown);
    let mut gone = inventory(None);
    gone.networks.values_mut().for_each(|network| network.attachments.clear());
    assert_eq!(held(&gone, &left()).endpoints[&PORT].role, Role::Unknown);
}

#[test]
fn another_interface_with_the_same_index_is_nobodys() {
    let mut observed = left();
    observed.held.clear();
    assert_eq!(held(&Inventory::default(), &observed).endpoints[&PORT].role, Role::Unknown);
    let mut observed = left();
    observed.endpoints.get_mut(&PORT).expect("there").network = BRIDGE + 1;
    assert_eq!(held(&Inventory::default(), &observed).endpoints[&PORT].role, Role::Unknown);
}

#[test]
fn f03_a_hub_that_the_config_no_longer_names_is_not_held() {
    let mut observed = left();
    observed.endpoints.get_mut(&PORT).expect("there").role = Role::Hub as u8;
    assert_eq!(held(&Inventory::default(), &observed).endpoints[&PORT].role, Role::Hub);
    let mut config = config();
    config.networks.values_mut().for_each(|network| network.hubs.clear());
    let mut desired = blank();
    hold(&mut desired, &config, &Inventory::default(), &observed);
    assert_eq!(desired.endpoints[&PORT].role, Role::Unknown);
    assert!(desired.hubs.is_empty() && desired.policies[&1].rules[0].to.is_empty());
}

#[test]
fn n7_a_network_that_docker_is_slow_to_tell_about_is_held() {
    let others = Inventory { version: 3, ..Inventory::default() };
    assert_eq!(held(&others, &left()).endpoints[&PORT].role, Role::Guest);
}

#[test]
fn n7_with_overrides_a_guest_keeps_the_rules_that_it_had_and_never_gets_looser_ones() {
    let mut config = config();
    config.policies.insert("exam".to_owned(), crate::config::Policy::default());
    let network = config.networks.get_mut("guests").expect("there");
    network.overrides = vec![PolicyOverride {
        guests: Guests::Group("exam".to_owned()),
        policy: "exam".to_owned(),
    }];
    let wanted = || {
        let mut desired = blank();
        // Under number 3 guests do not even reach the hub.
        desired.policies.insert(3, DesiredPolicy::default());
        desired
    };
    let held = |observed: &Observed, inventory: &Inventory| {
        let mut desired = wanted();
        hold(&mut desired, &config, inventory, observed);
        desired.endpoints[&PORT].policy
    };
    let silent = Inventory::default();
    // It was left with a port that nobody may reach any more.
    assert_eq!(held(&left(), &silent), 0);
    let mut strict = left();
    strict.tables.clear();
    // The hub is not known yet, so that neither policy opens anything: which it was the number tells.
    assert_eq!(held(&strict, &silent), 0);
    strict.policies = [(3, Policy { epoch: 9, ..Policy::default() })].into();
    strict.endpoints.get_mut(&PORT).expect("there").policy = 3;
    assert_eq!(held(&strict, &silent), 3);
    let mut same = left();
    let mut plain = blank();
    networks(&mut plain, &config, &silent, &same);
    Compiled::default().fill(&mut plain);
    same.tables = [(3, std::sync::Arc::clone(&plain.policies[&1].tables))].into();
    assert_eq!(held(&same, &silent), 1);
    // As soon as it is told who started it, that counts.
    let mut told = inventory(None);
    let provenance =
        Provenance { is_told: true, group: Some("exam".to_owned()), ..Provenance::default() };
    told.containers.get_mut(&id()).expect("there").provenance = provenance.into();
    assert_eq!(held(&same, &told), 3);
}

#[test]
fn n7_a_service_stays_in_the_rules_that_were_about_it_and_in_no_others() {
    let text = "[policies.course]\n[[policies.course.allow]]\ncontainer = \"db\"\nport = 5432\n\
                [[policies.course.allow]]\ncontainer = \"web\"\nport = 80\n\
                [[policies.course.deny]]\ncontainer = \"db\"\nport = 22\n\
                [networks.guests]\nbridge = \"guests0\"\npolicy = \"course\"\n\
                [[networks.guests.service]]\ncontainer = \"db\"\n\
                [[networks.guests.service]]\ncontainer = \"web\"\n";
    let config = crate::config::parse(text, "f").expect("is good");
    let numbers = &numbers(&config)["guests"];
    let course = |db: &[Net]| {
        let mut rules =
            crate::control::rules::policy_rules(&config.policies["course"], &Here::default());
        for rule in rules.iter_mut().filter(|rule| rule.services == ["container db"]) {
            rule.to = db.to_vec();
        }
        rules
    };
    let db = hub_address();
    let mut observed = left();
    let held = observed.endpoints.get_mut(&PORT).expect("there");
    *held = Endpoint {
        role: Role::Hub as u8,
        policy: numbers.service,
        ipv4: [10, 0, 0, 9],
        mac: [2; 6],
        ..*held
    };
    let service = Policy { epoch: 4, traits: BY_RULE_ONLY, ..Policy::default() };
    let guest = Policy { epoch: 3, ..Policy::default() };
    observed.policies = [(numbers.guest, guest), (numbers.service, service)].into();
    observed.tables = [(3, compile(&course(&[db])).expect("is small").into())].into();
    let wanted = |config: &Config, inventory: &Inventory, observed: &Observed| {
        let mut desired = blank();
        let rules = course(&[]);
        let policy = DesiredPolicy { rules, ..DesiredPolicy::default() };
        desired.policies = [(numbers.guest, policy)].into();
        hold(&mut desired, config, inventory, observed);
        desired
    };
    let kept = |desired: &Desired| -> Vec<usize> {
        desired.policies[&numbers.guest].rules.iter().map(|rule| rule.to.len()).collect()
    };
    let silent = wanted(&config, &Inventory::default(), &observed);
    assert_eq!(kept(&silent), [1, 0, 1], "opened and denied as it was");
    let endpoint = &silent.endpoints[&PORT];
    assert_eq!((endpoint.role, endpoint.policy), (Role::Hub, numbers.service));
    assert!(silent.hubs.contains_key(&hub_key()));
    // The network is told, and not yet what the container is.
    let mut slow = inventory(None);
    slow.networks.values_mut().for_each(|network| {
        network.attachments.values_mut().for_each(|one| one.mac = Some([2; 6]));
    });
    assert_eq!(kept(&wanted(&config, &slow, &observed)), [1, 0, 1]);
    // Another container has its address; it is told what it is; its interface is another one.
    let mut other = slow.clone();
    other.networks.values_mut().for_each(|network| {
        network.attachments = [("cd".repeat(32), network.attachments[&id()])].into();
    });
    let mut told = slow;
    let provenance = Provenance { is_told: true, ..Provenance::default() };
    told.containers.get_mut(&id()).expect("there").provenance = provenance.into();
    for inventory in [other, told] {
        assert_eq!(kept(&wanted(&config, &inventory, &observed)), [0, 0, 0]);
    }
    // Its image is gone, so that its labels are never told; its name is, and a rule that has another one is not
    // about it any more.
    let mut renamed = inventory(None);
    renamed.networks.values_mut().for_each(|network| {
        network.attachments.values_mut().for_each(|one| one.mac = Some([2; 6]));
    });
    let named = |name: &str| {
        let mut inventory = renamed.clone();
        inventory.containers.get_mut(&id()).expect("there").name = name.to_owned();
        kept(&wanted(&config, &inventory, &observed))
    };
    assert_eq!(named("db"), [1, 0, 1]);
    assert_eq!(named("old"), [0, 0, 0]);
    let mut without = config.clone();
    without.networks.values_mut().for_each(|network| network.services.clear());
    let without = wanted(&without, &Inventory::default(), &observed);
    assert_eq!(without.endpoints[&PORT].role, Role::Unknown, "f03: it is no service any more");
    observed.held.clear();
    assert_eq!(kept(&wanted(&config, &Inventory::default(), &observed)), [0, 0, 0]);
}
